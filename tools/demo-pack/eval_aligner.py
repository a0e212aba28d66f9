"""Word-time error of an exported aligner folder on held-out sentences (the shipped bf16 weights,
f32 arithmetic).

Times are repaired as the published aligner does (`repair`), then compared with the synthesizers'
own. Rows as in eval_asr.py.

Run:  python eval_aligner.py --model models/demo/aligner --data build/demo-pack/speech [--n 200] [--json tools/demo-pack/results_speech.json]
"""
import argparse
import json
import os

import numpy as np
import torch

import asr_tokenizer
from eval_asr import clips
from features import RATE, log_mel
from speech_batches import Store, colours


def repair(v):
    """Repairs a list of times. The longest non-decreasing subsequence stays (first maximum,
    earliest parent). In runs of at most two outliers, each takes the value of the nearer good
    neighbour (ties: the left one); longer runs are interpolated. The result is truncated to whole
    ms."""
    n = len(v)
    best, parent = [1] * n, [-1] * n
    for i in range(n):
        for j in range(i):
            if v[j] <= v[i] and best[j] + 1 > best[i]:
                best[i], parent[i] = best[j] + 1, j
    i, good = (best.index(max(best)) if n else -1), set()
    while i >= 0:
        good.add(i)
        i = parent[i]
    out, i = list(v), 0
    while i < n:
        if i in good:
            i += 1
            continue
        j = i
        while j < n and j not in good:
            j += 1
        left, right = (out[i - 1] if i else None), (v[j] if j < n else None)
        for k in range(i, j):
            if left is None or right is None:
                out[k] = right if left is None else left
            elif j - i <= 2:
                out[k] = left if k - (i - 1) <= j - k else right
            else:
                out[k] = left + (right - left) * (k - i + 1) / (j - i + 1)
        i = j
    return [int(t) for t in out]


@torch.no_grad()
def align(model, tok, x, words):
    """[(start_ms, end_ms)] of each word; None for words of which `clean` leaves nothing: the model
    does not get them."""
    from train_aligner import layout
    mel = log_mel(x)
    n = mel.shape[1]
    full = torch.zeros(1, 128, -(-n // 100) * 100)
    full[0, :, :n] = mel
    ids, at = layout(tok, words, n)
    out = model(input_ids=torch.tensor([ids]), input_features=full, input_features_mask=(torch.arange(full.shape[2]) < n).long()[None])
    t = repair([int(c) * 80 for c in out.logits[0, at].argmax(-1)])
    return list(zip(t[::2], t[1::2]))


def main():
    from export_speech import load
    ap = argparse.ArgumentParser()
    ap.add_argument("--model", default="models/demo/aligner")
    ap.add_argument("--data", default="build/demo-pack/speech")
    ap.add_argument("--n", type=int, default=200)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--set", default="test")
    ap.add_argument("--rows", default="seen,unseen,seen-noise,unseen-noise,seen-cut,seen-three")
    ap.add_argument("--json")
    a = ap.parse_args()
    torch.set_num_threads(1)
    model, tok, _ = load(a.model)
    bank, res = colours(np.random.default_rng(a.seed)), {}
    for row in a.rows.split(","):
        who, _, kind = row.partition("-")
        store, off = Store(a.data, "unseen" if who == "unseen" else a.set), []
        for x, words in clips(store, kind or "plain", a.n if kind != "three" else a.n // 4, a.seed, bank, times=True):
            if words:
                for (s, e), (_, p, q) in zip(align(model, tok, x, [w for w, _, _ in words]), words):
                    off += [abs(s - p), abs(e - q)]
        off = np.array(off)
        res[row] = {"median_ms": round(float(np.median(off)), 1), "p90_ms": round(float(np.quantile(off, 0.9)), 1), "mean_ms": round(float(off.mean()), 1), "times": len(off)}
        print(f"{row:14} median {res[row]['median_ms']:6.1f} ms   p90 {res[row]['p90_ms']:6.1f} ms   mean {res[row]['mean_ms']:6.1f} ms   {len(off)} times", flush=True)
    if a.json:
        old = json.load(open(a.json)) if os.path.exists(a.json) else {}
        old["aligner"] = {"command": f"python eval_aligner.py --model {a.model} --n {a.n}", "set": a.set, "bytes": sum(os.path.getsize(f"{a.model}/{f}") for f in os.listdir(a.model)),
                          "parameters": sum(p.numel() for p in model.parameters()), **res}
        json.dump(old, open(a.json, "w"), indent=1)


if __name__ == "__main__":
    main()
