"""Losses of several teachers, of peers, and of a network that teaches itself.

No public implementation is compared with for `ca-mkd` (the authors' file divides once more by the number of teachers),
`dml` (KD_Lib's is the defect that `compat` reproduces, inlined in a training loop) and `ban` beyond its `kd` variant.
"""

import importlib.util
import sys
import types

import torch
import torch.nn.functional as F

import golden
from golden import classes, load, normal


def case(loss, name, knobs, inputs, *functions):
    """A case with tensors of its own: safetensors refuses shared memory."""
    golden.case(loss, name, knobs, {key: x.clone() for key, x in inputs.items()}, *functions)


# The test does not take differences where a case says `kink`. Nor may it where an input is a constant to the loss.
CONSTANT = "  # as at a kink: moving a constant changes the value, and it has no gradient"

KD = load("RepDistiller", "distiller_zoo/KD.py")
TB = None
CSKD = None
if KD is not None:
    # TextBrewer's losses import a helper of their package; KD_Lib's file a plotting library and a base class.
    package = sys.modules.setdefault("textbrewer_stub", types.ModuleType("textbrewer_stub"))

    def module(name, path):
        spec = importlib.util.spec_from_file_location(name, golden.REFERENCES / path)
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[name] = loaded
        spec.loader.exec_module(loaded)
        return loaded

    package.__path__ = []
    module("textbrewer_stub.compatibility", "TextBrewer/src/textbrewer/compatibility.py")
    TB = module("textbrewer_stub.losses", "TextBrewer/src/textbrewer/losses.py")
    for name in ["matplotlib", "matplotlib.pyplot", "KD_Lib", "KD_Lib.KD", "KD_Lib.KD.common"]:
        sys.modules.setdefault(name, types.ModuleType(name))
    if not hasattr(sys.modules["KD_Lib.KD.common"], "BaseClass"):
        sys.modules["KD_Lib.KD.common"].BaseClass = object
    CSKD = load("KD_Lib", "KD_Lib/KD/vision/CSKD/cskd.py").CSKD


def kl(s, t, temperature=1.0):
    log_s, log_t = F.log_softmax(s / temperature, 1), F.log_softmax(t / temperature, 1)
    return temperature**2 * (log_t.exp() * (log_t - log_s)).sum() / s.shape[0]


def several(seed, batch, count, teachers, scale=3.0, labels=False):
    inputs = {"student.logits": normal(seed, batch, count, scale=scale)}
    for k in range(teachers):
        inputs[f"teacher.{k}.logits"] = normal(seed + 1 + k, batch, count, scale=scale)
    if labels:
        inputs["targets"] = classes(seed, batch, count)
    return inputs


def teachers(x):
    return torch.stack([x[f"teacher.{k}.logits"] for k in range(len([n for n in x if n.startswith("teacher.")]))])


# multi-teacher


def multi_teacher(x, combine, temperature, weights=None):
    z = teachers(x)
    w = torch.tensor(weights or [1.0] * len(z), dtype=z.dtype)
    w = (w / w.sum()).view(-1, 1, 1)
    if combine == "mean-logits":
        log_t = F.log_softmax((w * z).sum(0) / temperature, 1)
    else:
        log_t = torch.logsumexp(w.log() + F.log_softmax(z / temperature, 2), 0)
    log_s = F.log_softmax(x["student.logits"] / temperature, 1)
    p = log_t.exp()
    return temperature**2 * torch.where(p > 0, p * (log_t - log_s), 0).sum() / z.shape[1]


def textbrewer(temperature):
    """Soft cross entropy with the mean logits: times T², without the teachers' entropy, it is the KL here."""
    if TB is None:
        return None

    def value(x):
        mean = sum(teachers(x)) / len(teachers(x))
        entropy = torch.distributions.Categorical(logits=mean / temperature).entropy().mean()
        return temperature**2 * (TB.kd_ce_loss(x["student.logits"], mean, temperature) - entropy)

    return value


for i, (batch, count, number, temperature) in enumerate(
    [(1, 2, 2, 1.0), (2, 10, 3, 4.0), (3, 100, 2, 20.0), (8, 10, 1, 2.0)]
):
    for combine in ["mean-probabilities", "mean-logits"]:
        case(
            "multi-teacher",
            f"{combine}-b{batch}-c{count}-k{number}",
            f'{{ temperature = {temperature}, combine = "{combine}" }}',
            several(100 + 10 * i, batch, count, number),
            lambda x, c=combine, t=temperature: multi_teacher(x, c, t),
            textbrewer(temperature) if combine == "mean-logits" else None,
        )
for combine in ["mean-probabilities", "mean-logits"]:
    weights = [0.5, 2.0, 0.0]
    case(
        "multi-teacher",
        f"{combine}-weights",
        f'{{ temperature = 4.0, combine = "{combine}", weights = {weights} }}',
        several(150, 3, 10, 3),
        lambda x, c=combine, w=weights: multi_teacher(x, c, 4.0, w),
    )
    case(
        "multi-teacher",
        f"{combine}-large-logits",
        f'{{ temperature = 4.0, combine = "{combine}" }}',
        several(160, 2, 10, 2, scale=300),
        lambda x, c=combine: multi_teacher(x, c, 4.0),
    )
same = several(170, 3, 10, 2)
same["student.logits"] = same["teacher.0.logits"].clone()
same["teacher.1.logits"] = same["teacher.0.logits"].clone()
case("multi-teacher", "equal", "{ temperature = 4.0 }", same, lambda x: multi_teacher(x, "mean-probabilities", 4.0))

# ca-mkd


def ca_mkd(x, temperature):
    s, z, y = x["student.logits"], teachers(x), x["targets"]
    if len(z) == 1:
        return kl(s, z[0], temperature)
    entropies = torch.stack([F.cross_entropy(t, y, reduction="none") for t in z])
    w = (1 - entropies.softmax(0)) / (len(z) - 1)
    log_s = F.log_softmax(s / temperature, 1)
    log_t = F.log_softmax(z / temperature, 2)
    each = (log_t.exp() * (log_t - log_s)).sum(2)
    return temperature**2 * (w * each).sum() / s.shape[0]


for i, (batch, count, number, temperature, scale) in enumerate(
    [
        (1, 2, 2, 1.0, 3.0),
        (2, 10, 3, 4.0, 3.0),
        (3, 100, 2, 20.0, 3.0),
        (8, 10, 4, 2.0, 1.0),
        (3, 10, 1, 4.0, 3.0),
        (2, 10, 2, 4.0, 300.0),
    ]
):
    case(
        "ca-mkd",
        f"b{batch}-c{count}-k{number}-scale-{int(scale)}",
        f"{{ temperature = {temperature} }}",
        several(200 + 10 * i, batch, count, number, scale, labels=True),
        lambda x, t=temperature: ca_mkd(x, t),
    )

# dml


def dml(x):
    return sum(kl(x["student.logits"], z) for z in teachers(x)) / len(teachers(x))


def kd_lib(x):
    return sum(F.mse_loss(x["student.logits"], z) for z in teachers(x)) / len(teachers(x))


for i, (batch, count, number, scale) in enumerate(
    [(1, 2, 1, 3.0), (2, 10, 2, 3.0), (3, 100, 3, 3.0), (8, 10, 1, 1.0), (2, 10, 2, 300.0)]
):
    inputs = several(300 + 10 * i, batch, count, number, scale)
    name = f"b{batch}-c{count}-k{number}-scale-{int(scale)}"
    case("dml", name, "{}", inputs, dml)
    case("dml", f"kd-lib-{name}", '{ compat = "kd-lib" }', inputs, kd_lib)
rows = several(350, 1, 10, 2)
case("dml", "duplicated-rows", "{}", {name: z.repeat(3, 1) for name, z in rows.items()}, dml)

# byot


def byot(x, temperature, sites, features=(), weight=1.0):
    total = sum(kl(x[f"student.{site}"], x["student.logits"].detach(), temperature) for site in sites)
    for site in features:
        gap = x[f"student.{site}"] - x["student.deepest"].detach()
        total = total + weight * gap.square().sum() / gap.shape[0]
    return total


RAZOR = None
if KD is not None:
    for name in ["mmrazor", "mmrazor.registry"]:
        sys.modules.setdefault(name, types.ModuleType(name))
    if not hasattr(sys.modules["mmrazor.registry"], "MODELS"):
        register = types.SimpleNamespace(register_module=lambda *a, **k: lambda c: c)
        sys.modules["mmrazor.registry"].MODELS = register
    RAZOR = [load("mmrazor", f"mmrazor/models/losses/{name}.py") for name in ["kl_divergence", "l2_loss"]]


def razor(temperature, sites, features=(), weight=1.0):
    if RAZOR is None:
        return None
    soft, square = RAZOR[0].KLDivergence(tau=temperature), RAZOR[1].L2Loss(normalize=False)

    def value(x):
        total = sum(soft(x[f"student.{site}"], x["student.logits"]) for site in sites)
        deepest = x["student.deepest"].detach() if features else None
        return total + weight * sum(square(x[f"student.{site}"], deepest) for site in features)

    return value


for i, (batch, count, number, temperature, scale) in enumerate(
    [(1, 2, 1, 1.0, 3.0), (2, 10, 2, 3.0, 3.0), (3, 100, 3, 3.0, 3.0), (8, 10, 1, 4.0, 1.0), (2, 10, 2, 3.0, 300.0)]
):
    sites = ["first", "second", "third"][:number]
    inputs = {"student.logits": normal(400 + 10 * i, batch, count, scale=scale)}
    for j, site in enumerate(sites):
        inputs[f"student.{site}"] = normal(401 + 10 * i + j, batch, count, scale=scale)
    case(
        "byot",
        f"b{batch}-c{count}-n{number}-scale-{int(scale)}",
        f"{{ temperature = {temperature} }}{CONSTANT}",
        inputs,
        lambda x, t=temperature, s=sites: byot(x, t, s),
        razor(temperature, sites),
    )
for shape in [(3, 5), (2, 3, 5, 7)]:
    sites, features = ["first", "second"], ["low", "middle"]
    inputs = {f"student.{name}": normal(450 + j, shape[0], 10) for j, name in enumerate(["logits", *sites])}
    inputs |= {f"student.{name}": normal(460 + j, *shape) for j, name in enumerate([*features, "deepest"])}
    knobs = '{ features = ["low", "middle"], feature-weight = 0.25, classifiers = ["first", "second"] }'
    if len(shape) == 2:
        knobs = '{ features = ["low", "middle"], feature-weight = 0.25, deepest = "deepest" }'
    case(
        "byot",
        f"features-rank-{len(shape)}",
        knobs + CONSTANT,
        inputs,
        lambda x: byot(x, 3.0, sites, features, 0.25),
        razor(3.0, sites, features, 0.25),
    )

# cs-kd

for i, (batch, count, temperature, scale) in enumerate(
    [(1, 2, 1.0, 3.0), (2, 10, 4.0, 3.0), (3, 100, 20.0, 3.0), (8, 10, 4.0, 1.0), (2, 10, 4.0, 300.0)]
):
    theirs = None
    if CSKD is not None:
        itself = types.SimpleNamespace(temp=temperature)
        theirs = lambda x, c=itself: CSKD.calculate_kd_loss(c, x["student.logits"], x["student.pair"].detach())
    case(
        "cs-kd",
        f"b{batch}-c{count}-scale-{int(scale)}",
        f"{{ temperature = {temperature} }}{CONSTANT}",
        {
            "student.logits": normal(500 + 10 * i, batch, count, scale=scale),
            "student.pair": normal(501 + 10 * i, batch, count, scale=scale),
        },
        lambda x, t=temperature: kl(x["student.logits"], x["student.pair"].detach(), t),
        theirs,
    )
inputs = {f"student.{name}": normal(560 + j, 3, 10) for j, name in enumerate(["logits", "other", "unused"])}
case(
    "cs-kd",
    "named",
    '{ pair = "other" }' + CONSTANT,
    inputs,
    lambda x: kl(x["student.logits"], x["student.other"].detach(), 4.0),
)
same = normal(570, 3, 10)
same = {"student.logits": same, "student.pair": same.clone()}
case("cs-kd", "equal", "{}" + CONSTANT, same, lambda x: kl(x["student.logits"], x["student.pair"].detach(), 4.0))

# ban


def ban(x, variant, temperature):
    s, t = x["student.logits"], x["teacher.logits"]
    if variant == "kd":
        return kl(s, t, temperature)
    p = F.softmax(t / temperature, 1)
    if variant == "cwtm":
        confidence = p.amax(1)
        return (confidence / confidence.sum() * F.cross_entropy(s, x["targets"], reduction="none")).sum()
    # The mean over all permutations, counted out: a permuted class is each of the others equally often.
    largest = p.argmax(1, keepdim=True)
    rest = p.clone().scatter_(1, largest, 0).sum(1, keepdim=True) / (p.shape[1] - 1)
    mean = rest.expand_as(p).scatter(1, largest, p.gather(1, largest))
    log_t = F.log_softmax(t / temperature, 1)
    each = p * log_t - mean * F.log_softmax(s / temperature, 1)
    return temperature**2 * each.sum() / s.shape[0]


for i, (batch, count, temperature, scale) in enumerate(
    [(1, 2, 1.0, 3.0), (2, 10, 1.0, 3.0), (3, 100, 4.0, 3.0), (8, 10, 1.0, 1.0), (2, 10, 1.0, 300.0)]
):
    for variant in ["kd", "cwtm", "dkpp"]:
        inputs = {
            "student.logits": normal(600 + 10 * i, batch, count, scale=scale),
            "teacher.logits": normal(601 + 10 * i, batch, count, scale=scale),
        }
        if variant == "cwtm":
            inputs["targets"] = classes(600 + i, batch, count)
        theirs = None
        if KD is not None and variant == "kd":
            module_ = KD.DistillKL(temperature)
            theirs = lambda x, m=module_: m(x["student.logits"], x["teacher.logits"])
        case(
            "ban",
            f"{variant}-b{batch}-c{count}-scale-{int(scale)}",
            f'{{ variant = "{variant}", temperature = {temperature} }}',
            inputs,
            lambda x, v=variant, t=temperature: ban(x, v, t),
            theirs,
        )
