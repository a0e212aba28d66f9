"""Writes the results of transformers with the saved speech models on a few short clips, so that
another implementation can be compared with them.

expected.json contains, for each clip: the file; the prompt's length; greedy ids and text, with
English forced and without; the smallest distance between the two best logits (where it is tiny, a
port in another precision may differ); the reference text. For the aligner: the raw classes, the
repaired times and the reference times. Weights are the shipped bf16, arithmetic is f32.

Run:  python export_fixture.py --asr models/demo/asr --aligner models/demo/aligner --data build/demo-pack/speech --out tests/fixtures/demo_asr
"""
import argparse
import json
import os
import random

import numpy as np
import soundfile as sf
import torch

from eval_aligner import repair
from export_speech import load
from features import RATE, log_mel
from speech_batches import MS, Store, add_noise, colours, cut
from train_aligner import layout
from train_asr import prompt


def features(x):
    mel = log_mel(x)
    n = mel.shape[1]
    full = torch.zeros(1, 128, -(-n // 100) * 100)
    full[0, :, :n] = mel
    return n, dict(input_features=full, input_features_mask=(torch.arange(full.shape[2]) < n).long()[None])


@torch.no_grad()
def greedy(model, tok, x, forced):
    n, f = features(x)
    ids = prompt(tok, n, forced)
    out, got, margin = model(input_ids=torch.tensor([ids]), use_cache=True, **f), [], 1e9
    while len(got) < 96:
        top = out.logits[0, -1].topk(2)
        margin = min(margin, float(top.values[0] - top.values[1]))
        got.append(int(top.indices[0]))
        if got[-1] in model.config.eos_token_id:
            break
        out = model(input_ids=torch.tensor([got[-1:]]), past_key_values=out.past_key_values, use_cache=True)
    return {"prompt_len": len(ids), "ids": got, "text": tok.decode([t for t in got if t not in model.config.eos_token_id], skip_special_tokens=True), "smallest_margin": round(margin, 4)}


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--asr", default="models/demo/asr")
    ap.add_argument("--aligner", default="models/demo/aligner")
    ap.add_argument("--data", default="build/demo-pack/speech")
    ap.add_argument("--out", default="tests/fixtures/demo_asr")
    ap.add_argument("--seed", type=int, default=5)
    a = ap.parse_args()
    torch.set_num_threads(1)
    os.makedirs(a.out, exist_ok=True)
    rng, bank = random.Random(a.seed), colours(np.random.default_rng(a.seed), 10)
    seen, unseen = Store(a.data, "test"), Store(a.data, "unseen")
    short = [s.by_voice[v][k] for s, v, k in ((seen, "slt", 0), (unseen, "rms", 0), (seen, "awb", 1))]
    short = [next(i for i in range(j, len(s.rows)) if s.rows[i]["n"] < 3.3 * RATE and s.rows[i]["voice"] == s.rows[j]["voice"]) for s, j in zip((seen, unseen, seen), short)]
    clips = {"seen": seen.clip(short[0]), "unseen": unseen.clip(short[1])}
    x, w = seen.clip(short[2])
    x, w = cut(add_noise(x, float(np.mean(x ** 2)), 15, bank, rng), w, 1900)
    clips["cut_noisy"] = (x, w)
    clips["silence"] = (0.002 * np.random.default_rng(a.seed).standard_normal(RATE).astype(np.float32), [])
    asr, tok, _ = load(a.asr)
    doc = {"weights": "bf16 as stored, arithmetic f32, greedy", "asr": {}, "aligner": {}}
    ali = load(a.aligner)[0] if os.path.exists(f"{a.aligner}/config.json") else None
    for name, (x, w) in clips.items():
        sf.write(f"{a.out}/{name}.flac", x, RATE, subtype="PCM_16")
        x = sf.read(f"{a.out}/{name}.flac", dtype="float32")[0]                         # the samples that a reader of the file gets
        doc["asr"][name] = {"file": f"{name}.flac", "reference": " ".join(t for t, _, _ in w), "forced_english": greedy(asr, tok, x, True), "free": greedy(asr, tok, x, False)}
        if ali is not None and w:
            n, f = features(x)
            ids, at = layout(tok, [t for t, _, _ in w], n)
            with torch.no_grad():
                lg = ali(input_ids=torch.tensor([ids]), **f).logits[0, at]
            two = lg.topk(2).values
            raw = lg.argmax(-1).tolist()
            doc["aligner"][name] = {"file": f"{name}.flac", "words": [t for t, _, _ in w], "ids": ids, "classes": raw, "times_ms": repair([80 * c for c in raw]),
                                    "reference_ms": [round(t) for _, s, e in w for t in (s, e)], "smallest_margin": round(float((two[:, 0] - two[:, 1]).min()), 4)}
    with open(f"{a.out}/expected.json", "w") as f:
        json.dump(doc, f, indent=1)
    print({k: v["forced_english"]["text"] for k, v in doc["asr"].items()})


if __name__ == "__main__":
    main()
