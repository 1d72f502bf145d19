"""Cross entropy and the divergences of `kl`."""

import torch
import torch.nn.functional as F

from golden import case, classes, load, normal

for batch, count, smoothing in [(1, 2, 0.0), (2, 10, 0.1), (3, 100, 0.0), (8, 10, 1.0)]:
    inputs = {"student.logits": normal(batch, batch, count, scale=3), "targets": classes(batch, batch, count)}
    case(
        "cross-entropy",
        f"b{batch}-c{count}",
        f"{{ label-smoothing = {smoothing} }}",
        inputs,
        lambda x, e=smoothing: F.cross_entropy(x["student.logits"], x["targets"], label_smoothing=e),
    )


def divergence(kind, s, t, temperature, beta):
    s, t = s / temperature, t / temperature
    if kind == "logit-mse":
        return (s - t).square()
    log_s, log_t = F.log_softmax(s, -1), F.log_softmax(t, -1)
    match kind:
        case "forward":
            return log_t.exp() * (log_t - log_s)
        case "reverse":
            return log_s.exp() * (log_s - log_t)
        case "jensen-shannon":
            log_m = (beta * log_t.exp() + (1 - beta) * log_s.exp()).log()
            return beta * log_t.exp() * (log_t - log_m) + (1 - beta) * log_s.exp() * (log_s - log_m)
        case "total-variation":
            return 0.5 * (log_t.exp() - log_s.exp()).abs()
        case "soft-cross-entropy":
            return -log_t.exp() * log_s
        case "probability-mse":
            return (log_s.exp() - log_t.exp()).square()


def kl(x, kind, reduction, temperature, t_squared, beta):
    s, t = x["student.logits"], x["teacher.logits"]
    each = divergence(kind, s, t, temperature, beta).sum(-1)
    counted = torch.ones_like(each)
    if "mask" in x:
        counted = x["mask"]
    total = (each * counted).sum()
    divisor = {
        "batch-mean": s.shape[0],
        "mean": counted.sum() * s.shape[-1],
        "sum": 1,
        "token-mean": counted.sum(),
    }[reduction]
    return total / divisor * (temperature**2 if t_squared else 1)


def knobs(kind, reduction, temperature, t_squared, beta):
    return (
        f'{{ temperature = {temperature}, divergence = "{kind}", reduction = "{reduction}", '
        f"t-squared = {str(t_squared).lower()}, beta = {beta} }}"
    )


KD = load("RepDistiller", "distiller_zoo/KD.py")
for kind in [
    "forward",
    "reverse",
    "jensen-shannon",
    "total-variation",
    "soft-cross-entropy",
    "logit-mse",
    "probability-mse",
]:
    for i, (reduction, temperature, t_squared, beta) in enumerate(
        [("batch-mean", 4.0, True, 0.5), ("mean", 1.0, False, 0.25), ("sum", 20.0, True, 0.9)]
    ):
        batch, count = [(8, 10), (3, 100), (1, 2)][i]
        inputs = {
            "student.logits": normal(10 + i, batch, count, scale=3),
            "teacher.logits": normal(20 + i, batch, count, scale=3),
        }
        way = (kind, reduction, temperature, t_squared, beta)
        theirs = None
        if KD is not None and kind == "forward" and reduction == "batch-mean":
            module = KD.DistillKL(temperature)
            theirs = lambda x, m=module: m(x["student.logits"], x["teacher.logits"])
        case("kl", f"{kind}-{reduction}", knobs(*way), inputs, lambda x, way=way: kl(x, *way), theirs)
    inputs = {
        "student.logits": normal(31, 2, 3, 5, scale=2),
        "teacher.logits": normal(32, 2, 3, 5, scale=2),
        "mask": torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]], dtype=torch.float64),
    }
    way = (kind, "token-mean", 2.0, True, 0.5)
    case("kl", f"{kind}-tokens", knobs(*way), inputs, lambda x, way=way: kl(x, *way))

way = ("forward", "batch-mean", 4.0, True, 0.5)
large = {"student.logits": normal(41, 2, 10, scale=300), "teacher.logits": normal(42, 2, 10, scale=300)}
case("kl", "large-logits", knobs(*way), large, lambda x: kl(x, *way))
same = normal(43, 3, 10)
equal = {"student.logits": same, "teacher.logits": same.clone()}
case("kl", "equal", knobs(*way), equal, lambda x: kl(x, *way))

for shape in [(3,), (2, 5), (3, 4, 2), (2, 3, 5, 7)]:
    inputs = {"student.map": normal(len(shape), *shape), "teacher.map": normal(9 + len(shape), *shape)}
    hint = load("RepDistiller", "distiller_zoo/FitNet.py")
    theirs = None if hint is None else lambda x: hint.HintLoss()(x["student.map"], x["teacher.map"])
    case(
        "hint",
        f"rank-{len(shape)}",
        "{}",
        inputs,
        lambda x: (x["student.map"] - x["teacher.map"]).square().mean(),
        theirs,
    )
