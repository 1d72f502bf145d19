"""Golden vectors for kd-core: cross entropy, KL divergence, hint, and PyTorch's one-cycle learning rate.

Every value and gradient is computed twice in f64, by the plain formula in numpy and by PyTorch with autograd, and
the two must agree before anything is written. Inputs are rounded to f32, so that the same file serves f32 tests.

    pip install numpy torch
    python tools/golden/kd_core.py            # rewrites crates/kd-core/tests/golden/kd_core.json
"""

import json
import pathlib
import platform

import numpy as np
import torch
import torch.nn.functional as F

SEED = 20260
AGREEMENT = 1e-12
TARGET = pathlib.Path(__file__).resolve().parents[2] / "crates/kd-core/tests/golden/kd_core.json"

rng = np.random.default_rng(SEED)


def draw(*shape, scale=1.0):
    return (rng.standard_normal(shape) * scale).astype(np.float32).astype(np.float64)


def log_softmax(z):
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def agree(name, ours, theirs):
    gap = np.max(np.abs(ours - theirs) / np.maximum(1.0, np.abs(theirs)))
    assert gap < AGREEMENT, f"{name}: formula and PyTorch are {gap} apart"


def torch_of(function, x):
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    value = function(leaf)
    value.backward()
    return value.item(), leaf.grad.numpy()


def flat(x):
    return [float(v) for v in np.asarray(x).reshape(-1)]


def cross_entropy(name, logits, targets, smoothing):
    batch, classes = logits.shape
    soft = np.full_like(logits, smoothing / classes)
    soft[np.arange(batch), targets] += 1.0 - smoothing
    log_p = log_softmax(logits)
    value = -(soft * log_p).sum() / batch
    gradient = (np.exp(log_p) * soft.sum(axis=1, keepdims=True) - soft) / batch
    other, other_gradient = torch_of(
        lambda z: F.cross_entropy(z, torch.tensor(targets), label_smoothing=smoothing), logits
    )
    agree(name, value, other)
    agree(name, gradient, other_gradient)
    return {
        "name": name,
        "shape": list(logits.shape),
        "logits": flat(logits),
        "targets": [int(t) for t in targets],
        "label_smoothing": smoothing,
        "value": float(value),
        "value_torch": other,
        "gradient": flat(other_gradient),
    }


def kl_one(name, student, teacher, temperature, reduction, t_squared):
    batch, classes = student.shape
    log_s, log_t = log_softmax(student / temperature), log_softmax(teacher / temperature)
    p_t = np.exp(log_t)
    factor = (temperature**2 if t_squared else 1.0) / {"batch-mean": batch, "mean": batch * classes, "sum": 1}[reduction]
    # A probability of 0 contributes 0, whatever its logarithm is.
    value = factor * np.where(p_t > 0, p_t * (log_t - log_s), 0.0).sum()
    gradient = factor / temperature * (np.exp(log_s) - p_t)

    def reference(z):
        target = F.softmax(torch.tensor(teacher) / temperature, dim=1)
        # Not PyTorch's own "mean", which is to change its meaning in a later release.
        each = F.kl_div(F.log_softmax(z / temperature, dim=1), target, reduction="none")
        loss = {"batch-mean": each.sum() / batch, "mean": each.mean(), "sum": each.sum()}[reduction]
        return loss * temperature**2 if t_squared else loss

    other, other_gradient = torch_of(reference, student)
    agree(name, value, other)
    agree(name, gradient, other_gradient)
    return {
        "temperature": temperature,
        "reduction": reduction,
        "t_squared": t_squared,
        "value": float(value),
        "value_torch": other,
        "gradient": flat(other_gradient),
    }


def kl(name, student, teacher, full=True):
    choices = [(t, r, q) for t in (1.0, 4.0) for r in ("batch-mean", "mean", "sum") for q in (True, False)]
    if not full:
        choices = [(1.0, "mean", False), (4.0, "batch-mean", True)]
    return {
        "name": name,
        "shape": list(student.shape),
        "student": flat(student),
        "teacher": flat(teacher),
        "results": [kl_one(name, student, teacher, *choice) for choice in choices],
    }


def hint(name, student, teacher):
    value = ((student - teacher) ** 2).mean()
    gradient = 2.0 * (student - teacher) / student.size
    other, other_gradient = torch_of(lambda s: F.mse_loss(s, torch.tensor(teacher)), student)
    agree(name, value, other)
    agree(name, gradient, other_gradient)
    return {
        "name": name,
        "shape": list(student.shape),
        "student": flat(student),
        "teacher": flat(teacher),
        "value": float(value),
        "value_torch": other,
        "gradient": flat(other_gradient),
    }


def one_cycle(steps, warm_up, start_factor, end_factor):
    """PyTorch's rates. Its peak is at step `pct_start * steps - 1`; here it is asked to be at `warm_up`."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=0.5,
        total_steps=steps,
        pct_start=(warm_up * (steps - 1) + 1) / steps,
        cycle_momentum=False,
        div_factor=start_factor,
        final_div_factor=end_factor,
    )
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        if len(rates) < steps:
            scheduler.step()
    return {"peak": 0.5, "warm_up": warm_up, "start_factor": start_factor, "end_factor": end_factor, "rates": rates}


def main():
    ordinary = [(1, 2), (2, 10), (3, 10)]
    repeated = np.repeat(draw(1, 10), 3, axis=0)
    gap = np.array([[500.0, -500.0, 0.0, 1.0], [-300.0, 0.0, 200.0, 200.0]])
    cases = {
        "cross_entropy": [
            cross_entropy(f"{b}x{c} smoothing {e}", draw(b, c, scale=2.0), rng.integers(0, c, b), e)
            for b, c in ordinary + [(8, 100)]
            for e in (0.0, 0.1)
        ]
        + [
            cross_entropy("smoothing 1", draw(2, 10), rng.integers(0, 10, 2), 1.0),
            cross_entropy("zeros", np.zeros((2, 10)), rng.integers(0, 10, 2), 0.1),
            cross_entropy("gap 1000", gap, np.array([1, 0]), 0.1),
        ],
        "kl": [kl(f"{b}x{c}", draw(b, c, scale=3.0), draw(b, c, scale=3.0)) for b, c in ordinary]
        + [
            kl("8x100", draw(8, 100, scale=3.0), draw(8, 100, scale=3.0), full=False),
            kl("equal", repeated, repeated),
            kl("zeros against zeros", np.zeros((2, 10)), np.zeros((2, 10)), full=False),
            kl("repeated rows", repeated, draw(3, 10, scale=3.0), full=False),
            kl("gap 1000", gap, -gap[:, ::-1].copy()),
        ],
        "hint": [
            hint(f"rank {len(shape)}", draw(*shape), draw(*shape)) for shape in [(5,), (3, 5), (2, 3, 4), (2, 3, 3, 5)]
        ]
        + [hint("equal", repeated, repeated), hint("large", draw(2, 3, scale=1000.0), draw(2, 3))],
        "one_cycle": [one_cycle(41, 0.3, 25.0, 1e4), one_cycle(21, 0.5, 10.0, 100.0)],
    }
    header = {
        "about": "kd-core: values and gradients by formula in numpy and by PyTorch with autograd in f64; PyTorch's rates",
        "regenerate": "python tools/golden/kd_core.py",
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__},
        "seed": SEED,
        "tolerance": {"f64": 1e-9, "f32": 1e-5, "measure": "|a - b| <= tolerance * max(1, |b|)"},
    }
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(render(header, cases), encoding="utf-8")


def render(header, cases):
    """JSON with one case a line, so that a change of one case is a change of one line."""
    parts = ['"header": ' + json.dumps(header, indent=1)]
    parts += [f'"{loss}": [\n' + ",\n".join(json.dumps(case) for case in rows) + "\n]" for loss, rows in cases.items()]
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
