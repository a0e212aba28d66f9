#!/usr/bin/env python3
"""Makes models/vad/model.safetensors from the package silero-vad (6.2.3, MIT).

    pip install numpy onnx safetensors && pip download --no-deps silero-vad==6.2.3
    unzip silero_vad-6.2.3-py3-none-any.whl -d package
    tools/voice-detector/weights.py package/silero_vad/data/silero_vad_16k_op15.onnx

All ONNX files of the package hold the same network. Its safetensors file holds other weights, whose
probabilities differ by up to 0.15. Numbers become f16. The table of the Fourier transform is left
out, because the program computes that transform itself; this checks that it is the transform of 256
samples under a Hann window.
"""

import os
import sys

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

# A part of the ONNX file's names, and the name here.
NAMES = {
    "encoder.0.reparam_conv": "conv1",
    "encoder.1.reparam_conv": "conv2",
    "encoder.2.reparam_conv": "conv3",
    "encoder.3.reparam_conv": "conv4",
    "decoder.rnn": "lstm_cell",
    "decoder.decoder.2": "final_conv",
}

here = os.path.dirname(os.path.abspath(__file__))
stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(sys.argv[1]).graph.initializer}

table = stored["model.stft.forward_basis_buffer"][:, 0]
bins, samples = np.arange(129)[:, None], np.arange(256)[None]
window = 0.5 - 0.5 * np.cos(2 * np.pi * samples / 256)
angle = 2 * np.pi * bins * samples / 256
expected = np.concatenate([window * np.cos(angle), -window * np.sin(angle)])
assert np.abs(table - expected).max() < 1e-6, "the table is another transform"

halves = {}
for theirs, ours in NAMES.items():
    for name, tensor in stored.items():
        if name.startswith(f"model.{theirs}."):
            halves[f"{ours}.{name.rsplit('.', 1)[1]}"] = tensor.astype(np.float16)
assert len(halves) == 14, sorted(halves)
path = os.path.join(here, "../../models/vad/model.safetensors")
save_file(halves, path)
print(f"{path}: {os.path.getsize(path)} bytes")
