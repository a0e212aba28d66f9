"""Makes the sample talks: held-out sentences, spoken, with transcript, word times, three
translations and word alignments.

  talk-a  a voice that was trained on            talk-b  the voice never trained on
  talk-c  a trained voice with pauses of up to 3 s and noise (pink, 20 dB, and a hum)

Each NAME.flac (16 kHz mono) has a NAME.json: transcript, words [{text, start_ms, end_ms,
sentence}], sentences [{en, de, it, zh, alignments {de, it, zh: [[English word, target unit] ...]},
start_ms, end_ms}], voice, engine, seed. Units are words, or characters in Chinese.

Run:  python make_samples.py --out samples
"""
import argparse
import os
import random

import numpy as np

import grammar
import talks
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

        def gap():
            return rng.uniform(1.0, 3.0) if rng.random() < long else rng.uniform(low, high)
        parts, words, rows = talks.speak(rng, "test", lambda: grammar.talk(rng, n, "test"), voice, speed, gap)
        x = np.concatenate(parts + [np.zeros(voices.RATE // 2, np.float32)])
        if noise:
            bank, level = colours(np.random.default_rng(a.seed), 20), float(np.mean(np.concatenate(parts[1::2]) ** 2))
            x = add_noise(add_noise(x, level, noise, bank[1:2], rng), level, noise + 12, bank[4:], rng)
        else:
            x = talks.room(x, a.seed)
        talks.save(a.out, name, x, words, rows, voice=voice, engine=voices.ENGINE[voice], unseen_voice=voice == voices.HELD_OUT,
                   noise_db=noise, seed=a.seed)


if __name__ == "__main__":
    main()
