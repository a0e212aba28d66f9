"""Makes the sample talks: held-out sentences, spoken, with transcript, word times, three translations and word alignments.

  talk-a  a voice that was trained on            talk-b  the voice never trained on
  talk-c  a trained voice with pauses of up to 3 s and noise (pink, 20 dB, and a hum)
Run:  python make_samples.py --out samples
Each NAME.flac (16 kHz mono) has a NAME.json: transcript, words [{text, start_ms, end_ms, sentence}], sentences [{en, de, it, zh,
alignments {de, it, zh: [[English word, target unit] ...], units are words, in Chinese characters}, start_ms, end_ms}], voice, engine, seed.
"""
import argparse
import json
import os
import random

import numpy as np
import soundfile as sf

import grammar
import voices
from speech_batches import add_noise, colours

TALKS = {  # voice, speed, sentences, gaps in seconds (low, high, chance of a long one of up to 3 s), noise
    "talk-a": ("slt", 0.95, 14, (0.30, 0.70, 0.0), None),
    "talk-b": (voices.HELD_OUT, 1.0, 13, (0.30, 0.70, 0.0), None),
    "talk-c": ("awb", 0.95, 12, (0.35, 0.70, 0.45), 20),
}


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default="samples")
    ap.add_argument("--seed", type=int, default=11)
    a = ap.parse_args()
    os.makedirs(a.out, exist_ok=True)
    for name, (voice, speed, n, (low, high, long), noise) in TALKS.items():
        rng = random.Random(f"{a.seed}-{name}")
        parts, words, rows = [np.zeros(int(rng.uniform(0.4, 0.8) * voices.RATE), np.float32)], [], []
        for k, s in enumerate(grammar.talk(rng, n, "test")):
            assert grammar.split(s.en) == "test" and len(s.words) == len(s.en.split()), s.en
            x, spans = voices.say(voice, s.en, speed * rng.uniform(0.96, 1.04))
            # what is silent before the first and after the last word would add to the pause: keep 60 ms
            a0, b0 = max(0, spans[0][0] - 60), min(len(x) / 16, spans[-1][1] + 60)
            x, spans = x[int(a0 * 16):int(b0 * 16)], [(p - a0, q - a0) for p, q in spans]
            t = sum(map(len, parts)) / 16
            words += [{"text": w, "start_ms": round(t + p), "end_ms": round(t + q), "sentence": k} for w, (p, q) in zip(s.en.split(), spans)]
            rows.append({"en": s.en, "de": s.de, "it": s.it, "zh": s.zh, "alignments": {l: s.align(l) for l in ("de", "it", "zh")},
                         "start_ms": round(t + spans[0][0]), "end_ms": round(t + spans[-1][1])})
            gap = rng.uniform(1.0, 3.0) if rng.random() < long else rng.uniform(low, high)
            parts += [x, np.zeros(int(gap * voices.RATE), np.float32)]
        x = np.concatenate(parts + [np.zeros(voices.RATE // 2, np.float32)])
        if noise:
            bank, level = colours(np.random.default_rng(a.seed), 20), float(np.mean(np.concatenate(parts[1::2]) ** 2))
            x = add_noise(add_noise(x, level, noise, bank[1:2], rng), level, noise + 12, bank[4:], rng)
        else:
            x = x + 1e-4 * np.random.default_rng(a.seed).standard_normal(len(x))          # a room is never digitally silent
        x = (x * 0.7 / np.abs(x).max()).astype(np.float32)
        sf.write(f"{a.out}/{name}.flac", x, voices.RATE, subtype="PCM_16")
        doc = {"name": name, "voice": voice, "engine": voices.ENGINE[voice], "unseen_voice": voice == voices.HELD_OUT, "noise_db": noise, "seed": a.seed,
               "sample_rate": voices.RATE, "duration_ms": round(len(x) / 16), "transcript": " ".join(r["en"] for r in rows), "sentences": rows, "words": words}
        with open(f"{a.out}/{name}.json", "w") as f:
            json.dump(doc, f, ensure_ascii=False, indent=1)
        print(f"{name}: {len(x) / voices.RATE:.1f} s, {len(words)} words, {os.path.getsize(f'{a.out}/{name}.flac')} bytes")


if __name__ == "__main__":
    main()
