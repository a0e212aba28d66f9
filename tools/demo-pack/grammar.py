"""The controlled English of the demo pack, with its German, Italian and Chinese and gold word
alignments.

A sentence is drawn as a small meaning tree and written in four languages. English words are objects
(`W`). Every target token carries the English words that it translates (`al`), and the words that
must have been heard before a translator could know it (`need`: an article needs its noun for the
gender). The alignments follow from these. So does the translation of any prefix: the tokens whose
needs have been heard, in target order. The translation is a function of the English text alone.

    python grammar.py --stats            vocabulary, lengths, distinct sentences
    python grammar.py --show 20 [--seed 1]
"""
import argparse
import hashlib
import random
from collections import Counter

import lexicon as L

VOWELS = "aeiouàèéìòù"


class W:
    """An English word as spoken; `p` is the punctuation written after it."""
    __slots__ = ("s", "p")

    def __init__(self, s, p=""):
        self.s, self.p = s, p


class Tok:
    """A target token. glue: 'L' no space before it, 'R' none after. `strong`: it counts as an
    alignment."""
    __slots__ = ("s", "al", "need", "glue", "strong", "art")

    def __init__(self, s, al, need=None, glue="", strong=True, art=None):
        self.s, self.al = s, tuple(al)
        self.need = frozenset(self.al if need is None else need)
        self.glue, self.strong, self.art = glue, strong, art


END = W("<end>")  # heard when the sentence's final punctuation is


def tk(s, al, need=None, **k):
    """One Tok for each blank-separated word of `s`."""
    return [Tok(x, al, need, **k) for x in s.split(" ")]


def comma(need):
    return Tok(",", (), need, glue="L", strong=False)


def rows(text):
    return [line.split("|") for line in text.strip().split("\n")]


# ------------------------------------------------------------------------------------------ words

class Noun:
    def __init__(self, f):
        self.en, self.en_pl, self.de, self.de_g, self.de_pl, self.it, self.it_g, self.it_pl, self.zh, self.cl, self.cls, fl = f
        self.plural_only = fl == "p"
        self.weak = fl == "w"
        self.en_pl = self.en_pl or (self.en if self.plural_only else self.en + "s")
        self.cls = set(self.cls)
        for c, names in SUBCLASSES.items():
            if self.en in names.split():
                self.cls.add(c)

    def de_form(self, pl, case):
        if pl:
            return self.de_pl + ("n" if case == "d" and self.de_pl[-1] not in "ns" else "")
        if self.weak and case != "n":
            return self.de + ("n" if self.de.endswith("e") else "en")
        if case == "g" and self.de_g in "mn":
            if self.de in ("Ergebnis", "Bus"):
                return self.de + "ses"
            return self.de + ("es" if self.de[-1] in "sßz" else "s")
        return self.de


SUBCLASSES = {
    "T": "text word sentence answer book report message translation",   # written things
    "D": "machine robot computer phone camera microphone sensor battery car bus",  # devices that are switched and repaired
    "N": "model network robot",                                         # things that are trained
    "R": "video message sentence",                                      # things that are recorded
    "H": "speed price quality",                                         # things that are high or low
}


class Verb:
    def __init__(self, line):
        en, de, it, tail = line.split(";")
        e = en.split("|")
        self.base = e[0]
        first, _, part = e[0].partition(" ")
        part = " " + part if part else ""
        self.s3 = e[1] or first + "s" + part
        self.past, self.pp, self.ing = (x if part and " " in x or not part else x + part for x in e[2:5])
        d = de.split("|")
        self.de_pre, _, stem = d[0].rpartition("+")
        self.de_inf = stem
        self.de_s3, self.de_pp = d[1], d[2]
        self.de_aux = "sein" if d[3] == "s" else "haben"
        i = it.split("|")
        self.it_isc = i[0].endswith("*")
        self.it = i[0].rstrip("*")
        self.it_pp = i[1] or None
        t = tail.split("|")
        self.zh, self.subj, self.obj = t[0], t[1], t[2] if len(t) > 2 else ""
        self.frame = t[3] if len(t) > 3 else ""
        self.tail = t

    # German
    def de_fin(self, p):
        inf = self.de_inf
        stem = inf[:-2] if inf.endswith("en") else inf[:-1]
        if inf == "wissen" and p in ("1s", "3s"):
            return "weiß"
        if p == "1s":
            return (stem[:-2] + "le") if stem.endswith("el") else stem + "e"
        if p == "3s":
            if self.de_s3:
                return self.de_s3
            return stem + ("et" if stem[-1] in "td" or stem.endswith(("ffn", "chn")) else "t")
        return inf

    def de_zu(self):
        return [self.de_pre + "zu" + self.de_inf] if self.de_pre else ["zu", self.de_inf]

    # Italian
    def it_fin(self, p):
        return it_present(self.it, p, self.it_isc)

    def it_fut(self, p):
        return it_future(self.it, p)

    def it_part(self):
        if self.it_pp:
            return self.it_pp
        return self.it[:-3] + {"are": "ato", "ere": "uto", "ire": "ito"}[self.it[-3:]]


PERSON = {"1s": 0, "3s": 1, "1p": 2, "2p": 3, "3p": 4}


def it_present(inf, p, isc=False):
    i = PERSON[p]
    if inf in L.IT_PRESENT:
        return L.IT_PRESENT[inf].split()[i]
    stem, kind = inf[:-3], inf[-3:]
    if kind == "are":
        noi = stem + "hiamo" if stem[-1] in "cg" else stem[:-1] + "iamo" if stem[-1] == "i" else stem + "iamo"
        return (stem + "o", stem + "a", noi, stem + "ate", stem + "ano")[i]
    if kind == "ere":
        return (stem + "o", stem + "e", stem + "iamo", stem + "ete", stem + "ono")[i]
    s = stem + "isc" if isc else stem
    return (s + "o", s + "e", stem + "iamo", stem + "ite", s + "ono")[i]


def it_future(inf, p):
    stem = L.IT_FUTURE.get(inf)
    if not stem:
        s, kind = inf[:-3], inf[-3:]
        if kind == "are":
            if s[-1] in "cg":
                s += "h"
            elif s[-2:] in ("ci", "gi"):
                s = s[:-1]
            stem = s + "er"
        else:
            stem = s + kind[:2]
    return stem + ("ò", "à", "emo", "ete", "anno")[PERSON[p]]


def it_adj(a, g, pl):
    if a.endswith("e"):
        return a[:-1] + ("i" if pl else "e")
    s = a[:-1]
    if g == "m":
        return (s if s.endswith("i") else s + ("hi" if s.endswith("g") else "i")) if pl else a
    return s + (("he" if s[-1] in "cg" else "e") if pl else "a")


def lo_onset(w):
    w = w.lower()
    return w[0] == "z" or w[:2] in ("gn", "ps") or (w[0] == "s" and w[1] not in VOWELS)


def it_def(g, pl, nxt):
    v = nxt[0].lower() in VOWELS + "h"
    if g == "m":
        if pl:
            return "gli" if v or lo_onset(nxt) else "i"
        return "l'" if v else "lo" if lo_onset(nxt) else "il"
    return "le" if pl else "l'" if v else "la"


ART_PREP = {"di": "de", "a": "a", "da": "da", "in": "ne", "su": "su"}


def it_prep(prep, w, np):
    """Preposition and noun phrase, with article and preposition fused."""
    toks = np.it()
    if prep in ART_PREP and toks[0].art:
        a = toks[0]
        base = ART_PREP[prep]
        fused = {"il": base + "l", "i": base + "i", "gli": base + "gli", "l'": base + "ll'"}.get(a.s) or base + "l" + a.s
        return [Tok(fused, tuple(w) + a.al, a.need | frozenset(w), glue=a.glue)] + toks[1:]
    return [Tok(prep, w)] + toks


DE_DEF = {"m": "der den dem des", "f": "die die der der", "n": "das das dem des", "p": "die die den der"}
DE_REL = {"m": "der den dem", "f": "die die der", "n": "das das dem", "p": "die die denen"}
DE_DIES = {"m": "er en em es", "f": "e e er er", "n": "es es em es", "p": "e e en er"}
DE_EIN = {"m": " en em es", "f": "e e er er", "n": "  em es", "p": "e e en er"}
DE_WEAK = {"m": "e en en en", "f": "e e en en", "n": "e e en en", "p": "en en en en"}
DE_MIXED = {"m": "er en en en", "f": "e e en en", "n": "es es en en", "p": "en en en en"}
DE_STRONG_PL = "e e en er"
CASE = {"n": 0, "a": 1, "d": 2, "g": 3}


def pick(table, g, case):
    return table[g].split(" ")[CASE[case]]


DE_HABEN = {"1s": "habe", "3s": "hat", "1p": "haben", "2p": "haben", "3p": "haben"}
DE_SEIN = {"1s": "bin", "3s": "ist", "1p": "sind", "2p": "sind", "3p": "sind"}
DE_WAR = {"1s": "war", "3s": "war", "1p": "waren", "2p": "waren", "3p": "waren"}
DE_WERDEN = {"1s": "werde", "3s": "wird", "1p": "werden", "2p": "werden", "3p": "werden"}
DE_MODAL = {"can": "kann können", "must": "muss müssen", "should": "sollte sollten", "want": "will wollen"}
IT_MODAL = {"can": "potere", "must": "dovere", "want": "volere"}
IT_SHOULD = ("dovrei", "dovrebbe", "dovremmo", "dovreste", "dovrebbero")
IT_ERA = ("ero", "era", "eravamo", "eravate", "erano")
ZH_MODAL = {"can": ("可以", "不能"), "must": ("必须", ""), "should": ("应该", "不应该"), "want": ("想", "不想")}

UNITS = "zero one two three four five six seven eight nine ten eleven twelve".split()
TENS = {20: ("twenty", "zwanzig", "venti", "二十"), 30: ("thirty", "dreißig", "trenta", "三十"),
        40: ("forty", "vierzig", "quaranta", "四十"), 50: ("fifty", "fünfzig", "cinquanta", "五十")}
DE_UNITS = "null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf".split()
IT_UNITS = "zero uno due tre quattro cinque sei sette otto nove dieci undici dodici".split()
ZH_UNITS = "零 一 二 三 四 五 六 七 八 九 十 十一 十二".split()


def number(n):
    """(English, German, Italian, Chinese before a classifier)."""
    if n <= 12:
        return UNITS[n], DE_UNITS[n], IT_UNITS[n], "两" if n == 2 else ZH_UNITS[n]
    if n < 100:
        t, u = n // 10 * 10, n % 10
        en, de, it, zh = TENS[t]
        if not u:
            return en, de, it, zh
        it = (it[:-1] if u == 8 else it) + ("tré" if u == 3 else IT_UNITS[u])
        return f"{en} {UNITS[u]}", DE_UNITS[u] + "und" + de, it, zh + ZH_UNITS[u]
    if n < 1000:
        u = n // 100
        return UNITS[u] + " hundred", DE_UNITS[u] + "hundert", IT_UNITS[u] + "cento", ("两" if u == 2 else ZH_UNITS[u]) + "百"
    u = n // 1000
    return UNITS[u] + " thousand", DE_UNITS[u] + "tausend", IT_UNITS[u] + "mila", ("两" if u == 2 else ZH_UNITS[u]) + "千"


NUMBERS = list(range(2, 13)) + [20, 30, 40, 50] + [t + u for t in TENS for u in range(2, 10)] + \
    [u * 100 for u in range(2, 10)] + [u * 1000 for u in range(2, 10)]
NUM_WEIGHT = [6] * 11 + [3] * 4 + [1] * 32 + [1.5] * 8 + [1.5] * 8


class Adj:
    def __init__(self, f):
        self.en, self.de, self.de_comp, self.it, pos, self.zh, self.zh_pred, cls, self.en_comp = (f + [""])[:9]
        self.pre, self.cls = pos == "p", set(cls)


NOUNS = [Noun(f) for f in rows(L.NOUNS)]
ADJS = [Adj(f) for f in rows(L.ADJECTIVES)]
VERBS, GIVE, THAT, TOINF, INTRANS = ([Verb(x) for x in t.strip().split("\n")] for t in (L.VERBS, L.GIVE, L.THAT, L.TOINF, L.INTRANS))
PEOPLE, PLACES, TIMES, SPANS, MIDADV, MANNER, OPENERS, POSS = map(rows, (L.PEOPLE, L.PLACES, L.TIMES, L.SPANS, L.MIDADV, L.MANNER, L.OPENERS, L.POSS))
PRONOUNS = [r for r in rows(L.PRONOUNS)]
CITIES = [p for p in PLACES if p[4] == "c"]
FIXED = [line.split("|") for line in L.FIXED.strip().split("\n")]


def of_class(cls):
    return [n for n in NOUNS if n.cls & set(cls)]


# ----------------------------------------------------------------------------------- noun phrases

class Pronoun:
    def __init__(self, f):
        self.f = f
        self.person = f[6]
        self.gender, self.pl = ("f" if f[0] == "she" else "m"), self.person[1] == "p"
        self.drop = True

    def en(self, obj=False):
        self.w = W(self.f[1] if obj else self.f[0])
        return [self.w]

    def de(self, case):
        acc = {"I": "mich", "we": "uns", "you": "Sie"}
        return [Tok(self.f[2] if case == "n" else self.f[3] if case == "d" else acc[self.f[0]], (self.w,))]

    def it(self):
        return []

    def clitic(self):
        return Tok(self.f[4], (self.w,))

    def zh(self):
        return [Tok(self.f[5], (self.w,))]

    def words(self):
        return (self.w,)


class Name:
    person, pl, drop = "3s", False, False

    def __init__(self, f):
        self.f, self.gender = f, f[4]

    def en(self, obj=False):
        self.w = W(self.f[0])
        return [self.w]

    def de(self, case):
        return [Tok(self.f[1], (self.w,))]

    def it(self):
        return [Tok(self.f[2], (self.w,))]

    def zh(self):
        return [Tok(self.f[3], (self.w,))]

    def words(self):
        return (self.w,)


class NP:
    """A noun phrase. det: the a bare this poss num many some all every no which howmany."""
    drop = False

    def __init__(self, noun, det, pl, adj=None, num=None, poss=None, of=None, rel=None):
        self.n, self.det, self.pl, self.adj, self.num, self.poss, self.of, self.rel = noun, det, pl, adj, num, poss, of, rel
        self.person = "3p" if pl else "3s"
        self.gender = noun.it_g
        self.neg = ()         # the English words of "not", where German uses kein
        self.subject = False  # Italian puts an article on bare plural subjects

    def en(self, obj=False):
        self.wd = self.wa = ()
        d = self.det
        noun = W(self.n.en_pl if self.pl else self.n.en)
        nxt = self.adj.en if self.adj else noun.s
        text = {"the": "the", "a": "an" if nxt[0] in "aeio" or nxt == "expert" else "a", "bare": "", "this": "these" if self.pl else "this",
                "many": "many", "some": "some", "all": "all", "every": "every", "no": "no", "which": "which",
                "howmany": "how many"}.get(d)
        if d == "poss":
            text = self.poss[0]
        if d == "num":
            text = number(self.num)[0]
        self.wd = tuple(W(x) for x in text.split()) if text else ()
        if self.adj:
            self.wa = (W(self.adj.en),)
        self.wn = (noun,)
        out = list(self.wd) + list(self.wa) + [noun]
        if self.of:
            self.wof = (W("of"),)
            out += list(self.wof) + self.of.en()
        if self.rel:
            out += self.rel.en()
        return out

    def de(self, case):
        g = "p" if self.pl else self.n.de_g
        nd = self.wn + self.wd
        out, d, table = [], self.det, None
        if self.neg and d in ("a", "bare"):
            out += tk("kein" + pick(DE_EIN, g, case), self.wd + self.neg, nd + self.neg)
            table = DE_MIXED
        elif d == "no":
            out += tk("kein" + pick(DE_EIN, g, case), self.wd, nd)
            table = DE_MIXED
        elif d == "a":
            out += tk("ein" + pick(DE_EIN, g, case), self.wd, nd)
            table = DE_MIXED
        elif d == "the":
            out += tk(pick(DE_DEF, g, case), self.wd, nd)
            table = DE_WEAK
        elif d == "this":
            out += tk("dies" + pick(DE_DIES, g, case), self.wd, nd)
            table = DE_WEAK
        elif d == "every":
            out += tk("jed" + pick(DE_DIES, g, case), self.wd, nd)
            table = DE_WEAK
        elif d == "which":
            out += tk("welch" + pick(DE_DIES, g, case), self.wd, nd)
            table = DE_WEAK
        elif d == "all":
            out += tk("all" + pick(DE_DIES, g, case), self.wd)
            table = DE_WEAK
        elif d == "poss":
            s = self.poss[1] + pick(DE_EIN, g, case)
            out += tk(s, self.wd, nd)
            table = DE_MIXED
        elif d == "num":
            out += tk(number(self.num)[1], self.wd)
        elif d in ("many", "some"):
            out += tk({"many": "viel", "some": "einig"}[d] + DE_STRONG_PL.split()[CASE[case]], self.wd)
        elif d == "howmany":
            out += tk("wie", self.wd[:1], self.wd) + tk("viel" + DE_STRONG_PL.split()[CASE[case]], self.wd[1:], self.wd)
        if self.adj:
            end = pick(table, g, case) if table else DE_STRONG_PL.split()[CASE[case]]
            out += tk(("hoh" if self.adj.de == "hoch" else self.adj.de) + end, self.wa, self.wa + self.wn)
        out += tk(self.n.de_form(self.pl, case), self.wn)
        if self.of:
            out += [Tok(t.s, t.al, t.need | set(self.wof), t.glue, t.strong) for t in self.of.de("g")]
        if self.rel:
            out += self.rel.de_rel(g)
        return out

    def it(self):
        n, g, pl, d = self.n, self.gender, self.pl, self.det
        noun = n.it_pl if pl else n.it
        pre = []
        if self.adj and self.adj.pre:
            a = it_adj(self.adj.it, g, pl)
            if a == "buono" and not lo_onset(noun):
                a = "buon"
            pre = [Tok(a, self.wa, self.wa + self.wn)]
        nd = self.wd + self.wn
        first = pre[0].s if pre else noun

        def art(al, nxt=first, need=None):
            s = it_def(g, pl, nxt)
            return Tok(s, al, nd if need is None else need, glue="R" if s == "l'" else "", art=True, strong=bool(al))
        out = []
        if d == "the":
            out = [art(self.wd)]
        elif d == "a":
            s = ("uno" if lo_onset(first) else "un") if g == "m" else "un'" if first[0] in VOWELS else "una"
            out = [Tok(s, self.wd, nd, glue="R" if s == "un'" else "")]
        elif d == "bare":
            out = [art((), need=self.wn)] if self.subject else []
        elif d == "this":
            s = "quest" + ({"m": "i", "f": "e"}[g] if pl else "'" if first[0] in VOWELS else {"m": "o", "f": "a"}[g])
            out = [Tok(s, self.wd, nd, glue="R" if s == "quest'" else "")]
        elif d == "every":
            out = tk("ogni", self.wd)
        elif d == "which":
            out = tk("quali" if pl else "quale", self.wd, nd)
        elif d == "all":
            out = [Tok("tutti" if g == "m" else "tutte", self.wd, nd), art(())]
        elif d == "poss":
            s = self.poss[2].split()[(2 if pl else 0) + (g == "f")]
            out = [art((), nxt=s), Tok(s, self.wd, nd)]
        elif d == "num":
            out = tk(number(self.num)[2], self.wd)
        elif d in ("many", "some"):
            out = tk({"many": "molt", "some": "alcun"}[d] + ("i" if g == "m" else "e"), self.wd, nd)
        elif d == "howmany":
            out = tk("quant" + ("i" if g == "m" else "e"), self.wd, nd)
        out += pre + [Tok(noun, self.wn)]
        if self.adj and not self.adj.pre:
            out.append(Tok(it_adj(self.adj.it, g, pl), self.wa, self.wa + self.wn))
        if self.of:
            out += it_prep("di", self.wof, self.of)
        if self.rel:
            out += self.rel.it_rel()
        return out

    def zh(self):
        d, cl, nd = self.det, self.n.cl, self.wd + self.wn
        out = []
        if self.rel:
            out += self.rel.zh_rel()
        if self.of:
            out += self.of.zh() + [Tok("的", self.wof, self.wof + self.of.wn)]
        if d == "a":
            out += [Tok("一" + cl, self.wd, nd)]
        elif d == "this":
            out += [Tok("这些", self.wd)] if self.pl else [Tok("这" + cl, self.wd, nd)]
        elif d == "every":
            out += [Tok("每" + cl, self.wd, nd)]
        elif d == "which":
            out += [Tok("哪些", self.wd)] if self.pl else [Tok("哪" + cl, self.wd, nd)]
        elif d in ("many", "some", "all"):
            out += [Tok({"many": "许多", "some": "一些", "all": "所有"}[d], self.wd)]
        elif d == "poss":
            out += [Tok(self.poss[3], self.wd)]
        elif d == "num":
            out += [Tok(number(self.num)[3], self.wd), Tok(cl, (), nd, strong=False)]
        elif d == "howmany":
            out += [Tok("多少", self.wd), Tok(cl, (), nd, strong=False)]
        if self.adj:
            out += [Tok(self.adj.zh, self.wa)]
        return out + [Tok(self.n.zh, self.wn)]

    def words(self):
        return self.wn


# ------------------------------------------------------------------------------------- adverbials

class Adv:
    """A fixed phrase in four languages; every target word is aligned with every English word."""
    def __init__(self, en, de, it, zh):
        self.t = en, de, it, zh

    def en(self):
        self.w = tuple(W(x) for x in self.t[0].split())
        return list(self.w)

    def de(self):
        return tk(self.t[1], self.w)

    def it(self):
        return tk(self.t[2], self.w) if "'" not in self.t[2] else [Tok(x, self.w) for x in self.t[2].split()]

    def zh(self):
        return [Tok(self.t[3], self.w)]


class Span:
    """"three weeks ago" / "in three weeks"."""
    def __init__(self, n, f, ago):
        self.n, self.f, self.ago = number(n), f, ago

    def en(self):
        self.wn = tuple(W(x) for x in self.n[0].split())
        self.wu, self.wp = (W(self.f[0]),), (W("ago" if self.ago else "in"),)
        return list(self.wn + self.wu + self.wp) if self.ago else list(self.wp + self.wn + self.wu)

    def de(self):
        al = self.wn + self.wu + self.wp
        return tk("vor" if self.ago else "in", self.wp) + tk(self.n[1], self.wn, al) + tk(self.f[1], self.wu, al)

    def it(self):
        al = self.wn + self.wu + self.wp
        num = tk(self.n[2], self.wn, al) + tk(self.f[2], self.wu, al)
        return num + tk("fa", self.wp) if self.ago else tk("tra", self.wp) + num

    def zh(self):
        al = self.wn + self.wu + self.wp
        return [Tok(self.n[3], self.wn, al), Tok(self.f[3], self.wu, al), Tok("前" if self.ago else "后", self.wp, al)]


class Place:
    def __init__(self, np=None, name=None):
        self.np, self.name = np, name

    def en(self):
        if self.name:
            self.w = (W("in"),)
            self.wn = (W(self.name[0]),)
            return [self.w[0], self.wn[0]]
        self.w = (W(L.LOC[self.np.n.en][2]),)
        return [self.w[0]] + self.np.en()

    def de(self):
        if self.name:
            return tk("in", self.w) + tk(self.name[1], self.wn)
        prep = L.LOC[self.np.n.en][0]
        t = self.np.de("d")
        fuse = {"in dem": "im", "an dem": "am"}.get(prep + " " + t[0].s)
        if fuse:
            return [Tok(fuse, self.w + t[0].al, t[0].need | set(self.w))] + t[1:]
        return [Tok(prep, self.w, self.w + self.np.wn)] + t

    def it(self):
        if self.name:
            a = "ad" if self.name[2][0] == "A" else "a"
            return tk(a if self.name[4] == "c" else "in", self.w, self.w + self.wn) + tk(self.name[2], self.wn)
        n = self.np.n.en
        out = it_prep(L.LOC[n][1], self.w, self.np)
        if not out[0].al or out[0].s in ("in", "a"):
            out[0].need = out[0].need | set(self.np.wn)
        return out

    def zh(self, dest=False):
        zai = [] if dest else [Tok("在", self.w)]
        if self.name:
            return zai + [Tok(self.name[3], self.wn)]
        inner = [] if dest or self.np.n.en in ("conference", "meeting", "university", "school") else [Tok("里", (), self.np.wn, strong=False)]
        if self.np.n.en in ("conference", "meeting") and not dest:
            inner = [Tok("上", (), self.np.wn, strong=False)]
        return zai + self.np.zh() + inner


class PP:
    """with / without / for + noun phrase."""
    DE = {"with": ("mit", "d"), "without": ("ohne", "a"), "for": ("für", "a")}
    IT = {"with": "con", "without": "senza", "for": "per"}

    def __init__(self, prep, np):
        self.prep, self.np = prep, np

    def en(self):
        self.w = (W(self.prep),)
        return [self.w[0]] + self.np.en(obj=True)

    def de(self):
        p, c = self.DE[self.prep]
        return tk(p, self.w) + self.np.de(c)

    def it(self):
        return tk(self.IT[self.prep], self.w) + self.np.it()

    def zh(self):
        if self.prep == "without":
            return [Tok("不用", self.w)] + self.np.zh()
        return [Tok({"with": "用", "for": "为"}[self.prep], self.w)] + self.np.zh()


# ---------------------------------------------------------------------------------------- clauses

class Clause:
    """One verb with its arguments and adverbials. en() creates the English words; call it before
    the others."""
    def __init__(self, subj, verb, tense="pres", neg=False, **k):
        self.subj, self.v, self.tense, self.neg = subj, verb, tense, neg
        self.obj = k.get("obj")        # NP, Pronoun or None
        self.recip = k.get("recip")    # Pronoun
        self.comp = k.get("comp")      # ("that"|"why"|..., Clause) or ("inf", Clause)
        self.mid, self.time, self.place, self.manner, self.pp = (k.get(x) for x in ("mid", "time", "place", "manner", "pp"))
        self.wh = k.get("wh")          # (en, de, it, zh) of why when where how, or ("obj", NP) / ("what",) / ("who",)
        self.fronted = False           # the time adverbial opens the sentence and is written there
        self.relrole = k.get("relrole")
        self.relpron = k.get("relpron")
        self.w_aux = self.w_not = self.w_wh = self.w_to = ()
        if subj is not None and isinstance(subj, NP):
            subj.subject = True

    # ---- English
    def en(self, inv=False, inf=False, ing=False):
        third = self.subj is not None and self.subj.person == "3s" if not self.relrole == "subj" else self.person == "3s"
        v, t = self.v, self.tense
        out, aux, main = [], [], v.base
        if not inf:
            if t == "pres":
                if self.neg or inv:
                    aux = ["does" if third else "do"]
                else:
                    main = v.s3 if third else v.base
            elif t == "past":
                if self.neg or inv:
                    aux = ["did"]
                else:
                    main = v.past
            elif t == "perf":
                aux, main = ["has" if third else "have"], v.pp
            elif t == "fut":
                aux = ["will"]
            elif t in ("can", "must", "should"):
                aux = ["cannot" if t == "can" and self.neg else t]
        elif ing:
            main = v.ing
        self.w_aux = tuple(W(x) for x in aux)
        self.w_not = ()
        if self.neg:
            self.w_not = self.w_aux if aux == ["cannot"] else (W("not"),)
        self.w_mod = ()
        pre = []
        if t == "want" and not inf:
            third_form = third and not self.neg and not inv
            if self.neg or inv:
                self.w_aux = (W("does" if third else "do"),)
            self.w_mod = (W("wants" if third_form else "want"), W("to"))
        self.w_v = tuple(W(x) for x in main.split())
        subj = self.subj.en() if self.subj is not None and not self.relrole == "subj" and not inf else []
        notw = list(self.w_not) if self.w_not and self.w_not != self.w_aux else []
        if self.relrole:
            self.w_rel = (W(self.relpron),)
            pre = [self.w_rel[0]]
        if self.wh and self.wh[0] not in ("obj", "what", "who"):
            self.w_wh = tuple(W(x) for x in self.wh[0].split())
        elif self.wh and self.wh[0] in ("what", "who"):
            self.w_wh = (W(self.wh[0]),)
        whw = list(self.w_wh)
        if self.wh and self.wh[0] == "obj":
            whw = self.wh[1].en()
        verbs = list(self.w_mod) + list(self.w_v)
        mid = self.mid.en() if self.mid else []
        if inf:
            self.w_to = () if ing else (W("to"),)
            out = list(self.w_to) + list(self.w_v)
        elif inv:
            out = whw + list(self.w_aux) + subj + notw + mid + verbs
        else:
            out = pre + whw + subj + list(self.w_aux) + notw + mid + verbs
        if self.recip:
            out += self.recip.en(obj=True)
        if self.obj is not None and self.relrole != "obj" and not (self.wh and self.wh[0] in ("obj", "what")):
            out += self.obj.en(obj=True)
        for x in (self.manner, self.pp, self.place):
            if x:
                out += x.en()
        if self.time and not self.fronted:
            out += self.time.en()
        if self.comp:
            out += self.comp_en()
        if self.neg and isinstance(self.obj, NP) and self.v.frame == "" and self.obj.det in ("a", "bare") and self.relrole != "obj":
            self.obj.neg = self.w_not
        return out

    def comp_en(self):
        kind, c = self.comp
        if kind == "inf":
            return c.en(inf=True, ing=self.v.tail[-1] == "ing")
        if kind == "that":
            self.w_conj = (W("that"),)
            return [self.w_conj[0]] + c.en()
        self.w_conj = (W(kind),)          # whether: not a question word inside
        if kind == "whether":
            return [self.w_conj[0]] + c.en()
        return c.en()                     # why/how/where: c.wh is set

    # ---- German
    def p(self):
        return self.person if self.relrole == "subj" or self.subj is None else self.subj.person

    def de_verb(self):
        """(finite token, tokens at the end, separated prefix)"""
        v, p, t = self.v, self.p(), self.tense
        one = p in ("1s", "3s")
        if t == "pres":
            return Tok(v.de_fin(p), self.w_v), [], v.de_pre
        if t in ("past", "perf"):
            aux = (DE_SEIN if v.de_aux == "sein" else DE_HABEN)[p]
            w = self.w_aux if t == "perf" else self.w_v
            return Tok(aux, w, w if v.de_aux == "haben" else w + self.w_v, strong=True), [Tok(v.de_pp, self.w_v)], ""
        inf = [Tok(v.de_pre + v.de_inf, self.w_v)]
        if t == "fut":
            return Tok(DE_WERDEN[p], self.w_aux), inf, ""
        return Tok(DE_MODAL[t].split()[0 if one else 1], self.w_mod[:1] if t == "want" else self.w_aux), inf, ""

    def de_middle(self):
        out = []
        pron = isinstance(self.obj, Pronoun)
        if pron:
            out += self.obj.de("d" if self.v.frame == "d" else "a")
        if self.recip:
            out += self.recip.de("d")
        if self.time and not self.fronted:
            out += self.time.de()
        if self.mid:
            out += self.mid.de()
        o = self.obj if self.relrole != "obj" and not pron and not (self.wh and self.wh[0] in ("obj", "what")) else None
        prep = "+" in self.v.frame
        if o is not None and not prep:
            out += o.de("d" if self.v.frame == "d" else "a")
        kein = isinstance(self.obj, NP) and self.obj.neg
        if self.neg and not kein:
            out += tk("nicht", self.w_not)
        for x in (self.manner, self.pp, self.place):
            if x:
                out += x.de()
        if o is not None and prep:
            dp, case = self.v.frame.split("/")[0].split("+")
            t = o.de(case)
            fuse = {"an dem": "am", "in dem": "im"}.get(dp + " " + t[0].s)
            if fuse:
                out += [Tok(fuse, self.w_v[-1:] + t[0].al, t[0].need | set(self.w_v))] + t[1:]
            else:
                out += [Tok(dp, self.w_v[-1:], self.w_v)] + t
        return out

    def de_comp(self):
        if not self.comp:
            return []
        kind, c = self.comp
        if kind == "inf":
            return [comma(c.w_v)] + c.de_inf_group()
        if kind == "that":
            return [comma(self.w_conj)] + tk("dass", self.w_conj) + c.de_sub()
        if kind == "whether":
            return [comma(self.w_conj)] + tk("ob", self.w_conj) + c.de_sub()
        return [comma(c.w_wh)] + tk(c.wh[1], c.w_wh) + c.de_sub()

    def de_subj(self):
        return self.subj.de("n") if self.subj is not None and self.relrole != "subj" else []

    def de_main(self, first=None):
        """first: the tokens before the verb, which the subject then follows; None for subject
        first, [] for verb first."""
        f, end, pre = self.de_verb()
        if pre:
            end = [Tok(pre, self.w_v)]
        s = self.de_subj()
        head = s + [f] if first is None else first + [f] + s
        return head + self.de_middle() + end + self.de_comp()

    def de_sub(self):
        f, end, pre = self.de_verb()
        if pre:
            f = Tok(pre + f.s, f.al, f.need)
        return self.de_subj() + self.de_middle() + end + [f] + self.de_comp()

    def de_inf_group(self):
        zu = self.v.de_zu()
        last = [Tok(zu[-1], self.w_v)]
        return self.de_middle() + ([Tok("zu", self.w_to or self.w_v, self.w_v)] if len(zu) == 2 else []) + last + self.de_comp()

    def de_rel(self, g):
        return [comma(self.w_rel)] + tk(pick(DE_REL, g, "n" if self.relrole == "subj" else "a"), self.w_rel) + \
            self.de_sub() + [comma(self.w_v)]

    # ---- Italian
    def it_verb(self):
        v, p, t = self.v, self.p(), self.tense
        sub = self.subj.words() if isinstance(self.subj, Pronoun) else ()
        if t == "pres":
            return [Tok(v.it_fin(p), sub + self.w_v)], []
        if t in ("past", "perf"):
            ess = v.it in L.IT_ESSERE and v.frame in ("d", "p", "-") and v.subj != "PG"
            w = self.w_aux if t == "perf" else self.w_v
            pp = v.it_part()
            if ess:
                g, pl = self.subj_gender()
                pp = it_adj(pp, g, pl)
            return [Tok(it_present("essere" if ess else "avere", p), sub + w, sub + w + (self.w_v if ess else ()))], [Tok(pp, self.w_v)]
        if t == "fut":
            return [Tok(v.it_fut(p), sub + self.w_aux + self.w_v)], []
        s = IT_SHOULD[PERSON[p]] if t == "should" else it_present(IT_MODAL[t], p)
        return [Tok(s, sub + (self.w_mod[:1] if t == "want" else self.w_aux))], [Tok(v.it, self.w_v)]

    def subj_gender(self):
        if self.relrole == "subj":
            return self.head.gender, self.head.pl
        return self.subj.gender, self.subj.pl

    def it_rest(self):
        out = []
        o = self.obj if self.relrole != "obj" and not isinstance(self.obj, Pronoun) and not (self.wh and self.wh[0] in ("obj", "what")) else None
        if o is not None:
            if "+" in self.v.frame and "/" in self.v.frame:
                out += it_prep(self.v.frame.split("/")[1], self.w_v[-1:], o)
                out[0].need = out[0].need | set(self.w_v)
            else:
                out += o.it()
        for x in (self.manner, self.pp, self.place):
            if x:
                out += x.it()
        if self.time and not self.fronted:
            out += self.time.it()
        return out

    def it_comp(self):
        if not self.comp:
            return []
        kind, c = self.comp
        if kind == "inf":
            group = c.it_inf_group()
            prep = self.v.tail[2]
            prep += "d" if prep == "a" and group[0].s.startswith("a") else ""
            return [Tok(prep, c.w_to or self.w_v, (c.w_to or self.w_v) + c.w_v)] + group
        if kind == "that":
            return tk("che", self.w_conj) + c.it_main()
        if kind == "whether":
            return tk("se", self.w_conj) + c.it_main()
        return tk(c.wh[2], c.w_wh) + c.it_main()

    def it_main(self):
        fin, end = self.it_verb()
        clitic = self.recip or (self.obj if isinstance(self.obj, Pronoun) else None)
        cl = [Tok(clitic.clitic().s, (clitic.w,), (clitic.w,) + self.w_v)] if clitic else []
        s = self.subj.it() if self.subj is not None and self.relrole != "subj" else []
        mid = self.mid.it() if self.mid else []
        return s + (tk("non", self.w_not) if self.neg else []) + cl + fin + mid + end + self.it_rest() + self.it_comp()

    def it_inf_group(self):
        clitic = self.recip or (self.obj if isinstance(self.obj, Pronoun) else None)
        inf = [Tok(self.v.it, self.w_v)]
        if clitic:
            stem = self.v.it[:-2] if self.v.it.endswith("rre") else self.v.it[:-1]
            inf = [Tok(stem, self.w_v, self.w_v + (clitic.w,), glue="R"), Tok(clitic.clitic().s, (clitic.w,), self.w_v + (clitic.w,))]
        return inf + self.it_rest() + self.it_comp()

    def it_rel(self):
        return tk("che", self.w_rel) + self.it_main()

    # ---- Chinese
    def zh_vp(self, rel=False, whether=None):
        v, t = self.v, self.tense
        out = []
        if self.time and not self.fronted:
            out += self.time.zh()
        if self.mid:
            out += self.mid.zh()
        if whether:
            out += [Tok("是否", whether)]
        if self.w_wh and self.wh[0] not in ("what", "who"):
            out += [Tok(self.wh[3], self.w_wh)]
        after = ""
        clausal = self.comp is not None
        if t in ("past", "perf"):
            if self.neg:
                out += [Tok("没有", self.w_not)]
            after = "" if clausal or (rel and t == "past") or (self.neg and t == "past") else "了" if t == "past" else "过"
        elif t == "fut":
            out += [Tok("不会" if self.neg else "会", self.w_aux + self.w_not)]
        elif t in ZH_MODAL:
            out += [Tok(ZH_MODAL[t][self.neg], (self.w_mod[:1] if t == "want" else self.w_aux) + (self.w_not if self.neg else ()))]
        elif self.neg:
            out += [Tok("不", self.w_not)]
        dest = v.tail[-1] == "d" and v in INTRANS
        if self.place and not dest:
            out += self.place.zh()
        for x in (self.manner, self.pp):
            if x:
                out += x.zh()
        if self.recip:
            out += [Tok("给", (), (self.recip.w,) + self.w_v, strong=False)] + [Tok(x.s, x.al, x.need | set(self.w_v)) for x in self.recip.zh()]
        out += [Tok(v.zh, self.w_v)]
        if after:
            out += [Tok(after, self.w_aux if t == "perf" else (), self.w_v + self.w_aux, strong=t == "perf")]
        if self.place and dest:
            out += self.place.zh(dest=True)
        if self.wh and self.wh[0] == "what":
            out += [Tok("什么", self.w_wh, self.w_wh + self.w_v)]
        elif self.wh and self.wh[0] == "obj":
            out += [Tok(x.s, x.al, x.need | set(self.w_v)) for x in self.wh[1].zh()]
        elif self.obj is not None and self.relrole != "obj":
            out += self.obj.zh()
        if self.comp:
            kind, c = self.comp
            if kind == "inf":
                out += c.zh_vp()
            elif kind == "whether":
                out += c.zh_main(whether=self.w_conj)
            else:
                out += c.zh_main()
        return out

    def zh_main(self, whether=None):
        s = self.subj.zh() if self.subj is not None and self.relrole != "subj" else []
        return s + self.zh_vp(whether=whether)

    def zh_rel(self):
        s = self.subj.zh() if self.relrole == "obj" else []
        return s + self.zh_vp(rel=True) + [Tok("的", self.w_rel, self.w_rel + self.w_v)]


class Copula(Clause):
    """subj is (not) adjective | more adjective than NP | noun phrase. tense: pres past fut."""
    def __init__(self, subj, tense, neg, adj=None, than=None, pred=None, time=None):
        super().__init__(subj, None, tense, neg, time=time)
        self.adj, self.than, self.pred = adj, than, pred

    def en(self, inv=False, inf=False, ing=False):
        p, t = self.subj.person, self.tense
        be = {"pres": {"1s": "am", "3s": "is"}.get(p, "are"), "past": "was" if p in ("1s", "3s") else "were", "fut": "will"}[t]
        self.w_be = (W(be),)
        self.w_inf = (W("be"),) if t == "fut" else ()
        self.w_not = (W("not"),) if self.neg else ()
        s = self.subj.en()
        out = list(self.w_be) + s if inv else s + list(self.w_be)
        out += list(self.w_not) + list(self.w_inf)
        self.w_v = self.w_be
        if self.pred is not None:
            out += self.pred.en()
            if self.neg and self.pred.det == "a":
                self.pred.neg = self.w_not
        elif self.than is not None:
            more = self.adj.en_comp == "*"
            self.w_adj = (W("more"), W(self.adj.en)) if more else (W(self.adj.en_comp),)
            self.w_than = (W("than"),)
            out += list(self.w_adj) + list(self.w_than) + self.than.en()
        else:
            self.w_adj = (W(self.adj.en),)
            out += list(self.w_adj)
        if self.time and not self.fronted:
            out += self.time.en()
        return out

    def de_verb(self):
        p, t = self.p(), self.tense
        if t == "fut":
            return Tok(DE_WERDEN[p], self.w_be), [Tok("sein", self.w_inf)], ""
        return Tok((DE_SEIN if t == "pres" else DE_WAR)[p], self.w_be), [], ""

    def de_middle(self):
        out = self.time.de() if self.time and not self.fronted else []
        if self.neg and not (self.pred is not None and self.pred.neg):
            out += tk("nicht", self.w_not)
        if self.pred is not None:
            return out + self.pred.de("n")
        return out + tk(self.adj.de_comp if self.than is not None else self.adj.de, self.w_adj)

    def de_comp(self):
        return tk("als", self.w_than) + self.than.de("n") if self.than is not None else []

    def it_main(self):
        p, t = self.p(), self.tense
        i = PERSON[p]
        be = {"pres": it_present("essere", p), "past": IT_ERA[i], "fut": it_future("essere", p)}[t]
        sub = self.subj.words() if isinstance(self.subj, Pronoun) else ()
        out = self.subj.it() + (tk("non", self.w_not) if self.neg else []) + [Tok(be, sub + self.w_be + self.w_inf)]
        if self.pred is not None:
            out += self.pred.it()
        else:
            a = it_adj(self.adj.it, self.subj.gender, self.subj.pl)
            if self.than is not None:
                if self.adj.en == "good":
                    out += [Tok("migliori" if self.subj.pl else "migliore", self.w_adj)]
                else:
                    out += [Tok("più", self.w_adj[:1], self.w_adj), Tok(a, self.w_adj[-1:], self.w_adj)]
                out += it_prep("di", self.w_than, self.than)
            else:
                out += [Tok(a, self.w_adj, self.w_adj + self.subj.words())]
        return out + (self.time.it() if self.time and not self.fronted else [])

    def zh_vp(self, rel=False, whether=None):
        out = self.time.zh() if self.time and not self.fronted else []
        if whether:
            out += [Tok("是否", whether)]
        if self.tense == "past":
            out += [Tok("当时", self.w_be)]
        if self.tense == "fut":
            out += [Tok("不会" if self.neg else "会", self.w_be + self.w_not)]
        neg = self.neg and self.tense != "fut"
        if self.pred is not None:
            return out + [Tok("不是" if neg else "是", (self.w_inf or self.w_be) + (self.w_not if neg else ()))] + self.pred.zh()
        if self.than is not None:
            return out + [Tok("比", self.w_than)] + self.than.zh() + [Tok("更", self.w_adj[:1], self.w_adj), Tok(self.adj.zh_pred, self.w_adj[-1:], self.w_adj)]
        return out + [Tok("不", self.w_not) if neg else Tok("很", (), self.w_adj, strong=False), Tok(self.adj.zh_pred, self.w_adj)]


class ThereIs:
    """There is a … / there are … / there are no … (in a place)."""
    mid = None

    def __init__(self, np, place=None, time=None):
        self.np, self.place, self.time, self.fronted, self.tense = np, place, time, False, "pres"

    def en(self, inv=False):
        self.w = (W("there"), W("are" if self.np.pl else "is"))
        out = ([self.w[1], self.w[0]] if inv else list(self.w)) + self.np.en()
        if self.place:
            out += self.place.en()
        if self.time and not self.fronted:
            out += self.time.en()
        return out

    def de_parts(self):
        m = self.time.de() if self.time and not self.fronted else []
        return m + (self.place.de() if self.place else []) + self.np.de("a")

    def de_main(self, first=None):
        es, gibt = Tok("es", self.w[:1]), Tok("gibt", self.w[1:])
        return ([es, gibt] if first is None else first + [gibt, es]) + self.de_parts()

    def de_sub(self):
        return [Tok("es", self.w[:1])] + self.de_parts() + [Tok("gibt", self.w[1:])]

    def it_main(self):
        ci = [Tok("ci", self.w[:1], self.w), Tok("sono", self.w[1:], self.w)] if self.np.pl else [Tok("c'è", self.w)]
        non = tk("non", self.np.wd) if self.np.det == "no" else []
        out = non + ci + self.np.it()
        for x in (self.place, self.time if not self.fronted else None):
            if x:
                out += x.it()
        return out

    def zh_main(self, whether=None):
        out = self.time.zh() if self.time and not self.fronted else []
        if self.place:
            out += self.place.zh()
        if whether:
            out += [Tok("是否", whether)]
        have = [Tok("没有", self.w[1:] + self.np.wd)] if self.np.det == "no" else [Tok("有", self.w[1:])]
        return out + have + self.np.zh()


# ---------------------------------------------------------------------------------------- drawing

class Draw:
    """Random choices that keep the combinations of noun classes plausible."""
    def __init__(self, r):
        self.r = r

    def p(self, x):
        return self.r.random() < x

    def noun(self, cls):
        # Draws the class first, so that small classes occur, too.
        c = self.r.choice(sorted(cls))
        return self.r.choice(of_class(c))

    def np(self, cls, rich=1.0, rel=0.0, subject=False, simple=False):
        r = self.r
        n = self.noun(cls)
        pl = n.plural_only or (self.p(0.38) and "M" not in n.cls)
        dets = {"the": 45, "poss": 14, "this": 10}
        if pl:
            dets.update({"bare": 8, "many": 6, "some": 6, "all": 4})
            if not n.plural_only:
                dets["num"] = 12
        elif "M" not in n.cls:
            dets.update({"a": 34, "every": 3 if subject else 2})
        if simple:
            dets = {"the": 60, "poss": 12, "this": 10}
            if not pl and "M" not in n.cls:
                dets["a"] = 15
        det = r.choices(list(dets), list(dets.values()))[0]
        adj = None
        if self.p(0.3 * rich):
            fit = [a for a in ADJS if a.cls & n.cls]
            adj = r.choice(fit) if fit else None
        np = NP(n, det, pl, adj, num=r.choices(NUMBERS, NUM_WEIGHT)[0] if det == "num" else None,
                poss=r.choice(POSS) if det == "poss" else None)
        if det == "the" and not adj and "M" in n.cls and self.p(0.6):
            np.of = NP(self.noun("A"), r.choice(["the", "the", "this"]), False)
        elif rel and det in ("the", "a", "num", "many", "some") and self.p(rel):
            np.rel = self.rel(np)
        return np

    def pronoun(self, weights=(3, 5, 3, 3, 1.5, 1.5)):
        return Pronoun(self.r.choices(PRONOUNS, weights)[0])

    def subj(self, cls, rel=0.0, pron=0.5):
        if "P" in cls and self.p(pron):
            return self.pronoun()
        if "P" in cls and self.p(0.22):
            return Name(self.r.choice(PEOPLE))
        return self.np(cls, subject=True, rel=rel)

    def rel(self, np):
        """A relative clause on np, whose noun is its subject or its accusative object."""
        r = self.r
        cls = np.n.cls
        can_obj = [v for v in VERBS if set(v.obj) & cls and v.frame == ""]
        can_sub = [v for v in VERBS if set(v.subj) & cls]
        role = "obj" if can_obj and (not can_sub or self.p(0.65)) else "subj" if can_sub else None
        if not role:
            return None
        v = r.choice(can_obj if role == "obj" else can_sub)
        tense = r.choices(["pres", "past", "perf", "fut"], [3, 4, 2, 1])[0]
        time = self.time(tense) if self.p(0.3) and tense != "perf" else None
        if role == "obj":
            s = self.pronoun() if self.p(0.6) else self.np(v.subj, rich=0.3, simple=True)
            c = Clause(s, v, tense, relrole="obj", relpron="that", time=time)
        else:
            c = Clause(None, v, tense, relrole="subj", relpron="who" if "P" in cls else "that", time=time,
                       obj=self.np(v.obj, rich=0.5, simple=True))
            c.person = np.person
            c.head = np
        return c

    def time(self, tense):
        r = self.r
        code = {"pres": "n", "past": "p", "fut": "f"}.get(tense)
        if code is None:
            return None
        if code in "pf" and self.p(0.2):
            return Span(r.choices(NUMBERS[:15], NUM_WEIGHT[:15])[0], r.choice(SPANS), code == "p")
        return Adv(*r.choice([t for t in TIMES if code in t[4]])[:4])

    def place(self, rich=0.3):
        r = self.r
        if self.p(0.4):
            return Place(name=r.choice(PLACES))
        n = r.choice([n for n in NOUNS if n.en in L.LOC])
        det = r.choices(["the", "this", "poss", "a"], [8, 2, 2, 1])[0]
        adj = r.choice([a for a in ADJS if a.cls & n.cls]) if self.p(rich) else None
        return Place(np=NP(n, det, False, adj, poss=r.choice(POSS)))

    def mid(self, tense, time):
        opts = {"pres": [0, 2] if time else [0, 2, 3, 4, 5, 6], "perf": [0, 1, 1], "past": [0], "fut": [0]}.get(tense, [0])
        return Adv(*MIDADV[self.r.choice(opts)])

    def tense(self):
        return self.r.choices(["pres", "past", "perf", "fut", "can", "must", "should", "want"], [30, 18, 10, 14, 9, 7, 5, 7])[0]

    def clause(self, size=1.0, comp=True, tense=None, subj=None):
        """A declarative clause; size scales how many parts it has."""
        r = self.r
        x = r.random()
        if x < 0.13:
            return self.copula(subj)
        if x < 0.17 and subj is None:
            return self.there()
        if x < 0.24:
            return self.intrans(size, subj)
        if comp and x < 0.39:
            return self.with_comp(size, subj)
        if x < 0.44:
            v = r.choice(GIVE)
            s = subj or self.subj(v.subj)
            t = tense or r.choice(["pres", "past", "past", "fut", "can", "perf"])
            rec = self.recip(s)
            return Clause(s, v, t, recip=rec, obj=self.np(v.obj, rel=0.15 * size), time=self.maybe_time(t, 0.3 * size))
        v = r.choice(VERBS)
        t = tense or self.tense()
        s = subj or self.subj(v.subj, rel=0.1 * size)
        if t == "want" and not isinstance(s, Pronoun) and not (isinstance(s, Name)) and not s.n.cls & set("PG"):
            t = "pres"
        neg = t not in ("must", "perf") and self.p(0.13)
        time = self.maybe_time(t, 0.35 * size)
        k = {"time": time}
        if v.obj == "P" and self.p(0.45) or (v.base in ("help", "support") and self.p(0.4)):
            k["obj"] = self.objpron(s)
        else:
            k["obj"] = self.np(v.obj, rel=0.18 * size)
        rel = isinstance(k["obj"], NP) and k["obj"].rel
        if not neg and self.p(0.14):
            k["mid"] = self.mid(t, time)
        if not rel:
            if self.p(0.1 * size) and v.base not in ("see", "find", "receive", "lose", "meet"):
                k["manner"] = Adv(*r.choice(MANNER if s.pl else MANNER[:2] + MANNER[3:]))
            elif self.p(0.11 * size) and "+" not in v.frame and set(v.subj) & set("PG") and v.base not in ("visit", "meet", "invite", "see", "listen to"):
                k["pp"] = PP("with", self.np("AI", rich=0.5)) if self.p(0.6) else PP("for", self.np("PG", rich=0.5)) if self.p(0.8) else PP("without", self.np("A", rich=0.3))
            if self.p(0.16 * size) and "+" not in v.frame and "L" not in v.obj:
                k["place"] = self.place()
        return Clause(s, v, t, neg, **k)

    def maybe_time(self, t, p):
        return self.time(t) if self.p(p) else None

    def recip(self, s):
        """A receiver that is not the subject; a third person only beside a subject in the first or
        second person."""
        person = s.person
        fit = [f for f in PRONOUNS if f[6] != person and not (f[6][0] == "3" and person[0] == "3") and not (f[6][0] == "1" and person[0] == "1")]
        return Pronoun(self.r.choice(fit))

    def objpron(self, s):
        fit = [f for f in PRONOUNS if f[0] in ("I", "we", "you") and f[6][0] != s.person[0]]
        return Pronoun(self.r.choice(fit))

    def copula(self, subj=None):
        r = self.r
        t = r.choices(["pres", "past", "fut"], [7, 2, 2])[0]
        neg = self.p(0.18)
        if subj is None and self.p(0.25):
            n = self.np("IQAEG", simple=True)
            kind = next(c for c in "IQAEG" if c in n.n.cls)
            pred = NP(r.choice([x for x in NOUNS if x.en in PREDICATES[kind].split() and x is not n.n]), "a", False)
            fit = [a for a in ADJS if a.cls & pred.n.cls]
            if self.p(0.6):
                pred.adj = r.choice(fit)
            s = NP(n.n, n.det if n.det != "a" else "this", False if not n.n.plural_only else True, n.adj, poss=n.poss)
            if s.pl:
                s.det, pred.det, pred.pl = "this", "a", False
                s = NP(r.choice(of_class("A")), "this", False)
            return Copula(s, t, neg, pred=pred)
        adj = r.choice([a for a in ADJS if a.zh_pred])
        while subj is not None and not (adj.cls & set("PG")):  # a given subject is a person
            adj = r.choice([a for a in ADJS if a.zh_pred])
        s = subj or self.np(adj.cls, simple=True, rich=0.2)
        if isinstance(s, NP) and not (s.n.cls & adj.cls):
            s = self.np(adj.cls, simple=True, rich=0)
        if isinstance(s, NP):
            if s.det == "a":
                s.det = "the"
            if s.adj is adj:
                s.adj = None
        if adj.en_comp and t != "past" and isinstance(s, NP) and self.p(0.45):
            than = self.np(sorted(s.n.cls & adj.cls)[0], simple=True, rich=0.5)
            while than.n is s.n and than.det == s.det:
                than = self.np(sorted(s.n.cls & adj.cls)[0], simple=True, rich=0.5)
            if than.det == "a":
                than.det = "the"
            return Copula(s, t, False, adj, than)
        return Copula(s, t, neg, adj)

    def there(self):
        r = self.r
        np = self.np("IQALGP", rich=1.2)
        if np.det in ("the", "poss", "this", "all", "every", "bare"):
            np.det = r.choice(["many", "some", "no", "num"]) if np.pl else "a"
        if np.n.plural_only and np.det == "num":
            np.det = "many"
        if np.det == "num" and np.num is None:
            np.num = r.choices(NUMBERS, NUM_WEIGHT)[0]
        np.rel = np.of = None
        if self.p(0.2):
            np.rel = self.rel(np)
        place = self.place() if not np.rel and self.p(0.75) else None
        if place and place.np and place.np.n is np.n:
            place = Place(name=r.choice(PLACES))
        return ThereIs(np, place)

    def intrans(self, size=1.0, subj=None):
        v = self.r.choice([v for v in INTRANS if subj is None or "P" in v.subj])
        t = self.r.choices(["pres", "past", "fut", "must", "can"], [4, 4, 3, 1, 1])[0]
        if v.base == "begin":
            t = self.r.choice(["pres", "past", "fut"])
        kind = v.tail[-1]
        s = subj or self.subj(v.subj)
        place = self.place() if kind != "-" and self.p(0.8) else None
        time = self.time(t) if place is None or self.p(0.4) else None
        if t in ("must", "can") and place is None:
            place = self.place() if kind != "-" else None
        neg = self.p(0.1) and t != "must" and kind != "-"
        return Clause(s, v, t, neg, place=place, time=time)

    def with_comp(self, size, subj=None):
        r = self.r
        if self.p(0.5):
            v = r.choice(TOINF)
            t = r.choices(["pres", "past", "fut", "perf", "must", "want"], [5, 5, 2, 2, 1, 1])[0]
            if v.base in ("hope", "promise", "plan") and t in ("must", "want"):
                t = "pres"
            s = subj or self.subj(v.subj)
            w = r.choice([x for x in VERBS if set(x.subj) & set("PG") and x.base not in ("see", "find", "receive", "lose")])
            pron = w.obj == "P" and self.p(0.5) or (w.base in ("help", "support") and self.p(0.4))
            c = Clause(s, w, "pres", obj=self.objpron(s) if pron else self.np(w.obj, rel=0.12 * size),
                       place=self.place() if self.p(0.1) and "+" not in w.frame and "L" not in w.obj else None)
            return Clause(s, v, t, self.p(0.08) and t in ("pres", "past") and v.base not in ("promise", "stop"), comp=("inf", c),
                          time=None, mid=self.mid(t, None) if self.p(0.1) and t in ("pres", "perf") else None)
        v = r.choice(THAT)
        s = subj or self.subj(v.subj)
        if v.base == "know" and self.p(0.55):
            kind = r.choice(["whether", "why", "how", "where"])
            inner = self.small()
            if kind != "whether":
                inner = self.verb_clause(pron=0.6, where=kind == "where")
                inner.wh = WH[kind]
            return Clause(s, v, "pres", self.p(0.7), comp=(kind, inner))
        t = r.choices(["pres", "past"], [3, 4])[0]
        if v.base in ("know",):
            t = "pres"
        return Clause(s, v, t, comp=("that", self.small()))

    def small(self):
        return self.clause(size=0.5, comp=False)

    def verb_clause(self, pron=0.6, where=False):
        """A plain transitive clause for questions."""
        r = self.r
        v = r.choice([v for v in VERBS if set(v.subj) & set("PG")])
        t = r.choice(["pres", "past", "fut"] if not where else ["pres", "past"])
        s = self.subj(v.subj, pron=pron)
        if where:
            v = r.choice([v for v in VERBS if v.subj in ("PG", "P") and "L" not in v.obj and "+" not in v.frame])
        return Clause(s, v, t, obj=self.np(v.obj), time=None)


PREDICATES = {"I": "idea example result answer plan method", "Q": "problem task risk mistake", "A": "machine tool system program",
              "E": "course talk meeting", "G": "team group company"}
WH = {"why": ("why", "warum", "perché", "为什么"), "how": ("how", "wie", "come", "怎么"),
      "where": ("where", "wo", "dove", "在哪里"), "when": ("when", "wann", "quando", "什么时候")}
CONJ = {"because": ("weil", "perché"), "when": ("wenn", "quando"), "if": ("wenn", "se"), "although": ("obwohl", "anche se"), "while": ("während", "mentre")}


class Sentence:
    """The texts of a sentence, its alignments, and the tokens from which prefix translations are
    made."""
    def __init__(self, en, de, it, zh, mark="."):
        self.words = en
        en[-1].p = mark
        zhmark = {".": "。", "?": "？", "!": "！"}[mark]
        self.toks = {
            "de": de + [Tok(mark, (), (END,), "L", False)],
            "it": it + [Tok(mark, (), (END,), "L", False)],
            "zh": zh + [Tok(zhmark, (), (END,), "L", False)],
        }
        text = " ".join(w.s + w.p for w in en)
        self.en = text[0].upper() + text[1:]
        self.index = {w: i for i, w in enumerate(en)}
        for lang in ("de", "it", "zh"):
            setattr(self, lang, join(self.toks[lang], lang))

    def align(self, lang):
        """[(English word index, target unit index)]; units are words, or characters in Chinese."""
        toks = tidy(self.toks[lang])
        out, at, prev = set(), -1, None
        for t in toks:
            if lang == "zh":
                for _ in t.s:
                    at += 1
                    if t.strong:
                        out |= {(self.index[w], at) for w in t.al}
                continue
            if not (t.glue == "L" or (prev and prev.glue == "R")):
                at += 1
            if t.strong:
                out |= {(self.index[w], at) for w in t.al}
            prev = t
        return sorted(out)

    def heard(self, k, end=False):
        return set(self.words[:k]) | ({END} if end else set())

    def source(self, k, end=False):
        """The first k words as the recogniser would write them; with the final mark only if
        `end`."""
        words = [w.s + w.p for w in self.words[:k]]
        text = " ".join(words)
        text = text[0].upper() + text[1:] if text else text
        return text if end else text.rstrip(".?!")

    def split_at(self, lang, k, end=False):
        """(tokens of the translation of the first k words, the remaining tokens), both in target order."""
        h = self.heard(k, end)
        yes = [t for t in self.toks[lang] if t.need <= h]
        while yes and yes[-1].s == ",":
            yes.pop()
        keep = set(map(id, yes))
        return yes, [t for t in self.toks[lang] if id(t) not in keep]

    def prefix(self, lang, k, end=False):
        return join(self.split_at(lang, k, end)[0], lang)

    def heard_tokens(self, lang, k, end=False):
        h = self.heard(k, end)
        return [t for t in self.toks[lang] if t.need <= h]

    def forced(self, lang, accepted, k, end=False):
        """(text of the accepted tokens, the text that must follow once k words are heard), or None
        if nothing fits.

        Accepted tokens stay where they are, even if a longer source would have put them elsewhere.
        The rest follows in target order."""
        accepted = list(accepted)
        while accepted and (accepted[-1].s == "," or accepted[-1].glue == "R"):
            accepted.pop()
        keep = set(map(id, accepted))
        rest = [t for t in self.heard_tokens(lang, k, end) if id(t) not in keep]
        while rest and rest[-1].s == ",":
            rest.pop()
        whole, start = join(accepted + rest, lang), join(accepted, lang)
        return (start, whole[len(start):]) if whole.startswith(start) else None

    def continuation(self, lang, k):
        """(accepted, rest): the translation of the first k words, and the text that completes the
        sentence."""
        return self.forced(lang, self.split_at(lang, k)[0], len(self.words), True)


class Pair(Sentence):
    """Two sentences in one segment, as when the first may still be corrected."""
    def __init__(self, a, b):
        self.words = a.words + b.words
        self.first, self.en = len(a.words), a.en + " " + b.en
        begun = frozenset(b.words[:1])
        self.toks = {}
        for lang in ("de", "it", "zh"):
            head = [Tok(t.s, t.al, (t.need - {END}) | begun if END in t.need else t.need, t.glue, t.strong) for t in a.toks[lang]]
            self.toks[lang] = head + b.toks[lang]
            setattr(self, lang, join(self.toks[lang], lang))
        self.index = {w: i for i, w in enumerate(self.words)}

    def source(self, k, end=False):
        words = [w.s + w.p for w in self.words[:k]]
        for i in (0, self.first):
            if i < len(words):
                words[i] = words[i][0].upper() + words[i][1:]
        text = " ".join(words)
        return text if end else text.rstrip(".?!")


def tidy(toks):
    """Drops commas at the beginning, after another comma, and before the final mark."""
    out = []
    for t in toks:
        if t.s == "," and (not out or out[-1].s == ","):
            continue
        if t.s in (".", "?", "!", "。", "？", "！") and out and out[-1].s == ",":
            out.pop()
        out.append(t)
    return out


def join(toks, lang):
    toks = tidy(toks)
    if lang == "zh":
        return "".join("，" if t.s == "," else t.s for t in toks)
    s, prev = "", None
    for t in toks:
        text = t.s[:1].upper() + t.s[1:] if prev is None or prev.s in ".?!" else t.s
        s += text if prev is None or t.glue == "L" or prev.glue == "R" else " " + text
        prev = t
    return s


def statement(d, size=1.0, opener=True):
    """Main clause, perhaps with an opener or a fronted time."""
    c = d.clause(size)
    if opener and d.p(0.17):
        f = d.r.choice(OPENERS)
        o = Adv(*f[:4])
        en = o.en()
        en[-1].p = ","
        en += c.en()
        com = [comma(o.w)]
        return en, c.de_main(o.de()), o.it() + com + c.it_main(), o.zh() + com + c.zh_main(), c
    if c.time and d.p(0.45):
        c.fronted = True
        t = c.time
        en = t.en() + c.en()
        return en, c.de_main(t.de()), t.it() + c.it_main(), t.zh() + c.zh_main(), c
    return c.en(), c.de_main(), c.it_main(), c.zh_main(), c


def with_sub(d):
    """A main clause and an adverbial clause, in either order; Chinese puts the latter first, except
    with because."""
    r = d.r
    conj = r.choices(list(CONJ), [5, 4, 4, 2, 2])[0]
    main, sub = d.clause(0.5, comp=d.p(0.25)), d.clause(0.5, comp=False)
    if conj in ("if", "when"):
        for c, t in ((sub, "pres"), (main, r.choice(["fut", "pres", "can", "must", "should"]))):
            c.tense = t if not isinstance(c, (Copula, ThereIs)) else "pres"
            if not isinstance(c, ThereIs):
                c.time = None
                c.neg = c.neg and t != "must"
            if isinstance(c, Clause) and c.mid:
                c.mid = None
    de_c, it_c = CONJ[conj]
    front = d.p(0.5)
    wc = (W(conj),)
    if front:
        se = sub.en()
        se[-1].p = ","
        en = list(wc) + se + main.en()
    else:
        en = main.en() + list(wc) + sub.en()
    dsub = tk(de_c, wc) + sub.de_sub()
    isub = tk("poiché" if front and conj == "because" else it_c, wc) + sub.it_main()
    if front:
        de = main.de_main(dsub + [comma(wc)])
        it = isub + [comma(wc)] + main.it_main()
    else:
        de = main.de_main() + [comma(wc)] + dsub
        it = main.it_main() + isub
    last = set(sub.w_v if isinstance(sub, Clause) else sub.w)
    # 但是, 时 and the comma close a clause: before the main clause they wait for its end, after it for
    # its verb
    done = (set(se) if front else last) | set(wc)
    zs, zm = sub.zh_main(), main.zh_main()
    if conj == "because":
        zh = [Tok("因为", wc)] + zs + [comma(done), Tok("所以", (), done, strong=False)] + zm if front else zm + [comma(wc), Tok("因为", wc)] + zs
    elif conj == "when":
        zh = [Tok("当", wc)] + zs + [Tok("时", wc, done), comma(done)] + zm
    elif conj == "if":
        zh = [Tok("如果", wc)] + zs + [comma(done)] + zm
    elif conj == "although":
        zh = [Tok("虽然", wc)] + zs + [comma(done), Tok("但是", (), done, strong=False)] + zm
    else:
        zh = [Tok("在", wc, done)] + zs + [Tok("的同时", wc, done), comma(done)] + zm
    return Sentence(en, de, it, zh)


def coordinated(d):
    conj = d.r.choice(["and", "but"])
    a = statement(d, 0.5)
    c = d.clause(0.5, comp=False)
    wc = (W(conj),)
    a[0][-1].p = ","
    en = a[0] + list(wc) + c.en()
    if conj == "and":
        # German: the comma is optional between main clauses and required after a subordinate
        # clause, so it is always written
        de, it, zh = [comma(wc)] + tk("und", wc), tk("e", wc), [comma(wc), Tok("并且", wc)]
    else:
        de, it, zh = [comma(wc)] + tk("aber", wc), [comma(wc)] + tk("ma", wc), [comma(wc), Tok("但是", wc)]
    return Sentence(en, a[1] + de + c.de_main(), a[2] + it + c.it_main(), a[3] + zh + c.zh_main())


def it_is(d):
    """It is clear that … / it is true that …"""
    adj = d.r.choice([("clear", "klar", "chiaro", "很明显"), ("true", "wahr", "vero", "确实"), ("good", "gut", "un bene", "好在")][:2])
    c = d.clause(0.6, comp=False)
    w = [W("it"), W("is"), W(adj[0]), W("that")]
    en = w + c.en()
    de = tk("es", w[:1]) + tk("ist", w[1:2]) + tk(adj[1], w[2:3]) + [comma(w[3:])] + tk("dass", w[3:]) + c.de_sub()
    it = [Tok("è", w[:2])] + tk(adj[2], w[2:3]) + tk("che", w[3:]) + c.it_main()
    return Sentence(en, de, it, [Tok(adj[3], w[2:3])] + c.zh_main())


def lets(d):
    """Let us + verb."""
    r = d.r
    s = Pronoun(PRONOUNS[1])
    v = r.choice([v for v in VERBS if v.subj in ("P", "PG") and v.base not in ("see", "find", "receive", "lose")])
    np = d.np(v.obj, rel=0.2)
    c = Clause(s, v, "pres", obj=np, place=d.place() if "+" not in v.frame and "L" not in v.obj and not np.rel and d.p(0.3) else None,
               manner=Adv(*r.choice(MANNER)) if d.p(0.3) and not np.rel else None)
    o = Adv(*r.choice(OPENERS[:2])[:4]) if d.p(0.3) else None
    w = [W("let"), W("us")]
    body = c.en(inf=True)[1:]
    c.w_to = ()
    c.subj.w = w[1]
    en = w + body
    it = [Tok(v.it_fin("1p"), tuple(w) + c.w_v)] + c.it_rest()
    pre_it, pre_zh, first = [], [], []
    if o:
        oe = o.en()
        oe[-1].p = ","
        en = oe + en
        pre_it, pre_zh = o.it() + [comma(o.w)], o.zh() + [comma(o.w)]
        de = o.de() + [Tok("wollen", w[:1])] + tk("wir", w[1:]) + c.de_middle() + [Tok(v.de_pre + v.de_inf, c.w_v)]
    else:
        de = tk("lassen", w[:1]) + [Tok("Sie", (), w[:1], strong=False)] + tk("uns", w[1:]) + c.de_middle() + [Tok(v.de_pre + v.de_inf, c.w_v)]
    return Sentence(en, de, pre_it + it, pre_zh + [Tok("让", w[:1]), Tok("我们", w[1:])] + c.zh_vp())


def question(d):
    r = d.r
    x = r.random()
    ma = Tok("吗", (), (END,), strong=False)
    if x < 0.4:
        y = r.random()
        if y < 0.15:
            c = d.copula()
            c.neg = False
            if isinstance(c.pred, NP):
                c.pred.neg = ()
            if c.tense == "fut":
                c.tense = "pres"
        elif y < 0.22:
            c = d.there()
            if c.np.det == "no":
                c.np.det = "some"
        else:
            c = d.clause(0.7, comp=d.p(0.3))
            while isinstance(c, (Copula, ThereIs)) or c.tense == "must":
                c = d.clause(0.7, comp=d.p(0.3))
            c.neg = False
            if isinstance(c.obj, NP):
                c.obj.neg = ()
        en = c.en(inv=True)
        return Sentence(en, c.de_main([]), c.it_main(), c.zh_main() + [ma], "?")
    if x < 0.68:
        kind = r.choice(["why", "why", "how", "when", "where"])
        c = d.verb_clause(pron=0.45 if kind == "why" else 1.0, where=kind in ("where", "when"))
        c.wh = WH[kind]
        en = c.en(inv=True)
        return Sentence(en, c.de_main(tk(c.wh[1], c.w_wh)), tk(c.wh[2], c.w_wh) + c.it_main(), c.zh_main(), "?")
    v = r.choice([v for v in VERBS if v.frame == "" and set(v.subj) & set("PG") and v.obj != "P" and v.base not in ("increase", "reduce", "measure")])
    t = r.choice(["pres", "past", "fut", "want", "can"])
    s = d.pronoun((1, 3, 5, 2, 1, 1))
    if x < 0.8:
        n = d.noun(v.obj)
        pl = n.plural_only or d.p(0.5)
        np = NP(n, "howmany" if pl and not n.plural_only and d.p(0.6) else "which", pl)
        c = Clause(s, v, t, wh=("obj", np), obj=np)
        en = c.en(inv=True)
        return Sentence(en, c.de_main(np.de("a")), np.it() + c.it_main(), c.zh_main(), "?")
    if x < 0.9:
        c = Clause(s, v, t, wh=("what",), obj=None, time=d.time(t) if d.p(0.5) else None, place=d.place() if d.p(0.4) and "L" not in v.obj else None)
        en = c.en(inv=True)
        return Sentence(en, c.de_main(tk("was", c.w_wh)), tk("che cosa", c.w_wh) + c.it_main(), c.zh_main(), "?")
    who = Who()
    c = Clause(who, v, r.choice(["past", "fut", "can", "perf"]), obj=d.np(v.obj), place=d.place() if d.p(0.3) and "L" not in v.obj else None)
    en = c.en()
    return Sentence(en, c.de_main(), c.it_main(), c.zh_main(), "?")


class Who(Name):
    def __init__(self):
        self.f, self.gender = ("who", "wer", "chi", "谁"), "m"


def fixed(d, which=None):
    f = FIXED[d.r.randrange(len(FIXED)) if which is None else which]
    person, city = d.r.choice(PEOPLE), d.r.choice(CITIES)

    def fill(s, i):
        return s.replace("{P}", person[i]).replace("{C}", city[i])
    words = []
    for x in f[0].split():
        if x in ",.":
            words[-1].p = x if x == "," else ""
        else:
            words.append(W(fill(x, 0)))
    out = []
    for i, lang in ((1, "de"), (2, "it"), (3, "zh")):
        toks = []
        for x in f[i].split():
            s, _, nums = x.partition("/")
            s = "ad" if s == "a" and city[2][0] == "A" else s
            if s in ".。":
                continue
            al = tuple(words[int(n)] for n in nums.split(","))
            toks.append(comma(al) if s in ",，" else Tok(fill(s, i), al))
        out.append(toks)
    # German, Italian: the first word already has its capital
    return Sentence(words, *out)


def draw(rng):
    d = Draw(rng)
    x = rng.random()
    if x < 0.015:
        return fixed(d)
    if x < 0.165:
        return question(d)
    if x < 0.21:
        return lets(d)
    if x < 0.25:
        return it_is(d)
    if x < 0.47:
        return with_sub(d)
    if x < 0.59:
        return coordinated(d)
    return Sentence(*statement(d)[:4])


def sample(rng):
    """A sentence of 4 to 25 words."""
    while True:
        s = draw(rng)
        if 4 <= len(s.words) <= 25:
            return s


def split(en):
    """train | dev | test, by the English text alone."""
    h = int.from_bytes(hashlib.sha256(en.encode()).digest()[:4], "big") % 100
    return "test" if h < 2 else "dev" if h < 4 else "train"


def talk(rng, n, part="test"):
    """A talk of n sentences of one split: a welcome, statements with some questions, and thanks at
    the end if the split has one."""
    out = []

    def take(make):
        for _ in range(3000):
            s = make()
            if 4 <= len(s.words) <= 25 and split(s.en) == part and all(s.en != o.en for o in out):
                return out.append(s)
    take(lambda: fixed(Draw(rng), rng.choice([0, 1])))
    while len(out) < n - 1:
        take(lambda: draw(rng))
    take(lambda: fixed(Draw(rng), rng.choice([2, 3, 5])))
    while len(out) < n:
        take(lambda: draw(rng))
    return out[:n]


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--stats", action="store_true")
    ap.add_argument("--show", type=int, default=0)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--langs", default="en,de,it,zh")
    a = ap.parse_args()
    rng = random.Random(a.seed)
    for _ in range(a.show):
        s = sample(rng)
        for lang in a.langs.split(","):
            print(getattr(s, lang))
        if "," in a.langs:
            print()
    if a.stats:
        n = 100000
        count, lens, seen = {k: Counter() for k in ("en", "de", "it", "zh")}, Counter(), {}
        for _ in range(n):
            s = sample(rng)
            lens[len(s.words)] += 1
            tr = (s.de, s.it, s.zh)
            if seen.setdefault(s.en, tr) != tr:
                print("two translations:", s.en, tr, seen[s.en])
            count["en"].update(w.s for w in s.words)
            for k in ("de", "it"):
                count[k].update(w.strip(",.?!") for w in getattr(s, k).split())
            count["zh"].update(s.zh)
        print(f"{n} draws, {len(seen)} distinct sentences, mean length {sum(k * v for k, v in lens.items()) / n:.1f} words")
        print("lengths", dict(sorted(lens.items())))
        for k, c in count.items():
            print(k, len(c), "distinct", "characters" if k == "zh" else "word forms", "| rarest:", c.most_common()[-8:])


if __name__ == "__main__":
    main()
