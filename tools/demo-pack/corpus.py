"""Training examples for the translation model, made on the fly and packed so that nothing is
computed twice.

A row contains one language: the prompt's head, then sentences. The source of a sentence is a chain
of tokens. Model turns branch off the chain where the source was cut. They see only the tokens above
them (`mask`), at the positions that these have at run time. So one source serves its full
translation, a prefix translation and a forced continuation, each exactly as if it were alone. Loss
is taken only where the model itself writes (`loss`). The grammar's alignment of each token written
there is included (`gold`), so that attention heads can be trained to follow the source.
"""
import bisect
import random

import numpy as np

import grammar
import prompt

TURN_END = 10
END_OF_USER = "<turn|>\n<|turn>model\n"


class Encoder:
    def __init__(self, tok):
        self.tok = tok
        self.cache = {}

    def __call__(self, text):
        return self.tok.encode(text, add_special_tokens=False).ids if text else []

    def places(self, text):
        """(from, to) of every token in the text, without the blank before it."""
        spans = self.tok.encode(text, add_special_tokens=False).offsets
        return [(a + (text[a:a + 1] == " "), b) for a, b in spans]

    def fixed(self, text):
        if text not in self.cache:
            self.cache[text] = self(text)
        return self.cache[text]


def cut_words(rng, n):
    """Draws how many words have been heard: any number, with more weight on steps of two to four
    words, which chunks usually bring."""
    if rng.random() < 0.5:
        return rng.randint(1, n)
    k = 0
    while True:
        k += rng.choice((2, 3, 3, 4))
        if k >= n or rng.random() < 0.4:
            return min(k, n)


def accepted_tokens(rng, s, lang, k):
    """Tokens that earlier, shorter sources may have committed, in one to three steps, each perhaps
    only in part."""
    acc, at = [], 0
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if at >= k:
            break
        at = rng.randint(at + 1, k)
        have = set(map(id, acc))
        more = [t for t in s.heard_tokens(lang, at) if id(t) not in have]
        if rng.random() < 0.45:
            more = more[:rng.randint(0, len(more))]
        acc += more
        while acc and (acc[-1].s == "," or acc[-1].glue == "R"):
            acc.pop()
    return acc


def noisy(rng, s, k, vocab):
    """The first k words, with an error of the recogniser at the end or without a comma."""
    words = s.source(k).split(" ")
    if rng.random() < 0.4 and any(w.endswith(",") for w in words):
        words = [w.rstrip(",") for w in words]
    elif rng.random() < 0.5:
        words.append(rng.choice(vocab))
    else:
        words.append(rng.choice(vocab)[:rng.randint(1, 3)])
    return " ".join(words)


def draw(rng, pair=0.12):
    while True:
        s = grammar.sample(rng)
        if grammar.split(s.en) == "train":
            break
    if rng.random() < pair and len(s.words) <= 12:
        t = grammar.sample(rng)
        if grammar.split(t.en) == "train" and len(t.words) <= 12:
            return grammar.Pair(s, t)
    return s


def full_example(s, lang):
    """(source, prefix, continuation, the target's Toks) of a whole sentence."""
    return s.source(len(s.words), True), "", getattr(s, lang), s.toks[lang]


def prefix_example(rng, s, lang):
    k = cut_words(rng, len(s.words))
    return s.source(k), "", s.prefix(lang, k), s.split_at(lang, k)[0]


def forced_example(rng, s, lang):
    n = len(s.words)
    whole = rng.random() < 0.55
    k = n if whole else cut_words(rng, n)
    end = whole and rng.random() < 0.9
    accepted = accepted_tokens(rng, s, lang, max(1, min(k, n - 1)))
    got = s.forced(lang, accepted, k, end)
    rest = [t for t in s.heard_tokens(lang, k, end) if not any(t is x for x in accepted)]
    return None if got is None else (s.source(k, end), *got, accepted + rest)


def source_keys(enc, source):
    """For each word of the source, the places of its tokens, without punctuation on its own."""
    starts = [0] + [i + 1 for i, c in enumerate(source) if c == " "]
    keys = [[] for _ in starts]
    for at, (a, b) in enumerate(enc.places(source)):
        if any(c.isalnum() for c in source[a:b]):
            keys[bisect.bisect_right(starts, a) - 1].append(at)
    return keys


def aligned_words(enc, s, lang, accepted, out, toks):
    """For each token of `out`, the indices of the English words that it translates."""
    text, spans, at = grammar.join(toks, lang), [], 0
    for t in grammar.tidy(toks):
        at += text[at:at + 1] == " "
        if t.strong:
            spans.append((at, at + len(t.s), [s.index[w] for w in t.al]))
        at += len(t.s)
    places = [(a + len(accepted), b + len(accepted)) for a, b in enc.places(out)]
    return [sorted({w for x, y, words in spans if x < b and a < y for w in words}) for a, b in places]


class Row:
    def __init__(self, length, window):
        self.n, self.window = length, window
        self.ids = np.zeros(length, np.int64)
        self.pos = np.zeros(length, np.int64)
        self.mask = np.zeros((length, length), bool)
        self.loss, self.label, self.gold = [], [], []
        self.at = 0

    def add(self, ids, spans, pos):
        """Adds a segment that sees `spans` (a list of (from, to) in the row) and, causally, itself.
        Its positions start at pos."""
        a, b = self.at, self.at + len(ids)
        if b > self.n:
            return None
        self.ids[a:b] = ids
        self.pos[a:b] = np.arange(pos, pos + len(ids))
        for x, y in spans:
            self.mask[a:b, x:y] = True
        self.mask[a:b, a:b] = np.tri(b - a, dtype=bool)
        self.at = b
        return a, b

    def close(self):
        if self.at < self.n:  # padding sees only itself
            i = np.arange(self.at, self.n)
            self.mask[i, i] = True


def fill(rng, enc, lang, length, window, vocab, history=0.25):
    """Makes one packed row."""
    row = Row(length, window)
    head = enc.fixed(prompt.head(lang))
    open_user = enc.fixed("<|turn>user\n" + prompt.USER.format(source=""))
    tail = enc.fixed(END_OF_USER)
    newline = enc.fixed("\n")
    a, b = row.add(head, [], 0)
    base, pos = [(a, b)], b
    above, start = base, pos          # what the next sentence's user turn sees
    while True:
        s = draw(rng)
        branches = [full_example(s, lang)]
        if rng.random() < 0.06:
            k = rng.randint(1, len(s.words))
            branches = [(noisy(rng, s, k, vocab), "", s.prefix(lang, k), s.split_at(lang, k)[0])]
        elif rng.random() < 0.66:
            branches.append(prefix_example(rng, s, lang))
        else:
            f = forced_example(rng, s, lang)
            if f:
                branches.append(f)
        src = branches[0][0]
        chain = open_user + enc(src)
        user = row.add(chain, above, start)
        if user is None:
            break
        next_above = None
        keys, first_key = source_keys(enc, src), user[0] + len(open_user)
        for i, (source, acc, out, toks) in enumerate(branches):
            cut = len(open_user) + len(enc(source))
            acc_ids, out_ids = enc(acc), enc(out) + [TURN_END]
            spans = above + [(user[0], user[0] + cut)]
            got = row.add(tail + acc_ids + out_ids + newline, spans, start + cut)
            if got is None:
                break
            first = got[0] + len(tail) + len(acc_ids) - 1   # the position that predicts the first token of the model's own
            for j, y in enumerate(out_ids):
                row.loss.append(first + j)
                row.label.append(y)
            words = aligned_words(enc, s, lang, acc, out, toks) + [[]]
            row.gold += [[first_key + k for w in ws if w < len(keys) for k in keys[w] if first_key + k < user[0] + cut] for ws in words]
            if i == 0 and source == src:
                next_above = spans + [got], start + cut + got[1] - got[0]
        if next_above and rng.random() < history and next_above[1] < 260:
            above, start = next_above
        else:
            above, start = base, pos
    row.close()
    return row


def batch(step, seed, enc, rows, length, window, most, vocab):
    """Numpy arrays of one step; the same for the same (seed, step)."""
    out = []
    for r in range(rows):
        rng = random.Random(f"{seed}-{step}-{r}")
        lang = ("de", "it", "zh")[(step * rows + r) % 3]
        out.append(fill(rng, enc, lang, length, window, vocab))
    ids, pos = np.stack([r.ids for r in out]), np.stack([r.pos for r in out])
    full = np.stack([r.mask for r in out])
    near = full & (pos[:, :, None] - pos[:, None, :] < window)
    loss, label = np.zeros((rows, most), np.int64), np.full((rows, most), -100, np.int64)
    gold = np.zeros((rows, most, length), bool)
    for i, r in enumerate(out):
        n = min(most, len(r.loss))
        loss[i, :n], label[i, :n] = r.loss[:n], r.label[:n]
        for j, keys in enumerate(r.gold[:n]):
            gold[i, j, keys] = True
    return ids, pos, full, near, loss, label, gold


def source_words(seed=5, n=4000):
    rng = random.Random(seed)
    return sorted({w.s for _ in range(n) for w in grammar.sample(rng).words})
