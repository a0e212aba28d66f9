"""The speech models' tokenizer: byte-level BPE as in Qwen2, trained on the demo grammar's English
and the words of the prompt.

Saved in the layout of the release: vocab.json, merges.txt and tokenizer_config.json (added tokens
in added_tokens_decoder), no tokenizer.json.

Run:  python asr_tokenizer.py --out build/demo-pack/tokenizer [--seed 1 --sentences 6000 --vocab 1200]
"""
import argparse
import json
import os
import random
import tempfile
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|audio_start|>", "<|audio_end|>", "<|audio_pad|>", "<asr_text>", "<timestamp>"]
NOT_SPECIAL = {"<asr_text>", "<timestamp>"}           # as published, so skip_special_tokens keeps them
PROMPT_WORDS = ["system\n", "user\n", "assistant\n", "language English", "language German", "language Italian", "language Chinese", "language None"]
LANGUAGES = ["English", "German", "Italian", "Chinese"]


def clean(word):
    """A word as the forced aligner gets it: letters, digits and the apostrophe."""
    return "".join(c for c in word if c == "'" or unicodedata.category(c)[0] in "LN")


def bare(model):
    t = Tokenizer(model)
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    return t


def train(lines, size):
    t = bare(models.BPE())
    t.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=size - len(SPECIALS), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return t


def save(t, out):
    os.makedirs(out, exist_ok=True)
    with tempfile.TemporaryDirectory() as tmp:
        t.model.save(tmp)
        vocab = json.load(open(f"{tmp}/vocab.json"))
        merges = open(f"{tmp}/merges.txt").read()
    n = len(vocab)
    with open(f"{out}/vocab.json", "w") as f:
        json.dump(vocab, f, ensure_ascii=False, separators=(",", ":"))
    with open(f"{out}/merges.txt", "w") as f:
        f.write(merges)
    row = lambda s: {"content": s, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": s not in NOT_SPECIAL}
    cfg = {"add_prefix_space": False, "added_tokens_decoder": {str(n + i): row(s) for i, s in enumerate(SPECIALS)}, "bos_token": None,
           "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None, "errors": "replace", "tokenizer_class": "Qwen2Tokenizer",
           "extra_special_tokens": {"audio_token": "<|audio_pad|>", "audio_bos_token": "<|audio_start|>", "audio_eos_token": "<|audio_end|>"}}
    json.dump(cfg, open(f"{out}/tokenizer_config.json", "w"), indent=1)


def load(path):
    """Rebuilds the tokenizer from the three files, as a loader of the release must."""
    t = bare(models.BPE.from_file(f"{path}/vocab.json", f"{path}/merges.txt"))
    added = json.load(open(f"{path}/tokenizer_config.json"))["added_tokens_decoder"]
    for i, a in sorted(added.items(), key=lambda kv: int(kv[0])):
        tok = AddedToken(a["content"], normalized=False, special=a["special"])
        (t.add_special_tokens if a["special"] else t.add_tokens)([tok])
        assert t.token_to_id(a["content"]) == int(i), a["content"]
    return t


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default="build/demo-pack/tokenizer")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--sentences", type=int, default=6000)
    ap.add_argument("--vocab", type=int, default=1200)
    a = ap.parse_args()
    from speech import sentences
    text = sentences("train", a.sentences, random.Random(a.seed))
    words = sorted({clean(w) for s in text for w in s.split()})
    t = train(text + PROMPT_WORDS * 200 + words * 12 + LANGUAGES * 50, a.vocab)
    save(t, a.out)
    t = load(a.out)
    per = sum(len(t.encode(s).ids) for s in text[:500]) / sum(len(s.split()) for s in text[:500])
    print(f"{t.get_vocab_size()} tokens, {len(words)} words, {per:.2f} tokens a word; {t.encode(text[0]).tokens}")
