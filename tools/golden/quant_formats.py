"""Golden numbers for the formats of quant-core: ml_dtypes, torch, ONNX's text, torchao and gguf.

Run with the packages of requirements.txt, torchao 0.18 and gguf 0.19 installed: python tools/golden/quant_formats.py
Inputs are a formula of a seed that the tests repeat; of the codes there are sums, one for each thousand of them:
sum over i of (code[i] + 1) * splitmix64(i), modulo 2^64. Tolerance: none, all numbers are exact.
"""

import json
import pathlib
import warnings

import gguf
import ml_dtypes
import numpy as np
import torch
import torchao
from torchao.prototype.mx_formats.constants import DTYPE_FP6_E2M3, DTYPE_FP6_E3M2
from torchao.prototype.mx_formats.mx_tensor import to_mx

warnings.filterwarnings("ignore")
np.seterr(all="ignore")

SEED = 1
COUNT = 100_000
PART = 1000
OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/quant-core/tests/golden"

# name: type, code bits, mantissa bits, exponents of f32 between which random inputs lie
FORMATS = {
    "bf16": (ml_dtypes.bfloat16, 16, 7, 0, 254),
    "fp16": (np.float16, 16, 10, 127 - 27, 127 + 17),
    "e4m3fn": (ml_dtypes.float8_e4m3fn, 8, 3, 127 - 12, 127 + 10),
    "e5m2": (ml_dtypes.float8_e5m2, 8, 2, 127 - 19, 127 + 17),
    "e4m3fnuz": (ml_dtypes.float8_e4m3fnuz, 8, 3, 127 - 13, 127 + 9),
    "e5m2fnuz": (ml_dtypes.float8_e5m2fnuz, 8, 2, 127 - 20, 127 + 17),
    "e3m2fn": (ml_dtypes.float6_e3m2fn, 6, 2, 127 - 7, 127 + 6),
    "e2m3fn": (ml_dtypes.float6_e2m3fn, 6, 3, 127 - 6, 127 + 4),
    "e2m1fn": (ml_dtypes.float4_e2m1fn, 4, 1, 127 - 4, 127 + 4),
    "e8m0fnu": (ml_dtypes.float8_e8m0fnu, 8, 0, 0, 254),
}
TORCH = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "e4m3fn": torch.float8_e4m3fn,
    "e5m2": torch.float8_e5m2,
    "e4m3fnuz": torch.float8_e4m3fnuz,
    "e5m2fnuz": torch.float8_e5m2fnuz,
    "e8m0fnu": torch.float8_e8m0fnu,
}


def splitmix(n, seed=0):
    i = np.arange(1, n + 1, dtype=np.uint64)
    z = np.uint64(seed) + i * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def inputs(mantissa, low, high):
    """Sign, exponent and mantissa drawn; of a quarter only the bits that make a value or a tie of the format."""
    h = splitmix(COUNT, SEED)
    fraction = h & np.uint64(0x7FFFFF)
    keep = np.uint64(0x7FFFFF ^ ((1 << (22 - mantissa)) - 1))
    fraction = np.where((h >> np.uint64(60)) & np.uint64(3) == 0, fraction & keep, fraction)
    exponent = np.uint64(low) + ((h >> np.uint64(23)) & np.uint64(0xFFFF)) % np.uint64(high - low + 1)
    sign = h >> np.uint64(63)
    return (sign << np.uint64(31) | exponent << np.uint64(23) | fraction).astype(np.uint32).view(np.float32)


def normals(n, seed):
    """Sums of four uniform numbers, times a power of two that grows along the tensor: exact in f32."""
    h = splitmix(n, seed)
    parts = [((h >> np.uint64(16 * k)) & np.uint64(0xFFFF)).astype(np.float32) for k in range(4)]
    x = (parts[0] + parts[1] + parts[2] + parts[3] - np.float32(131070)) / np.float32(65536)
    return x * np.exp2((np.arange(n) // 512 % 24 - 12).astype(np.float32))


def sums(codes):
    codes = np.asarray(codes).astype(np.uint64).reshape(-1)
    weights = splitmix(PART)
    parts = [codes[i : i + PART] for i in range(0, len(codes), PART)]
    return [int(np.sum((part + np.uint64(1)) * weights[: len(part)], dtype=np.uint64)) for part in parts]


def bits(x):
    return np.asarray(x, np.float32).view(np.uint32).reshape(-1).tolist()


def raw(codes):
    return codes.view(np.uint16 if codes.dtype.itemsize == 2 else np.uint8)


def decode(name):
    kind, width, *_ = FORMATS[name]
    codes = np.arange(1 << width).astype(np.uint16 if width == 16 else np.uint8)
    return codes.view(kind).astype(np.float32)


def halfway(name):
    """The midpoint of every two neighbours, the floats beside it, and all of that negated."""
    values = decode(name)
    magnitudes = values[: len(values) if name == "e8m0fnu" else len(values) // 2]
    magnitudes = magnitudes[np.isfinite(magnitudes)].astype(np.float64)
    middle = ((magnitudes[1:] + magnitudes[:-1]) / 2).astype(np.float32)
    three = np.stack([middle, np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(np.inf))], 1)
    return np.concatenate([three.reshape(-1), -three.reshape(-1)])


def specials(name):
    values = decode(name)
    values = values[np.isfinite(values)]
    top = np.float32(values.max())
    beyond = [np.nextafter(top, np.float32(np.inf)), top * np.float32(1.03), top * np.float32(1.2), top * np.float32(4)]
    some = [0.0, 1.0, np.inf, np.float32(3.4028235e38), 1e-45, 1.1754944e-38, top, *beyond]
    x = np.asarray(some + [-y for y in some], np.float32)
    if name not in ("e3m2fn", "e2m3fn", "e2m1fn"):
        nans = np.asarray([0x7FC00000, 0xFFC00000, 0x7FE12345, 0xFF812345, 0x7F800001], np.uint32)
        x = np.concatenate([x, nans.view(np.float32)])
    return x


def saturated(name, x, codes):
    """The same with everything finite or infinite that overflowed at the largest value."""
    values = decode(name)
    finite = np.isfinite(values)
    top = int(np.argmax(np.where(finite, values, -1)))
    lost = ~np.isfinite(codes.view(FORMATS[name][0]).astype(np.float32)) & ~np.isnan(x)
    negative = np.signbit(x)
    least = top + (1 << (FORMATS[name][1] - 1))
    return np.where(lost, np.where(negative, least, top), codes).astype(codes.dtype)


def cast_ml(name, x):
    return raw(x.astype(FORMATS[name][0]))


def cast_torch(name, x):
    codes = torch.from_numpy(x.copy()).to(TORCH[name])
    codes = codes.view(torch.uint16 if FORMATS[name][1] == 16 else torch.uint8).numpy().copy()
    if name == "bf16":
        # Vector instructions fill NaN with ones, the scalar code does not.
        codes[np.isnan(x)] = cast_ml(name, x[np.isnan(x)])
    return codes


def cast_onnx(name, x):
    """The table in the text of ONNX's Cast, with saturate = 1 and round_mode = up."""
    codes = cast_ml(name, x)
    if name in ("bf16", "fp16"):
        return codes
    if name != "e8m0fnu":
        return saturated(name, x, codes)
    fraction, exponent = np.frexp(x.astype(np.float64))
    up = np.clip(exponent - (fraction == 0.5) + 127, 0, 254)
    up = np.where(x == 0, 0, np.where(np.isposinf(x), 254, up))
    return np.where((x < 0) | np.isnan(x), 255, up).astype(np.uint8)


def cast_gguf(name, x):
    if name == "fp16":
        return raw(gguf.quants.quantize(x, gguf.GGMLQuantizationType.F16))
    return gguf.quants.quantize(x, gguf.GGMLQuantizationType.BF16).view(np.uint16)


def cast_ocp(name, x):
    codes = cast_ml(name, x)
    if name == "e8m0fnu":
        return np.where((x > 0) & (codes == 255), 254, codes).astype(np.uint8)
    return saturated(name, x, codes)


PROFILES = {
    "ml-dtypes": (cast_ml, list(FORMATS)),
    "onnx": (cast_onnx, list(FORMATS)),
    "torch": (cast_torch, list(TORCH)),
    "gguf": (cast_gguf, ["bf16", "fp16"]),
    "ocp": (cast_ocp, ["e4m3fn", "e5m2", "e3m2fn", "e2m3fn", "e2m1fn", "e8m0fnu"]),
}


def scalars():
    tables, casts = {}, []
    for name, (_, width, mantissa, low, high) in FORMATS.items():
        values = decode(name)
        if width <= 8:
            tables[name] = bits(values)
        else:
            tables[name] = sums(np.where(np.isnan(values), 0, values.view(np.uint32)))
        for profile, (cast, defined) in PROFILES.items():
            if name in defined:
                casts.append(
                    {
                        "format": name,
                        "numerics": profile,
                        "mantissa": mantissa,
                        "exponents": [low, high],
                        "random": sums(cast(name, inputs(mantissa, low, high))),
                        "halfway": sums(cast(name, halfway(name))),
                        "specials": {"x": bits(specials(name)), "codes": cast(name, specials(name)).tolist()},
                    }
                )
    return {"seed": SEED, "count": COUNT, "tables": tables, "casts": casts}


def elements(x, kind):
    """OCP's rule written down once more, for MXINT8 and tails, which torchao does not have."""
    amax = np.abs(x).max(-1, keepdims=True)
    exponent = np.frexp(amax.astype(np.float64))[1] - 1
    largest = {"e4m3fn": 8, "e5m2": 15, "e2m3fn": 2, "e3m2fn": 4, "e2m1fn": 2, "int8": 0}[kind]
    exponent = np.where(amax == 0, -127, np.clip(exponent - largest, -127, 127))
    scaled = (x.astype(np.float64) / np.exp2(exponent.astype(np.float64))).astype(np.float32)
    if kind == "int8":
        codes = np.clip(np.rint(scaled * 64), -127, 127).astype(np.int8)
        values = codes.astype(np.float64) / 64
        codes = codes.view(np.uint8)
    else:
        codes = saturated(kind, scaled, cast_ml(kind, scaled))
        values = codes.view(FORMATS[kind][0]).astype(np.float64)
    return codes, (exponent + 127).astype(np.uint8)[:, 0], (values * np.exp2(exponent.astype(np.float64))).astype(np.float32)


def row(name, shape, codes, scales, decoded, glob=None, **more):
    one = {"format": name, "shape": list(shape), "codes": sums(codes), "decoded": sums(np.asarray(decoded).view(np.uint32))}
    if scales is not None:
        scales = np.asarray(scales)
        one["scales"] = sums(scales.view(np.uint32) if scales.dtype == np.float32 else scales)
    if glob is not None:
        one["global"] = bits([glob])[0]
    return {**one, **more}


def block(values, columns, length):
    """Rows cut into blocks; a tail is filled with zeros."""
    rows = values.reshape(-1, columns)
    padded = np.zeros((rows.shape[0], -(-columns // length) * length), np.float32)
    padded[:, :columns] = rows
    return padded.reshape(-1, length)


def unblock(x, columns, length):
    return x.reshape(-1, -(-columns // length) * length)[:, :columns]


def tensor(columns, seed):
    rows = 24 * 512 // columns
    x = normals(rows * columns, seed).reshape(rows, columns)
    x[1] = 0
    x[2] = np.float32(0.75)
    x[3, : columns // 2] = 0
    x[4, 1:] = x[4, 1:] * np.float32(2**-10)
    return x


def nvfp4(x, alone):
    """Codes by exact comparison in f64: x * global against midpoint * scale."""
    blocks = block(x, x.shape[1], 16)
    amax = np.abs(x).max()
    glob = np.float32(1) if alone else np.float32(2688) / amax
    top = np.abs(blocks).max(1)
    scale = np.minimum(glob * top / np.float32(6), np.float32(448)).astype(ml_dtypes.float8_e4m3fn)
    wide = scale.astype(np.float64)[:, None]
    product = np.abs(blocks.astype(np.float64)) * np.float64(glob)
    codes = np.zeros(blocks.shape, np.uint8)
    for i, middle in enumerate([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0]):
        limit = middle * wide
        codes += (product > limit) | ((product == limit) & (i % 2 == 1))
    codes |= np.signbit(blocks).astype(np.uint8) << 3
    codes = np.where(wide > 0, codes, 0).astype(np.uint8)
    values = codes.view(ml_dtypes.float4_e2m1fn).astype(np.float32)
    decoded = values * scale.astype(np.float32)[:, None] / glob
    return codes, scale.view(np.uint8), decoded, None if alone else glob


NF4 = np.asarray(
    # bitsandbytes/functional.py
    [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
     -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
     0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0],
    np.float32,
)  # fmt: skip


def blocks():
    rows = []
    for columns in (512, 100):
        x = tensor(columns, columns)
        shape = x.shape
        for name, kind, theirs in [
            ("mxfp8_e4m3", "e4m3fn", torch.float8_e4m3fn),
            ("mxfp8_e5m2", "e5m2", torch.float8_e5m2),
            ("mxfp6_e2m3", "e2m3fn", DTYPE_FP6_E2M3),
            ("mxfp6_e3m2", "e3m2fn", DTYPE_FP6_E3M2),
            ("mxfp4", "e2m1fn", torch.float4_e2m1fn_x2),
            ("mxint8", "int8", None),
        ]:
            codes, scales, decoded = elements(block(x, columns, 32), kind)
            if theirs is not None and columns % 32 == 0:
                scale, data = to_mx(torch.from_numpy(x), theirs, 32)
                data = data.view(torch.uint8).numpy().reshape(-1)
                if name == "mxfp4":
                    data = np.stack([data & 15, data >> 4], 1).reshape(-1)
                assert np.array_equal(scale.view(torch.uint8).numpy().reshape(-1), scales), name
                assert np.array_equal(data, codes.reshape(-1)), name
            rows.append(row(name, shape, unblock(codes, columns, 32), scales, unblock(decoded, columns, 32)))
        for name, alone in [("nvfp4", False), ("nvfp4 global=none", True)]:
            codes, scales, decoded, glob = nvfp4(x, alone)
            rows.append(row(name, shape, unblock(codes, columns, 16), scales, unblock(decoded, columns, 16), glob))
        cut = block(x, columns, 64)
        scales = np.abs(cut).max(1)
        middles = (NF4[1:].astype(np.float64) + NF4[:-1]) / 2
        codes = (cut.astype(np.float64)[:, :, None] > middles * scales.astype(np.float64)[:, None, None]).sum(2)
        codes = np.where(scales[:, None] == 0, 7, codes)
        decoded = NF4[codes] * scales[:, None]
        rows.append(row("nf4", shape, unblock(codes, columns, 64), scales, unblock(decoded, columns, 64)))
        gamma = np.float32(np.abs(x).astype(np.float64).mean())
        codes = np.clip(np.rint(x / gamma), -1, 1).astype(np.int8)
        rows.append(row("ternary", shape, codes.view(np.uint8), np.asarray([gamma]), codes.astype(np.float32) * gamma + np.float32(0)))
        scales = np.abs(x).astype(np.float64).mean(1).astype(np.float32)
        codes = np.where(x >= 0, 1, -1).astype(np.int8)
        rows.append(row("binary", shape, codes.view(np.uint8), scales, codes.astype(np.float32) * scales[:, None]))
        for name in ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "tq2_0"):
            length = 256 if name == "tq2_0" else 32
            if columns % length:
                continue
            kind = getattr(gguf.GGMLQuantizationType, name.upper())
            data = gguf.quants.quantize(x, kind)
            rows.append(row(name, shape, data, None, gguf.quants.dequantize(data, kind)))
    return {"blocks": rows}


def write(name, **content):
    versions = {k.__name__: k.__version__ for k in (ml_dtypes, torch, torchao, np)}
    header = {**versions, "gguf": "0.19", "tolerance": 0, "regenerate": "python tools/golden/quant_formats.py"}
    (OUT / name).write_text(json.dumps({"header": header, **content}) + "\n")


write("formats.json", **scalars())
write("blocks.json", **blocks())
