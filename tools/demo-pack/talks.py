"""A talk: sentences of the grammar, spoken by one voice with pauses between them, and the files
that store it."""
import json
import os

import numpy as np
import soundfile as sf

import grammar
import voices

LANGUAGES = ("de", "it", "zh")


def speak(rng, split, sentences, voice, speed, gap, until=None):
    """Sound parts (silence and sentences alternately), words and sentence rows. `sentences` is
    called once the opening silence is drawn; all sentences are of `split`. `gap()` draws a pause in
    seconds. No sentence begins after `until` seconds."""
    parts, words, rows = [np.zeros(int(rng.uniform(0.4, 0.8) * voices.RATE), np.float32)], [], []
    for k, s in enumerate(sentences()):
        t = sum(map(len, parts)) / 16
        if until and t > 1000 * until:
            break
        assert grammar.split(s.en) == split and len(s.words) == len(s.en.split()), s.en
        x, spans = voices.say(voice, s.en, speed * rng.uniform(0.96, 1.04))
        # Silence before the first and after the last word would add to the pause: keep 60 ms of it
        a0, b0 = max(0, spans[0][0] - 60), min(len(x) / 16, spans[-1][1] + 60)
        x, spans = x[int(a0 * 16):int(b0 * 16)], [(p - a0, q - a0) for p, q in spans]
        words += [{"text": w, "start_ms": round(t + p), "end_ms": round(t + q), "sentence": k} for w, (p, q) in zip(s.en.split(), spans)]
        rows.append({"en": s.en, "de": s.de, "it": s.it, "zh": s.zh, "alignments": {l: s.align(l) for l in LANGUAGES},
                     "start_ms": round(t + spans[0][0]), "end_ms": round(t + spans[-1][1])})
        parts += [x, np.zeros(int(gap() * voices.RATE), np.float32)]
    return parts, words, rows


def room(x, seed):
    """Adds faint noise: a room is never digitally silent."""
    return x + 1e-4 * np.random.default_rng(seed).standard_normal(len(x))


def save(folder, name, x, words, rows, **facts):
    """Writes NAME.flac (16 kHz mono) and NAME.json. Returns the contents of the JSON."""
    x = (x * 0.7 / np.abs(x).max()).astype(np.float32)
    sf.write(f"{folder}/{name}.flac", x, voices.RATE, subtype="PCM_16")
    doc = {"name": name, **facts, "sample_rate": voices.RATE, "duration_ms": round(len(x) / 16), "transcript": " ".join(r["en"] for r in rows),
           "sentences": rows, "words": words}
    with open(f"{folder}/{name}.json", "w") as f:
        json.dump(doc, f, ensure_ascii=False, indent=1)
    print(f"{name}: {len(x) / voices.RATE:.1f} s, {len(words)} words, {os.path.getsize(f'{folder}/{name}.flac')} bytes")
    return doc
