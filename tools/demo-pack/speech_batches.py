"""Training batches, composed on the fly from the stored sentences: one to three sentences of a
voice, with pauses, another tempo and pitch (resampling), another vocal tract (warped filters),
level, noise, a random microphone, and cuts at any time, as in a live stream.

A batch is a dict: mel [B,128,F] (F a multiple of 100), mask [B,F], texts, and words [(text,
start_ms, end_ms)] of each clip. The times are None for a voice that gives no word times.
"""
import json
import random

import numpy as np
import torch

from features import RATE, log_mel

MS = RATE // 1000


class Store:
    """The sentences of one set or of several ("train,more"); samples stay on disk. `timed` leaves
    out sentences without word times."""

    def __init__(self, folder, names, timed=False):
        self.rows, self.by_voice = [], {}
        for name in names.split(","):
            pcm = np.memmap(f"{folder}/{name}.i16", dtype=np.int16, mode="r")
            rows = [json.loads(l) for l in open(f"{folder}/{name}.jsonl")]
            self.rows += [{**r, "pcm": pcm} for r in rows if r["words"] or not timed]
        for i, r in enumerate(self.rows):
            self.by_voice.setdefault(r["voice"], []).append(i)

    def clip(self, i):
        """samples and words [[text, start_ms, end_ms]] of one sentence"""
        r = self.rows[i]
        x = r["pcm"][r["offset"]:r["offset"] + r["n"]].astype(np.float32) / 32768
        text = r["text"].split()
        return x, [[w, a, b] for w, (a, b) in zip(text, r["words"] or [(None, None)] * len(text))]


def colours(rng, seconds=40):
    """Noise of several colours with unit power: white 0, pink 1, brown 2, and a hum with
    overtones."""
    n, out = seconds * RATE, []
    f = np.fft.rfftfreq(n, 1 / RATE)
    for power in (0, 0.5, 1, 1.5):
        s = np.fft.rfft(rng.standard_normal(n)) / np.maximum(f, 30) ** power
        out.append(np.fft.irfft(s, n))
    t = np.arange(n) / RATE
    out.append(sum(np.sin(2 * np.pi * 100 * k * t + k) / k for k in range(1, 9)) + 0.3 * rng.standard_normal(n))
    return [(x / x.std()).astype(np.float32) for x in out]


def add_noise(x, level, snr_db, bank, rng):
    """`level`: the power of the speech alone, so that pauses do not count."""
    z = bank[rng.randrange(len(bank))]
    a = rng.randrange(len(z) - len(x)) if len(z) > len(x) else 0
    return x + np.resize(z[a:a + len(x)], len(x)) * np.sqrt(level / 10 ** (snr_db / 10))


def cut(x, words, at_ms):
    """The sound and the words up to `at_ms`: a word counts once 85 % of it is heard, the
    punctuation of the last word only after some silence."""
    kept = [list(w) for w in words if at_ms >= w[1] + 0.85 * (w[2] - w[1])]
    if kept and at_ms < kept[-1][2] + 150:
        kept[-1][0] = kept[-1][0].rstrip(".,?!;:")
    for w in kept:
        w[2] = min(w[2], at_ms)
    return x[:int(at_ms * MS)], kept


class Composer:
    """Draws recipes (cheap) and renders them (samples, features)."""

    def __init__(self, store, seed, cut_p=0.4, empty_p=0.03, max_s=19.0):
        self.store, self.rng, self.np = store, random.Random(seed), np.random.default_rng(seed)
        self.cut_p, self.empty_p, self.max_s, self.strength = cut_p, empty_p, max_s, 1.0
        self.bank = colours(self.np)
        self.voice_list = list(store.by_voice)
        self.weights = [len(store.by_voice[v]) for v in self.voice_list]

    def recipe(self, easy=False):
        r, rng = {}, self.rng
        pool = self.store.by_voice[rng.choices(self.voice_list, self.weights)[0]]
        k = 1 if easy else rng.choices((1, 2, 3), (0.5, 0.3, 0.2))[0]
        r["ids"] = [rng.choice(pool) for _ in range(k)]
        timed = self.store.rows[r["ids"][0]]["words"] is not None
        r["warp"] = rng.uniform(0.83, 1.2) if rng.random() < 0.6 * self.strength else 1.0
        r["tract"] = np.exp(rng.uniform(-0.25, 0.22)) if rng.random() < 0.75 * self.strength else 1 / r["warp"]     # the speaker that is heard
        r["gaps"] = [rng.choice((rng.uniform(0, 0.1), rng.uniform(0, 1.0)))] + [rng.choice((rng.uniform(0.05, 0.7), rng.uniform(0.05, 0.7), rng.uniform(0.5, 3.0))) for _ in r["ids"][1:]]
        r["gaps"].append(rng.uniform(0.15, 0.8))
        r["ms"] = 1000 * (sum(self.store.rows[i]["n"] for i in r["ids"]) / RATE * r["warp"] + sum(r["gaps"]))
        while r["ms"] > 1000 * self.max_s and len(r["ids"]) > 1:
            r["ms"] -= 1000 * self.store.rows[r["ids"].pop()]["n"] / RATE * r["warp"] + 1000 * r["gaps"].pop(-2)
        r["empty"] = rng.random() < self.empty_p
        r["cut"] = None if easy or not timed or rng.random() > self.cut_p else rng.uniform(300, r["ms"])
        if r["empty"]:
            r["cut"] = None
            r["ms"] = rng.uniform(200, 4000)
        r["lead"] = rng.choice(pool) if not easy and timed and rng.random() < 0.1 else None
        r["ms"] = min(r["ms"], r["cut"] or r["ms"])
        return r

    def render(self, r):
        rng = self.rng
        if r["empty"]:
            x, words, level = np.zeros(int(r["ms"] * MS), np.float32), [], 1e-4
        else:
            parts, words, at = [], [], 0
            for gap, i in zip(r["gaps"], r["ids"]):
                s, w = self.store.clip(i)
                if r["warp"] != 1.0:
                    s = np.interp(np.arange(int(len(s) * r["warp"])) / r["warp"], np.arange(len(s)), s).astype(np.float32)
                z = np.zeros(int(gap * RATE), np.float32)
                if not parts and r["lead"] is not None and len(z) > 3200:      # the end of a word that belongs to the text before
                    tail, tw = self.store.clip(r["lead"])
                    n = int(rng.uniform(0.08, 0.2) * RATE)
                    e = int(tw[-1][2] * MS)
                    tail = tail[max(0, e - n):e]
                    z[:min(len(tail), len(z) - 1600)] = tail[-min(len(tail), len(z) - 1600):]
                at += len(z)
                words += [[t, None, None] if a is None else [t, at / MS + a * r["warp"], at / MS + b * r["warp"]] for t, a, b in w]
                parts += [z, s]
                at += len(s)
            level = float(np.mean(np.concatenate(parts[1::2]) ** 2))
            x = np.concatenate(parts + [np.zeros(int(r["gaps"][-1] * RATE), np.float32)])
            if r["cut"]:
                x, words = cut(x, words, r["cut"])
        if rng.random() < 0.5 * self.strength:
            x = add_noise(x, level, rng.uniform(4, 35), self.bank, rng)
        elif rng.random() < 0.5:
            x = add_noise(x, level, rng.uniform(40, 60), self.bank, rng)       # nearly clean, but no digital silence
        x = x * 10 ** (rng.uniform(-20, 3) / 20)
        eq = None
        if rng.random() < 0.6 * self.strength:                                # another microphone: a slope, one wide bump, a dull top
            k = np.linspace(-1, 1, 128)
            eq = rng.uniform(-0.5, 0.5) * k + rng.uniform(-0.5, 0.5) * np.exp(-((k - rng.uniform(-1, 1)) / rng.uniform(0.2, 0.8)) ** 2)
            eq = torch.tensor(eq[:, None], dtype=torch.float32)
        m = log_mel(np.clip(x, -1, 1), eq, r["tract"] * r["warp"])
        if rng.random() < 0.3 * self.strength:                                # hide a band or a moment
            for _ in range(rng.randint(1, 2)):
                a, n = rng.randrange(120), rng.randint(2, 14)
                m[a:a + n] = m.mean()
            if m.shape[1] > 150:
                a, n = rng.randrange(m.shape[1] - 30), rng.randint(3, 14)
                m[:, a:a + n] = m.mean()
        return m, words


def collate(clips):
    frames = -(-max(m.shape[1] for m, _ in clips) // 100) * 100
    mel, mask = torch.zeros(len(clips), 128, frames), torch.zeros(len(clips), frames, dtype=torch.long)
    for i, (m, _) in enumerate(clips):
        mel[i, :, :m.shape[1]], mask[i, :m.shape[1]] = m, 1
    return {"mel": mel, "mask": mask, "words": [w for _, w in clips], "texts": [" ".join(w[0] for w in ws) for _, ws in clips]}


class Batches(torch.utils.data.IterableDataset):
    """Endless batches of about `seconds` of padded audio; clips of similar length go together.
    `start` reseeds after a resume. Noise and the other changes of the sound grow during the first
    `grow` steps, so that clean speech is learned first, and quickly."""

    def __init__(self, store, seconds, seed, start=0, easy_until=0, grow=0, **kw):
        self.args = (store, seconds, seed, start, easy_until, grow, kw)

    def __iter__(self):
        torch.set_num_threads(1)
        store, seconds, seed, start, easy_until, grow, kw = self.args
        c = Composer(store, seed * 1000003 + start, **kw)
        step = start
        while True:
            c.strength = min(1.0, 0.1 + step / grow) if grow else 1.0
            pool = sorted((c.recipe(step < easy_until) for _ in range(512)), key=lambda r: r["ms"])
            groups, g = [], []
            for r in pool:
                longest = -(-r["ms"] // 1000)
                if g and longest * (len(g) + 1) > seconds:
                    groups.append(g)
                    g = []
                g.append(r)
            groups.append(g)
            c.rng.shuffle(groups)
            for g in groups:
                yield collate([c.render(r) for r in g])
                step += 1
