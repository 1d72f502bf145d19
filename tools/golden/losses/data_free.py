"""Losses without data, against an adversary, and for robustness.

The authors' files of DAFL, DFAD, DeepInversion, ARD and RSLAD compute their losses in the middle of training scripts;
DAFL's and DFAD's are compared with MMRazor's, the others are formulas alone. ARD's and RSLAD's scripts divide by B·C,
which section 7 of the conventions does not.
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


RAZOR = golden.REFERENCES is not None
if RAZOR:
    names = ["mmrazor", "mmrazor.registry", "mmrazor.models.architectures.ops", "mmengine", "mmengine.dist"]
    for name in names:
        sys.modules.setdefault(name, types.ModuleType(name))
    if not hasattr(sys.modules["mmrazor.registry"], "MODELS"):
        register = types.SimpleNamespace(register_module=lambda *a, **k: lambda c: c)
        sys.modules["mmrazor.registry"].MODELS = register
    sys.modules["mmrazor.models.architectures.ops"].GatherTensors = None
    sys.modules["mmengine.dist"].get_dist_info = lambda: (0, 1)
    # By its own name, since it imports from a neighbouring package.
    path = golden.REFERENCES / "mmrazor/mmrazor/models/losses/dafl_loss.py"
    spec = importlib.util.spec_from_file_location("mmrazor.models.losses.dafl_loss", path)
    DAFL = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(DAFL)
    L1 = load("mmrazor", "mmrazor/models/losses/l1_loss.py")


def kl(s, t, temperature=1.0):
    log_s, log_t = F.log_softmax(s / temperature, 1), F.log_softmax(t / temperature, 1)
    return temperature**2 * (log_t.exp() * (log_t - log_s)).sum() / s.shape[0]


# discriminator


def adversarial(x, role, kind):
    fake = x["student.fake"].flatten()
    entropy = F.binary_cross_entropy if kind == "probabilities" else F.binary_cross_entropy_with_logits
    if role == "student":
        return entropy(fake, torch.ones_like(fake))
    real = x["student.real"].flatten()
    return entropy(real, torch.ones_like(real)) + entropy(fake, torch.zeros_like(fake))


for i, (fake, real) in enumerate([((1,), (2,)), ((3, 1), (3, 1)), ((2, 1, 3, 5), (2, 1, 3, 5)), ((8, 7, 1), (8, 1))]):
    for role in ["student", "discriminator"]:
        for kind in ["logits", "probabilities"]:
            inputs = {"student.fake": normal(700 + 10 * i, *fake), "student.real": normal(701 + 10 * i, *real)}
            if kind == "probabilities":
                inputs = {name: z.sigmoid() for name, z in inputs.items()}
            case(
                "discriminator",
                f"{role}-{kind}-rank-{len(fake)}",
                f'{{ role = "{role}", input = "{kind}" }}',
                inputs,
                lambda x, r=role, k=kind: adversarial(x, r, k),
            )
for role in ["student", "discriminator"]:
    inputs = {"student.fake": normal(750, 8, scale=300), "student.real": normal(751, 8, scale=300)}
    name, knobs = f"{role}-large", f'{{ role = "{role}" }}'
    case("discriminator", name, knobs, inputs, lambda x, r=role: adversarial(x, r, "logits"))
inputs = {"student.fake": torch.zeros(3, 1, dtype=torch.float64), "student.real": normal(761, 2)}
knobs = '{ role = "discriminator", fake = "fake", real = "real" }'
case("discriminator", "zeros", knobs, inputs, lambda x: adversarial(x, "discriminator", "logits"))

# dafl


def dafl(x, one_hot=1.0, entropy=5.0, activation=0.1, natural=False):
    z = x["teacher.logits"]
    p = F.softmax(z, 1).mean(0)
    spread = torch.special.xlogy(p, p).sum() / (1.0 if natural else torch.log(torch.tensor(10.0, dtype=z.dtype)))
    value = one_hot * F.cross_entropy(z, z.argmax(1)) + entropy * spread
    return value - activation * x["teacher.feature"].abs().mean()


def razor_dafl(x):
    parts = DAFL.OnehotLikeLoss(), DAFL.InformationEntropyLoss(loss_weight=5.0), DAFL.ActivationLoss(loss_weight=0.1)
    return parts[0](x["teacher.logits"]) + parts[1](x["teacher.logits"]) + parts[2](x["teacher.feature"])


for i, (batch, count, shape) in enumerate([(1, 2, (5,)), (2, 10, (3, 5, 7)), (3, 100, (4, 3)), (8, 10, ())]):
    inputs = {
        "teacher.logits": normal(800 + 10 * i, batch, count, scale=3),
        "teacher.feature": normal(801 + 10 * i, batch, *shape),
    }
    case("dafl", f"b{batch}-c{count}", "{}", inputs, dafl, razor_dafl if RAZOR else None)
inputs = {"teacher.logits": normal(850, 3, 10, scale=3), "teacher.feature": normal(851, 3, 5)}
case("dafl", "natural", '{ logarithm = "natural" }', inputs, lambda x: dafl(x, natural=True))
knobs = '{ one-hot-weight = 0.5, entropy-weight = 2, activation-weight = 0.25, teacher = "feature" }'
inputs = inputs | {"teacher.other": normal(852, 3, 4)}
case("dafl", "weights", knobs, inputs, lambda x: dafl(x, 0.5, 2.0, 0.25))
case("dafl", "no-activation", "{ activation-weight = 0.0 }", inputs, lambda x: dafl(x, activation=0.0))
large = {"teacher.logits": normal(860, 2, 10, scale=300), "teacher.feature": normal(861, 2, 5, scale=300)}
case("dafl", "large-logits", "{}", large, dafl)
one = normal(870, 1, 10).repeat(3, 1)
case("dafl", "duplicated-rows", "{}", {"teacher.logits": one, "teacher.feature": torch.zeros_like(one)}, dafl)

# dfad

for i, (batch, count, scale) in enumerate([(1, 2, 3.0), (2, 10, 3.0), (3, 100, 3.0), (8, 10, 1.0), (2, 10, 300.0)]):
    for role, sign in [("student", 1.0), ("generator", -1.0)]:
        inputs = {
            "student.logits": normal(900 + 10 * i, batch, count, scale=scale),
            "teacher.logits": normal(901 + 10 * i, batch, count, scale=scale),
        }
        theirs = None
        if RAZOR:
            loss = L1.L1Loss(loss_weight=sign)
            theirs = lambda x, loss=loss: loss(x["student.logits"], x["teacher.logits"])
        case(
            "dfad",
            f"{role}-b{batch}-c{count}-scale-{int(scale)}",
            f'{{ role = "{role}" }}',
            inputs,
            lambda x, sign=sign: sign * (x["teacher.logits"] - x["student.logits"]).abs().mean(),
            theirs,
        )

# deep-inversion


def norm(x):
    return x.square().sum().sqrt()


def variation(x):
    right = x[..., :, 1:] - x[..., :, :-1]
    below = x[..., 1:, :] - x[..., :-1, :]
    rising = x[..., 1:, :-1] - x[..., :-1, 1:]
    falling = x[..., 1:, 1:] - x[..., :-1, :-1]
    return norm(right) + norm(below) + norm(rising) + norm(falling)


def compete(s, t, clamped):
    s, t = F.softmax(s / 3, 1), F.softmax(t / 3, 1)
    m = (s + t) / 2
    if clamped:
        s, t, m = (p.clamp(0.01, 0.99) for p in (s, t, m))
        js = (m * (m / s).log() + m * (m / t).log()).sum() / (2 * len(s))
        return 1 - js.clamp(0, 1)
    zero = lambda p: torch.where(p > 0, p * (p / m).log(), 0)
    return 1 - (zero(s) + zero(t)).sum() / (2 * len(s))


def inversion(x, layers, bn=100.0, tv=2.5e-5, l2=0.0, competition=0.0, clamped=False):
    value = F.cross_entropy(x["teacher.logits"], x["targets"])
    for site in layers:
        rows = x[f"teacher.{site}"].transpose(0, 1).flatten(1)
        mean, var = rows.mean(1), rows.var(1, unbiased=False)
        value = value + bn * norm(mean - x[f"teacher.{site}.running-mean"])
        value = value + bn * norm(var - x[f"teacher.{site}.running-var"])
    if tv:
        value = value + tv * variation(x["student.image"])
    if l2:
        value = value + l2 * norm(x["student.image"])
    if competition:
        value = value + competition * compete(x["student.logits"], x["teacher.logits"], clamped)
    return value


def images(seed, batch, count, size, layers, scale=3.0):
    inputs = {
        "student.image": normal(seed, batch, 3, *size),
        "student.logits": normal(seed + 1, batch, count, scale=scale),
        "teacher.logits": normal(seed + 2, batch, count, scale=scale),
        "targets": classes(seed, batch, count),
    }
    for j, (site, shape) in enumerate(layers.items()):
        inputs[f"teacher.{site}"] = normal(seed + 3 + j, batch, *shape)
        inputs[f"teacher.{site}.running-mean"] = normal(seed + 13 + j, shape[0])
        inputs[f"teacher.{site}.running-var"] = normal(seed + 23 + j, shape[0]).square()
    return inputs


for i, (batch, count, size, layers, scale) in enumerate(
    [
        (1, 2, (3, 5), {"stem": (4, 3, 5)}, 3.0),
        (2, 10, (5, 7), {"stem": (4, 5, 7), "last": (6,)}, 3.0),
        (3, 100, (4, 4), {"tokens": (3, 5)}, 3.0),
        (8, 10, (3, 3), {"stem": (2, 3, 3), "middle": (5, 1, 1)}, 1.0),
        (2, 10, (3, 3), {"stem": (2, 3, 3)}, 300.0),
    ]
):
    shape = f"b{batch}-c{count}-scale-{int(scale)}"
    inputs = images(1003 + 100 * i, batch, count, size, layers, scale)
    case("deep-inversion", shape, "{}", inputs, lambda x, s=layers: inversion(x, s))
    weights = "batch-norm-weight = 0.5, total-variation-weight = 0.25, norm-weight = 0.125, competition-weight = 10"
    for clamped, compat in [(False, ""), (True, ', compat = "deep-inversion"')]:
        case(
            "deep-inversion",
            f"adaptive-{'clamped-' if clamped else ''}{shape}",
            f"{{ {weights}{compat} }}",
            inputs,
            lambda x, s=layers, c=clamped: inversion(x, s, 0.5, 0.25, 0.125, 10.0, c),
        )
inputs = images(1600, 2, 10, (3, 5), {"stem": (4, 3, 5), "last": (6,)})
knobs = '{ layers = ["last"], image = "image", total-variation-weight = 0.5 }'
case("deep-inversion", "named", knobs, inputs, lambda x: inversion(x, ["last"], tv=0.5))
knobs = "{ batch-norm-weight = 0.0, total-variation-weight = 0.0 }"
case("deep-inversion", "labels-alone", knobs, inputs, lambda x: inversion(x, [], tv=0.0))

# ard, rslad


def robust(seed, batch, count, scale, labels):
    inputs = {
        "student.adversarial": normal(seed, batch, count, scale=scale),
        "student.logits": normal(seed + 1, batch, count, scale=scale),
        "teacher.logits": normal(seed + 2, batch, count, scale=scale),
    }
    if labels:
        inputs["targets"] = classes(seed, batch, count)
    return inputs


def ard(x, alpha, temperature):
    value = alpha * kl(x["student.adversarial"], x["teacher.logits"], temperature)
    return value if alpha == 1.0 else value + (1 - alpha) * F.cross_entropy(x["student.logits"], x["targets"])


def rslad(x, alpha, temperature):
    attacked = kl(x["student.adversarial"], x["teacher.logits"], temperature)
    return alpha * attacked + (1 - alpha) * kl(x["student.logits"], x["teacher.logits"], temperature)


for i, (batch, count, alpha, temperature, scale) in enumerate(
    [
        (1, 2, 0.5, 1.0, 3.0),
        (2, 10, 1.0, 30.0, 3.0),
        (3, 100, 0.25, 4.0, 3.0),
        (8, 10, 0.0, 2.0, 1.0),
        (2, 10, 0.75, 4.0, 300.0),
    ]
):
    name = f"b{batch}-c{count}-alpha-{alpha}-scale-{int(scale)}"
    knobs = f"{{ alpha = {alpha}, temperature = {temperature} }}"
    inputs = robust(1700 + 10 * i, batch, count, scale, alpha < 1.0)
    case("ard", name, knobs, inputs, lambda x, a=alpha, t=temperature: ard(x, a, t))
    inputs = robust(1800 + 10 * i, batch, count, scale, False)
    case("rslad", name, knobs, inputs, lambda x, a=alpha, t=temperature: rslad(x, a, t))
inputs = robust(1900, 3, 10, 3.0, False)
case("ard", "defaults", "{}", inputs, lambda x: ard(x, 1.0, 30.0))
case("rslad", "defaults", "{}", inputs, lambda x: rslad(x, 5 / 6, 1.0))
inputs = inputs | {"student.other": normal(1910, 3, 10), "targets": classes(1910, 3, 10)}
named = '{ alpha = 0.5, temperature = 2.0, adversarial = "adversarial" }'
case("ard", "named", named, inputs, lambda x: ard(x, 0.5, 2.0))
case("rslad", "named", named, inputs, lambda x: rslad(x, 0.5, 2.0))
