"""Losses of feature maps: `at`, `fsp`, `nst`, `ft`, `ab`, `ofd`, `vid` and `cwd`.

A comment `kink` in the knobs tells the test of differences that the inputs lie where there is no derivative, such as a
map of zeros that is divided by its norm; what the gradient is there is agreed between the formula and the loss.
"""

import importlib
import math
import sys
import types

import torch
import torch.nn.functional as F

import golden
from golden import load, normal


def case(loss, name, knobs, inputs, *rest, **more):
    """`golden.case`, with tensors of its own: a file cannot hold one tensor under two names."""
    golden.case(loss, name, knobs, {key: x.clone() for key, x in inputs.items()}, *rest, **more)


def stub(name, **contents):
    """A module that a reference imports and does not need."""
    module = sys.modules.setdefault(name, types.ModuleType(name))
    for key, value in contents.items():
        if not hasattr(module, key):
            setattr(module, key, value)
    return module


def member(repository, packages, module):
    """A module of a checkout that imports its siblings; its packages' own files are not run."""
    if golden.REFERENCES is None:
        return None
    name, folder = "checkout_" + repository.replace("-", "_"), golden.REFERENCES / repository
    for package in packages:
        name, folder = f"{name}_{package}" if package is packages[0] else f"{name}.{package}", folder / package
        if not folder.exists():
            raise SystemExit(f"{folder} is not there: see references.toml")
        stub(name).__path__ = [str(folder)]
    return importlib.import_module(f"{name}.{module}")


def mmrazor(file):
    register = lambda *_, **__: lambda registered: registered
    stub("mmrazor")
    stub("mmrazor.registry", MODELS=types.SimpleNamespace(register_module=register))
    return load("mmrazor", f"mmrazor/models/losses/{file}.py")


def maps(seed, student, teacher, scale=1.0):
    return {
        "student.map": normal(seed, *student, scale=scale),
        "teacher.map": normal(seed + 100, *teacher, scale=scale),
    }


def meet(s, t):
    size = (min(s.shape[2], t.shape[2]), min(s.shape[3], t.shape[3]))
    return F.adaptive_avg_pool2d(s, size), F.adaptive_avg_pool2d(t, size)


def both(x):
    return x["student.map"], x["teacher.map"]


def unit(x, dim=1):
    """`x / max(norm, 1e-12)`, with the norm's derivative 0 at 0."""
    norm = x.square().sum(dim, keepdim=True)
    return x / torch.where(norm > 1e-24, norm, 1e-24).sqrt()


# Students and teachers of any channels; a square where the reference pools to squares.
PLAIN = {
    "b1-c2": maps(1, (1, 2, 3, 5), (1, 10, 3, 5)),
    "b2-c10": maps(2, (2, 10, 5, 5), (2, 2, 5, 5)),
    "b3-c100": maps(3, (3, 100, 3, 3), (3, 10, 3, 3)),
    "b8-c10": maps(4, (8, 10, 3, 3), (8, 10, 3, 3)),
    "student-larger": maps(5, (2, 3, 7, 7), (2, 4, 3, 3)),
    "teacher-larger": maps(6, (2, 3, 3, 3), (2, 4, 7, 7)),
    "large": maps(7, (2, 4, 3, 5), (2, 3, 3, 5), scale=300),
}
# Where RepDistiller crashes: it compares heights only.
UNEVEN = {
    "crossing": maps(8, (2, 3, 7, 3), (2, 4, 4, 5)),
    "width-only": maps(9, (2, 3, 3, 7), (2, 4, 3, 5)),
}
ZEROS = maps(10, (3, 4, 3, 5), (3, 2, 3, 5))
ZEROS["student.map"][1] = 0.0
ZEROS["teacher.map"][2] = 0.0
ROWS = maps(11, (3, 4, 3, 5), (3, 2, 3, 5))
ROWS["student.map"][2] = ROWS["student.map"][0]
ROWS["teacher.map"][2] = ROWS["teacher.map"][0]
EQUAL = {"student.map": normal(12, 2, 4, 3, 3), "teacher.map": normal(12, 2, 4, 3, 3)}


def at(x, variant, power):
    s, t = meet(*both(x))
    pool = torch.mean if variant == "author" else torch.sum
    attention = lambda f: unit(pool(f.abs() ** power, 1).flatten(1))
    difference = attention(s) - attention(t)
    if variant == "author":
        return difference.square().mean()
    square = difference.square().sum(1)
    return torch.where(square > 0, torch.where(square > 0, square, 1.0).sqrt(), 0.0).mean()


AT = load("RepDistiller", "distiller_zoo/AT.py")
member("torchdistill", ["torchdistill", "common"], "constant")
TD = member("torchdistill", ["torchdistill", "losses"], "mid_level")


def at_reference(variant, power):
    if AT is None or (variant == "paper" and power != 2) or power % 2:
        return None  # An odd power of a negative activation is negative in RepDistiller; the paper has |F|^p.
    if variant == "author":
        return lambda x: AT.Attention(power)([x["student.map"]], [x["teacher.map"]])[0]
    return lambda x: TD.ATLoss({}, mode="paper").compute_at_loss_paper(*meet(*both(x))) / len(x["student.map"])


for variant in ["author", "paper"]:
    for power in [2, 1, 3, 4, 1.5]:
        knobs = f'{{ variant = "{variant}", power = {power} }}'
        formula = lambda x, v=variant, p=power: at(x, v, p)
        few = {"b2-c10": PLAIN["b2-c10"], "student-larger": PLAIN["student-larger"]}
        for name, inputs in (PLAIN if power == 2 else few).items():
            case("at", f"{variant}-{power}-{name}", knobs, inputs, formula, at_reference(variant, power))
    knobs = f'{{ variant = "{variant}" }}'
    formula = lambda x, v=variant: at(x, v, 2)
    for name, inputs in UNEVEN.items():
        case("at", f"{variant}-{name}", knobs, inputs, formula)
    case("at", f"{variant}-zeros", knobs + " # kink", ZEROS, formula, at_reference(variant, 2))
    case("at", f"{variant}-rows", knobs, ROWS, formula, at_reference(variant, 2))
    case("at", f"{variant}-equal", knobs + " # kink", EQUAL, formula)


def blocks(seed, batch, first, second, student, teacher, scale=1.0):
    """Two maps of each model: channels of both, then heights and widths."""
    (h1, h2), (h3, h4) = student, teacher
    return {
        "student.first": normal(seed, batch, first, *h1, scale=scale),
        "student.second": normal(seed + 100, batch, second, *h2, scale=scale),
        "teacher.first": normal(seed + 200, batch, first, *h3, scale=scale),
        "teacher.second": normal(seed + 300, batch, second, *h4, scale=scale),
    }


def fsp(x, variant):
    def flow(side):
        first, second = meet(x[f"{side}.first"], x[f"{side}.second"])
        return torch.einsum("bihw,bjhw->bij", first, second) / (first.shape[2] * first.shape[3])

    square = (flow("student") - flow("teacher")).square()
    return square.mean() if variant == "mean" else square.sum((1, 2)).mean()


FSP = load("RepDistiller", "distiller_zoo/FSP.py")


def fsp_reference(inputs, variant):
    if FSP is None:
        return None

    def reference(x):
        shapes = [x["student.first"].shape, x["student.second"].shape]
        module = FSP.FSP(shapes, shapes)
        value = module([x["student.first"], x["student.second"]], [x["teacher.first"], x["teacher.second"]])[0]
        return value if variant == "mean" else value * shapes[0][1] * shapes[1][1]

    return reference


same = ((5, 5), (5, 5))
half = ((7, 7), (3, 3))
twice = ((3, 3), (7, 7))
FLOWS = {
    "b1": blocks(20, 1, 2, 10, ((3, 5), (3, 5)), ((3, 5), (3, 5))),
    "b2-half": blocks(21, 2, 10, 3, half, half),
    "b3-twice": blocks(22, 3, 3, 2, twice, half),
    "b8": blocks(23, 8, 2, 3, same, half),
    "wide": blocks(24, 2, 100, 10, ((3, 3), (1, 1)), ((3, 3), (3, 3))),
    "large": blocks(25, 2, 4, 3, same, same, scale=300),
}
quiet = blocks(26, 3, 4, 3, same, same)
for key in ["student.first", "student.second"]:
    quiet[key][1] = 0.0
quiet["teacher.first"][2] = 0.0
for variant in ["mean", "paper"]:
    formula = lambda x, v=variant: fsp(x, v)
    knobs = f'{{ variant = "{variant}" }}'
    for name, inputs in (FLOWS | {"zeros": quiet}).items():
        case("fsp", f"{variant}-{name}", knobs, inputs, formula, fsp_reference(inputs, variant))
    # RepDistiller pools to a square here and cannot multiply the two.
    case("fsp", f"{variant}-uneven", knobs, blocks(27, 2, 4, 3, ((7, 3), (4, 5)), same), formula)
named = {name.replace("first", "block1").replace("second", "block2"): x for name, x in FLOWS["b2-half"].items()}
rename = lambda x: {k.replace("block1", "first").replace("block2", "second"): v for k, v in x.items()}
case("fsp", "names", '{ first = "block1", second = "block2" }', named, lambda x: fsp(rename(x), "mean"))


def nst(x):
    s, t = (unit(f.flatten(2), 2) for f in meet(*both(x)))
    kernel = lambda a, b: torch.einsum("bip,bjp->bij", a, b).square().mean()
    return kernel(t, t) + kernel(s, s) - 2 * kernel(s, t)


NST = load("RepDistiller", "distiller_zoo/NST.py")
nst_reference = None if NST is None else lambda x: NST.NSTLoss()([x["student.map"]], [x["teacher.map"]])[0]
# The other way of computing it: more channels than positions, and fewer.
few = {"few-channels": maps(13, (2, 2, 9, 7), (2, 3, 9, 7)), "many-channels": maps(14, (2, 40, 3, 3), (2, 30, 3, 3))}
for name, inputs in (PLAIN | few).items():
    case("nst", name, "{}", inputs, nst, nst_reference)
for name, inputs in UNEVEN.items():
    case("nst", name, "{}", inputs, nst)
dead = {key: x.clone() for key, x in few["few-channels"].items()}
dead["student.map"][1, 0] = 0.0
dead["teacher.map"][0] = 0.0
case("nst", "zero-channels", "{} # kink", dead, nst, nst_reference)
dead = {key: x.clone() for key, x in few["many-channels"].items()}
dead["student.map"][1, 3:20] = 0.0
dead["teacher.map"][0] = 0.0
case("nst", "many-zero-channels", "{} # kink", dead, nst, nst_reference)
case("nst", "rows", "{}", ROWS, nst, nst_reference)
case("nst", "equal", "{}", EQUAL, nst, nst_reference)


def ft(x, variant):
    s, t = both(x)
    if variant == "mean":
        s, t = (f.square().mean(1) for f in meet(s, t))
    return (unit(s.flatten(1)) - unit(t.flatten(1))).abs().mean()


FT, MFT = load("RepDistiller", "distiller_zoo/FT.py"), mmrazor("factor_transfer_loss")
theirs = None if FT is None else lambda x: FT.FactorTransfer()(*both(x))
for name, inputs in (PLAIN | {"rows": ROWS}).items():
    case("ft", name, '{ variant = "mean" }', inputs, lambda x: ft(x, "mean"), theirs)
case("ft", "zeros", "{} # kink", ZEROS, lambda x: ft(x, "mean"), theirs)
for name, inputs in UNEVEN.items():
    case("ft", name, "{}", inputs, lambda x: ft(x, "mean"))
theirs = None if MFT is None else lambda x: MFT.FTLoss()(*both(x))
SHAPES = [(1, 2, 3, 5), (2, 10, 3, 3), (3, 100, 3, 3), (8, 4, 1, 3)]
for shape in SHAPES:
    name = f"paper-b{shape[0]}-c{shape[1]}"
    case("ft", name, '{ variant = "paper" }', maps(30, shape, shape), lambda x: ft(x, "paper"), theirs)
loud = maps(31, (2, 3, 3, 5), (2, 3, 3, 5), scale=300)
case("ft", "paper-large", '{ variant = "paper" }', loud, lambda x: ft(x, "paper"), theirs)
quiet = maps(32, (3, 2, 3, 5), (3, 2, 3, 5))
quiet["teacher.map"][1] = 0.0
case("ft", "paper-zero-teacher", '{ variant = "paper" }', quiet, lambda x: ft(x, "paper"), theirs)


def ab(s, t, margin):
    high = torch.where((t <= 0) & (s > -margin), (s + margin).square(), 0.0)
    low = torch.where((t > 0) & (s <= margin), (s - margin).square(), 0.0)
    return (high + low).sum() * 3 / 1000 / s.shape[0]


AB, MAB = load("RepDistiller", "distiller_zoo/AB.py"), mmrazor("ab_loss")
for shape in [(3,), (2, 10), (3, 4, 5), *SHAPES]:
    for margin in [1.0] if shape != (2, 10, 3, 3) else [1.0, 0.0, 2.5]:
        theirs = None if MAB is None else lambda x, m=margin: MAB.ABLoss(margin=m)(*both(x))
        name = "x".join(map(str, shape)) + f"-margin-{margin}"
        inputs = maps(40 + len(shape), shape, shape, scale=2)
        case("ab", name, f"{{ margin = {margin} }}", inputs, lambda x, m=margin: ab(*both(x), m), theirs)
theirs = None if MAB is None else lambda x: MAB.ABLoss()(*both(x))
loud = maps(47, (2, 3, 3, 5), (2, 3, 3, 5), scale=300)
case("ab", "large", "{}", loud, lambda x: ab(*both(x), 1.0), theirs)
quiet = maps(48, (3, 2, 3, 5), (3, 2, 3, 5))
quiet["student.map"][0] = 0.0
quiet["teacher.map"][1] = 0.0  # Exactly at the boundary counts as off.
case("ab", "zeros", "{}", quiet, lambda x: ab(*both(x), 1.0), theirs)
layers = {}
for i, shape in enumerate([(2, 3, 5, 5), (2, 4, 3, 3), (2, 10)]):
    layers |= {f"student.block{i}": normal(50 + i, *shape), f"teacher.block{i}": normal(60 + i, *shape)}
of = lambda x, side: [x[f"{side}.block{i}"] for i in range(3)]
case(
    "ab",
    "layers",
    '{ layers = ["block0", "block1", "block2"], margin = 0.5 }',
    layers,
    lambda x: sum(2.0 ** (i - 2) * ab(s, t, 0.5) for i, (s, t) in enumerate(zip(of(x, "student"), of(x, "teacher")))),
    None if AB is None else lambda x: sum(AB.ABLoss(3, margin=0.5)(of(x, "student"), of(x, "teacher"))),
)


def margin_of_batch_norm(mean, std):
    s = std.abs()
    below = 0.5 * torch.special.erfc(mean / s / math.sqrt(2))
    density = torch.exp(-((mean / s) ** 2) / 2) / math.sqrt(2 * math.pi)
    return torch.where(below > 0.001, mean - s * density / below, -3 * s)


def ofd(x):
    s, t = both(x)
    if s.dim() == 2:
        s, t = s[:, :, None, None], t[:, :, None, None]
    if "teacher.mean" in x:
        m = margin_of_batch_norm(x["teacher.mean"], x["teacher.std"])
    else:
        m = (t.clamp(max=0).sum((0, 2, 3)) / (t < 0).sum((0, 2, 3)).clamp(min=1))
    m = m[None, :, None, None]
    t = F.adaptive_avg_pool2d(t, s.shape[2:])
    counted = (s > torch.maximum(t, m)) | (t > 0)
    return ((s - torch.maximum(t, m)).square() * counted).sum() / s.shape[0]


cdf = lambda x: 0.5 * math.erfc(-x / math.sqrt(2))
stub("scipy")
stub("scipy.stats", norm=types.SimpleNamespace(cdf=cdf))
OFD = member("mdistiller", ["mdistiller", "distillers"], "OFD")


def ofd_reference(x):
    norm = types.SimpleNamespace(weight=types.SimpleNamespace(data=x["teacher.std"]))
    norm.bias = types.SimpleNamespace(data=x["teacher.mean"])
    holder = types.SimpleNamespace(_align_list=lambda *lists: lists)
    OFD.OFD.init_ofd_modules(holder, [1], [1], [norm])
    s, t = both(x)
    return OFD.feat_loss(s, F.adaptive_avg_pool2d(t, s.shape[-2:]).detach(), holder.margins[0])


for i, (student, size) in enumerate(
    [((1, 2, 3, 5), (3, 5)), ((2, 10, 3, 3), (7, 7)), ((3, 100, 3, 3), (3, 3)), ((8, 4, 5, 3), (3, 7))]
):
    inputs = maps(70 + i, student, (*student[:2], *size))
    case("ofd", f"batch-b{student[0]}-c{student[1]}", "{}", inputs, ofd)
    # From means of twice the deviation above zero to four times below; the last channel is beyond 3.09.
    channels = torch.linspace(-2, 4, student[1], dtype=torch.float64)
    std = 0.5 + normal(80 + i, student[1]).abs()
    inputs |= {"teacher.mean": channels * std, "teacher.std": std * (-1.0) ** torch.arange(student[1])}
    # The reference holds margins in single precision.
    theirs = None if OFD is None else ofd_reference
    case("ofd", f"norm-b{student[0]}-c{student[1]}", "{}", inputs, ofd, theirs, tolerance=1e-6)
case("ofd", "vectors", "{}", maps(75, (3, 10), (3, 10)), ofd)
case("ofd", "large", "{}", maps(76, (2, 3, 3, 5), (2, 3, 3, 5), scale=300), ofd)
quiet = maps(77, (3, 4, 3, 5), (3, 4, 3, 5))
quiet["student.map"][0] = 0.0
quiet["teacher.map"][1] = 0.0
quiet["teacher.map"][:, 2] = quiet["teacher.map"][:, 2].abs()  # A channel without negative responses.
case("ofd", "zeros", "{}", quiet, ofd)


def vid(x, rho):
    s, t = meet(*(f if f.dim() == 4 else f[:, :, None, None] for f in both(x)))
    at_each = lambda w, f: torch.einsum("oc,bchw->bohw", w, f)
    hidden = at_each(x["connector.regressor1"], s).relu()
    hidden = at_each(x["connector.regressor2"], hidden).relu()
    mean = at_each(x["connector.regressor3"], hidden)
    v = (rho.clamp(min=0) + torch.log1p(torch.exp(-rho.abs())) + 1e-5)[:, None, None]
    return (0.5 * ((mean - t).square() / v + v.log())).mean()


VID = load("RepDistiller", "distiller_zoo/VID.py")
MDVID = member("mdistiller", ["mdistiller", "distillers"], "VID")
START = math.log(math.exp(5.0 - 1e-5) - 1.0)


def vid_reference(x):
    cs, ct = x["student.map"].shape[1], x["teacher.map"].shape[1]
    module = VID.VIDLoss(cs, ct, ct)
    weights = {f"regressor.{2 * i}.weight": x[f"connector.regressor{i + 1}"][:, :, None, None] for i in range(3)}
    weights["log_scale"] = x["connector.variance"]
    return torch.func.functional_call(module, weights, both(x))


def regressor(inputs, seed, rho=None):
    cs, ct = inputs["student.map"].shape[1], inputs["teacher.map"].shape[1]
    weights = {
        "connector.regressor1": normal(seed, ct, cs) / math.sqrt(cs),
        "connector.regressor2": normal(seed + 1, ct, ct) / math.sqrt(ct),
        "connector.regressor3": normal(seed + 2, ct, ct) / math.sqrt(ct),
        "connector.variance": normal(seed + 3, ct, scale=2) if rho is None else torch.full((ct,), rho).double(),
    }
    return inputs | weights


theirs = None if VID is None else vid_reference
trained = lambda x: vid(x, x["connector.variance"])
for i, name in enumerate(["b1-c2", "b2-c10", "b3-c100", "b8-c10", "student-larger", "teacher-larger", "large"]):
    case("vid", name, "{}", regressor(PLAIN[name], 90 + 10 * i), trained, theirs)
case("vid", "uneven", "{}", regressor(UNEVEN["crossing"], 170), trained)
case("vid", "vectors", "{}", regressor(maps(15, (3, 4), (3, 10)), 180), trained)
case("vid", "start", "{}", regressor(PLAIN["b2-c10"], 190, START), trained, theirs)
# Beyond 88 the reference's exp overflows in single precision; the variance is rho.
case("vid", "wide-variance", "{}", regressor(PLAIN["b2-c10"], 200, 120.0), trained, theirs)
case("vid", "zeros", "{} # kink", regressor(ZEROS, 210), trained, theirs)
compat = regressor(PLAIN["b2-c10"], 220)
del compat["connector.variance"]
constant = lambda x: torch.full((x["teacher.map"].shape[1],), START, dtype=torch.float64)


def vid_compat(x):
    def regress(f):
        for i in range(3):
            f = F.conv2d(f if i == 0 else f.relu(), x[f"connector.regressor{i + 1}"][:, :, None, None])
        return f

    # The optimizer never gets what the second argument is.
    return MDVID.vid_loss(regress, constant(x), *both(x))


theirs = None if MDVID is None else vid_compat
case("vid", "compat", '{ compat = "mdistiller" }', compat, lambda x: vid(x, constant(x)), theirs)


def cwd(x, temperature):
    s, t = (F.log_softmax(f.flatten(2) / temperature, 2) for f in both(x))
    return temperature**2 * (t.exp() * (t - s)).sum(2).mean()


CWD = mmrazor("cwd")
for temperature in [1.0, 4.0, 0.5]:
    theirs = None if CWD is None else lambda x, t=temperature: CWD.ChannelWiseDivergence(tau=t)(*both(x))
    formula = lambda x, t=temperature: cwd(x, t)
    knobs = f"{{ temperature = {temperature} }}"
    for shape in SHAPES:
        name = f"t{temperature}-b{shape[0]}-c{shape[1]}"
        case("cwd", name, knobs, maps(230, shape, shape, scale=2), formula, theirs)
theirs = None if CWD is None else lambda x: CWD.ChannelWiseDivergence(tau=1.0)(*both(x))
loud = maps(231, (2, 3, 3, 5), (2, 3, 3, 5), scale=300)
case("cwd", "large", "{}", loud, lambda x: cwd(x, 1.0), theirs)
quiet = maps(232, (3, 2, 3, 5), (3, 2, 3, 5))
quiet["student.map"][0] = 0.0
quiet["teacher.map"][1] = 0.0
quiet["student.map"][2] = quiet["teacher.map"][2]
case("cwd", "zeros", "{}", quiet, lambda x: cwd(x, 1.0), theirs)
