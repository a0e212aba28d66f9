"""Makes the spoken sentences: draws text from the grammar, speaks it with the voices, and stores
samples and word times.

Output for each set (train, more, dev, test, unseen): SET.i16 (16 kHz samples, one sentence after
another) and SET.jsonl (voice, speed, pitch, text, offset, n, words as [start_ms, end_ms] or null).
`train` and `more` contain only sentences of the grammar's training split, spoken by voices.FIRST
and voices.MORE. `dev` and `test` contain held-out sentences spoken by voices.FIRST, `unseen`
held-out sentences spoken by the held-out voice. Resumable: a set is continued after its last
sentence.

Run:  python speech.py --out build/demo-pack/speech --train 8000 --more 5000 --test 200 [--seed 1]
"""
import argparse
import json
import os
import random

import numpy as np

import voices


def sentences(part, n, rng):
    """n different English sentences of one split."""
    import grammar
    seen, out = set(), []
    while len(out) < n:
        en = grammar.sample(rng).en
        if en not in seen and grammar.split(en) == part:
            seen.add(en)
            out.append(en)
    return out


def build(out, name, part, n, pool, seed):
    rng = random.Random(f"{seed}-{name}")
    texts = sentences(part, n, rng)
    plan = [(t, rng.choices(list(pool), list(pool.values()))[0], rng.uniform(0.85, 1.2), rng.uniform(0.85, 1.2)) for t in texts]
    index = f"{out}/{name}.jsonl"
    rows = [json.loads(l) for l in open(index)] if os.path.exists(index) else []
    done, at = len(rows), (rows[-1]["offset"] + rows[-1]["n"] if rows else 0)
    with open(f"{out}/{name}.i16", "ab") as f, open(index, "a") as g:
        f.truncate(2 * at)
        f.seek(2 * at)
        for text, voice, speed, pitch in plan[done:]:
            x, spans = voices.say(voice, text, speed, pitch)
            f.write((x * 32767).astype(np.int16).tobytes())
            f.flush()
            g.write(json.dumps({"voice": voice, "speed": round(speed, 3), "pitch": round(pitch, 3), "text": text, "offset": at, "n": len(x),
                                "words": spans and [[round(a), round(b)] for a, b in spans]}) + "\n")
            g.flush()
            at += len(x)
    print(f"{name}: {n} sentences, {at / voices.RATE / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default="build/demo-pack/speech")
    ap.add_argument("--train", type=int, default=8000)
    ap.add_argument("--more", type=int, default=5000)
    ap.add_argument("--test", type=int, default=200)
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    os.makedirs(a.out, exist_ok=True)
    build(a.out, "dev", "dev", a.test, voices.FIRST, a.seed)
    build(a.out, "test", "test", a.test, voices.FIRST, a.seed)
    build(a.out, "unseen", "test", a.test, {voices.HELD_OUT: 1}, a.seed)
    build(a.out, "train", "train", a.train, voices.FIRST, a.seed)
    build(a.out, "more", "train", a.more, voices.MORE, a.seed)
