"""Relations between examples: distances, angles, similarities, kernels, contrast.

`# kink` behind the knobs marks a case whose gradient is not the difference of values: where a floor counts (rows that
repeat or vanish, far below the step of a difference), `irg`, whose maximum is a constant in the backward pass, and
`crd`, whose normalising constants are.
"""

import importlib
import math
import sys

import torch
import torch.nn.functional as F

import golden
from golden import case, load, normal

KINK = "{} # kink"


def package(repository, name):
    """A module of a checkout that imports its neighbours; None without the checkouts."""
    if golden.REFERENCES is None:
        return None
    root = str(golden.REFERENCES / repository)
    if root not in sys.path:
        sys.path.append(root)
    return importlib.import_module(name)


def over(x, size, floor, root):
    """x / max(size, 1e-12); a constant where the floor counts."""
    small = size <= floor
    return torch.where(small, x.detach() / 1e-12, x / root(torch.where(small, 1.0, size)))


def unit(x):
    return over(x, x.square().sum(-1, keepdim=True), 1e-24, torch.sqrt)


def unit_l1(x):
    return over(x, x.abs().sum(-1, keepdim=True), 1e-12, lambda size: size)


def pair(x, site="feature"):
    s, t = x[f"student.{site}"], x[f"teacher.{site}"]
    return s.flatten(1), t.flatten(1)


def repeated(x):
    """The last two rows are one row."""
    return torch.cat([x[:-1], x[-2:-1]])


def dead(x):
    """The second row is zero."""
    x = x.clone()
    x[1] = 0
    return x


def both(s, t):
    return {"student.feature": s, "teacher.feature": t}


# Every loss of rows sees these; the flags say which references hold there.
ROWS = {
    "b1": both(normal(1, 1, 4), normal(2, 1, 6)),
    "b2": both(normal(3, 2, 4), normal(4, 2, 3)),
    "b3-map": both(normal(5, 3, 2, 5, 3), normal(6, 3, 3, 4, 7)),
    "b8-c100": both(normal(7, 8, 100), normal(8, 8, 10)),
    "large": both(normal(9, 8, 10, scale=300), normal(10, 8, 10, scale=300)),
    "equal": both(normal(11, 3, 5), normal(11, 3, 5)),
    "repeated-student": both(repeated(normal(12, 4, 5)), normal(13, 4, 6)),
    "repeated-teacher": both(normal(14, 4, 5), repeated(normal(15, 4, 6))),
    "repeated-both": both(repeated(normal(16, 4, 5)), repeated(normal(17, 4, 6))),
    "all-equal-student": both(normal(18, 1, 5).expand(3, 5).contiguous(), normal(19, 3, 5)),
    "dead-student": both(dead(normal(20, 4, 5)), normal(21, 4, 6)),
    "dead-teacher": both(normal(22, 4, 5), dead(normal(23, 4, 6))),
    "all-dead-student": both(torch.zeros(3, 5, dtype=torch.float64), normal(24, 3, 5)),
}


def squared_distances(x):
    return (x[:, None] - x[None]).square().sum(-1)


def rkd_distance(x):
    def relative(x):
        batch = len(x)
        d2 = squared_distances(x)
        d = torch.where(d2 > 1e-12, d2, 1e-12).sqrt() * (1 - torch.eye(batch, dtype=torch.float64))
        return d if batch == 1 else d / (d.sum() / (batch * (batch - 1)))

    s, t = pair(x)
    return F.smooth_l1_loss(relative(s), relative(t))


def rkd_angle(x):
    def cosines(x):
        u = unit(x[None] - x[:, None])
        return u @ u.transpose(1, 2)

    s, t = pair(x)
    return F.smooth_l1_loss(cosines(s), cosines(t))


RKD = load("RepDistiller", "distiller_zoo/RKD.py")
for name, inputs in ROWS.items():
    distance = angle = None
    # At B = 1 the reference is a mean of nothing, NaN. At a repeated row of the student its angle divides a gradient by
    # 1e-12 (9.4e9 and more). Where all distances are 1e-6, its Gram matrix leaves rounding of that size.
    if RKD is not None and name != "b1":
        if not name.startswith("all-"):
            distance = lambda x: RKD.RKDLoss(1, 0)(*pair(x))
        if name not in ("repeated-student", "repeated-both", "all-equal-student", "all-dead-student"):
            angle = lambda x: RKD.RKDLoss(0, 1)(*pair(x))
    knobs = KINK if name in ("repeated-student", "repeated-both", "all-equal-student", "all-dead-student") else "{}"
    case("rkd-distance", name, knobs, inputs, rkd_distance, distance)
    case("rkd-angle", name, knobs, inputs, rkd_angle, angle)


def sp(x, normalise):
    similarity = lambda x: normalise(x @ x.T)
    s, t = pair(x)
    return (similarity(s) - similarity(t)).square().sum() / len(s) ** 2


def outputs(x):
    """As torchdistill hands them to a loss."""
    s, t = pair(x)
    return {"site": {"output": s}}, {"site": {"output": t}}


SP = load("RepDistiller", "distiller_zoo/SP.py")
torchdistill = package("torchdistill", "torchdistill.losses.mid_level")
for name, inputs in ROWS.items():
    # The reference's gradient at a row of zeros is that of a division by 1e-12 (1.4e11).
    zeros = name in ("dead-student", "all-dead-student")
    theirs = None if SP is None or zeros else lambda x: SP.Similarity()([pair(x)[0]], [pair(x)[1]])[0]
    case("sp", name, KINK if zeros else "{}", inputs, lambda x: sp(x, unit), theirs)
for name in ["b2", "b3-map", "b8-c100", "dead-student", "dead-teacher"]:
    zeros = name == "dead-student"
    theirs = None
    if torchdistill is not None and not zeros:
        theirs = lambda x: torchdistill.SPKDLoss("site", "site", "batchmean")(*outputs(x))
    knobs = '{ compat = "torchdistill" }' + (" # kink" if zeros else "")
    copies = {key: x.clone() for key, x in ROWS[name].items()}  # One file stores no tensor twice.
    case("sp", f"torchdistill-{name}", knobs, copies, lambda x: sp(x, unit_l1), theirs)


def kernel(x, gamma, order):
    g = x @ x.T
    return math.exp(-2 * gamma) * sum((2 * gamma) ** p / math.factorial(p) * g**p for p in range(order + 1))


def cc(x, gamma, order, squared=True):
    s, t = pair(x)
    sum_of_squares = (kernel(s, gamma, order) - kernel(t, gamma, order)).square().sum()
    return (sum_of_squares if squared else sum_of_squares.sqrt()) / len(s) ** 2


def author(x):
    s, t = pair(x)
    d = (s - t).abs()
    return d.sum() * 0 if len(s) == 1 else (d[:-1] * d[1:]).sum() / (len(s) - 1)


# torchdistill's loss squared, times B², is the paper's; so it serves both.
def their_cc(gamma, order, squared):
    if torchdistill is None:
        return None
    config = {"type": "gaussian", "gamma": gamma, "max_p": order}
    module = torchdistill.CCKDLoss("site", "site", config, "batchmean")

    def call(x):
        s, t = outputs(x)
        value = module(*({"site": {"output": y["site"]["output"]}} for y in (s, t)))
        return value**2 * len(s["site"]["output"]) ** 2 if squared else value

    return call


for name, inputs in ROWS.items():
    # The reference's norm has no derivative where the kernels are equal.
    theirs = None if name == "equal" else their_cc(0.4, 2, True)
    case("cc", name, "{}", inputs, lambda x: cc(x, 0.4, 2), theirs)
for gamma, order in [(0.1, 1), (1.0, 3), (0.4, 6)]:
    inputs = both(normal(30 + order, 3, 4, scale=0.5), normal(40 + order, 3, 7, scale=0.4))
    knobs = f'{{ gamma = {gamma}, order = {order}, variant = "paper" }}'
    way = (gamma, order)
    case("cc", f"order-{order}", knobs, inputs, lambda x, way=way: cc(x, *way), their_cc(*way, True))
    knobs = f'{{ gamma = {gamma}, order = {order}, compat = "torchdistill" }}'
    copies = {key: x.clone() for key, x in inputs.items()}
    case("cc", f"torchdistill-{order}", knobs, copies, lambda x, way=way: cc(x, *way, False), their_cc(*way, False))
CC = load("RepDistiller", "distiller_zoo/CC.py")
for batch, width in [(1, 4), (2, 10), (3, 100), (8, 2)]:
    inputs = both(normal(50 + batch, batch, width), normal(60 + batch, batch, width))
    theirs = None if CC is None or batch == 1 else lambda x: CC.Correlation()(*pair(x))
    case("cc", f"author-b{batch}", '{ variant = "author" }', inputs, author, theirs)


def pkt(x, eps=1e-7):
    def neighbours(x):
        square = x.square().sum(1, keepdim=True)
        none = square == 0
        norm = torch.where(none, 0.0, torch.where(none, 1.0, square).sqrt())
        u = x / (norm + eps)
        near = (u @ u.T + 1) / 2
        return near / near.sum(1, keepdim=True)

    s, t = map(neighbours, pair(x))
    return (t * ((t + eps) / (s + eps)).log()).mean()


PKT = load("RepDistiller", "distiller_zoo/PKT.py")
for name, inputs in ROWS.items():
    if name in ("equal", "all-equal-student"):
        continue  # The gradient there is what the epsilons leave, 1e-8, below the rounding of f32.
    # The reference's gradient is NaN at a row of zeros.
    zeros = name in ("dead-student", "all-dead-student")
    # It normalises in place, which needs copies.
    theirs = None if PKT is None or zeros else lambda x: PKT.PKT()(*(y * 1 for y in pair(x)))
    case("pkt", name, KINK if zeros else "{}", inputs, pkt, theirs)


# SemCKD's IRG is another loss: it averages over B² and differentiates the maximum. The authors' own is for Caffe.
def over_largest(x):
    largest = x.detach().max()
    return x / (largest if largest > 0 else 1)


def irg(x, relation=1.0, instance=0.0, transformation=1.0, site="feature", earlier=None):
    s, t = pair(x, site)
    edges = lambda x: over_largest(squared_distances(x))
    half = 1 / (2 * len(s))
    value = relation * half * (edges(s) - edges(t)).square().sum()
    if instance:
        value = value + instance * half * (s - t).square().sum()
    if earlier:
        before_s, before_t = pair(x, earlier)
        moved = lambda a, b: over_largest((b - a).square().sum(1))
        value = value + transformation * half * (moved(before_s, s) - moved(before_t, t)).square().sum()
    return value


for name, inputs in ROWS.items():
    case("irg", name, KINK, inputs, irg)
for i, (relation, instance) in enumerate([(0.0, 1.0), (0.5, 2.0)]):
    inputs = both(normal(70 + i, 3, 6), normal(75 + i, 3, 6))
    knobs = f'{{ variant = "author", instance-weight = {instance}, relation-weight = {relation} }} # kink'
    case("irg", f"weights-{i}", knobs, inputs, lambda x, r=relation, w=instance: irg(x, r, w))
for i, weight in enumerate([1.0, 0.3]):
    inputs = {
        "student.first": normal(80 + i, 4, 6),
        "student.second": normal(82 + i, 4, 6),
        "teacher.first": normal(84 + i, 4, 2, 5),
        "teacher.second": normal(86 + i, 4, 2, 5),
    }
    knobs = (
        f'{{ student = "second", teacher = "second", earlier = "first", transformation-weight = {weight} }} # kink'
    )
    case("irg", f"transformation-{i}", knobs, inputs, lambda x, w=weight: irg(x, 1.0, 0.0, w, "second", "first"))


def cirkd(x, temperature):
    u = lambda x: unit(x.permute(0, 2, 3, 1)).flatten(1, 2)
    logits = lambda x: torch.einsum("ipc,jqc->ijpq", u(x), u(x)) / temperature
    s, t = x["student.map"], x["teacher.map"]
    log_s, log_t = F.log_softmax(logits(s), -1), F.log_softmax(logits(t), -1)
    return (log_t.exp() * (log_t - log_s)).sum(-1).mean()


def maps(s, t):
    return {"student.map": s, "teacher.map": t}


def dead_pixel(x):
    x = x.clone()
    x[0, :, 0, 1] = 0
    return x


CIRKD = load("CIRKD", "losses/cirkd_mini_batch.py")


def their_cirkd(temperature):
    def call(x):
        # It puts its zero on a CUDA device.
        cuda, torch.Tensor.cuda = torch.Tensor.cuda, lambda self: self.double()
        try:
            return CIRKD.CriterionMiniBatchCrossImagePair(temperature)(x["student.map"], x["teacher.map"])
        finally:
            torch.Tensor.cuda = cuda

    return None if CIRKD is None else call


MAPS = {
    "b1": (1.0, maps(normal(100, 1, 4, 3, 5), normal(101, 1, 4, 3, 5)), "{ temperature = 1.0 }"),
    "b2": (0.1, maps(normal(102, 2, 5, 3, 3), normal(103, 2, 2, 3, 3)), "{}"),
    "b3": (0.5, maps(normal(104, 3, 2, 2, 5), normal(105, 3, 7, 2, 5)), "{ temperature = 0.5 }"),
    "b8": (0.1, maps(normal(106, 8, 4, 1, 3), normal(107, 8, 10, 1, 3)), "{ temperature = 0.1 }"),
    "large": (0.1, maps(normal(108, 2, 4, 3, 3, scale=300), normal(109, 2, 4, 3, 3, scale=300)), "{}"),
    "low-temperature": (0.004, maps(normal(110, 2, 4, 2, 3), normal(111, 2, 4, 2, 3)), "{ temperature = 0.004 }"),
    "equal": (0.1, maps(normal(112, 2, 4, 2, 3), normal(112, 2, 4, 2, 3)), "{}"),
    "one-pixel": (0.1, maps(normal(113, 2, 4, 1, 1), normal(114, 2, 4, 1, 1)), "{}"),
    "dead-teacher": (0.1, maps(normal(115, 2, 4, 2, 3), dead_pixel(normal(116, 2, 4, 2, 3))), "{}"),
    "dead-student": (0.1, maps(dead_pixel(normal(117, 2, 4, 2, 3)), normal(118, 2, 4, 2, 3)), KINK),
}
for name, (temperature, inputs, knobs) in MAPS.items():
    theirs = None if name == "dead-student" else their_cirkd(temperature)
    case("cirkd", name, knobs, inputs, lambda x, t=temperature: cirkd(x, t), theirs)


def ickd(x):
    def correlations(x):
        x = x.flatten(2)
        return unit(x @ x.transpose(1, 2))

    s, t = x["student.map"], x["teacher.map"]
    return (correlations(s) - correlations(t)).square().sum() / (s.shape[0] * s.shape[1])


def dead_channel(x):
    x = x.clone()
    x[0, 1] = 0
    return x


def copied_channel(x):
    x = x.clone()
    x[:, 1] = x[:, 0]
    return x


for name, s, t in [
    ("b1-c2", normal(120, 1, 2, 3, 5), normal(121, 1, 2, 3, 5)),
    ("b2-c10", normal(122, 2, 10, 5, 3), normal(123, 2, 10, 7, 1)),
    ("b3-c1", normal(124, 3, 1, 3, 3), normal(125, 3, 1, 3, 3)),
    ("b8-c3", normal(126, 8, 3, 3, 3), normal(127, 8, 3, 3, 3)),
    ("b1-c100", normal(128, 1, 100, 3, 1), normal(129, 1, 100, 3, 1)),
    ("large", normal(130, 2, 4, 3, 3, scale=300), normal(131, 2, 4, 3, 3, scale=300)),
    ("equal", normal(132, 2, 4, 3, 3), normal(132, 2, 4, 3, 3)),
    ("copied-channel", copied_channel(normal(133, 2, 4, 3, 3)), normal(134, 2, 4, 3, 3)),
    ("dead-teacher", normal(135, 2, 4, 3, 3), dead_channel(normal(136, 2, 4, 3, 3))),
    ("dead-student", dead_channel(normal(137, 2, 4, 3, 3)), normal(138, 2, 4, 3, 3)),
]:
    zeros = name == "dead-student"
    theirs = None
    if torchdistill is not None and not zeros:
        # It divides by B once more than the authors' code for CIFAR.
        theirs = lambda x: torchdistill.ChSimLoss.batch_loss(x["student.map"], x["teacher.map"]) * len(x["student.map"])
    case("ickd", name, KINK if zeros else "{}", maps(s, t), ickd, theirs)


def crd(x, temperature):
    embed = lambda side: unit(
        x[f"{side}.feature"].flatten(1) @ x[f"connector.{side}-weight"] + x[f"connector.{side}-bias"]
    )
    indices = x["teacher.indices"].long()
    batch, columns = indices.shape
    rows = len(x["teacher.student-memory"])
    noise = (columns - 1) / rows
    value = 0
    for side, other in [("student", "teacher"), ("teacher", "student")]:
        against = x[f"teacher.{other}-memory"][indices]
        p = (torch.einsum("bkw,bw->bk", against, embed(side)) / temperature).exp()
        p = p / (p.detach().mean() * rows)
        own = (p[:, 0] / (p[:, 0] + noise + 1e-7)).log().sum()
        others = (noise / (p[:, 1:] + noise + 1e-7)).log().sum()
        value = value - (own + others) / batch
    return value


criterion, memory = package("RepDistiller", "crd.criterion"), package("RepDistiller", "crd.memory")


def their_crd(temperature):
    if criterion is None:
        return None
    # Its sampler goes to a CUDA device, which draws nothing where indices are given.
    memory.AliasMethod.cuda = lambda self: None

    def call(x):
        indices = x["teacher.indices"].long()
        banks = [x[f"teacher.{side}-memory"] for side in ("student", "teacher")]
        rows, width = banks[0].shape
        contrast = memory.ContrastMemory(width, rows, indices.shape[1] - 1, temperature).double()
        # It is built in single precision, and so is the temperature that it keeps.
        contrast.params[1] = temperature
        contrast.memory_v1, contrast.memory_v2 = (bank.clone() for bank in banks)
        embedded = []
        for side in ("student", "teacher"):
            weight, bias = x[f"connector.{side}-weight"], x[f"connector.{side}-bias"]
            embedded.append(criterion.Normalize(2)(F.linear(x[f"{side}.feature"].flatten(1), weight.T, bias)))
        out = contrast(*embedded, indices[:, 0], indices)
        loss = criterion.ContrastLoss(rows)
        return loss(out[0]) + loss(out[1])

    return call


def contrast(seed, batch, negatives, rows):
    generator = torch.Generator().manual_seed(seed)
    own = torch.randperm(rows, generator=generator)[:batch, None]
    others = torch.randint(0, rows, (batch, negatives), generator=generator)
    others[:, :1] = (own + 1) % rows  # With its own row alone on both sides, all gradients of an example cancel.
    return torch.cat([own, others], 1).double()


# batch, student's shape, teacher's, embedding, rows of memory, negatives, temperature
for i, (batch, s, t, width, rows, negatives, temperature) in enumerate(
    [
        (1, (4,), (6,), 3, 5, 1, 0.07),
        (2, (10,), (2,), 8, 10, 4, 0.07),
        (3, (2, 3, 3), (5, 3, 1), 4, 20, 16, 0.5),
        (8, (5,), (5,), 16, 8, 7, 0.1),
        (3, (4,), (4,), 2, 6, 3, 1.0),
        (2, (4,), (6,), 4, 9, 5, 0.005),
    ]
):
    size = lambda shape: math.prod(shape)
    inputs = {
        "student.feature": normal(150 + i, batch, *s, scale=300 if i == 4 else 1),
        "teacher.feature": normal(160 + i, batch, *t),
        "teacher.student-memory": F.normalize(normal(170 + i, rows, width)),
        "teacher.teacher-memory": F.normalize(normal(180 + i, rows, width)),
        "teacher.indices": contrast(190 + i, batch, negatives, rows),
        "connector.student-weight": normal(200 + i, size(s), width, scale=0.5),
        "connector.student-bias": normal(210 + i, width, scale=0.1),
        "connector.teacher-weight": normal(220 + i, size(t), width, scale=0.5),
        "connector.teacher-bias": normal(230 + i, width, scale=0.1),
    }
    knobs = f"{{ width = {width}, temperature = {temperature} }} # kink"
    case("crd", f"case-{i}", knobs, inputs, lambda x, t=temperature: crd(x, t), their_crd(temperature))
dead_row = {key: x.clone() for key, x in inputs.items()}
dead_row["student.feature"] = dead(inputs["student.feature"])
dead_row["connector.student-bias"] = torch.zeros(4, dtype=torch.float64)
case("crd", "dead-student", "{ width = 4, temperature = 0.5 } # kink", dead_row, lambda x: crd(x, 0.5))
