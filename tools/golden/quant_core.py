"""Golden codes for quant-core, from the reference evaluator of ONNX.

Run with numpy and onnx installed: python tools/golden/quant_core.py
Floats are stored as the integers of their 32 bits. Tolerance: none, all numbers are exact.
"""

import json
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

SEED = 0
OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/quant-core/tests/golden/quantize_linear.json"


def bits(x):
    return np.asarray(x, np.float32).view(np.uint32).reshape(-1).tolist()


def run(x, scale, zero, axis):
    attributes = {} if axis is None else {"axis": axis}
    kind = TensorProto.INT8 if zero.dtype == np.int8 else TensorProto.UINT8
    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], **attributes),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], **attributes),
        ],
        "golden",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, scale.shape),
            helper.make_tensor_value_info("z", kind, zero.shape),
        ],
        [helper.make_tensor_value_info("q", kind, x.shape), helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    return ReferenceEvaluator(model).run(None, {"x": x, "s": scale, "z": zero})


random = np.random.default_rng(SEED)
cases = []
for dtype in (np.int8, np.uint8):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    for axis in (None, 0, 1):
        for seed in range(2):
            shape = (5, 12)
            cells = () if axis is None else (shape[axis],)
            scale = np.asarray(random.uniform(0.004, 0.2, cells), np.float32)
            zero = np.asarray(random.integers(low, high, cells, endpoint=True), dtype)
            spread = scale if axis is None else np.expand_dims(scale, 1 - axis)
            x = np.asarray(random.normal(0, 60, shape), np.float32) * spread
            # Near-ties, where a multiplication by the inverse would give another code.
            x[:, :4] = (np.asarray(random.integers(-60, 60, (5, 4)), np.float32) + np.float32(0.5)) * (
                spread if axis != 1 else spread[:, :4]
            )
            x = x.astype(np.float32)
            codes, values = run(x, scale, zero, axis)
            cases.append(
                {
                    "name": f"{np.dtype(dtype).name} axis {axis} number {seed}",
                    "signed": dtype == np.int8,
                    "shape": list(shape),
                    "axis": axis,
                    "scale": bits(scale),
                    "zero_point": np.asarray(zero).reshape(-1).astype(int).tolist(),
                    "x": bits(x),
                    "codes": codes.reshape(-1).astype(int).tolist(),
                    "values": bits(values),
                }
            )

header = {"onnx": onnx.__version__, "numpy": np.__version__, "seed": SEED, "tolerance": 0}
header["regenerate"] = "python tools/golden/quant_core.py"
OUT.write_text(json.dumps({"header": header, "cases": cases}) + "\n")
