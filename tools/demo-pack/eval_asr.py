"""Word error rate of an exported ASR folder on held-out sentences (the shipped bf16 weights, f32
arithmetic, greedy).

Rows: seen voices; the unseen voice; both with noise (10 dB); random cuts of the running speech;
three sentences in a row (8 s windows). WER compares words without case and punctuation. `exact` is
the share of clips whose text is equal to the last punctuation mark.

Run:  python eval_asr.py --model models/demo/asr --data build/demo-pack/speech [--n 200] [--json tools/demo-pack/results_speech.json]
"""
import argparse
import json
import os
import random
import re

import numpy as np
import torch

from features import RATE, log_mel
from speech_batches import MS, Store, add_noise, colours, cut


def words(s):
    return re.sub(r"[^\w' ]", "", s.lower()).split()


def errors(ref, hyp):
    """Edit distance in words."""
    d = list(range(len(hyp) + 1))
    for i, r in enumerate(ref, 1):
        prev, d[0] = d[0], i
        for j, h in enumerate(hyp, 1):
            prev, d[j] = d[j], min(d[j] + 1, d[j - 1] + 1, prev + (r != h))
    return d[-1]


@torch.no_grad()
def transcribe(model, tok, x, forced=True, limit=96, prefix=""):
    """Greedy text of one clip. `prefix` is text that is already fixed; the model continues it, as
    in a stream."""
    from train_asr import prompt
    mel = log_mel(x)
    n = mel.shape[1]
    full = torch.zeros(1, 128, -(-n // 100) * 100)
    full[0, :, :n] = mel
    mask = (torch.arange(full.shape[2]) < n).long()[None]
    ids = torch.tensor([prompt(tok, n, forced) + tok.encode(prefix, add_special_tokens=False).ids])
    stop = set(model.config.eos_token_id)
    out = model(input_ids=ids, input_features=full, input_features_mask=mask, use_cache=True)
    got = []
    while len(got) < limit:
        t = int(out.logits[0, -1].argmax())
        if t in stop:
            break
        got.append(t)
        out = model(input_ids=torch.tensor([[t]]), past_key_values=out.past_key_values, use_cache=True)
    return tok.decode(got, skip_special_tokens=True)


def clips(store, kind, n, seed, bank, times=False):
    """(samples, reference text) pairs, the same for every model. With `times`, the reference is
    [[word, start_ms, end_ms]]."""
    rng = random.Random(f"{seed}-{kind}")
    for k in range(n):
        if kind == "three":
            pool = store.by_voice[rng.choice(list(store.by_voice))]
            ids = rng.sample(pool, min(3, len(pool)))
        else:
            ids = [k % len(store.rows)]
        parts, w, at = [], [], 0
        for i in ids:
            gap = np.zeros(int(rng.uniform(0, 0.5) * RATE), np.float32)
            x, spans = store.clip(i)
            at += len(gap)
            w += [[t, a + at / MS, b + at / MS] for t, a, b in spans]
            at += len(x)
            parts += [gap, x]
        x = np.concatenate(parts + [np.zeros(RATE // 5, np.float32)])
        if kind == "noise":
            x = add_noise(x, float(np.mean(x ** 2)), 10, bank, rng)
        if kind == "cut":
            x, w = cut(x, w, rng.uniform(500, len(x) / MS))
        yield x, w if times else " ".join(t for t, _, _ in w)


def main():
    from export_speech import load
    ap = argparse.ArgumentParser()
    ap.add_argument("--model", default="models/demo/asr")
    ap.add_argument("--data", default="build/demo-pack/speech")
    ap.add_argument("--n", type=int, default=200)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--rows", default="seen,unseen,seen-noise,unseen-noise,seen-cut,unseen-cut,seen-three")
    ap.add_argument("--set", default="test", help="test, or dev while choosing")
    ap.add_argument("--show", type=int, default=3)
    ap.add_argument("--json")
    a = ap.parse_args()
    torch.set_num_threads(1)
    model, tok, _ = load(a.model)
    bank, res = colours(np.random.default_rng(a.seed)), {}
    for row in a.rows.split(","):
        who, _, kind = row.partition("-")
        store = Store(a.data, "unseen" if who == "unseen" else a.set)
        e = n = exact = shown = total = 0
        for x, ref in clips(store, kind or "plain", a.n if kind != "three" else a.n // 4, a.seed, bank):
            hyp = transcribe(model, tok, x)
            d = errors(words(ref), words(hyp))
            e, n, exact, total = e + d, n + len(words(ref)), exact + (ref == hyp), total + 1
            if d and shown < a.show:
                shown += 1
                print(f"    - {ref}\n    + {hyp}")
        res[row] = {"wer_percent": round(100 * e / max(1, n), 2), "exact_percent": round(100 * exact / total, 1), "words": n, "clips": total}
        print(f"{row:14} WER {res[row]['wer_percent']:6.2f} %   exact {res[row]['exact_percent']:5.1f} %   {n} words, {total} clips", flush=True)
    silence = [transcribe(model, tok, 0.003 * np.random.default_rng(k).standard_normal(RATE * (1 + k % 4)).astype(np.float32)) for k in range(20)]
    res["silence"] = {"clips_with_text": sum(bool(s) for s in silence), "clips": len(silence)}
    print("noise without speech: text in", res["silence"]["clips_with_text"], "of 20 clips")
    free = [transcribe(model, tok, x, forced=False) for x, _ in clips(Store(a.data, a.set), "plain", 20, a.seed, bank)]
    res["unforced"] = {"with_language_tag": sum(s.startswith("language English<asr_text>") for s in free), "clips": len(free)}
    print("without a forced language: tag given in", res["unforced"]["with_language_tag"], "of 20 clips")
    if a.json:
        old = json.load(open(a.json)) if os.path.exists(a.json) else {}
        old["asr"] = {"command": f"python eval_asr.py --model {a.model} --n {a.n}", "set": a.set, "bytes": sum(os.path.getsize(f"{a.model}/{f}") for f in os.listdir(a.model)),
                      "parameters": sum(p.numel() for p in model.parameters()), **res}
        json.dump(old, open(a.json, "w"), indent=1)


if __name__ == "__main__":
    main()
