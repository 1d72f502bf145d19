"""Golden bytes for the packings of quant-core: compressed-tensors, onnx and gguf.

Run with the packages of requirements.txt installed: python tools/golden/quant_pack.py
Codes are the low bits of splitmix64 outputs, which the tests draw again from the stored seed; bytes are stored in
hexadecimal. Tolerance: none.
"""

import json
import pathlib

import compressed_tensors
import gguf
import ml_dtypes
import numpy as np
import onnx
import torch
from compressed_tensors.compressors.mxfp6.helpers import pack_fp6_to_uint8, unpack_fp6_from_uint8
from compressed_tensors.compressors.nvfp4.helpers import pack_fp4_to_uint8, unpack_fp4_from_uint8
from compressed_tensors.compressors.pack_quantized.base import PackedQuantizationCompressor
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32, unpack_from_int32
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/quant-core/tests/golden"
SHAPES = [(1, 1), (3, 5), (2, 32), (5, 33), (33, 4), (7, 100)]
EVEN = [(1, 4), (3, 8), (2, 36), (5, 100)]
LENGTHS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 64]


def splitmix(n, seed):
    i = np.arange(1, n + 1, dtype=np.uint64)
    z = np.uint64(seed) + i * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def fields(n, bits, seed):
    return (splitmix(n, seed) & np.uint64((1 << bits) - 1)).astype(np.uint8)


def signed(codes, bits):
    """Two's complement of `bits` bits."""
    half = 1 << (bits - 1)
    return ((codes.astype(np.int16) ^ half) - half).astype(np.int8)


def integers():
    """Weights packed along rows, zero points along columns."""
    cases = []
    for bits in range(1, 9):
        for rows, columns in SHAPES:
            seed = 1000 * bits + 10 * rows + columns
            codes = signed(fields(rows * columns, bits, seed), bits).reshape(rows, columns)
            for packing, dim in (("pack-quantized", 1), ("pack-quantized zero points", 0)):
                words = pack_to_int32(torch.from_numpy(codes), bits, dim)
                # The package 0.20 fails to unpack zero points of 4 bits in a single row of words.
                if not (dim == 0 and bits == 4 and words.shape[0] == 1):
                    back = unpack_from_int32(words, bits, torch.Size(codes.shape), dim)
                    assert np.array_equal(back.numpy(), codes)
                cases.append(
                    {
                        "packing": packing,
                        "bits": bits,
                        "rows": rows,
                        "columns": columns,
                        "seed": seed,
                        "shape": list(words.shape),
                        "bytes": words.numpy().astype("<i4").tobytes().hex(),
                    }
                )
    return cases


def layer():
    """One affine layer of 4 bits through the package's compressor: its codes are whole, so that nothing rounds."""
    rows, columns, group, bits, seed = 9, 64, 16, 4, 77
    codes = signed(fields(rows * columns, bits, seed), bits).reshape(rows, columns)
    zeros = signed(fields(rows * columns // group, bits, seed + 1), bits).reshape(rows, -1)
    weight = codes.astype(np.float32) - np.repeat(zeros, group, 1)
    args = QuantizationArgs(num_bits=bits, type="int", symmetric=False, strategy="group", group_size=group)
    state = {
        "weight": torch.from_numpy(weight),
        "weight_scale": torch.ones(rows, columns // group),
        "weight_zero_point": torch.from_numpy(zeros),
    }
    done = PackedQuantizationCompressor.compress(state, QuantizationScheme(targets=["Linear"], weights=args))
    return {
        "rows": rows,
        "columns": columns,
        "groups": columns // group,
        "seed": seed,
        "weight_packed": done["weight_packed"].numpy().astype("<i4").tobytes().hex(),
        "weight_zero_point": done["weight_zero_point"].numpy().astype("<i4").tobytes().hex(),
    }


def floats():
    cases = []
    for bits, kind, pack, unpack in (
        (4, ml_dtypes.float4_e2m1fn, pack_fp4_to_uint8, unpack_fp4_from_uint8),
        (6, ml_dtypes.float6_e2m3fn, pack_fp6_to_uint8, unpack_fp6_from_uint8),
    ):
        for rows, columns in EVEN:
            seed = 2000 * bits + 10 * rows + columns
            codes = fields(rows * columns, bits, seed).reshape(rows, columns)
            values = torch.from_numpy(codes.view(kind).astype(np.float32))
            data = pack(values)
            assert torch.equal(unpack(data, rows, columns, torch.float32), values)
            cases.append(
                {
                    "packing": "float-pack-quantized",
                    "bits": bits,
                    "rows": rows,
                    "columns": columns,
                    "seed": seed,
                    "shape": list(data.shape),
                    "bytes": data.numpy().tobytes().hex(),
                }
            )
    return cases


def onnx_tensors():
    cases = []
    for name, bits, kind in (
        ("int4", 4, ml_dtypes.int4),
        ("uint4", 4, ml_dtypes.uint4),
        ("int2", 2, ml_dtypes.int2),
        ("uint2", 2, ml_dtypes.uint2),
        ("float4e2m1", 4, ml_dtypes.float4_e2m1fn),
        ("float6e2m3", 6, ml_dtypes.float6_e2m3fn),
        ("float6e3m2", 6, ml_dtypes.float6_e3m2fn),
        ("int8", 8, np.int8),
        ("uint8", 8, np.uint8),
    ):
        for length in LENGTHS:
            seed = 3000 * bits + length
            codes = fields(length, bits, seed)
            if name.startswith("int"):
                array = signed(codes, bits).astype(kind)
            elif name.startswith("uint"):
                array = codes.astype(kind)
            else:
                array = codes.view(kind)
            tensor = onnx.numpy_helper.from_array(array)
            data_type = getattr(onnx.TensorProto, name.upper())
            assert tensor.data_type == data_type
            assert np.array_equal(onnx.numpy_helper.to_array(tensor), array)
            if bits < 8:
                made = onnx.helper.make_tensor("t", data_type, [length], array)
                assert bytes(onnx.numpy_helper.to_array(made).view(np.uint8)) == bytes(array.view(np.uint8))
            cases.append(
                {
                    "packing": "onnx",
                    "type": name,
                    "bits": bits,
                    "rows": 1,
                    "columns": length,
                    "seed": seed,
                    "shape": [len(tensor.raw_data)],
                    "bytes": tensor.raw_data.hex(),
                }
            )
    return cases


def gguf_blocks():
    """Values of blocks whose codes are any bytes; steps and minima are positive, negative, subnormal and zero."""
    halves = np.asarray([1.0, -0.375, 2**-20, 0.0, 1000.5, -(2**-24)], np.float16).view(np.uint8).reshape(-1, 2)
    cases = []
    for name, length, step, minimum in (
        ("q4_0", 32, 0, None),
        ("q4_1", 32, 0, 2),
        ("q5_0", 32, 0, None),
        ("q5_1", 32, 0, 2),
        ("q8_0", 32, 0, None),
        ("tq2_0", 256, 64, None),
    ):
        kind = getattr(gguf.GGMLQuantizationType, name.upper())
        size = gguf.GGML_QUANT_SIZES[kind][1]
        data = fields(6 * size, 8, 4000 + length).reshape(6, size)
        data[:, step : step + 2] = halves
        if minimum is not None:
            data[:, minimum : minimum + 2] = halves[::-1]
        values = gguf.quants.dequantize(data, kind)
        weights = splitmix(values.size, 0)
        bits = values.reshape(-1).view(np.uint32).astype(np.uint64)
        cases.append(
            {
                "format": name,
                "bytes": data.tobytes().hex(),
                # As in quant_formats.py: a sum for each thousand.
                "values": [
                    int(np.sum((bits[i : i + 1000] + np.uint64(1)) * weights[: len(bits[i : i + 1000])], dtype=np.uint64))
                    for i in range(0, len(bits), 1000)
                ],
            }
        )
    return cases


versions = {k.__name__: k.__version__ for k in (compressed_tensors, ml_dtypes, np, onnx, torch)}
header = {**versions, "gguf": "0.19", "tolerance": 0, "regenerate": "python tools/golden/quant_pack.py"}
content = {
    "header": header,
    "cases": integers() + floats() + onnx_tensors(),
    "layer": layer(),
    "gguf": gguf_blocks(),
}
(OUT / "pack.json").write_text(json.dumps(content) + "\n")
