"""Golden numbers for quant-core's schemes: codes, scales and zero points of torchao's primitives.

Run with torch and torchao==0.18.* installed: python tools/golden/quant_affine.py
Floats are stored as the integers of their 32 bits. Tolerance: none, all numbers are exact.
"""

import json
import pathlib

import numpy as np
import torch
import torchao
from torchao.quantization import quant_primitives as primitives
from torchao.quantization.quant_primitives import MappingType

SEED = 0
OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/quant-core/tests/golden/affine.json"
MAPPINGS = {
    "symmetric": MappingType.SYMMETRIC,
    "no-clip": MappingType.SYMMETRIC_NO_CLIPPING_ERR,
    "affine": MappingType.ASYMMETRIC,
}


def bits(x):
    return np.ascontiguousarray(x, np.float32).view(np.uint32).reshape(-1).tolist()


def cases():
    random = np.random.default_rng(SEED)
    rows, columns = 4, 24
    granularities = {
        "tensor": (rows, columns),
        "channel": (1, columns),
        "token": (1, columns),
        "group=8": (1, 8),
        "block=2x12": (2, 12),
    }
    for granularity, block in granularities.items():
        for words, mapping in MAPPINGS.items():
            for width in range(1, 9):
                if width == 1 and words == "no-clip":
                    continue
                x = random.normal(random.normal(0, 0.5), 10.0 ** random.integers(-2, 3), (rows, columns))
                x = x.astype(np.float32)
                x[0] *= 0  # a row of zeros
                # Steps of a small power of two land on ties.
                x[1] = np.round(x[1] / np.abs(x).max() * 32) / 32 * 4
                low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
                tensor = torch.from_numpy(x)
                scale, zero = primitives.choose_qparams_affine(
                    tensor, mapping, block, torch.int8, low, high, scale_dtype=torch.float32, zero_point_dtype=torch.int32
                )
                codes = primitives.quantize_affine(tensor, block, scale, zero, torch.int8, low, high)
                values = primitives.dequantize_affine(codes, block, scale, zero, torch.int8, low, high)
                yield {
                    "scheme": f"int{width} {granularity} {words}",
                    "shape": [rows, columns],
                    "x": bits(x),
                    "scale": bits(scale),
                    "zero_point": zero.reshape(-1).tolist(),
                    "codes": codes.reshape(-1).tolist(),
                    "values": bits(values),
                }


def main():
    content = {"torch": torch.__version__, "torchao": torchao.__version__, "seed": SEED, "cases": list(cases())}
    OUT.write_text(json.dumps(content, separators=(",", ":")) + "\n")
    print(len(content["cases"]), "cases")


if __name__ == "__main__":
    main()
