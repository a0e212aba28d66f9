"""The translation model's tokenizer: byte-fallback BPE in Gemma's layout, trained on the grammar's
four languages.

Merges never cross a word, punctuation, an apostrophe or a line break, and Chinese characters are
never merged. So a text that is cut at a word (in Chinese, at any character) has the same tokens in
two pieces as in one. A forced target prefix needs this.

    python tokenizer.py --out models/demo/mt [--sentences 60000] [--vocab 2400]
"""
import argparse
import json
import random
from collections import Counter
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

import grammar
import prompt

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|think|>", "<|channel>", "<channel|>", "<|tool_response>", "<|turn>", "<turn|>"]
HAN = "\u3400-\u9fff"


def corpus(n, seed):
    rng = random.Random(seed)
    for lang in prompt.LANGS:
        # the prompt's words must be single tokens
        for _ in range(2000):
            yield prompt.SYSTEM.format(lang=prompt.LANGS[lang])
            yield prompt.USER.format(source="")
            yield "user system model"
    while n:
        s = grammar.sample(rng)
        if grammar.split(s.en) != "train":
            continue
        n -= 1
        for text in (s.en, s.de, s.it):
            yield text
            if n % 4 == 0:
                yield " " + text  # a second sentence in the same turn


def han(n, seed):
    rng = random.Random(seed)
    c = Counter()
    for _ in range(n):
        c.update(grammar.sample(rng).zh)
    return sorted(c)


def build(n, vocab, seed):
    tok = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tok.normalizer = normalizers.Replace(" ", "▁")
    word = Regex(rf"▁?[^▁\s',.?!:，。？！{HAN}]+'?|[',.?!:，。？！{HAN}]|\n+|▁")
    tok.pre_tokenizer = pre_tokenizers.Split(word, "isolated")
    first = SPECIAL + [f"<0x{i:02X}>" for i in range(256)] + ["\n", "\n\n"]
    chars = han(n // 3, seed + 1)
    tok.train_from_iterator(corpus(n, seed), trainers.BpeTrainer(vocab_size=vocab - len(first) - len(chars), special_tokens=[], show_progress=False))
    made = json.loads(tok.to_str())["model"]
    pieces = [p for p, _ in sorted(made["vocab"].items(), key=lambda x: x[1]) if "\n" not in p]
    ids = {}
    for p in first + chars + pieces:
        ids.setdefault(p, len(ids))
    merges = [m if isinstance(m, list) else m.split(" ") for m in made["merges"]]
    merges = [m for m in merges if "\n" not in m[0] + m[1]] + [["\n", "\n"]]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": ids[t], "content": t, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
                         for t in SPECIAL],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": True, "byte_fallback": True, "ignore_merges": False, "vocab": ids, "merges": merges},
    }


def check(path, seed=99, n=400):
    """Checks every place where a caption may be cut: the pieces must have the same tokens as the
    whole. Returns the mean number of tokens of a sentence."""
    tok, rng = Tokenizer.from_file(str(path)), random.Random(seed)
    total, count = Counter(), 0
    enc = lambda t: tok.encode(t, add_special_tokens=False).ids
    for _ in range(n):
        s = grammar.sample(rng)
        total["en"] += len(enc(s.en))
        count += 1
        for lang in prompt.LANGS:
            text, p = getattr(s, lang), prompt.prompt(lang, s.en)
            total[lang] += len(enc(text))
            whole = enc(p + text)
            assert 3 not in whole and not any(11 <= i < 267 for i in whole), text
            assert tok.decode(enc(text)) == text
            for k in range(1, len(s.words) + 1):
                a, b = s.continuation(lang, k)
                assert enc(p + a) + enc(b) == enc(p + a + b), (a, b)
    return {k: round(v / count, 1) for k, v in total.items()}, len(enc(prompt.prompt("de", "")))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default="build/demo-pack/mt")
    ap.add_argument("--sentences", type=int, default=60000)
    ap.add_argument("--vocab", type=int, default=2400)
    ap.add_argument("--seed", type=int, default=11)
    a = ap.parse_args()
    out = Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    spec = build(a.sentences, a.vocab, a.seed)
    (out / "tokenizer.json").write_text(json.dumps(spec, ensure_ascii=False, indent=1))
    (out / "tokenizer_config.json").write_text(json.dumps({
        "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>", "add_bos_token": False,
        "padding_side": "left", "tokenizer_class": "GemmaTokenizer"}, indent=1) + "\n")
    (out / "chat_template.jinja").write_text(prompt.CHAT_TEMPLATE)
    (out / "generation_config.json").write_text(json.dumps({
        "bos_token_id": 2, "pad_token_id": 0, "eos_token_id": [SPECIAL.index("<eos>"), SPECIAL.index("<turn|>")], "do_sample": False}, indent=1) + "\n")
    print("vocabulary", len(spec["model"]["vocab"]), "tokens a sentence, prompt:", check(out / "tokenizer.json"))


if __name__ == "__main__":
    main()
