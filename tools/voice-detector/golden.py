#!/usr/bin/env python3
"""Makes tests/fixtures/vad/golden.json: the probabilities of speech that the package silero-vad
(6.2.3) computes for the first 8 s of samples/talk-a.flac, one for each 512 samples.

    pip install numpy onnxruntime soundfile
    tools/voice-detector/golden.py package/silero_vad/data/silero_vad.onnx
"""

import json
import os
import sys

import numpy as np
import onnxruntime
import soundfile

here = os.path.dirname(os.path.abspath(__file__))
sound, rate = soundfile.read(os.path.join(here, "../../samples/talk-a.flac"), dtype="float32")
assert rate == 16_000 and sound.ndim == 1

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
state, context, probabilities = np.zeros((2, 1, 128), np.float32), np.zeros(64, np.float32), []
for at in range(0, 8 * rate, 512):
    frame = sound[at : at + 512]
    inputs = {"input": np.concatenate([context, frame])[None], "state": state, "sr": np.array(rate, np.int64)}
    probability, state = session.run(None, inputs)
    probabilities.append(round(float(probability[0, 0]), 4))
    context = frame[-64:]

path = os.path.join(here, "../../tests/fixtures/vad/golden.json")
os.makedirs(os.path.dirname(path), exist_ok=True)
with open(path, "w") as file:
    json.dump(probabilities, file)
    file.write("\n")
