"""Feature losses with parts of their own: knowledge review, masked generation, learnt layers, projectors, regions."""

import importlib
import sys
import types

import torch
import torch.nn.functional as F

import golden
from golden import case, load, normal


def member(repository, path, stubs=()):
    """A module of a checkout that imports its neighbours, without the packages around it; None without checkouts.

    `stubs` are `(dotted name, {attribute: value})` of modules that are not to be imported.
    """
    if golden.REFERENCES is None:
        return None
    for name, attributes in stubs:
        module = sys.modules.setdefault(name, types.ModuleType(name))
        for key, value in attributes.items():
            setattr(module, key, value)
    folder, dotted = golden.REFERENCES / repository, "member_of_" + repository.replace("-", "_")
    *parents, last = path.removesuffix(".py").split("/")
    for parent in [None, *parents]:
        if parent is not None:
            folder, dotted = folder / parent, f"{dotted}.{parent}"
        if dotted not in sys.modules:
            sys.modules[dotted] = types.ModuleType(dotted)
            sys.modules[dotted].__path__ = [str(folder)]
    return importlib.import_module(f"{dotted}.{last}")


class AnyRegistry:
    def register_module(self, *_, **__):
        return lambda item: item


MMRAZOR = [("mmrazor", {}), ("mmrazor.registry", {"MODELS": AnyRegistry()})]


class BaseModule(torch.nn.Module):
    def __init__(self, init_cfg=None):
        super().__init__()


MMENGINE = [("mmengine", {}), ("mmengine.model", {"BaseModule": BaseModule})]


def batch_norm(x, scale, shift):
    """Not `F.batch_norm`, which refuses one number for each channel."""
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * scale[:, None, None] + shift[:, None, None]


def positions(x):
    return x if x.dim() == 4 else x[:, :, None, None]


# review-kd


def hcl(s, t):
    total, weight, weights = (s - t).square().mean(), 1.0, 1.0
    for size in [4, 2, 1]:
        if size < min(s.shape[2:]):
            weight /= 2
            weights += weight
            pool = lambda x: F.adaptive_avg_pool2d(x, size)
            total = total + weight * (pool(s) - pool(t)).square().mean()
    return total / weights


def review(x, student, teacher):
    total, deeper = 0.0, None
    for k in reversed(range(len(student))):
        s, t = positions(x[f"student.{student[k]}"]), positions(x[f"teacher.{teacher[k]}"])
        p = lambda name: x[f"connector.{k}.{name}"]
        s = batch_norm(F.conv2d(s, p("in")), p("in-scale"), p("in-shift"))
        if deeper is not None:
            deeper = F.interpolate(deeper, s.shape[2:], mode="nearest")
            z = torch.sigmoid(F.conv2d(torch.cat([s, deeper], 1), p("attention"), p("attention-bias")))
            s = s * z[:, :1] + deeper * z[:, 1:]
        deeper = F.interpolate(s, t.shape[2:], mode="nearest")
        out = batch_norm(F.conv2d(deeper, p("out"), padding=1), p("out-scale"), p("out-shift"))
        total = total + hcl(out, t)
    return total


def fusions(seed, student, teacher):
    """Parameters for stages of these shapes."""
    middle, found = student[-1][1], {}
    for k, (s, t) in enumerate(zip(student, teacher)):
        shapes = {
            "in": (middle, s[1], 1, 1),
            "in-scale": (middle,),
            "in-shift": (middle,),
            "out": (t[1], middle, 3, 3),
            "out-scale": (t[1],),
            "out-shift": (t[1],),
        }
        if k < len(student) - 1:
            shapes |= {"attention": (2, 2 * middle, 1, 1), "attention-bias": (2,)}
        for i, (name, shape) in enumerate(shapes.items()):
            found[f"connector.{k}.{name}"] = normal(seed + 20 * k + i, *shape, scale=0.5)
    return found


class Given(torch.nn.Module):
    """A model whose features are known."""

    def __init__(self, features):
        super().__init__()
        self.features = features

    def forward(self, _):
        return torch.zeros(1, 2, dtype=torch.float64), self.features


def mdistiller_review(x, student, teacher):
    module = member("mdistiller", "mdistiller/distillers/ReviewKD.py")
    s, t = [x[f"student.{site}"] for site in student], [x[f"teacher.{site}"] for site in teacher]
    size = lambda f: f.shape[2] if f.dim() == 4 else 1
    review = types.SimpleNamespace(
        SHAPES=[size(f) for f in reversed(s)],
        OUT_SHAPES=[size(f) for f in reversed(t)],
        IN_CHANNELS=[f.shape[1] for f in s],
        OUT_CHANNELS=[f.shape[1] for f in t],
        CE_WEIGHT=0.0,
        REVIEWKD_WEIGHT=1.0,
        WARMUP_EPOCHS=1,
        STU_PREACT=False,
        MAX_MID_CHANNEL=512,
    )
    ours = Given({"feats": s[:-1], "pooled_feat": s[-1]})
    theirs = Given({"preact_feats": [None, *t[:-1]], "pooled_feat": t[-1]})
    distiller = module.ReviewKD(ours, theirs, types.SimpleNamespace(REVIEWKD=review)).double().train()
    places = {
        "in": "conv1.0.weight",
        "in-scale": "conv1.1.weight",
        "in-shift": "conv1.1.bias",
        "out": "conv2.0.weight",
        "out-scale": "conv2.1.weight",
        "out-shift": "conv2.1.bias",
        "attention": "att_conv.0.weight",
        "attention-bias": "att_conv.0.bias",
    }
    weights = {}
    for name, value in x.items():
        if name.startswith("connector."):
            _, k, part = name.split(".")
            # They count from the deepest.
            weights[f"abfs.{len(s) - 1 - int(k)}.{places[part]}"] = value
    arguments = {"image": None, "target": torch.zeros(1, dtype=torch.int64), "epoch": 1}
    return torch.func.functional_call(distiller, weights, (), arguments)[1]["loss_kd"]


# With `pooled`, the last stage is a vector, and mdistiller's file, which knows square maps alone, can be asked.
for name, student, teacher, knobs, scale, pooled in [
    ("three-stages", [(2, 3, 8, 8), (2, 5, 4, 4), (2, 5)], [(2, 4, 8, 8), (2, 6, 4, 4), (2, 6)], "{}", 1, True),
    ("other-sizes", [(3, 2, 5, 5), (3, 4, 3, 3), (3, 4)], [(3, 3, 7, 7), (3, 2, 5, 5), (3, 5)], "{}", 1, True),
    ("large", [(8, 2, 6, 6), (8, 2)], [(8, 3, 3, 3), (8, 2)], "{}", 300, True),
    (
        "oblong",
        [(1, 2, 5, 7), (1, 3, 3, 4)],
        [(1, 4, 6, 5), (1, 2, 2, 3)],
        '{ student = ["a", "b"], teacher = ["b", "a"] }',
        1,
        False,
    ),
    ("one-stage", [(2, 10, 5, 3)], [(2, 2, 5, 3)], "{}", 1, False),
    ("one-position", [(1, 2, 3, 3), (1, 3)], [(1, 2, 3, 3), (1, 4)], '{ student = ["a", "b"] }', 1, False),
]:
    ours = ["a", "b", "c"][: len(student)]
    theirs = list(reversed(ours)) if name == "oblong" else ours
    inputs = fusions(len(name), student, teacher)
    for i, (site, shape) in enumerate(zip(ours, student)):
        inputs[f"student.{site}"] = normal(100 + i, *shape, scale=scale)
    for i, (site, shape) in enumerate(zip(theirs, teacher)):
        inputs[f"teacher.{site}"] = normal(200 + i, *shape)
    if name == "other-sizes":
        inputs["student.a"][1] = inputs["student.a"][0]
        inputs["student.b"][0] = 0.0
    reference = lambda x, s=ours, t=theirs: mdistiller_review(x, s, t)
    use = pooled and golden.REFERENCES is not None
    case("review-kd", name, knobs, inputs, lambda x, s=ours, t=theirs: review(x, s, t), reference if use else None)


# pkd


def pkd(x, site="map"):
    s, t = x[f"student.{site}"], x[f"teacher.{site}"]
    s = F.interpolate(s, t.shape[2:], mode="bilinear", align_corners=False)

    def standard(f):
        f = f.transpose(0, 1).flatten(1)
        f = f - f.mean(1, keepdim=True)
        variance = f.square().sum(1, keepdim=True) / max(f.shape[1] - 1, 1)
        nothing = variance <= 0
        return f / (torch.where(nothing, 1.0, variance).sqrt() * ~nothing + 1e-6)

    return (standard(s) - standard(t)).square().mean() / 2


PKD = member("mmrazor", "mmrazor/models/losses/pkd_loss.py", MMRAZOR)
for name, student, teacher, scale in [
    ("same-size", (2, 3, 5, 7), (2, 3, 5, 7), 1),
    ("smaller", (3, 10, 3, 3), (3, 10, 5, 4), 1),
    ("larger", (2, 2, 7, 9), (2, 2, 4, 5), 300),
    ("wide", (8, 100, 1, 2), (8, 100, 1, 2), 1),
    ("one-row-up", (1, 2, 2, 5), (1, 2, 5, 11), 1),
]:
    inputs = {"student.map": normal(301, *student, scale=scale), "teacher.map": normal(302, *teacher)}
    if student[0] > 1:
        inputs["student.map"][1] = inputs["student.map"][0]
        inputs["teacher.map"][0] = 0.0
    theirs = None if PKD is None else lambda x: PKD.PKDLoss()(x["student.map"], x["teacher.map"])
    case("pkd", name, "{}", inputs, pkd, theirs)
# The gradient at a constant channel, which theirs does not have, is 1e6 wide for a step of 1e-6.
flat = {"student.kink": normal(303, 2, 3, 3, 3), "teacher.kink": normal(304, 2, 3, 3, 3)}
flat["student.kink"][:, 1] = 0.0
case("pkd", "zeros", '{ student = "kink", teacher = "kink" }', flat, lambda x: pkd(x, "kink"))
case("pkd", "one-number", "{}", {"student.map": normal(305, 1, 2, 1, 1), "teacher.map": normal(306, 1, 2, 1, 1)}, pkd)


# mgd

WORD = (1 << 64) - 1


def mix(x):
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & WORD
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & WORD
    return x ^ (x >> 31)


def uniform(seed, shape):
    """The numbers that a mask is made from at the end of a stage: 1.0 in bits is 0x3FF0…"""
    key = mix(seed ^ mix(0x3FF0000000000000))
    count = torch.Size(shape).numel()
    numbers = [(mix((key + (i + 1) * 0x9E3779B97F4A7C15) & WORD) >> 11) / 2**53 for i in range(count)]
    return torch.tensor(numbers, dtype=torch.float64).reshape(shape)


def mgd(x, mask=None):
    mask = x["teacher.mask"] if mask is None else mask
    s, t = x["student.map"], x["teacher.map"]
    s = F.relu(F.conv2d(s * mask, x["connector.first"], x["connector.first-bias"], padding=1))
    s = F.conv2d(s, x["connector.second"], x["connector.second-bias"], padding=1)
    return (s - t).square().sum() / len(s)


def mmrazor_mgd(x, numbers, masked, over):
    module = member("mmrazor", "mmrazor/models/architectures/connectors/mgd_connector.py", MMRAZOR + MMENGINE)
    loss = member("mmrazor", "mmrazor/models/losses/mgd_loss.py", MMRAZOR)
    channels = x["student.map"].shape[1]
    connector = module.MGDConnector(channels, channels, masked, over == "channels")
    names = {"first": "0.weight", "first-bias": "0.bias", "second": "2.weight", "second-bias": "2.bias"}
    weights = {f"generation.{there}": x[f"connector.{here}"] for here, there in names.items()}

    class Drawn(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.generation = connector.generation

        def forward(self, f):
            connector.generation = self.generation
            return connector.forward_train(f)

    rand, torch.rand = torch.rand, lambda shape: numbers.reshape(shape)
    try:
        drawn = torch.func.functional_call(Drawn(), weights, (x["student.map"],))
    finally:
        torch.rand = rand
    return loss.MGDLoss(alpha_mgd=1.0)(drawn, x["teacher.map"])


def generation(seed, channels, scale=0.3):
    kernel = (channels, channels, 3, 3)
    return {
        "connector.first": normal(seed, *kernel, scale=scale),
        "connector.first-bias": normal(seed + 1, channels),
        "connector.second": normal(seed + 2, *kernel, scale=scale),
        "connector.second-bias": normal(seed + 3, channels),
    }


for shape, masked, over, seed, scale in [
    ((2, 3, 5, 7), 0.65, "positions", 0, 1),
    ((3, 10, 3, 3), 0.5, "channels", 7, 1),
    ((8, 2, 4, 4), 0.15, "positions", 123, 300),
    ((1, 2, 1, 1), 0.0, "positions", 1, 1),
    ((2, 2, 3, 3), 1.0, "positions", 1, 1),
]:
    batch, channels, height, width = shape
    inputs = {"student.map": normal(401, *shape, scale=scale), "teacher.map": normal(402, *shape)}
    inputs |= generation(410, channels)
    if batch > 1:
        inputs["student.map"][1] = 0.0
    numbers = uniform(seed, (batch, 1, height, width) if over == "positions" else (batch, channels, 1, 1))
    mask = torch.where(numbers > 1 - masked, 0.0, 1.0).double()
    knobs = f'{{ masked = {masked}, over = "{over}", seed = {seed} }}'
    theirs = None
    if golden.REFERENCES is not None:
        theirs = lambda x, n=numbers, m=masked, o=over: mmrazor_mgd(x, n, m, o)
    case("mgd", f"{over}-{masked}-b{batch}", knobs, inputs, lambda x, m=mask: mgd(x, m), theirs)
shape = (2, 3, 4, 5)
inputs = {"student.map": normal(403, *shape), "teacher.map": normal(404, *shape)} | generation(420, 3)
inputs["teacher.mask"] = (normal(405, 2, 1, 4, 5) > 0).double()
case("mgd", "given-mask", "{}", inputs, mgd)
inputs = {name: x.clone() for name, x in inputs.items()}
inputs["teacher.mask"] = torch.ones(1, 1, 1, 1, dtype=torch.float64)
case("mgd", "nothing-hidden", "{}", inputs, mgd)


# srd


def rows(x, keep):
    if x.dim() == 4:
        return x.permute(0, 2, 3, 1).flatten(0, 2) if keep else x.mean((2, 3))
    if x.dim() == 3:
        return x.flatten(0, 1) if keep else x.mean(1)
    return x


def srd(x, exponent, keep):
    s, t = rows(x["student.map"], keep) @ x["connector.projector"], rows(x["teacher.map"], keep)

    def standard(f):
        f = f - f.mean(0)
        return f / (f.square().mean(0) + 1e-4).sqrt()

    difference = (standard(s) - standard(t)).abs()
    powers = difference if exponent == 1 else difference.pow(exponent)
    return powers.sum().clamp(min=1e-12).log()


def torchdistill_srd(x, exponent, keep):
    decorator = lambda item=None, **_: item
    stubs = [
        (
            "member_of_torchdistill.torchdistill.losses.registry",
            {"register_loss_wrapper": decorator, "register_mid_level_loss": decorator},
        )
    ]
    module = member("torchdistill", "torchdistill/losses/mid_level.py", stubs)
    project = x["connector.projector"].t()
    norm = lambda f: F.batch_norm(f, None, None, training=True, eps=1e-4)
    s = {
        "norm": {"output": norm(F.linear(rows(x["student.map"], keep), project))},
        # Of one class the soft term is 0.
        "logits": {"output": torch.zeros(1, 1, dtype=torch.float64)},
    }
    t = {"norm": {"output": norm(rows(x["teacher.map"], keep))}, "logits": s["logits"]}
    places = ["norm", "output"] * 2 + ["logits", "output"] * 2
    # It is twice the feature term.
    return module.SRDLoss(*places, exponent=exponent)(s, t) / 2


for student, teacher, exponent, keep, scale in [
    ((8, 10), (8, 5), 4.0, False, 1),
    ((3, 2, 3, 5), (3, 10, 2, 2), 4.0, False, 1),
    ((2, 4, 3, 3), (2, 3, 3, 3), 3.0, True, 1),
    ((8, 100), (8, 10), 1.0, False, 300),
    ((2, 5, 3), (2, 5, 4), 2.0, True, 1),
    ((3, 5, 3), (3, 4, 2), 2.5, False, 1),
]:
    inputs = {"student.map": normal(501, *student, scale=scale), "teacher.map": normal(502, *teacher)}
    channels = lambda shape: shape[1] if len(shape) == 4 else shape[-1]
    inputs["connector.projector"] = normal(503, channels(student), channels(teacher))
    if student[0] > 2:
        inputs["student.map"][1] = inputs["student.map"][0]
        inputs["teacher.map"][2] = 0.0
    knobs = f'{{ exponent = {exponent}, positions = "{"keep" if keep else "pool"}" }}'
    theirs = None
    if golden.REFERENCES is not None:
        theirs = lambda x, e=exponent, k=keep: torchdistill_srd(x, e, k)
    name = f"{'keep' if keep else 'pool'}-{exponent}-rank-{len(student)}"
    case("srd", name, knobs, inputs, lambda x, e=exponent, k=keep: srd(x, e, k), theirs)
inputs = {
    "student.map": normal(504, 1, 3),
    "teacher.map": normal(505, 1, 2),
    "connector.projector": normal(506, 3, 2),
}
case("srd", "one-example", "{}", inputs, lambda x: srd(x, 4.0, False))


# sem-ckd


def sem_ckd(x, student, teacher):
    def embed(f, kind, i):
        p = lambda name: x[f"connector.{kind}.{i}.{name}"]
        f = f.flatten(1)
        f = F.relu((f @ f.t()) @ p("first")[: len(f)] + p("first-bias"))
        return F.normalize(f @ p("second") + p("second-bias"))

    s = [positions(x[f"student.{site}"]) for site in student]
    t = [positions(x[f"teacher.{site}"]) for site in teacher]
    queries = torch.stack([embed(f, "query", i) for i, f in enumerate(s)], 1)
    keys = torch.stack([embed(f, "key", j) for j, f in enumerate(t)], 1)
    attention = torch.softmax(queries @ keys.transpose(1, 2), -1)
    total = 0.0
    for i, ours in enumerate(s):
        for j, theirs in enumerate(t):
            p = lambda name: x[f"connector.regressor.{i}.{j}.{name}"]
            size = [min(a, b) for a, b in zip(ours.shape[2:], theirs.shape[2:])]
            f = F.conv2d(F.adaptive_avg_pool2d(ours, size), p("first"))
            f = F.relu(batch_norm(f, p("first-scale"), p("first-shift")))
            f = F.relu(batch_norm(F.conv2d(f, p("second"), padding=1), p("second-scale"), p("second-shift")))
            gap = F.conv2d(f, p("third")) - F.adaptive_avg_pool2d(theirs, size)
            total = total + (attention[:, i, j] * gap.square().flatten(1).mean(1)).sum()
    return total / (len(s[0]) * len(s))


def calibration(seed, student, teacher, batch):
    width, found = max(batch // 4, 1), {}
    for kind, count in [("query", len(student)), ("key", len(teacher))]:
        for i in range(count):
            shapes = {
                "first": (batch, 2 * width),
                "first-bias": (2 * width,),
                "second": (2 * width, width),
                "second-bias": (width,),
            }
            for name, shape in shapes.items():
                found[f"connector.{kind}.{i}.{name}"] = normal(seed + len(found), *shape, scale=0.3)
    for i, s in enumerate(student):
        for j, t in enumerate(teacher):
            middle = 2 * t[1]
            shapes = {
                "first": (middle, s[1], 1, 1),
                "first-scale": (middle,),
                "first-shift": (middle,),
                "second": (middle, middle, 3, 3),
                "second-scale": (middle,),
                "second-shift": (middle,),
                "third": (t[1], middle, 1, 1),
            }
            for name, shape in shapes.items():
                found[f"connector.regressor.{i}.{j}.{name}"] = normal(seed + len(found), *shape, scale=0.5)
    return found


def semckd_reference(x, student, teacher):
    util, zoo = load("SemCKD", "models/util.py"), load("SemCKD", "distiller_zoo/SemCKD.py")
    s, t = [x[f"student.{site}"] for site in student], [x[f"teacher.{site}"] for site in teacher]
    batch = len(s[0])
    module = util.SelfA(len(s), len(t), batch, [f.shape[1] for f in s], [f.shape[1] for f in t]).double().train()
    layers = {"first": "linear1.weight", "second": "linear2.weight"}
    layers |= {f"{name}-bias": place.replace("weight", "bias") for name, place in layers.items()}
    places = {"first": 0, "first-scale": 1, "first-shift": 1}
    places |= {"second": 3, "second-scale": 4, "second-shift": 4, "third": 6}
    weights = {}
    for name, value in x.items():
        match name.split("."):
            case ["connector", "regressor", i, j, part]:
                kind = "bias" if part.endswith("shift") else "weight"
                weights[f"regressor{i}{j}.regressor.{places[part]}.{kind}"] = value
            case ["connector", kind, i, part]:
                weights[f"{kind}_weight{i}.{layers[part]}"] = value.t() if value.dim() == 2 else value
    # Theirs puts its differences into a float32 tensor on a GPU.
    cuda, torch.Tensor.cuda = torch.Tensor.cuda, lambda self: self
    torch.set_default_dtype(torch.float64)
    try:
        values, targets, attention = torch.func.functional_call(module, weights, (s, t))
        return zoo.SemCKDLoss()(values, targets, attention)
    finally:
        torch.Tensor.cuda = cuda
        torch.set_default_dtype(torch.float32)


# Theirs knows square maps of at least two examples in batches of at least 4.
for name, student, teacher, batch, scale in [
    ("two-by-three", [(8, 2, 5, 5), (8, 3, 2, 2)], [(8, 2, 5, 5), (8, 3, 3, 3), (8, 2, 1, 1)], 8, 0.5),
    ("one-by-two", [(12, 3, 3, 3)], [(12, 2, 4, 4), (12, 2, 2, 2)], 12, 0.3),
    ("large", [(8, 2, 3, 3)], [(8, 2, 3, 3), (8, 2, 2, 2)], 8, 300),
    ("oblong", [(3, 2, 5, 7), (3, 4)], [(3, 3, 4, 9), (3, 2, 3, 2)], 8, 0.5),
    ("one-example", [(1, 2, 3, 3)], [(1, 2, 3, 2), (1, 3)], 8, 0.5),
    ("zeros", [(2, 2, 3, 3), (2, 2, 2, 2)], [(2, 2, 3, 3), (2, 2, 2, 2)], 8, 0.5),
]:
    ours, theirs = ["a", "b"][: len(student)], ["x", "y", "z"][: len(teacher)]
    knobs = "{}" if batch == student[0][0] else f"{{ batch = {batch} }}"
    if name == "zeros":
        knobs = '{ student = ["a", "b"], teacher = ["x", "y"], batch = 8 }'
    inputs = calibration(600 + len(name), student, teacher, batch)
    for i, (site, shape) in enumerate(zip(ours, student)):
        inputs[f"student.{site}"] = normal(700 + i, *shape, scale=scale)
    for i, (site, shape) in enumerate(zip(theirs, teacher)):
        inputs[f"teacher.{site}"] = normal(800 + i, *shape, scale=min(scale, 1))
    if name == "two-by-three":
        inputs["student.a"][1] = inputs["student.a"][0]
        inputs["student.b"][2] = 0.0
    if name == "zeros":
        inputs["student.b"][:] = 0.0
        inputs["teacher.y"][:] = 0.0
    use = batch == student[0][0] and golden.REFERENCES is not None
    reference = lambda x, s=ours, t=theirs: semckd_reference(x, s, t)
    case("sem-ckd", name, knobs, inputs, lambda x, s=ours, t=theirs: sem_ckd(x, s, t), reference if use else None)


# affine: no public implementation


def affine(x):
    s, t = rows(x["student.map"], True), rows(x["teacher.map"], True)
    p = lambda name: x[f"connector.{name}"]
    return (((p("gamma") * s + p("beta")) @ p("weight") + p("bias")) - t).square().mean()


for student, teacher, scale in [
    ((1, 2), (1, 10), 1),
    ((8, 100), (8, 10), 1),
    ((2, 3, 5, 7), (2, 4, 5, 7), 1),
    ((3, 4, 2), (3, 4, 3), 300),
    ((2, 3, 3), (2, 3, 3), 1),
]:
    channels = lambda shape: shape[1] if len(shape) == 4 else shape[-1]
    inputs = {
        "student.map": normal(901, *student, scale=scale),
        "teacher.map": normal(902, *teacher),
        "connector.gamma": normal(903, channels(student)),
        "connector.beta": normal(904, channels(student)),
        "connector.weight": normal(905, channels(student), channels(teacher)),
        "connector.bias": normal(906, channels(teacher)),
    }
    if student[0] > 1:
        inputs["student.map"][0] = 0.0
    case("affine", "-".join(map(str, student)), "{}", inputs, affine)


# region-at: no public implementation


def region_at(x, background, site="map"):
    s, t, mask = x[f"student.{site}"], x[f"teacher.{site}"], x["teacher.region"]
    size = [min(a, b) for a, b in zip(s.shape[2:], t.shape[2:])]

    def attention(f):
        return F.normalize(F.adaptive_avg_pool2d(f, size).square().mean(1).flatten(1))

    gap = (attention(s) - attention(t)).square()
    mask = F.adaptive_avg_pool2d(mask, size).flatten(1)
    over = lambda m: (m * gap).sum(1) / torch.where(m.sum(1) > 0, m.sum(1), 1.0)
    return (over(mask) + background * over(1 - mask)).mean()


def disc(batch, height, width):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    near = lambda b: ((y - b % height).square() + (x - width // 2).square() <= (height / 3) ** 2)
    return torch.stack([near(b) for b in range(batch)])[:, None].double()


for name, student, teacher, mask, background, scale in [
    ("same-size", (2, 3, 5, 7), (2, 3, 5, 7), (10, 14), 0.1, 1),
    ("other-size", (3, 10, 7, 4), (3, 2, 5, 6), (9, 11), 0.0, 1),
    ("small-mask", (8, 2, 6, 6), (8, 4, 3, 3), (2, 2), 1.0, 300),
    ("one-position", (1, 2, 1, 1), (1, 3, 4, 4), (4, 4), 0.1, 1),
    ("empty-and-full", (3, 2, 3, 3), (3, 2, 3, 3), (3, 3), 0.5, 1),
    ("zeros", (2, 2, 3, 3), (2, 2, 3, 3), (5, 5), 0.1, 1),
]:
    # The gradient at zeros is 1e12 wide.
    site = "kink" if name == "zeros" else "map"
    inputs = {
        f"student.{site}": normal(1001, *student, scale=scale),
        f"teacher.{site}": normal(1002, *teacher),
        "teacher.region": disc(student[0], *mask),
    }
    if name == "empty-and-full":
        inputs["teacher.region"][0] = 0.0
        inputs["teacher.region"][1] = 1.0
    if name == "zeros":
        inputs["student.kink"][0] = 0.0
    sites = ', student = "kink", teacher = "kink"' if name == "zeros" else ""
    knobs = f"{{ background = {background}{sites} }}"
    case("region-at", name, knobs, inputs, lambda x, w=background, site=site: region_at(x, w, site))


# temporal-difference: no public implementation


def temporal_difference(x):
    s, t = x["student.steps"], x["teacher.steps"]
    each = (s.diff(dim=1) - t.diff(dim=1)).square().sum(-1)
    mask = x.get("mask", torch.ones(s.shape[:2], dtype=torch.float64))
    both = mask[:, 1:] * mask[:, :-1]
    return (each * both).sum() / both.sum().clamp(min=1)


for name, shape, mask, scale in [
    ("no-mask", (2, 5, 3), None, 1),
    ("long", (3, 11, 10), None, 300),
    ("one-step", (2, 1, 3), None, 1),
    ("masked", (3, 4, 2), [[1, 1, 1, 0], [1, 1, 0, 1], [0, 1, 1, 1]], 1),
    ("no-pair", (2, 3, 2), [[1, 0, 1], [0, 0, 0]], 1),
    ("one-pair", (1, 2, 100), [[1, 1]], 1),
]:
    inputs = {"student.steps": normal(1101, *shape, scale=scale), "teacher.steps": normal(1102, *shape)}
    inputs["student.steps"][:, -1] = 0.0
    if mask is not None:
        inputs["mask"] = torch.tensor(mask, dtype=torch.float64)
    case("temporal-difference", name, "{}", inputs, temporal_difference)
