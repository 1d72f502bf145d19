"""Losses of the logits beyond `kl`, and what `kl` is in other toolkits."""

import importlib.util
import logging
import sys
import types

import golden
import torch
import torch.nn.functional as F
from golden import classes, load, normal


def stand_in(name, **contents):
    """Puts a module with `contents` where an import looks for it, unless it is there."""
    module = types.ModuleType(name)
    module.__path__ = []
    module.__dict__.update(contents)
    return sys.modules.setdefault(name, module)


def member(repository, path, name, **neighbours):
    """A file of a checkout under a dotted name of ours, so that its relative imports find `neighbours` instead."""
    if golden.REFERENCES is None:
        return None
    parts = name.split(".")
    for i in range(1, len(parts)):
        stand_in(".".join(parts[:i]))
    for neighbour, contents in neighbours.items():
        stand_in(f"{parts[0]}.{neighbour.replace('__', '.')}", **contents)
    spec = importlib.util.spec_from_file_location(name, golden.REFERENCES / repository / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def register(*_, **__):
    return lambda decorated: decorated


class Registry:
    register_module = staticmethod(register)


if golden.REFERENCES is not None:
    stand_in("mmrazor")
    stand_in("mmrazor.registry", MODELS=Registry)
    stand_in("mmcls")
    stand_in("mmcls.registry", MODELS=Registry)
    stand_in("KD_Lib")
    stand_in("KD_Lib.KD")
    stand_in("KD_Lib.KD.common", BaseClass=object)
    stand_in("matplotlib")
    stand_in("matplotlib.pyplot")
    stand_in("transformers")
    stand_in("transformers.modeling_outputs", CausalLMOutput=object)
    stand_in("distillkit")
    stand_in("distillkit.hsd_mapping", HiddenStateMapping=object)
    stand_in("distillkit.lossfuncs")
    missing = types.SimpleNamespace(ZERO=0, SYMMETRIC_UNIFORM=1)
    stand_in(
        "distillkit.lossfuncs.common",
        LossFunctionBase=object,
        MissingProbabilityHandling=missing,
        accumulate_over_chunks=None,
        get_logprobs=None,
    )
    stand_in("distillkit.signals", DenseSignal=object, TeacherSignal=object)
    torch.Tensor.cuda = lambda x, *_: x  # Tf-KD's code moves what it makes to a GPU.

identity = lambda decorated: decorated
DKD = member("mdistiller", "mdistiller/distillers/DKD.py", "their_md.DKD", _base={"Distiller": object})
MD_KD = member("mdistiller", "mdistiller/distillers/KD.py", "their_md.KD", _base={"Distiller": object})
STANDARD = member(
    "logit-standardization-KD", "mdistiller/distillers/KD.py", "their_ls.KD", _base={"Distiller": object}
)
TD = member(
    "torchdistill",
    "torchdistill/losses/mid_level.py",
    "their_td.losses.mid_level",
    losses__registry={"register_loss_wrapper": identity, "register_mid_level_loss": identity},
    common={},
    common__constant={"def_logger": logging.getLogger()},
)
DIST = load("DIST_KD", "segmentation/losses/dist_kd.py")
MM_DIST = load("mmrazor", "mmrazor/models/losses/dist_loss.py")
MM_WSLD = load("mmrazor", "mmrazor/models/losses/weighted_soft_label_distillation.py")
NKD = load("cls_KD", "mmcls/models/dis_losses/nkd.py")
TFKD = load("Teacher-free-Knowledge-Distillation", "my_loss_function.py")
TB = member("TextBrewer", "src/textbrewer/losses.py", "their_tb.losses", compatibility={"mask_dtype": torch.bool})
VANILLA = load("KD_Lib", "KD_Lib/KD/vision/vanilla/vanilla_kd.py")
TAKD = load("KD_Lib", "KD_Lib/KD/vision/TAKD/takd.py")
DK_KL = load("DistillKit", "distillkit/lossfuncs/kl.py")
DK_TVD = load("DistillKit", "distillkit/lossfuncs/tvd.py")

SHAPES = [(1, 2), (2, 10), (3, 100), (8, 10)]


def logits(seed, batch, count, scale=3.0, labels=True):
    inputs = {
        "student.logits": normal(100 + seed, batch, count, scale=scale),
        "teacher.logits": normal(200 + seed, batch, count, scale=scale),
    }
    if labels:
        inputs["targets"] = classes(300 + seed, batch, count)
    return inputs


def case(loss, name, knobs, inputs, *functions):
    """`golden.case` of inputs that several cases may share."""
    golden.case(loss, name, knobs, {key: x.clone() for key, x in inputs.items()}, *functions)


def pair(x):
    return x["student.logits"], x["teacher.logits"]


def duplicated(inputs):
    """The same with its first example twice."""
    return {name: torch.cat([x[:1], x]) for name, x in inputs.items()}


def rows_kl(log_t, log_s):
    return (log_t.exp() * (log_t - log_s)).sum(-1)


# tf-kd


def tf_kd(x, variant, a, t):
    z, y = x["student.logits"], x["targets"]
    batch, count = z.shape
    u = torch.full_like(z, (1 - a) / max(count - 1, 1)).scatter(1, y[:, None], a)
    if variant == "paper":
        p = (u.log() / t).softmax(-1)
        log_s, factor = F.log_softmax(z / t, -1), t * t / batch
    else:
        p = (u / t).softmax(-1)
        log_s, factor = F.log_softmax(z, -1), 1 / (batch * count)
    return (torch.xlogy(p, p) - p * log_s).sum() * factor


def their_tf_kd(x, a, t):
    assert a == 0.99, "it is written into their code"
    params = types.SimpleNamespace(reg_alpha=1.0, reg_temperature=t, multiplier=1.0)
    return TFKD.loss_kd_regularization(x["student.logits"], x["targets"], params)


def student_only(inputs):
    return {name: x for name, x in inputs.items() if name != "teacher.logits"}


for i, (batch, count) in enumerate(SHAPES):
    for variant, a, t in [("paper", 0.99, 20.0), ("paper", 0.9, 4.0), ("author", 0.99, 20.0), ("author", 0.99, 1.0)]:
        case(
            "tf-kd",
            f"{variant}-b{batch}-c{count}-t{t:g}",
            f'{{ variant = "{variant}", correct-probability = {a}, temperature = {t} }}',
            student_only(logits(i, batch, count)),
            lambda x, way=(variant, a, t): tf_kd(x, *way),
            None if TFKD is None or variant == "paper" else lambda x, a=a, t=t: their_tf_kd(x, a, t),
        )
for variant in ["paper", "author"]:
    for a in [0.0, 1.0]:
        case(
            "tf-kd",
            f"{variant}-a{a:g}",
            f'{{ variant = "{variant}", correct-probability = {a}, temperature = 2.0 }}',
            student_only(logits(10, 3, 10)),
            lambda x, way=(variant, a, 2.0): tf_kd(x, *way),
        )
case("tf-kd", "large", "{ temperature = 4.0 }", student_only(logits(11, 2, 10, scale=300)),
     lambda x: tf_kd(x, "paper", 0.99, 4.0))
case("tf-kd", "default", "{ temperature = 20.0 }", student_only(logits(12, 2, 10)), lambda x: tf_kd(x, "paper", 0.99, 20.0))
case("tf-kd", "one-class", "{}", student_only(logits(13, 2, 1)), lambda x: x["student.logits"].sum() * 0)


# dkd


def others(z, y):
    """Log-softmax over all classes but the label, `[B, C − 1]`."""
    keep = torch.ones_like(z, dtype=torch.bool).scatter(1, y[:, None], False)
    return F.log_softmax(z[keep].reshape(z.shape[0], -1), -1), z[keep].reshape(z.shape[0], -1).logsumexp(-1)


def dkd(x, alpha, beta, t):
    (s, p), y = pair(x), x["targets"]

    def parts(z):
        log_q, rest = others(z / t, y)
        own = (z / t).gather(1, y[:, None])[:, 0]
        return F.log_softmax(torch.stack([own, rest], -1), -1), log_q

    (label_s, q_s), (label_t, q_t) = parts(s), parts(p)
    return (alpha * rows_kl(label_t, label_s) + beta * rows_kl(q_t, q_s)).mean() * t * t


def their_dkd(x, alpha, beta, t):
    return DKD.dkd_loss(*pair(x), x["targets"], alpha, beta, t)


for i, (batch, count) in enumerate(SHAPES):
    for alpha, beta, t in [(1.0, 8.0, 4.0), (0.0, 2.0, 1.0), (0.5, 0.0, 20.0)]:
        way, knobs = (alpha, beta, t), f"alpha = {alpha}, beta = {beta}, temperature = {t}"
        theirs = None if DKD is None else lambda x, way=way: their_dkd(x, *way)
        name = f"b{batch}-c{count}-t{t:g}"
        inputs = logits(20 + i, batch, count)
        case("dkd", name, f"{{ {knobs} }}", inputs, lambda x, way=way: dkd(x, *way), theirs)
        if t == 4.0:
            compat = f'{{ {knobs}, compat = "mdistiller" }}'
            case("dkd", f"{name}-mdistiller", compat, inputs, lambda x, way=way: dkd(x, *way), theirs)
large = logits(30, 3, 10, scale=300)
case("dkd", "large", "{}", large, lambda x: dkd(x, 1.0, 8.0, 4.0))
gap = {
    "student.logits": torch.tensor([[500.0, 0.0, -1.0], [0.0, 3000.0, 3000.5], [-2500.0, 0.0, 1.0]]).double(),
    "teacher.logits": normal(31, 3, 3),
    "targets": torch.tensor([0, 1, 0]),
}
case("dkd", "gap", "{}", gap, lambda x: dkd(x, 1.0, 8.0, 4.0))
case("dkd", "duplicated", "{}", duplicated(logits(32, 2, 10)), lambda x: dkd(x, 1.0, 8.0, 4.0))
same = logits(33, 3, 10)
same["teacher.logits"] = same["student.logits"].clone()
case("dkd", "equal", "{ beta = 1.0, temperature = 1.0 }", same, lambda x: dkd(x, 1.0, 1.0, 1.0))
zero = logits(34, 2, 10)
zero["student.logits"] = torch.zeros_like(zero["student.logits"])
case("dkd", "zero", "{}", zero, lambda x: dkd(x, 1.0, 8.0, 4.0))
case("dkd", "one-class", "{}", logits(35, 2, 1), lambda x: x["student.logits"].sum() * 0)


# nkd


def nkd(x, gamma, t):
    (s, p), y = pair(x), x["targets"]
    own = lambda z: F.log_softmax(z, -1).gather(1, y[:, None])[:, 0]
    label = own(p).exp() * own(s)
    rest = (others(p / t, y)[0].exp() * others(s / t, y)[0]).sum(-1)
    return -(label + gamma * t * t * rest).mean()


for i, (batch, count) in enumerate(SHAPES):
    for gamma, t in [(1.5, 1.0), (0.5, 4.0), (0.0, 2.0)]:
        theirs = None
        if NKD is not None:
            module = NKD.NKDLoss("nkd", True, temp=t, gamma=gamma)
            theirs = lambda x, m=module: m(*pair(x), x["targets"])
        case("nkd", f"b{batch}-c{count}-t{t:g}", f"{{ gamma = {gamma}, temperature = {t} }}",
             logits(40 + i, batch, count), lambda x, gamma=gamma, t=t: nkd(x, gamma, t), theirs)
case("nkd", "large", "{ temperature = 2.0 }", logits(50, 3, 10, scale=300), lambda x: nkd(x, 1.5, 2.0))
case("nkd", "gap", "{}", gap, lambda x: nkd(x, 1.5, 1.0))
case("nkd", "duplicated", "{}", duplicated(logits(51, 2, 10)), lambda x: nkd(x, 1.5, 1.0))
case("nkd", "zero", "{}", zero, lambda x: nkd(x, 1.5, 1.0))
case("nkd", "one-class", "{}", logits(52, 2, 1), lambda x: x["student.logits"].sum() * 0)


# dist


def pearson(a, b):
    a, b = a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True)
    return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1) + 1e-8)


def dist(x, beta, gamma, t):
    s, p = ((z / t).softmax(-1) for z in pair(x))
    return t * t * (beta * (1 - pearson(s, p).mean()) + gamma * (1 - pearson(s.T, p.T).mean()))


for i, (batch, count) in enumerate([(1, 10), (2, 10), (3, 2), (3, 100), (8, 10)]):
    for beta, gamma, t in [(1.0, 1.0, 1.0), (2.0, 2.0, 4.0), (0.5, 0.0, 1.0), (0.0, 3.0, 2.0)]:
        # Two numbers correlate by 1 or -1 whatever they are: what is left of the gradient is the 1e-8, lost in f32.
        if (count == 2 and gamma == 0.0) or (batch == 2 and beta == 0.0):
            continue
        theirs = None
        if MM_DIST is not None and t != 1.0:
            module = MM_DIST.DISTLoss(beta, gamma, t)
            theirs = lambda x, m=module: m(*pair(x))
        elif DIST is not None and t == 1.0:
            module = DIST.DIST(beta, gamma)
            theirs = lambda x, m=module: m(*pair(x))
        way = (beta, gamma, t)
        case("dist", f"b{batch}-c{count}-beta{beta:g}-gamma{gamma:g}-t{t:g}",
             f"{{ beta = {beta}, gamma = {gamma}, temperature = {t} }}",
             logits(60 + i, batch, count, scale=1.0, labels=False), lambda x, way=way: dist(x, *way), theirs)
case("dist", "large", "{ temperature = 4.0 }", logits(70, 3, 10, scale=300, labels=False),
     lambda x: dist(x, 1.0, 1.0, 4.0))
case("dist", "duplicated", "{}", duplicated(logits(71, 2, 10, scale=1.0, labels=False)),
     lambda x: dist(x, 1.0, 1.0, 1.0))
for batch, count in [(1, 1), (3, 1)]:
    case("dist", f"b{batch}-c{count}", "{}", logits(72, batch, count, labels=False), lambda x: dist(x, 1.0, 1.0, 1.0))
flat = logits(73, 2, 10, labels=False)
flat["student.logits"][0] = 0.0
# Around a row without variation the correlation bends within 1e-8, which no difference of values can see.
case("dist", "flat-row", "{ gamma = 0.0 } # kink", flat, lambda x: dist(x, 1.0, 0.0, 1.0))


# logit-standardization


def standardization(x, t, t_squared=True):
    n = lambda z: (z - z.mean(-1, keepdim=True)) / (z.std(-1, keepdim=True) + 1e-7)
    s, p = (F.log_softmax(n(z) / t, -1) for z in pair(x))
    return rows_kl(p, s).mean() * (t * t if t_squared else 1)


def torchdistill(kind, t):
    if TD is None:
        return None
    module = getattr(TD, kind)("logits", "output", "logits", "output", temperature=t, alpha=0)
    io = lambda z: {"logits": {"output": z}}
    return lambda x: module(io(x["student.logits"]), io(x["teacher.logits"]))


for i, (batch, count) in enumerate([(1, 3), (2, 10), (3, 100), (8, 10)]):
    for t in [2.0, 1.0, 9.0]:
        inputs = logits(80 + i, batch, count, labels=False)
        theirs = None if STANDARD is None else lambda x, t=t: STANDARD.kd_loss(*pair(x), t, True)
        case("logit-standardization", f"b{batch}-c{count}-t{t:g}", f"{{ temperature = {t} }}", inputs,
             lambda x, t=t: standardization(x, t), theirs)
    case("logit-standardization", f"b{batch}-c{count}-torchdistill",
         '{ temperature = 4.0, compat = "torchdistill" }', inputs,
         lambda x: standardization(x, 4.0, False), torchdistill("LogitStdKDLoss", 4.0))
# Two standardised logits are constants but for the 1e-7, whose share of the gradient is lost in f32 unless it is tiny.
case("logit-standardization", "two-classes", "{}", logits(89, 2, 2, scale=1e4, labels=False),
     lambda x: standardization(x, 2.0), None if STANDARD is None else lambda x: STANDARD.kd_loss(*pair(x), 2.0, True))
case("logit-standardization", "large", "{}", logits(90, 3, 10, scale=300, labels=False),
     lambda x: standardization(x, 2.0))
case("logit-standardization", "duplicated", "{}", duplicated(logits(91, 2, 10, labels=False)),
     lambda x: standardization(x, 2.0))
case("logit-standardization", "one-class", "{}", logits(92, 2, 1, labels=False),
     lambda x: x["student.logits"].sum() * 0)
flat = logits(93, 2, 10, labels=False)
flat["teacher.logits"][0] = 0.0
case("logit-standardization", "flat-teacher", "{}", flat, lambda x: standardization(x, 2.0))
flat = logits(94, 2, 10, labels=False)
flat["student.logits"][0] = 0.0
case("logit-standardization", "flat-student", "{} # kink", flat, lambda x: standardization(x, 2.0))


# wsld


def wsld(x, t):
    (s, p), y = pair(x), x["targets"]
    of = lambda z: F.cross_entropy(z, y, reduction="none").detach()
    weight = 1 - (-of(s) / (of(p) + 1e-7)).exp()
    return -t * t * (weight * ((p / t).softmax(-1) * F.log_softmax(s / t, -1)).sum(-1)).mean()


# The weight is a constant in backward, so no difference of values agrees with the gradient; `kink` says so to the test.
for i, (batch, count) in enumerate(SHAPES):
    for t in [1.0, 2.0, 4.0]:
        theirs = None
        if MM_WSLD is not None:
            module = MM_WSLD.WSLD(tau=t, num_classes=count)
            theirs = lambda x, m=module: m(*pair(x), x["targets"])
        # Their labels are one-hot in f32, which is exact.
        case("wsld", f"b{batch}-c{count}-t{t:g}", f"{{ temperature = {t} }} # kink", logits(110 + i, batch, count),
             lambda x, t=t: wsld(x, t), theirs)
case("wsld", "large", "{} # kink", logits(120, 3, 10, scale=300), lambda x: wsld(x, 2.0))
case("wsld", "duplicated", "{} # kink", duplicated(logits(121, 2, 10)), lambda x: wsld(x, 2.0))
case("wsld", "zero", "{} # kink", zero, lambda x: wsld(x, 2.0))
case("wsld", "one-class", "{} # kink", logits(122, 2, 1), lambda x: wsld(x, 2.0))


# kl, as other toolkits have it


def soft(x, t):
    s, p = pair(x)
    return F.log_softmax(s / t, -1), F.log_softmax(p / t, -1)


def kd_lib(module, kind, t):
    if module is None:
        return None
    log_softmax = torch.nn.LogSoftmax(dim=1)
    ce = torch.nn.CrossEntropyLoss()
    it = types.SimpleNamespace(temp=t, distil_weight=1.0, loss_fn=torch.nn.MSELoss(), log_softmax=log_softmax, ce_fn=ce)
    return lambda x: getattr(module, kind).calculate_kd_loss(it, *pair(x), torch.zeros(len(x["student.logits"])).long())


for i, (batch, count) in enumerate(SHAPES):
    inputs = logits(130 + i, batch, count, labels=False)
    for name, t, formula, theirs in [
        ("torchdistill", 4.0, lambda s, p, t: rows_kl(p, s).mean(), torchdistill("KDLoss", 4.0)),
        ("kd-lib", 20.0, lambda s, p, t: t * t * (s.exp() - p.exp()).square().mean(), kd_lib(VANILLA, "VanillaKD", 20.0)),
        ("kd-lib-takd", 4.0, lambda s, p, t: t * t * (s - p).square().mean(), kd_lib(TAKD, "TAKD", 4.0)),
        ("model-optimizer", 4.0, lambda s, p, t: t * t * (p.exp() * (p - s)).mean(), None),
        ("neural-compressor", 4.0, lambda s, p, t: t * t * (p.exp() * (p - s)).mean(), None),
        ("textbrewer", 4.0, lambda s, p, t: -(p.exp() * s).sum(-1).mean(),
         None if TB is None else lambda x: TB.kd_ce_loss(*pair(x), 4.0)),
    ]:
        case("kl", f"{name}-b{batch}-c{count}", f'{{ temperature = {t}, compat = "{name}" }}', inputs,
             lambda x, f=formula, t=t: f(*soft(x, t), t), theirs)
    case("kl", f"mdistiller-b{batch}-c{count}", "{ temperature = 4.0 }", inputs,
         lambda x: rows_kl(*reversed(soft(x, 4.0))).mean() * 16,
         None if MD_KD is None else lambda x: MD_KD.kd_loss(*pair(x), 4.0))
    case("kl", f"textbrewer-mse-b{batch}-c{count}",
         '{ temperature = 4.0, divergence = "logit-mse", reduction = "mean", t-squared = false }', inputs,
         lambda x: ((x["student.logits"] - x["teacher.logits"]) / 4).square().mean(),
         None if TB is None else lambda x: TB.kd_mse_loss(*pair(x), 4.0))

# DistillKit computes in f32, hence the tolerance.
tokens = {
    "student.logits": normal(141, 2, 3, 10, scale=2),
    "teacher.logits": normal(142, 2, 3, 10, scale=2),
    "mask": torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]).double(),
}
case("kl", "distillkit-kl", '{ temperature = 2.0, reduction = "token-mean" }', tokens,
     lambda x: (rows_kl(*reversed(soft(x, 2.0))) * x["mask"]).sum() / 3 * 4,
     None if DK_KL is None else lambda x: DK_KL.dense_kl_div(*pair(x), x["mask"], 2.0).double() / 3 * 4, 1e-5)
case("kl", "distillkit-tvd",
     '{ temperature = 2.0, divergence = "total-variation", reduction = "token-mean", t-squared = false }', tokens,
     lambda x: (0.5 * (soft(x, 2.0)[0].exp() - soft(x, 2.0)[1].exp()).abs().sum(-1) * x["mask"]).sum() / 3,
     None if DK_TVD is None else lambda x: DK_TVD.dense_tvd(*pair(x), x["mask"], 2.0).double() / 3, 1e-5)
