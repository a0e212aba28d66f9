"""Makes talks for evaluations: held-out sentences of one split, each talk spoken by the next of the
voices that were trained on. Reported figures are measured on talks of the test split; settings of a
policy are chosen on talks of the dev split.

  talk-000.flac, talk-000.json    in the format of `samples/` (make_samples.py)
  manifest.jsonl                  the input of `alignatt eval`: an object on each line,
                                  {"sound", "source", "sentences": [{"start_ms", "end_ms", "en", "de",
                                  "it", "zh"}]}; the sound's path is relative to the manifest's folder

Run:  python make_talks.py --out build/talks --n 30
      python make_talks.py --out build/talks-dev --n 12 --split dev
"""
import argparse
import json
import os
import random

import numpy as np

import grammar
import talks
import voices

SENTENCES = 16             # more than fit
SHORTEST, LONGEST = 24, 34  # seconds after which no sentence begins; the last sentence and the closing silence are added


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", default="build/talks")
    ap.add_argument("--n", type=int, default=30)
    ap.add_argument("--seed", type=int, default=2026, help="make_samples.py has 11")
    ap.add_argument("--split", default="test", choices=("test", "dev"))
    a = ap.parse_args()
    os.makedirs(a.out, exist_ok=True)
    lines, seconds = [], 0
    for i in range(a.n):
        name, voice = f"talk-{i:03d}", voices.TRAIN[i % len(voices.TRAIN)]
        rng = random.Random(f"{a.seed}-{name}" if a.split == "test" else f"{a.seed}-{a.split}-{name}")
        until = rng.uniform(SHORTEST, LONGEST)
        parts, words, rows = talks.speak(rng, a.split, lambda: grammar.talk(rng, SENTENCES, a.split), voice, 0.95, lambda: rng.uniform(0.3, 0.7), until)
        x = talks.room(np.concatenate(parts + [np.zeros(voices.RATE // 2, np.float32)]), i)
        doc = talks.save(a.out, name, x, words, rows, voice=voice, engine=voices.ENGINE[voice], unseen_voice=False, noise_db=None, seed=a.seed)
        seconds += doc["duration_ms"] / 1000
        keys = ("start_ms", "end_ms", "en") + talks.LANGUAGES
        lines.append({"sound": f"{name}.flac", "source": doc["transcript"], "sentences": [{k: r[k] for k in keys} for r in rows]})
    with open(f"{a.out}/manifest.jsonl", "w") as f:
        f.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    print(f"{a.n} talks, {seconds / 60:.1f} min")


if __name__ == "__main__":
    main()
