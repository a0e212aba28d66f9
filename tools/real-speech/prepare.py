#!/usr/bin/env python3
"""Prepares real speech for the tests that compare with other programs.

    pip install av==18.1.0 numpy safetensors soundfile transformers==5.24.0
    tools/real-speech/prepare.py FOLDER OUT
    ALIGNATT_SPEECH_FORMS=OUT cargo test --lib real_speech -- --nocapture

Every .flac in FOLDER and its folders goes to OUT as

    NAME.safetensors   its samples at 16 kHz, and their features by WhisperFeatureExtractor as
                       Qwen3-ASR uses it (128 bins, at least 0.5 s)
    NAME.FORM.EXT      the same sound, louder, in every form that the program decodes, by
                       FFmpeg and, for Vorbis, libsndfile
"""

import os
import sys

import av
import numpy as np
import soundfile
from safetensors.numpy import save_file
from transformers import WhisperFeatureExtractor

# Form, file ending, encoder, rate, channels.
FORMS = [
    ("s16", "wav", "pcm_s16le", 44_100, "stereo"),
    ("s24", "wav", "pcm_s24le", 48_000, "mono"),
    ("f32", "wav", "pcm_f32le", 22_050, "mono"),
    ("alaw", "wav", "pcm_alaw", 16_000, "mono"),
    ("mulaw", "wav", "pcm_mulaw", 16_000, "mono"),
    ("flac", "flac", "flac", 48_000, "stereo"),
    ("oggflac", "ogg", "flac", 44_100, "mono"),
    ("mp3", "mp3", "libmp3lame", 44_100, "mono"),
    ("aac", "aac", "aac", 16_000, "stereo"),  # ADTS keeps the delay of 1024 samples: whole ones at 16 kHz
    ("aac", "m4a", "aac", 48_000, "mono"),
    ("alac", "m4a", "alac", 44_100, "mono"),
    ("mp3", "mp4", "libmp3lame", 48_000, "mono"),
    ("s16", "mov", "pcm_s16le", 48_000, "mono"),
]


def samples_of(path):
    with av.open(path) as file:
        resampler = av.AudioResampler("flt", "mono", 16_000)
        frames = [f for frame in file.decode(audio=0) for f in resampler.resample(frame)] + resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def write(path, encoder, rate, layout, samples):
    with av.open(path, "w") as file:
        stream = file.add_stream(encoder, rate=rate, layout=layout)
        if encoder in ("libmp3lame", "aac"):
            stream.bit_rate = 128_000
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), "flt", "mono")
        frame.rate, frame.pts = 16_000, 0
        resampler = av.AudioResampler(stream.codec_context.format.name, layout, rate, stream.codec_context.frame_size)
        for part in resampler.resample(frame) + resampler.resample(None):
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))


folder, out = sys.argv[1:]
os.makedirs(out, exist_ok=True)
extractor = WhisperFeatureExtractor(feature_size=128)
paths = [os.path.join(at, name) for at, _, names in os.walk(folder) for name in names if name.endswith(".flac")]
for path in sorted(paths):
    name = os.path.splitext(os.path.basename(path))[0]
    samples = samples_of(path)
    padded = np.pad(samples, (0, max(0, 8_000 - len(samples))))
    features = extractor(padded, sampling_rate=16_000, padding=False, truncation=False, return_tensors="np")
    mel = features["input_features"][0].astype(np.float32)
    save_file({"samples": samples, "mel": np.ascontiguousarray(mel)}, os.path.join(out, f"{name}.safetensors"))
    samples *= 0.5 / np.abs(samples).max()  # some clips are lost in the noise of 8 bits
    for form, end, encoder, rate, layout in FORMS:
        write(os.path.join(out, f"{name}.{form}.{end}"), encoder, rate, layout, samples)
    with soundfile.SoundFile(os.path.join(out, f"{name}.vorbis.ogg"), "w", 16_000, 1, format="OGG") as file:
        for at in range(0, len(samples), 4_000):  # a long write overflows its encoder's stack
            file.write(samples[at : at + 4_000])
    print(f"{name}: {len(samples) / 16_000:.1f} s, features {mel.shape}")
