"""Does compressed-tensors load what `kd quantize` writes, and mean the same numbers by it?

    pip install torch safetensors numpy compressed-tensors==0.20.0
    python tools/check_compressed_tensors.py target/release/kd

For every scheme that the package has a layout for, a model of linear layers is saved, quantized by `kd`, loaded into
fresh layers by the package's own steps (`QuantizationConfig`, `apply_quantization_config`, `compress_model`,
`load_state_dict`, `decompress_model`) and compared with `kd dequantize` and with numbers computed here by numpy.
fp4 and fp6 are decoded by the package in bfloat16, so those are compared after rounding to it.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import load_file, save_file

KD = sys.argv[1] if len(sys.argv) > 1 else "kd"


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(50, 64)
        self.blocks = torch.nn.ModuleList([torch.nn.Linear(64, 96), torch.nn.Linear(96, 128, bias=False)])
        self.norm = torch.nn.LayerNorm(128)
        self.head = torch.nn.Linear(128, 37)


def integer(weight, bits, group, symmetric):
    """Codes from the stored scale, by division, rounded before the zero point is added; as x̂."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    out = np.empty_like(weight)
    for start in range(0, weight.shape[1], group):
        w = weight[:, start : start + group]
        least = np.minimum(w.min(1, keepdims=True), 0).astype(np.float32)
        most = np.maximum(w.max(1, keepdims=True), 0).astype(np.float32)
        if symmetric:
            scale = np.maximum(most, -least) / np.float32((high - low) / 2)
            zero = np.zeros_like(scale)
        else:
            scale = (most - least) / np.float32(high - low)
            zero = np.clip(low - np.round(least / scale), low, high)
        codes = np.clip(np.round(w / scale) + zero, low, high)
        out[:, start : start + group] = (codes - zero) * scale
    return out.astype(np.float32)


def kd(*arguments):
    done = subprocess.run([KD, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, f"kd {arguments}: {done.stderr}"
    return done.stdout


def load(folder):
    """The weights as the package has them in the end."""
    config = json.loads((folder / "config.json").read_text())
    config = QuantizationConfig.model_validate(config["quantization_config"])
    torch.manual_seed(1)
    model = Model()
    apply_quantization_config(model, config)
    compressor = ModelCompressor(quantization_config=config)
    compressor.compress_model(model)
    tensors = load_file(folder / "model.safetensors")
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    compressor.decompress_model(model)
    return {name: tensor.float().numpy() for name, tensor in model.state_dict().items()}, config


def main():
    torch.manual_seed(0)
    model = Model()
    cases = [f"int{bits} {rest}" for bits in range(1, 9) for rest in ("group=32 affine", "channel symmetric")]
    cases += ["int8 channel affine", "int8 tensor affine", "int4 tensor symmetric", "uint4 group=32", "int3 group=16 narrow"]
    cases += ["int4 group=32 no-clip", "int16 channel symmetric", "int16 channel affine", "int8 block=16x32", "int4 block=32x32 symmetric"]
    cases += ["e4m3fn tensor", "e4m3fn channel", "e4m3fn group=32", "e4m3fn block=32x32", "bf16", "e4m3fn"]
    cases += ["int4 group=32 affine scale=fp16", "int4 group=32 affine scale=bf16", "e4m3fn channel scale=bf16"]
    cases += ["mxfp4", "mxfp6_e2m3", "mxfp8_e4m3", "nvfp4", "nvfp4 global=none"]
    for index, spec in enumerate(cases + ["4.2 bpw", "hqq"]):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            save_file(model.state_dict(), folder / "model.safetensors")
            out = folder / "out"
            how = ["--budget", spec] if spec.endswith("bpw") else ["--weights", spec]
            how = ["--weights", "int4 group=32", "--method", "hqq"] if spec == "hqq" else how
            kd("quantize", folder / "model.safetensors", *how, "--ignore", "^embed", "--out", out)
            kd("dequantize", out, "--out", folder / "back.safetensors")
            ours = load_numpy(folder / "back.safetensors")
            rows = json.loads((out / "quantize.json").read_text())
            original = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
            assert set(ours) == set(original)
            assert [row["tensor"] for row in rows] == ["blocks.0.weight", "blocks.1.weight", "head.weight"]
            if json.loads((out / "config.json").read_text()).get("quantization_config") is None:
                theirs = {name: t.float().numpy() for name, t in load_file(out / "model.safetensors").items()}
            else:
                theirs, _ = load(out)
            worst = 0.0
            for name, weight in original.items():
                found = theirs[name].reshape(weight.shape)
                rough = any(word in spec for word in ("fp4", "mxfp6", "scale="))
                tolerance = 2.0 ** -7 * np.abs(ours[name]) + 1e-30 if rough else 1e-6 * np.abs(ours[name])
                assert (np.abs(found - ours[name]) <= tolerance).all(), (spec, name)
                worst = max(worst, np.abs(found - ours[name]).max())
                if name not in [row["tensor"] for row in rows]:
                    assert (ours[name] == weight).all(), (spec, name)
            words = spec.split()
            if words[0].startswith("int") and words[-1] in ("affine", "symmetric") and words[1] != "tensor" and "block" not in spec:
                bits, group = int(words[0][3:]), 10**9
                if words[1].startswith("group"):
                    group = int(words[1][6:])
                for row in rows:
                    expected = integer(original[row["tensor"]], bits, group, words[-1] == "symmetric")
                    assert (expected == ours[row["tensor"]]).all(), (spec, row["tensor"])
                    noise = ((original[row["tensor"]] - expected).astype(np.float64) ** 2).sum()
                    sqnr = 10 * np.log10((original[row["tensor"]].astype(np.float64) ** 2).sum() / noise)
                    assert abs(sqnr - row["sqnr"]) < 1e-6, (spec, row, sqnr)
            print(f"{spec}: {rows[0]['bpw']:.3f} bpw, largest difference {worst:.1e}")


if __name__ == "__main__":
    main()
