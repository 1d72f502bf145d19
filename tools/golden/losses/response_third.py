"""Losses of logits by levels, by temperature, by sorted or truncated probabilities, and of a distillation token."""

import importlib
import math
import sys
import types

import golden
import torch
import torch.nn.functional as F
from golden import classes, load, normal


def case(loss, name, knobs, inputs, *formulas, **more):
    """`golden.case` of inputs that several cases share, which a file must not."""
    golden.case(loss, name, knobs, {key: x.clone() for key, x in inputs.items()}, *formulas, **more)


def stub(name, **names):
    """Puts a module of a few names where an import finds it, unless it is there."""
    module = sys.modules.get(name) or types.ModuleType(name)
    module.__dict__.update(names)
    module.__path__ = getattr(module, "__path__", [])
    sys.modules[name] = module
    return module


def packaged(package, repository, path, **siblings):
    """A module of a checkout in a package of its own, in which the siblings that it imports are stubs."""
    if golden.REFERENCES is None:
        return None
    stub(package)
    for name, names in siblings.items():
        stub(f"{package}.{name}", **names)
    spec = importlib.util.spec_from_file_location(f"{package}.loss_of", golden.REFERENCES / repository / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def pair(seed, batch, count, scale=3):
    return {
        "student.logits": normal(seed, batch, count, scale=scale),
        "teacher.logits": normal(seed + 1, batch, count, scale=scale),
    }


def logits(x):
    return x["student.logits"], x["teacher.logits"]


def kl_rows(s, t, temperature):
    log_s, log_t = F.log_softmax(s / temperature, -1), F.log_softmax(t / temperature, -1)
    return (log_t.exp() * (log_t - log_s)).sum(-1)


def zero_row(inputs, name="student.logits"):
    inputs[name][0] = 0
    return inputs


def doubled(inputs):
    """With the second row equal to the first, in all."""
    for name, x in inputs.items():
        if name != "connector.temperature":
            x[1] = x[0]
    return inputs


SHAPES = {
    "b1-c2": pair(101, 1, 2),
    "b2-c10": pair(102, 2, 10),
    "b3-c100": pair(103, 3, 100),
    "b8-c10": pair(104, 8, 10),
    "doubled": doubled(pair(105, 3, 10)),
    "zero-row": zero_row(pair(106, 3, 10)),
    "large-logits": pair(107, 3, 10, scale=300),
}


def tokens(seed, batch=2, length=3, count=5):
    """Tokens of which some are padding."""
    mask = torch.ones(batch, length, dtype=torch.float64)
    mask[0, 2] = mask[1, 1] = mask[1, 2] = 0
    return {
        "student.logits": normal(seed, batch, length, count, scale=2),
        "teacher.logits": normal(seed + 1, batch, length, count, scale=2),
        "mask": mask,
    }


def mlkd(x, temperatures, weights):
    s, t = logits(x)
    total = 0
    for temperature in temperatures:
        p, q = F.softmax(s / temperature, -1), F.softmax(t / temperature, -1)
        levels = [
            temperature**2 * kl_rows(s, t, temperature).mean(),
            (p @ p.T - q @ q.T).square().sum() / s.shape[0],
            (p.T @ p - q.T @ q).square().sum() / s.shape[1],
        ]
        total = total + sum(weight * level for weight, level in zip(weights, levels))
    return total


if golden.REFERENCES is not None:
    # What the checkouts import and do not use here.
    stub("turtle", st=None)
    stub("timm")
    stub("timm.models")
    stub("timm.models.vision_transformer", Block=None)
MLKD = packaged(
    "golden_mlkd",
    "logit-standardization-KD",
    "mdistiller/distillers/MLKD.py",
    _base={"Distiller": torch.nn.Module},
    loss={"CrossEntropyLabelSmooth": None},
)


def mlkd_theirs(x, temperatures, weights):
    s, t = logits(x)
    levels = zip(weights, [MLKD.kd_loss, MLKD.bc_loss, MLKD.cc_loss])
    return sum(weight * level(s, t, temperature) for weight, level in levels for temperature in temperatures)


for i, (name, inputs) in enumerate(SHAPES.items()):
    temperatures = [[2.0, 3.0, 4.0, 5.0, 6.0], [4.0], [1.0, 7.5]][i % 3]
    weights = [[1.0, 1.0, 1.0], [0.5, 2.0, 10.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]][i % 4]
    knobs = (
        f"{{ temperatures = {temperatures}, instance-weight = {weights[0]}, batch-weight = {weights[1]}, "
        f"class-weight = {weights[2]} }}"
    )
    theirs = MLKD and (lambda x, t=temperatures, w=weights: mlkd_theirs(x, t, w))
    case("mlkd", name, knobs, inputs, lambda x, t=temperatures, w=weights: mlkd(x, t, w), theirs)
defaults = ([2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 1.0, 1.0])
theirs = MLKD and (lambda x: mlkd_theirs(x, *defaults))
case("mlkd", "defaults", "{}", pair(108, 3, 10), lambda x: mlkd(x, *defaults), theirs)


class Reversed(torch.autograd.Function):
    """The identity, whose gradient is multiplied by -λ."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -ctx.factor * gradient, None


def ctkd(x, author, factor, low=1.0, high=21.0):
    s, t = logits(x)
    temperature = Reversed.apply(x["connector.temperature"], factor)
    if author:
        temperature = low + (high - low) * torch.sigmoid(temperature)
    return (temperature**2 * kl_rows(s, t, temperature).sum() / s.shape[0]).sum()


GLOBAL, KL = load("logit-standardization-KD", "CTKD/models/temp_global.py"), None
if GLOBAL is not None:
    KL = load("logit-standardization-KD", "CTKD/distiller_zoo/KD.py").DistillKL()


def ctkd_theirs(x, author, factor):
    # Their schedule runs from 0 to -1 and their layer multiplies by it as it is.
    temperature = GLOBAL.GradientReversalFunction.apply(x["connector.temperature"], -factor)
    if author:
        temperature = 1 + 20 * torch.sigmoid(temperature)
    there, torch.Tensor.cuda = torch.Tensor.cuda, lambda self, *_: self
    try:
        return KL(*logits(x), temperature).sum()
    finally:
        torch.Tensor.cuda = there


for i, (name, inputs) in enumerate(SHAPES.items()):
    for author in [False, True]:
        # Temperatures of 2 to 6: where T is large, T²·KL hardly depends on it, and f32 rounds away what is left.
        parameter = [-2.0, -1.5, -2.5, -1.1][i % 4] if author else [4.0, 1.5, 6.0, 2.0][i % 4]
        factor = [1.0, 0.5, 3.0][i % 3]
        given = inputs | {"connector.temperature": torch.tensor([parameter], dtype=torch.float64)}
        knobs = f'{{ variant = "{"author" if author else "direct"}", lambda-max = {factor} }}'
        way = (author, factor)
        theirs = KL and (lambda x, way=way: ctkd_theirs(x, *way))
        case("ctkd", f"{name}-{'author' if author else 'direct'}", knobs, given, lambda x, way=way: ctkd(x, *way), theirs)
given = pair(111, 3, 10) | {"connector.temperature": torch.tensor([2.5], dtype=torch.float64)}
knobs = "{ minimum = 0.5, maximum = 9.0, lambda-min = 0.25, lambda-max = 2.0, ramp = 0.0 }"
case("ctkd", "knobs", knobs, given, lambda x: ctkd(x, False, 2.0))
knobs = '{ variant = "author", minimum = 0.5, maximum = 9.0 }'
case("ctkd", "knobs-author", knobs, given, lambda x: ctkd(x, True, 1.0, 0.5, 9.0))
case("ctkd", "defaults", "{}", given, lambda x: ctkd(x, False, 1.0))
given = tokens(112) | {"connector.temperature": torch.tensor([3.0], dtype=torch.float64)}


def ctkd_tokens(x):
    temperature = Reversed.apply(x["connector.temperature"], 1.0)
    each = kl_rows(*logits(x), temperature) * x["mask"]
    return (temperature**2 * each.sum() / 2).sum()


case("ctkd", "tokens", "{}", given, ctkd_tokens)
# A temperature outside of its range counts as the range's end, and its gradient is that of the end.
for name, parameter, end in [("cold", -2.0, 1.0), ("hot", 30.0, 6.0)]:
    given = pair(113, 2, 10) | {"connector.temperature": torch.tensor([parameter], dtype=torch.float64)}

    def clamped(x, shift=end - parameter):
        moved = dict(x)
        moved["connector.temperature"] = x["connector.temperature"] + shift
        return ctkd(moved, False, 1.0)

    case("ctkd", name, "{ maximum = 6.0 }", given, clamped)


def flsw_weights(s, t, gamma):
    s, t = (z.detach() / (z.detach().norm(dim=-1, keepdim=True) + 1e-4) for z in (s, t))
    return (1 - (s * t).sum(-1)) ** gamma


def cwsm_weights(s, t):
    return 1 / (F.softmax(s.detach(), -1).max(-1).values + 1e-3)


def weighted(x, weights, base, beta, compat):
    s, t = logits(x)
    w = weights(s, t)
    counted = x.get("mask", torch.ones_like(w))
    temperature = base + beta * ((w * counted).sum() / counted.sum() - w)
    if compat:
        temperature = temperature.unsqueeze(-1)
        return -(F.softmax(t / temperature, -1) * F.log_softmax(s / temperature, -1)).sum(-1).mean()
    temperature = temperature.clamp_min(0.01)
    return (temperature**2 * kl_rows(s, t, temperature.unsqueeze(-1)) * counted).sum() / s.shape[0]


SCHEDULERS = load("TextBrewer", "src/textbrewer/schedulers.py")
BREWER = packaged(
    "golden_textbrewer", "TextBrewer", "src/textbrewer/losses.py", compatibility={"mask_dtype": torch.bool}
)


def brewed(builder):
    """TextBrewer's loss with a temperature scheduler of its own."""
    if BREWER is None:
        return None

    def theirs(x, base):
        s, t = logits(x)
        return BREWER.kd_ce_loss(s, t, builder(s, t, base))

    return theirs


for i, (name, inputs) in enumerate((SHAPES | {"tokens": tokens(121)}).items()):
    for compat in [False, True]:
        if compat and name == "tokens":
            continue
        base, beta, gamma = [(4.0, 1.0, 2.0), (6.0, 2.5, 1.0), (2.0, 0.3, 1.5), (5.0, 0.0, 3.0)][i % 4]
        extra = ', compat = "textbrewer"' if compat else ""
        label = name + ("-textbrewer" if compat else "")
        theirs = brewed(SCHEDULERS and SCHEDULERS.flsw_temperature_scheduler_builder(beta, gamma)) if compat else None
        case(
            "flsw",
            label,
            f"{{ temperature = {base}, beta = {beta}, gamma = {gamma}{extra} }}",
            inputs,
            lambda x, k=(base, beta, compat), g=gamma: weighted(x, lambda s, t: flsw_weights(s, t, g), *k),
            theirs and (lambda x, theirs=theirs, base=base: theirs(x, base)),
        )
        beta = min(beta, 0.2)
        theirs = brewed(SCHEDULERS and SCHEDULERS.cwsm_temperature_scheduler_builder(beta)) if compat else None
        case(
            "cwsm",
            label,
            f"{{ temperature = {base}, beta = {beta}{extra} }}",
            inputs,
            lambda x, k=(base, beta, compat): weighted(x, cwsm_weights, *k),
            theirs and (lambda x, theirs=theirs, base=base: theirs(x, base)),
        )
case("flsw", "defaults", "{}", pair(122, 3, 10), lambda x: weighted(x, lambda s, t: flsw_weights(s, t, 2), 4, 1, False))
case("cwsm", "defaults", "{}", pair(123, 3, 3), lambda x: weighted(x, cwsm_weights, 4, 1, False))
# β is so large that the unsurest example is at the floor of 0.01.
floor = pair(124, 3, 10, scale=0.5)
floor["student.logits"][0] *= 20
case("cwsm", "floor", "{ beta = 3.0 }", floor, lambda x: weighted(x, cwsm_weights, 4, 3, False))


def top_k(x, k, missing, temperature, renormalised=False, divisor="batch-mean"):
    s, t = logits(x)
    p, q = F.softmax(s / temperature, -1), F.softmax(t / temperature, -1)
    kept = torch.zeros_like(q).scatter(-1, t.topk(k, -1).indices, 1.0)
    log_p, log_q = F.log_softmax(s / temperature, -1), F.log_softmax(t / temperature, -1)
    if renormalised:
        log_q = log_q - torch.log((q * kept).sum(-1, keepdim=True))
        q = log_q.exp()
    each = (kept * q * (log_q - log_p)).sum(-1)
    if missing == "bucket" and k < s.shape[-1]:
        rest = [torch.logsumexp(z.masked_fill(kept.bool(), -math.inf), -1) for z in (log_p, log_q)]
        each = each + rest[1].exp() * (rest[1] - rest[0])
    counted = x.get("mask", torch.ones_like(each))
    divisors = {
        "batch-mean": s.shape[0],
        "token-mean": counted.sum(),
        "mean": counted.sum() * s.shape[-1],
        "sum": 1,
    }
    return temperature**2 * (each * counted).sum() / divisors[divisor]


SPARSE = None
if golden.REFERENCES is not None:
    stub("transformers")
    stub("transformers.modeling_outputs", CausalLMOutput=None)
    stub("distillkit").__path__.append(str(golden.REFERENCES / "DistillKit/distillkit"))
    stub("distillkit.lossfuncs").__path__.append(str(golden.REFERENCES / "DistillKit/distillkit/lossfuncs"))
    stub("distillkit.hsd_mapping", HiddenStateMapping=object)
    stub("distillkit.signals", TeacherSignal=object, DenseSignal=object)
    SPARSE = importlib.import_module("distillkit.lossfuncs.kl")
    HANDLING = importlib.import_module("distillkit.missing_probability").MissingProbabilityHandling


def top_k_theirs(x, k, missing, temperature):
    s, t = logits(x)
    values, ids = F.log_softmax(t / temperature, -1).topk(k, -1)
    total = SPARSE.sparse_kl_div(
        s.unsqueeze(1),
        ids.unsqueeze(1),
        values.unsqueeze(1),
        missing=HANDLING.SYMMETRIC_UNIFORM if missing == "bucket" else HANDLING.ZERO,
        temperature=temperature,
        target_generation_temperature=temperature,
    )
    return total * temperature**2 / s.shape[0]


for i, (name, inputs) in enumerate(SHAPES.items()):
    k = [1, 3, 10, 5][i % 4]
    temperature = [1.0, 4.0, 2.0][i % 3]
    for missing in ["bucket", "zero"]:
        # DistillKit takes one minus the sum of float32 probabilities and clamps it at 1e-8: not at large logits.
        theirs = None
        if SPARSE and missing == "bucket" and name != "large-logits":
            theirs = lambda x, way=(k, missing, temperature): top_k_theirs(x, *way)
        case(
            "top-k",
            f"{name}-{missing}",
            f'{{ k = {k}, missing = "{missing}", temperature = {temperature} }}',
            inputs,
            lambda x, way=(k, missing, temperature): top_k(x, *way),
            theirs,
            tolerance=2e-5,
        )
    case(
        "top-k",
        f"{name}-distillkit",
        f'{{ k = {k}, missing = "zero", temperature = {temperature}, compat = "distillkit" }}',
        inputs,
        lambda x, way=(k, "zero", temperature, True): top_k(x, *way),
        SPARSE and (lambda x, way=(k, "zero", temperature): top_k_theirs(x, *way)),
        tolerance=2e-6,
    )
for missing in ["bucket", "zero"]:
    case(
        "top-k",
        f"all-{missing}",
        f'{{ k = 10, missing = "{missing}", temperature = 4.0 }}',
        SHAPES["b8-c10"],
        lambda x: 16 * kl_rows(*logits(x), 4.0).mean(),
    )
for reduction in ["batch-mean", "token-mean", "mean", "sum"]:
    case(
        "top-k",
        f"tokens-{reduction}",
        f'{{ k = 2, temperature = 2.0, reduction = "{reduction}" }}',
        tokens(131),
        lambda x, r=reduction: top_k(x, 2, "bucket", 2.0, divisor=r),
    )


def uld(x, temperature):
    s, t = (F.softmax(z / temperature, -1).sort(-1, descending=True).values for z in logits(x))
    longest = max(s.shape[-1], t.shape[-1])
    s, t = (F.pad(z, (0, longest - z.shape[-1])) for z in (s, t))
    each = (s - t).abs().sum(-1)
    counted = x.get("mask", torch.ones_like(each))
    return (each * counted).sum() / counted.sum()


# A student's row of zeros has no derivative: all orders are sorted.
flat = {"zero-row": zero_row(pair(140, 3, 10), "teacher.logits"), "tokens": tokens(141)}
for i, (name, inputs) in enumerate((SHAPES | flat).items()):
    temperature = [1.0, 4.0, 0.5][i % 3]
    knobs = "{}" if temperature == 1.0 else f"{{ temperature = {temperature} }}"
    case("uld", name, knobs, inputs, lambda x, t=temperature: uld(x, t))
for student, teacher in [(2, 10), (10, 2), (10, 100), (100, 37), (10, 1)]:
    inputs = {
        "student.logits": normal(student, 3, student, scale=2),
        "teacher.logits": normal(teacher, 3, teacher, scale=2),
    }
    case("uld", f"c{student}-c{teacher}", "{ temperature = 2.0 }", inputs, lambda x: uld(x, 2.0))
inputs = tokens(142) | {"teacher.logits": normal(143, 2, 3, 8, scale=2)}
case("uld", "tokens-c5-c8", "{ temperature = 1.0 }", inputs, lambda x: uld(x, 1.0))


def ofa(x, epsilon, temperature):
    s, t = logits(x)
    m = F.one_hot(x["targets"].reshape(s.shape[:-1]), s.shape[-1])
    target = (F.softmax(t / temperature, -1) + m) ** epsilon - m
    each = -(target * F.log_softmax(s / temperature, -1)).sum(-1)
    return (each * x.get("mask", torch.ones_like(each))).sum() / s.shape[0]


helpers = ["GAP1d", "get_module_dict", "init_weights", "is_cnn_model", "PatchMerging", "SepConv", "set_module_dict"]
OFA = packaged(
    "golden_ofa",
    "OFAKD",
    "distillers/ofa.py",
    _base={"BaseDistiller": torch.nn.Module},
    registry={"register_distiller": lambda distiller: distiller},
    utils=dict.fromkeys(helpers + ["TokenFilter", "TokenFnContext"]),
)


def ofa_theirs(x, epsilon, temperature):
    s, t = logits(x)
    return OFA.ofa_loss(s, t, F.one_hot(x["targets"], s.shape[-1]), epsilon, temperature)


for i, (name, inputs) in enumerate(SHAPES.items()):
    epsilon, temperature = [(1.0, 1.0), (1.5, 1.0), (1.1, 4.0), (0.7, 2.0)][i % 4]
    batch, count = inputs["student.logits"].shape
    given = inputs | {"targets": classes(150 + i, batch, count)}
    # Theirs takes the logarithm of a probability that is 0 at large logits.
    theirs = None
    if OFA and name != "large-logits":
        theirs = lambda x, way=(epsilon, temperature): ofa_theirs(x, *way)
    knobs = f"{{ epsilon = {epsilon}, temperature = {temperature} }}"
    case("ofa", name, knobs, given, lambda x, way=(epsilon, temperature): ofa(x, *way), theirs)
given = pair(158, 3, 10) | {"targets": classes(158, 3, 10)}
case("ofa", "defaults", "{}", given, lambda x: ofa(x, 1.0, 1.0), OFA and (lambda x: ofa_theirs(x, 1.0, 1.0)))
given = tokens(159) | {"targets": classes(159, 6, 5)}
case("ofa", "tokens", "{ epsilon = 1.2 }", given, lambda x: ofa(x, 1.2, 1.0))


def deit(x, site, variant, temperature=3.0):
    s, t = x[site], x["teacher.logits"]
    if variant == "hard":
        return -F.log_softmax(s, -1).gather(1, t.argmax(1, keepdim=True)).mean()
    total = temperature**2 * kl_rows(s, t, temperature).sum()
    return total / (s.numel() if variant == "soft" else s.shape[0])


DEIT = load("deit", "losses.py")


def deit_theirs(x, site, variant, temperature=3.0):
    wrapped = DEIT.DistillationLoss(
        lambda outputs, labels: 0.0, lambda inputs: x["teacher.logits"], variant, 1.0, temperature
    )
    return wrapped(None, (None, x[site]), None)


for i, (name, inputs) in enumerate(SHAPES.items()):
    for variant in ["hard", "soft", "soft-paper"]:
        temperature = [3.0, 1.0, 6.0][i % 3]
        knobs = f'{{ variant = "{variant}", temperature = {temperature} }}'
        site = "student.logits"
        if i % 2:
            site = "student.distillation"
            shape = inputs["student.logits"].shape
            inputs = inputs | {site: normal(160 + i, *shape, scale=3)}
        way = (site, variant, temperature)
        theirs = DEIT and variant != "soft-paper" and (lambda x, way=way: deit_theirs(x, *way))
        case("deit", f"{name}-{variant}", knobs, inputs, lambda x, way=way: deit(x, *way), theirs or None)
named = pair(171, 2, 10) | {"student.token": normal(173, 2, 10), "student.distillation": normal(174, 2, 10)}
case("deit", "named", '{ student = "token" }', named, lambda x: deit(x, "student.token", "hard"))
case("deit", "defaults", "{}", named, lambda x: deit(x, "student.distillation", "hard"))
