"""Golden numbers for quant-core: codes from ONNX, observers, parameters and gradients from torch.

Run with the packages of requirements.txt installed: python tools/golden/quant_core.py
Floats are stored as the integers of their 32 bits. Tolerance: none, all numbers are exact.
"""

import json
import pathlib
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from torch.ao.quantization import observer as observers

warnings.filterwarnings("ignore")

SEED = 0
OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/quant-core/tests/golden"


def bits(x):
    return np.asarray(x, np.float32).view(np.uint32).reshape(-1).tolist()


def write(name, versions, **content):
    header = {**versions, "numpy": np.__version__, "seed": SEED, "tolerance": 0}
    header["regenerate"] = "python tools/golden/quant_core.py"
    (OUT / name).write_text(json.dumps({"header": header, **content}) + "\n")


def run(x, scale, zero, axis):
    """Codes and values of ONNX Runtime, after a comparison with ONNX's own evaluator."""
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
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    inputs = {"x": x, "s": scale, "z": zero}
    codes, values = session.run(None, inputs)
    reference = ReferenceEvaluator(model).run(None, inputs)
    # Beyond 32-bit integers the evaluator wraps around, against the specification's text, which saturates.
    shape = [1] * x.ndim
    if axis is not None:
        shape[axis] = -1
    countable = np.abs(x / scale.reshape(shape)) < 2**31
    for ours, theirs in zip((codes, values), reference):
        assert np.array_equal(ours[countable], theirs[countable])
    return codes, values


def onnx_cases():
    random = np.random.default_rng(SEED)

    def case(name, x, scale, zero, axis):
        with np.errstate(over="ignore", invalid="ignore"):
            codes, values = run(x, scale, zero, axis)
        return {
            "name": name,
            "signed": zero.dtype == np.int8,
            "shape": list(x.shape),
            "axis": axis,
            "scale": bits(scale),
            "zero_point": np.asarray(zero).reshape(-1).astype(int).tolist(),
            "x": bits(x),
            "codes": codes.reshape(-1).astype(int).tolist(),
            "values": bits(values),
        }

    for dtype in (np.int8, np.uint8):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        for axis in (None, 0, 1):
            for number in range(2):
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
                yield case(f"{np.dtype(dtype).name} axis {axis} number {number}", x.astype(np.float32), scale, zero, axis)
        # What is special among floats, by scales of all sizes.
        tiny, huge = np.finfo(np.float32).tiny, np.finfo(np.float32).max
        special = [0.0, -0.0, 1e-45, -1e-45, tiny, -tiny, 0.25, -0.25, 0.5, -0.5, 1.5, -1.5, 2.5, 126.5, 127.5, -128.5]
        special += [254.5, 255.5, 1e9, -1e9, 1e30, -1e30, huge, -huge, np.inf, -np.inf]
        special = np.asarray(special, np.float32)
        for scale in (1.0, 0.5, 0.3, 3e-5, tiny, 3e35):
            for zero in (low, 0, 3, high):
                name = f"{np.dtype(dtype).name} special scale {scale:g} zero {zero}"
                yield case(name, special, np.asarray(scale, np.float32), np.asarray(zero, dtype), None)
    # Four axes, as the weight of a convolution has them.
    x = np.asarray(random.normal(0, 1, (3, 2, 3, 2)), np.float32)
    scale = np.abs(x).max((1, 2, 3)) / np.float32(127)
    yield case("int8 convolution axis 0", x, scale, np.zeros(3, np.int8), 0)
    scale = np.abs(x).max((0, 2, 3)) / np.float32(127)
    yield case("int8 transposed convolution axis 1", x, scale, np.zeros(2, np.int8), 1)


def moving_averages():
    random = np.random.default_rng(SEED + 1)
    for rate in (0.01, 0.1, 0.5):
        for channel in (False, True):
            kind = observers.MovingAveragePerChannelMinMaxObserver if channel else observers.MovingAverageMinMaxObserver
            observer = kind(averaging_constant=rate, dtype=torch.qint8)
            batches = []
            for _ in range(6):
                x = np.asarray(random.normal(0.3, 2.0, (3, 8)) * random.uniform(0.1, 10), np.float32)
                observer(torch.from_numpy(x))
                limits = [np.asarray(observer.min_val), np.asarray(observer.max_val)]
                batches.append({"x": bits(x), "min": bits(limits[0]), "max": bits(limits[1])})
            yield {"decay": 1 - rate, "channel": channel, "shape": [3, 8], "batches": batches}


def parameters():
    """torch's scales and zero points; its symmetric rule is the half step's, and the narrow one's once told to use −127 ..= 127."""
    random = np.random.default_rng(SEED + 2)
    schemes = {
        "int8 tensor narrow": dict(dtype=torch.qint8, qscheme=torch.per_tensor_symmetric, quant_min=-127, quant_max=127),
        "int8 tensor affine": dict(dtype=torch.qint8, qscheme=torch.per_tensor_affine),
        "uint8 tensor affine": dict(dtype=torch.quint8, qscheme=torch.per_tensor_affine),
        "int8 tensor symmetric": dict(dtype=torch.qint8, qscheme=torch.per_tensor_symmetric),
        "int4 tensor symmetric": dict(dtype=torch.qint8, qscheme=torch.per_tensor_symmetric, quant_min=-8, quant_max=7),
        "int4 tensor affine": dict(dtype=torch.qint8, qscheme=torch.per_tensor_affine, quant_min=-8, quant_max=7),
    }
    for scheme, options in schemes.items():
        for number in range(40):
            low, high = np.sort(random.normal(0, 10.0 ** random.integers(-3, 4), 2)).astype(np.float32)
            if number % 4 == 0:
                low, high = (np.float32(0), np.abs(high)) if number % 8 else (-np.abs(low), np.float32(0))
            observer = observers.MinMaxObserver(**options)
            observer(torch.tensor([low, high]))
            scale, zero = observer.calculate_qparams()
            yield {
                "scheme": scheme,
                "range": bits([low, high]),
                "scale": bits(scale)[0],
                "zero_point": int(zero),
            }


def gradients():
    """Scales are powers of two: their inverse is exact, so that torch's multiplication by it is the division."""
    random = np.random.default_rng(SEED + 3)
    for axis in (None, 0, 1):
        for qmin, qmax in ((-127, 127), (-128, 127), (0, 255)):
            shape = (6, 40)
            cells = 1 if axis is None else shape[axis]
            scale = np.float32(2.0) ** random.integers(-8, 3, cells).astype(np.float32)
            zero = random.integers(qmin, qmax, cells, endpoint=True).astype(np.int32)
            along = [1, 1]
            along[axis or 0] = cells
            k = random.integers(qmin - 20, qmax + 21, shape) - zero.reshape(along)
            x = np.asarray(k + random.choice([0.0, 0.25, 0.5, -0.4999], shape), np.float32) * scale.reshape(along)
            weight = np.asarray(random.normal(0, 1, shape), np.float32)
            tensor = torch.from_numpy(x.astype(np.float32)).requires_grad_()
            if axis is None:
                y = torch.fake_quantize_per_tensor_affine(tensor, float(scale[0]), int(zero[0]), qmin, qmax)
            else:
                y = torch.fake_quantize_per_channel_affine(
                    tensor, torch.from_numpy(scale), torch.from_numpy(zero), axis, qmin, qmax
                )
            (y * torch.from_numpy(weight)).sum().backward()
            yield {
                "shape": list(shape),
                "axis": axis,
                "qmin": qmin,
                "qmax": qmax,
                "scale": bits(scale),
                "zero_point": zero.tolist(),
                "x": bits(x),
                "weight": bits(weight),
                "y": bits(y.detach()),
                "gradient": bits(tensor.grad),
            }


versions = {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}
write("quantize_linear.json", versions, cases=list(onnx_cases()))
write(
    "torch.json",
    {"torch": torch.__version__},
    moving_averages=list(moving_averages()),
    parameters=list(parameters()),
    gradients=list(gradients()),
)
