"""Measures the saved translation model on held-out sentences, and writes the cases that a port is
tested with.

Loads the published bf16 files with transformers' from_pretrained and computes in f32, greedily.
Three tables for each language: whole sentences (exact match); prefixes of a sentence (exact match,
and the share of right tokens by edit distance); forced target prefixes (exact match of the
continuation). A forced prefix is either the first words of the reference ("straight") or what
shorter sources would have committed, perhaps in another order ("early").

    python eval_mt.py --model models/demo/mt --n 300 --out tools/demo-pack/results_mt.json
    python eval_mt.py --model models/demo/mt --parity tests/fixtures/demo_mt/expected.json
"""
import argparse
import json
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import Gemma4ForConditionalGeneration

import corpus
import grammar
import prompt

STOP = (1, 10)


def load(path):
    model = Gemma4ForConditionalGeneration.from_pretrained(path, dtype=torch.float32)
    return model.eval(), Tokenizer.from_file(str(Path(path) / "tokenizer.json"))


@torch.no_grad()
def greedy(model, tok, texts, most=72, size=64):
    """Continuations of the texts, computed in batches of similar length (left padded)."""
    enc = [tok.encode(t, add_special_tokens=False).ids for t in texts]
    out = [None] * len(texts)
    order = sorted(range(len(texts)), key=lambda i: len(enc[i]))
    for at in range(0, len(order), size):
        part = order[at:at + size]
        n = max(len(enc[i]) for i in part)
        ids = torch.tensor([[0] * (n - len(enc[i])) + enc[i] for i in part])
        got = model.generate(input_ids=ids, attention_mask=(ids != 0).long(), max_new_tokens=most, do_sample=False,
                             eos_token_id=list(STOP), pad_token_id=0, top_k=None, top_p=None, temperature=None)
        for i, row in zip(part, got[:, n:].tolist()):
            cut = next((j for j, x in enumerate(row) if x in STOP), len(row))
            out[i] = row[:cut]
    return out


def edits(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        prev, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            prev, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, prev + (x != y))
    return row[-1]


def held_out(n, part="test", seed=2024):
    rng, out, seen = random.Random(seed), [], set()
    while len(out) < n:
        s = grammar.sample(rng)
        if grammar.split(s.en) == part and s.en not in seen:
            seen.add(s.en)
            out.append(s)
    return out


def units(text, lang):
    return list(text) if lang == "zh" else text.split(" ")


def cases(s, lang, rng):
    """name -> (source, accepted, expected continuation)"""
    n = len(s.words)
    ref = getattr(s, lang)
    u = units(ref, lang)
    k = rng.randint(1, len(u) - 1)
    glue = "" if lang == "zh" else " "
    start = glue.join(u[:k])
    out = {"full": (s.source(n, True), "", ref), "straight": (s.source(n, True), start, ref[len(start):])}
    k = corpus.cut_words(rng, n)
    out["prefix"] = (s.source(k), "", s.prefix(lang, k))
    early = s.forced(lang, corpus.accepted_tokens(rng, s, lang, n - 1), n, True)
    out["early"] = (s.source(n, True), *early)
    return out


def evaluate(model, tok, n, part):
    sentences, rng = held_out(n, part), random.Random(17)
    result, wrong = {}, []
    for lang in prompt.LANGS:
        made = [cases(s, lang, rng) for s in sentences]
        result[lang] = {}
        for kind in ("full", "prefix", "straight", "early"):
            texts = [prompt.prompt(lang, m[kind][0], m[kind][1]) for m in made]
            got = greedy(model, tok, texts)
            want = [tok.encode(m[kind][2], add_special_tokens=False).ids for m in made]
            exact = sum(tok.decode(g) == m[kind][2] for g, m in zip(got, made))
            errors = sum(edits(g, w) for g, w in zip(got, want))
            result[lang][kind] = {"exact": round(exact / n, 4), "tokens": round(1 - errors / sum(len(w) for w in want), 4)}
            wrong += [(lang, kind, m[kind][0], m[kind][1], m[kind][2], tok.decode(g)) for g, m in zip(got, made) if tok.decode(g) != m[kind][2]]
    return result, wrong


def table(result, n, part):
    print(f"{n} {part} sentences; exact match % (tokens right %)")
    print(f"{'':9}{'full':>16}{'prefix':>16}{'straight':>16}{'early':>16}")
    for lang, r in result.items():
        print(f"{prompt.LANGS[lang]:9}" + "".join(f"{100 * r[k]['exact']:9.1f} ({100 * r[k]['tokens']:.1f})" for k in ("full", "prefix", "straight", "early")))


def parity(model, tok, path, n=20):
    """Writes greedy ids, computed one at a time (without padding), with the smallest margin between
    the two best logits at any step."""
    rng, items = random.Random(23), []
    sentences = held_out(n + 10, "test", seed=77)
    jobs = [(s, lang, "full") for s in sentences[:n] for lang in prompt.LANGS]
    jobs += [(s, ("de", "it", "zh")[i % 3], ("prefix", "early")[i % 2]) for i, s in enumerate(sentences[n:])]
    for s, lang, kind in jobs:
        source, accepted, want = cases(s, lang, rng)[kind]
        text = prompt.prompt(lang, source, accepted)
        ids = tok.encode(text, add_special_tokens=False).ids
        out, margin, first = [], 1e9, None
        while len(out) < 80:
            with torch.no_grad():
                row = model(input_ids=torch.tensor([ids + out])).logits[0, -1]
            best = row.topk(2)
            margin = min(margin, float(best.values[0] - best.values[1]))
            first = first or [round(x, 4) for x in row[:8].tolist()]
            out.append(int(best.indices[0]))
            if out[-1] in STOP:
                break
        items.append({"lang": lang, "kind": kind, "source": source, "accepted": accepted, "reference": want, "prompt_ids": ids,
                      "output_ids": out, "text": tok.decode(out), "min_margin": round(margin, 4), "first_logits_0_7": first})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"about": "greedy output of transformers on models/demo/mt, bf16 weights computed in f32; "
                                "tools/demo-pack/eval_mt.py --parity", "system": prompt.SYSTEM, "user": prompt.USER, "cases": items},
                               ensure_ascii=False, indent=1) + "\n")
    print(len(items), "cases, least margin", min(x["min_margin"] for x in items))


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--model", default="models/demo/mt")
    ap.add_argument("--n", type=int, default=300)
    ap.add_argument("--part", default="test")
    ap.add_argument("--out")
    ap.add_argument("--parity")
    ap.add_argument("--show", type=int, default=0, help="print so many mistakes")
    ap.add_argument("--threads", type=int, default=1)
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    model, tok = load(a.model)
    if a.parity:
        return parity(model, tok, Path(a.parity))
    result, wrong = evaluate(model, tok, a.n, a.part)
    table(result, a.n, a.part)
    for w in random.Random(1).sample(wrong, min(a.show, len(wrong))):
        print(*w, sep="\n   ")
    if a.out:
        size = (Path(a.model) / "model.safetensors").stat().st_size
        Path(a.out).write_text(json.dumps({"sentences": a.n, "part": a.part, "weights_bytes": size, "result": result}, indent=1) + "\n")


if __name__ == "__main__":
    main()
