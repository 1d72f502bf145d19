"""Golden numbers for reconstruction in quant-core: BRECQ's soft bits, regularizer, gradient and steps by torch's autograd and
Adam; GPTQ with float zero points and refitted scales by numpy, in 64-bit floats.

Run with the packages of requirements.txt installed: python tools/golden/quant_reconstruct.py
Inputs are stored in 64ths, other numbers as decimals. Tolerances are those of the test: codes equal; 1e-6 of the largest
number for formulas and gradients in 32-bit floats, 1e-4 for what 40 steps of Adam make of them, 2e-6 for scales.
"""

import json
import pathlib

import numpy as np
import torch

SEED = 0
OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/quant-core/tests/golden/reconstruct.json"
f32 = np.float32


def numbers(x):
    return np.asarray(x, np.float64).reshape(-1).tolist()


def integers(x):
    return np.asarray(x).astype(int).reshape(-1).tolist()


def soft_bits(v):
    return torch.clamp(torch.sigmoid(v) * 1.2 - 0.1, 0, 1)


def regularizer(bits, beta):
    return (1 - (2 * bits - 1).abs() ** beta).sum()


def formula_cases():
    random = np.random.default_rng(SEED)
    values = np.concatenate([random.normal(0, 2, 40), [0.0, 30, -30, 2.3, -2.3]]).astype(f32)
    for beta in (20.0, 7.5, 2.0):
        v = torch.from_numpy(values.astype(np.float64)).requires_grad_()
        bits = soft_bits(v)
        loss = regularizer(bits, beta)
        loss.backward()
        yield {
            "v": numbers(values),
            "beta": beta,
            "bits": numbers(bits.detach()),
            "loss": float(loss.detach()),
            "gradient": numbers(v.grad),
        }


def nearest(w, group):
    """Affine int3, as quant-core's round-to-nearest."""
    qmin, qmax = -4, 3
    scale, zero, code = (np.zeros(w.shape, t) for t in (f32, int, int))
    for r in range(len(w)):
        for g in range(0, w.shape[1], group):
            part = w[r, g : g + group]
            lo, hi = min(f32(0), part.min()), max(f32(0), part.max())
            s = f32((hi - lo) / f32(qmax - qmin))
            z = int(np.clip(qmin - np.round(lo / s), qmin, qmax))
            scale[r, g : g + group], zero[r, g : g + group] = s, z
            code[r, g : g + group] = np.clip(np.round(part / s) + z, qmin, qmax)
    return scale, zero, code


def block_cases():
    """relu(x Aᵀ) Bᵀ, all samples in each step."""
    random = np.random.default_rng(SEED + 1)
    for weighted, iterations in ((False, 1), (True, 1), (False, 40), (True, 40)):
        tokens, inputs, hidden, outputs = 24, 16, 12, 8
        x = (np.round(random.normal(0, 1, (tokens, inputs)) * 64) / 64).astype(f32)
        weights = [random.normal(0, 1, s).astype(f32) for s in ((hidden, inputs), (outputs, hidden))]
        fisher = np.abs(random.normal(0, 1, (tokens, outputs))).astype(f32) if weighted else None
        wide = torch.from_numpy(x.astype(np.float64))
        run = lambda a, b: torch.relu(wide @ a.T) @ b.T
        target = run(*(torch.from_numpy(w.astype(np.float64)) for w in weights))
        vs, parts = [], []
        for w in weights:
            scale, zero, _ = nearest(w, 4)
            ratio = torch.from_numpy((w / scale).astype(np.float64))
            floor = ratio.floor()
            rest = (ratio - floor).clamp(1e-4, 1 - 1e-4)
            vs.append((-torch.log(1.2 / (rest + 0.1) - 1)).requires_grad_())
            parts.append((torch.from_numpy(scale.astype(np.float64)), torch.from_numpy(zero), floor))
        lam, rate = 0.05, 1e-2
        optimizer = torch.optim.Adam(vs, lr=rate)
        for step in range(iterations):
            optimizer.zero_grad()
            bits = [soft_bits(v) for v in vs]
            soft = [s * (torch.clamp(f + h + z, -4, 3) - z) for h, (s, z, f) in zip(bits, parts)]
            error = (run(*soft) - target) ** 2
            if weighted:
                error = error * torch.from_numpy(fisher.astype(np.float64))
            loss = error.sum(1).mean()
            warm = 0.2 * iterations
            if step >= warm:
                beta = 2 + 18 * (1 - (step - warm) / (iterations - warm))
                loss = loss + lam * sum(regularizer(h, beta) for h in bits)
            loss.backward()
            if step == 0:
                gradients = [numbers(v.grad) for v in vs]
            optimizer.step()
        yield {
            "shapes": [[hidden, inputs], [outputs, hidden]],
            "group": 4,
            "x": integers(x * 64),
            "weights": [numbers(w) for w in weights],
            "fisher": numbers(fisher) if weighted else None,
            "iterations": iterations,
            "lambda": lam,
            "learning_rate": rate,
            "gradients": gradients,
            "v": [numbers(v.detach()) for v in vs],
        }


# GPTQ with float zero points: searched ranges, static groups, columns by activation; then least squares.


def float_cell(group, qmin, qmax):
    group = group.astype(np.float64)
    lo, hi = group.min(), group.max()
    middle, half = (lo + hi) / 2, (hi - lo) / 2
    best, least = None, np.inf
    for step in range(80):
        share = float(f32(1) - f32(step) / f32(100))
        scale = f32(2 * (share * half) / (qmax - qmin))
        zero = qmin - (middle - share * half) / float(scale)
        for _ in range(3):
            z = f32(zero)
            code = np.clip(np.round(group / float(scale) + float(z)), qmin, qmax)
            value = ((code.astype(f32) - z) * scale).astype(np.float64)
            error = ((value - group) ** 2).sum()
            if error < least:
                best, least = (scale, z), error
            zero = (code - group / float(scale)).mean()
    return best


def float_cases():
    random = np.random.default_rng(SEED + 2)
    for bits, size in ((2, 8), (3, 16), (4, 8)):
        qmin, qmax = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        rows, columns, tokens = 6, 32, 96
        w = random.normal(0, 1, (rows, columns)).astype(f32)
        mix = random.normal(0, 1, (columns, columns)) / columns**0.5 + 0.6 * random.normal(0, 1, (1, columns))
        x = (np.round(random.normal(0, 1, (tokens, columns)) @ mix * 64) / 64).astype(f32)
        wide = x.astype(np.float64)
        h = 2 / tokens * wide.T @ wide
        damped = h + 0.01 * np.diag(h).mean() * np.eye(columns)
        order = np.argsort(-np.diag(h), kind="stable")
        u = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
        cells = [[float_cell(w[r, g : g + size], qmin, qmax) for g in range(0, columns, size)] for r in range(rows)]
        codes, values = np.zeros(w.shape, int), np.zeros(w.shape)
        work = w.astype(np.float64)[:, order]
        for p, j in enumerate(order):
            for r in range(rows):
                s, z = cells[r][j // size]
                codes[r, j] = np.clip(np.round(float(f32(work[r, p])) / float(s) + float(z)), qmin, qmax)
                values[r, j] = float((f32(codes[r, j]) - z) * s)
                work[r, p + 1 :] -= (work[r, p] - values[r, j]) / u[p, p] * u[p, p + 1 :]
        root = np.linalg.cholesky(damped).T
        scale, zero = [], []
        for r in range(rows):
            a = np.zeros((columns, 2 * (columns // size)))
            for j in range(columns):
                a[j, 2 * (j // size)], a[j, 2 * (j // size) + 1] = codes[r, j], 1
            t = np.linalg.lstsq(root @ a, root @ w[r].astype(np.float64), rcond=None)[0]
            assert (t[::2] > 0).all()
            scale.append(t[::2])
            zero.append(-t[1::2] / t[::2])
        yield {
            "bits": bits,
            "group": size,
            "shape": [rows, columns],
            "x": integers(x * 64),
            "w": numbers(w),
            "codes": integers(codes),
            "scale": numbers([c[0] for row in cells for c in row]),
            "zero": numbers([c[1] for row in cells for c in row]),
            "scale_refitted": numbers(scale),
            "zero_refitted": numbers(zero),
        }


content = {"formulas": list(formula_cases()), "blocks": list(block_cases()), "float": list(float_cases())}
header = {
    "torch": torch.__version__,
    "numpy": np.__version__,
    "seed": SEED,
    "regenerate": "python tools/golden/quant_reconstruct.py",
}
OUT.write_text(json.dumps({"header": header, **content}) + "\n")
