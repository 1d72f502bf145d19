"""Golden values and gradients for quant-core's estimators, from torch's autograd in float64.

Run with the packages of requirements.txt installed: python tools/golden/quant_qat.py
Every formula is written here as its paper has it, with `round` made straight-through; where torch has the operation
itself, the formula is compared with it. Inputs are 32-bit floats away from ties and limits, so that a float32 run
rounds to the same codes. Tolerance: 1e-6 of the largest number.
"""

import json
import math
import pathlib

import numpy as np
import torch

SEED = 5
OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/quant-core/tests/golden"
random = np.random.default_rng(SEED)
CASES = []


class Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.round(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def ste(x):
    return Round.apply(x)


def tensor(values):
    return torch.tensor(np.asarray(values, np.float32).astype(np.float64), requires_grad=True)


def away_from_ties(x, divisor, shift=0.0):
    """Moves numbers whose quotient is within 1e-3 of a half."""
    quotient = (x - shift) / divisor
    near = np.abs(quotient - np.floor(quotient) - 0.5) < 1e-3
    return np.where(near, x + 4e-3 * divisor, x)


def short(x):
    """Digits that a 32-bit float needs for inputs; ten for results, far below the tolerance."""
    x = x.detach().reshape(-1)
    exact = torch.equal(x.float().double(), x)
    return [float(str(np.float32(v))) if exact else float(f"{v:.10g}") for v in x.tolist()]


def case(estimator, inputs, value, knobs=None):
    weight = torch.tensor(np.asarray(random.normal(0, 1, tuple(value.shape)), np.float32).astype(np.float64))
    names = [name for name, x in inputs.items() if x.requires_grad]
    gradients = torch.autograd.grad((value * weight).sum(), [inputs[name] for name in names])
    CASES.append(
        {
            "estimator": estimator,
            "knobs": knobs or {},
            "inputs": {name: {"shape": list(x.shape), "data": short(x)} for name, x in inputs.items()},
            "weight": short(weight),
            "value": short(value),
            "gradients": {name: short(g) for name, g in zip(names, gradients)},
        }
    )
    return weight, dict(zip(names, gradients))


class Clip(torch.autograd.Function):
    """Codes within limits: gradient to the code inside only, where the rounded code decides."""

    @staticmethod
    def forward(ctx, code, qmin, qmax):
        ctx.save_for_backward((torch.round(code) >= qmin) & (torch.round(code) <= qmax))
        return torch.clamp(torch.round(code), qmin, qmax)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0], None, None


class Scaled(torch.autograd.Function):
    """A parameter whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.factor, None


def lsq(x, scale, qmin, qmax, factor):
    s = Scaled.apply(scale, factor)
    return Clip.apply(x / s, qmin, qmax) * s


def lsq_cases():
    for qmin, qmax, shape, along in (
        (-8, 7, (4, 20), (1, 1)),
        (-128, 127, (4, 20), (4, 1)),
        (0, 15, (3, 16), (1, 16)),
        (-2, 1, (3, 2, 3, 3), (3, 1, 1, 1)),
    ):
        scale = np.float32(2.0) ** random.integers(-4, 1, along).astype(np.float32)
        x = np.asarray(random.uniform(1.4 * qmin - 0.7, 1.4 * qmax + 0.7, shape) * scale, np.float32)
        x = away_from_ties(x, scale)
        factor = 1 / math.sqrt(x.size / scale.size * qmax)
        inputs = {"x": tensor(x), "scale": tensor(scale)}
        value = lsq(inputs["x"], inputs["scale"], qmin, qmax, factor)
        knobs = {"qmin": qmin, "qmax": qmax, "factor": factor}
        weight, gradients = case("lsq", inputs, value, knobs)
        if scale.size == 1:
            theirs = [inputs["x"].detach().float().requires_grad_(), torch.tensor([scale.item()], requires_grad=True)]
            zero = torch.zeros(1, requires_grad=True)
            y = torch._fake_quantize_learnable_per_tensor_affine(*theirs, zero, qmin, qmax, factor)
            (y * weight.float()).sum().backward()
            # Scales are powers of two, so that torch's multiplication by the inverse is the division.
            assert torch.equal(y.double(), value.detach())
            assert torch.equal(theirs[0].grad.double(), gradients["x"])
            assert torch.allclose(theirs[1].grad.double(), gradients["scale"].reshape(-1), rtol=1e-6)
            y = torch.fake_quantize_per_tensor_affine(theirs[0], scale.item(), 0, qmin, qmax)
            assert torch.equal(y.double(), value.detach())


def lsq_plus_cases():
    for qmin, qmax, shape, along, zero in (
        (0, 15, (4, 20), (1, 1), 3.3),
        (-8, 7, (4, 20), (4, 1), -1.8),
        (0, 255, (4, 16), (1, 1), 260.0),
    ):
        scale = np.float32(2.0) ** random.integers(-4, 1, along).astype(np.float32)
        zeros = np.asarray(np.full(along, zero) + random.uniform(-0.15, 0.15, along), np.float32)
        low, high = qmin - np.clip(zeros, qmin, qmax), qmax - np.clip(zeros, qmin, qmax)
        x = np.asarray((low - 4 + random.uniform(0, 1, shape) * (high - low + 8)) * scale, np.float32)
        x = away_from_ties(x, scale)
        factor = 1 / math.sqrt(x.size / scale.size * qmax)
        inputs = {"x": tensor(x), "scale": tensor(scale), "zero": tensor(zeros)}
        s, z = Scaled.apply(inputs["scale"], factor), Scaled.apply(inputs["zero"], factor)
        # Straight through the rounding and the limits of the zero point itself.
        integer = z + (torch.clamp(torch.round(z), qmin, qmax) - z).detach()
        value = (Clip.apply(inputs["x"] / s + integer, qmin, qmax) - integer) * s
        weight, gradients = case("lsq-plus", inputs, value, {"qmin": qmin, "qmax": qmax, "factor": factor})
        if scale.size == 1:
            theirs = [inputs["x"].detach().float(), torch.tensor([scale.item()]), torch.tensor([zeros.item()])]
            theirs = [x.requires_grad_() for x in theirs]
            y = torch._fake_quantize_learnable_per_tensor_affine(*theirs, qmin, qmax, factor)
            (y * weight.float()).sum().backward()
            assert torch.equal(y.double(), value.detach())
            for x, name in zip(theirs, ("x", "scale", "zero")):
                ours = gradients[name].reshape(x.shape)
                assert torch.allclose(x.grad.double(), ours, rtol=1e-5, atol=1e-6 * ours.abs().max().item()), name
    for qmin, qmax, shape, along in ((0, 15, (4, 20), (1, 1)), (-4, 3, (3, 16), (3, 1))):
        scale = np.asarray(random.uniform(0.05, 0.3, along), np.float32)
        offset = np.asarray(random.uniform(-0.5, 0.5, along), np.float32)
        x = random.uniform(1.3 * qmin - 1, 1.3 * qmax + 1, shape) * scale + offset
        x = away_from_ties(np.asarray(x, np.float32), scale, offset)
        factor = 1 / math.sqrt(x.size / scale.size * qmax)
        inputs = {"x": tensor(x), "scale": tensor(scale), "offset": tensor(offset)}
        s, b = Scaled.apply(inputs["scale"], factor), Scaled.apply(inputs["offset"], factor)
        value = Clip.apply((inputs["x"] - b) / s, qmin, qmax) * s + b
        case("lsq-plus-offset", inputs, value, {"qmin": qmin, "qmax": qmax, "factor": factor})


class Pact(torch.autograd.Function):
    """clamp(x, 0, α), with the paper's gradient at the limits."""

    @staticmethod
    def forward(ctx, x, alpha):
        ctx.save_for_backward(x, alpha)
        return torch.minimum(torch.clamp(x, min=0), alpha)

    @staticmethod
    def backward(ctx, gradient):
        x, alpha = ctx.saved_tensors
        above = (x >= alpha).to(gradient)
        inside = ((x >= 0) & (x < alpha)).to(gradient)
        sums = [dim for dim in range(x.ndim) if alpha.shape[dim] == 1]
        return gradient * inside, (gradient * above).sum(sums, keepdim=True)


def pact_cases():
    for bits, shape, along in ((8, (4, 20), (1, 1)), (4, (4, 20), (1, 20)), (2, (2, 3, 4, 4), (1, 3, 1, 1)), (1, (6, 10), (1, 1))):
        steps = 2**bits - 1
        alpha = np.asarray(random.uniform(1, 8, along), np.float32)
        x = np.asarray(random.uniform(-0.4, 1.4, shape) * alpha, np.float32)
        x = away_from_ties(x, alpha.astype(np.float64) / steps)
        inputs = {"x": tensor(x), "alpha": tensor(alpha)}
        y = Pact.apply(inputs["x"], inputs["alpha"])
        scale = inputs["alpha"].detach() / steps
        value = y + (torch.round(y / scale) * scale - y).detach()
        case("pact", inputs, value, {"bits": bits})
    inputs = {"x": tensor([[-1.0, -0.0, 0.0, 0.5, 2.0, 1.99, 3.0]]), "alpha": tensor([[2.0]])}
    y = Pact.apply(inputs["x"], inputs["alpha"])
    scale = 2.0 / 255
    case("pact", inputs, y + (torch.round(y / scale) * scale - y).detach(), {"bits": 8})


def dorefa_cases():
    for bits, shape in ((2, (4, 20)), (4, (3, 2, 3, 3)), (8, (4, 20))):
        steps = 2**bits - 1
        w = np.asarray(random.normal(0, 0.8, shape), np.float32)
        t = np.tanh(w.astype(np.float64))
        u = t / (2 * np.abs(t).max()) + 0.5
        scaled = u * steps
        w = np.where(np.abs(scaled - np.floor(scaled) - 0.5) < 2e-3, w * 0.97, w)
        inputs = {"x": tensor(w)}
        t = torch.tanh(inputs["x"])
        u = t / (2 * t.abs().amax()) + 0.5
        case("dorefa-weight", inputs, 2 * ste(u * steps) / steps - 1, {"bits": bits})
    # Equal largest numbers share the maximum's gradient.
    inputs = {"x": tensor([[0.5, -0.5, 0.2], [0.1, -0.3, 0.5]])}
    t = torch.tanh(inputs["x"])
    u = t / (2 * t.abs().amax()) + 0.5
    case("dorefa-weight", inputs, 2 * ste(u * 7) / 7 - 1, {"bits": 3})
    inputs = {"x": tensor(random.normal(0, 0.8, (4, 20)))}
    w = inputs["x"]
    case("dorefa-weight", inputs, w + (torch.sign(w) * w.abs().mean() - w).detach(), {"bits": 1})
    for bits in (1, 3, 8):
        steps = 2**bits - 1
        x = away_from_ties(np.asarray(random.uniform(-0.4, 1.4, (4, 20)), np.float32), 1 / steps)
        inputs = {"x": tensor(x)}
        case("dorefa-activation", inputs, ste(torch.clamp(inputs["x"], 0, 1) * steps) / steps, {"bits": bits})


def bitnet_cases():
    for shape in ((4, 20), (3, 2, 3, 3)):
        w = np.asarray(random.normal(0, 0.05, shape), np.float32)
        w = away_from_ties(w, np.abs(w).mean(dtype=np.float64))
        inputs = {"x": tensor(w)}
        x = inputs["x"]
        gamma = x.abs().mean()
        case("bitnet-weight", inputs, x + (torch.clamp(torch.round(x / gamma), -1, 1) * gamma - x).detach())
        a = np.asarray(random.normal(0, 3, shape), np.float32)
        a = away_from_ties(a, np.abs(a).max(-1, keepdims=True).astype(np.float64) / 127)
        inputs = {"x": tensor(a)}
        x = inputs["x"]
        scale = x.abs().amax(-1, keepdim=True) / 127
        case("bitnet-activation", inputs, x + (torch.clamp(torch.round(x / scale), -128, 127) * scale - x).detach())


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x < 0, -1.0, 1.0).to(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (ctx.saved_tensors[0].abs() <= 1)


def binary_cases():
    for shape, axis in (((4, 20), 0), ((4, 20), 1), ((4, 20), None), ((4, 3, 3, 3), 0)):
        w = np.asarray(random.normal(0, 0.8, shape), np.float32)
        w.reshape(-1)[:3] = [0.0, 1.0, -1.0]
        inputs = {"x": tensor(w)}
        x = inputs["x"]
        dims = [dim for dim in range(x.ndim) if dim != axis]
        case("binary", inputs, x.abs().mean(dims, keepdim=True) * Sign.apply(x), {"axis": axis})


def ternary_cases():
    for shape, axis in (((4, 20), 0), ((4, 20), None), ((4, 3, 3, 3), 0)):
        inputs = {"x": tensor(random.normal(0, 0.8, shape))}
        x = inputs["x"].detach()
        dims = [dim for dim in range(x.ndim) if dim != axis]
        keep = (x.abs() > 0.7 * x.abs().mean(dims, keepdim=True)).to(x)
        alpha = (x.abs() * keep).sum(dims, keepdim=True) / keep.sum(dims, keepdim=True)
        value = inputs["x"] + (alpha * torch.sign(x) * keep - inputs["x"]).detach()
        case("ternary", inputs, value, {"axis": axis})


def splitmix(seed, counter):
    most = 2**64 - 1
    x = (seed + (counter + 1) * 0x9E3779B97F4A7C15) & most
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & most
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & most
    return x ^ (x >> 31)


def quant_noise_cases():
    for shape, block, share, seed in (
        ((4, 20), (1, 8), 0.5, 1),
        ((7, 10), (3, 4), 0.3, 2),
        ((4, 3, 3, 3), (1, 1, 3, 3), 0.5, 3),
        ((6, 10), (1, 1), 1.0, 4),
        ((6, 10), (1, 1), 0.0, 4),
    ):
        scale = np.full((1,) * len(shape), 0.25, np.float32)
        x = away_from_ties(np.asarray(random.normal(0, 1.5, shape), np.float32), scale)
        grid = [-(-side // part) for side, part in zip(shape, block)]
        drawn = [(splitmix(seed, i) >> 11) / 2**53 < share for i in range(math.prod(grid))]
        mask = torch.tensor(drawn).reshape(grid)
        for dim, (side, part) in enumerate(zip(shape, block)):
            mask = mask.repeat_interleave(part, dim).narrow(dim, 0, side)
        inputs = {"x": tensor(x), "scale": tensor(scale)}
        quantized = lsq(inputs["x"], inputs["scale"], -4, 3, 0.5)
        knobs = {"block": list(block), "share": share, "seed": seed, "qmin": -4, "qmax": 3, "factor": 0.5}
        case("quant-noise", inputs, torch.where(mask, quantized, inputs["x"]), knobs)


lsq_cases()
lsq_plus_cases()
pact_cases()
dorefa_cases()
bitnet_cases()
binary_cases()
ternary_cases()
quant_noise_cases()
header = {"torch": torch.__version__, "numpy": np.__version__, "seed": SEED, "tolerance": 1e-6}
header["regenerate"] = "python tools/golden/quant_qat.py"
(OUT / "qat.json").write_text(json.dumps({"header": header, "cases": CASES}) + "\n")
print(len(CASES), "cases")
