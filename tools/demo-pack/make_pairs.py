"""Writes sentence pairs with gold word alignments for `alignatt calibrate`, one JSON object on each
line:

    {"source": "...", "target": "...", "alignments": [[source word, target unit], ...]}

Source words are separated by blanks; units are words, or characters in Chinese. The pairs come from
the `dev` split. The program is measured on the `test` split, so heads are never chosen on the
sentences by which they are judged.

    python make_pairs.py --to de --n 400 --out pairs.de.jsonl
"""
import argparse
import json
import random

import grammar
import prompt


def dev_sentences(n, seed):
    """n distinct sentences of the dev split."""
    rng, found = random.Random(seed), {}
    while len(found) < n:
        s = grammar.sample(rng)
        if grammar.split(s.en) == "dev":
            found.setdefault(s.en, s)
    return found.values()


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--to", required=True, choices=list(prompt.LANGS))
    ap.add_argument("--n", type=int, default=400)
    ap.add_argument("--seed", type=int, default=31)
    ap.add_argument("--out", required=True)
    a = ap.parse_args()
    with open(a.out, "w", encoding="utf-8") as f:
        for s in dev_sentences(a.n, a.seed):
            f.write(json.dumps({"source": s.en, "target": getattr(s, a.to), "alignments": s.align(a.to)}, ensure_ascii=False) + "\n")
    print(f"{a.n} pairs, {a.out}")


if __name__ == "__main__":
    main()
