"""Log-mel features as the published preprocessor computes them, one clip at a time: periodic Hann
400, hop 160, centred with reflect padding, 128 slaney bins, last frame dropped, floor at the clip's
maximum minus 8. Shapes: samples [n] -> mel [128, n // 160]. `eq` and `tract` are for training only:
another microphone, another speaker."""
import functools

import numpy as np
import torch

RATE = 16000


def moved(f, tract, edge=4800.0, top=8000.0):
    """Frequencies for a vocal tract that is shorter by `tract`: scaled up to an edge, then bent so
    that the top stays."""
    knee = edge * min(1, 1 / tract)
    return np.where(f < knee, tract * f, tract * knee + (top - tract * knee) * (f - knee) / (top - knee))


def mel_filters(n_mel=128, n_fft=400, sr=16000, fmax=8000.0, tract=1.0):
    """Filters [201, 128]; slaney scale and slaney normalisation."""
    to_mel = lambda f: np.where(f < 1000, 3 * f / 200, 15 + np.log(np.maximum(f, 1e-9) / 1000) * 27 / np.log(6.4))
    to_hz = lambda m: np.where(m < 15, 200 * m / 3, 1000 * np.exp(np.log(6.4) / 27 * (m - 15)))
    pts = to_hz(np.linspace(to_mel(np.array(0.0)), to_mel(np.array(fmax)), n_mel + 2))
    bins = moved(np.linspace(0, sr // 2, n_fft // 2 + 1), tract)
    d = np.diff(pts)
    s = pts[None] - bins[:, None]
    fb = np.maximum(0, np.minimum(-s[:, :-2] / d[:-1], s[:, 2:] / d[1:]))
    return fb * (2 / (pts[2:] - pts[:-2]))[None]


@functools.cache
def filters(tract):
    return torch.tensor(mel_filters(tract=tract).T, dtype=torch.float32)


_WIN = torch.hann_window(400, periodic=True)


def log_mel(x, eq=None, tract=1.0):
    """`eq` [128, 1] is added to the log10 power before the floor; `tract` multiplies the
    frequencies (rounded to 2 digits)."""
    x = torch.as_tensor(np.asarray(x), dtype=torch.float32)
    if len(x) < 8000:
        x = torch.nn.functional.pad(x, (0, 8000 - len(x)))
    s = torch.stft(x, 400, 160, window=_WIN, center=True, pad_mode="reflect", return_complex=True)[:, :-1]
    m = torch.log10(torch.clamp(filters(round(tract, 2)) @ (s.real ** 2 + s.imag ** 2), min=1e-10))
    if eq is not None:
        m = m + eq
    return (torch.maximum(m, m.max() - 8.0) + 4) / 4


def audio_tokens(frames):
    """The number of rows that the audio tower gives for this many mel frames: 13 for a full
    second."""
    h = lambda n: (n - 1) // 2 + 1
    rest = frames % 100
    return 13 * (frames // 100) + (h(h(h(rest))) if rest else 0)
