"""Golden numbers for quant-core's post-training algorithms: each paper's formula written down once more in numpy or
torch, in 64-bit floats, and compared here with public packages where those run on a CPU.

Run with the packages of requirements.txt and torchao==0.18.* installed: python tools/golden/quant_ptq.py
With hqq==0.2.8.post1 importable, and GPTQ_REFERENCE a checkout of IST-DASLab/gptq, their results are compared too.
32-bit floats are stored as the integers of their bits, inputs of layers in 64ths, 64-bit floats as decimals.
Tolerances are those of the test: codes equal; 1e-9 of the largest for numbers that stay in 64 bits, 1e-6 for those rounded to 32.
"""

import contextlib
import io
import json
import math
import os
import pathlib
import sys
import types
import warnings

import mpmath
import numpy as np
import torch
import torchao
from torchao.prototype.awq.core import AWQObserver
from torchao.prototype.smoothquant.core import SmoothQuantObserver
from torchao.quantization import IntxWeightOnlyConfig, MappingType, PerGroup
from torchao.quantization import quant_primitives as primitives

warnings.filterwarnings("ignore")

SEED = 0
OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/quant-core/tests/golden/ptq.json"
COMPARED = {"torch": torch.__version__, "torchao": torchao.__version__}
f32 = np.float32


def bits(x):
    return np.ascontiguousarray(x, np.float32).view(np.uint32).reshape(-1).tolist()


def numbers(x):
    return np.asarray(x, np.float64).reshape(-1).tolist()


def codes(x):
    return np.asarray(x).astype(int).reshape(-1).tolist()


# The grid, one group at a time, in 32-bit floats.


def limits(grid):
    half = 2 ** (grid["bits"] - 1)
    return (1 - half if grid["symmetry"] == "narrow" else -half), half - 1


def fit(x, grid):
    qmin, qmax = limits(grid)
    lo, hi = min(f32(0), f32(np.min(x, initial=0))), max(f32(0), f32(np.max(x, initial=0)))
    amax = max(-lo, hi)
    scale = {
        "narrow": lambda: amax / f32(qmax),
        "symmetric": lambda: amax / f32((qmax - qmin) / 2),
        "no-clip": lambda: max(lo / f32(qmin), hi / f32(qmax)),
        "affine": lambda: (hi - lo) / f32(qmax - qmin),
    }[grid["symmetry"]]()
    scale = f32(1) if scale == 0 else scale
    zero = 0
    if grid["symmetry"] == "affine":
        zero = int(np.clip(qmin - np.round(lo / scale), qmin, qmax))
    return f32(scale), zero


def code(x, cell, grid):
    return int(np.clip(np.round(f32(x) / cell[0]) + cell[1], *limits(grid)))


def value(q, cell):
    return f32(f32(q - cell[1]) * cell[0])


def split(columns, grid):
    size = grid["group"] or columns
    return [range(start, min(start + size, columns)) for start in range(0, columns, size)]


def rtn(w, grid):
    q, v, cells = np.zeros(w.shape, int), np.zeros(w.shape, np.float32), []
    for row in range(len(w)):
        for group in split(w.shape[1], grid):
            cell = fit(w[row, group], grid)
            cells.append(cell)
            for j in group:
                q[row, j] = code(w[row, j], cell, grid)
                v[row, j] = value(q[row, j], cell)
    return q, v, cells


def on_grid(q, cells):
    return {"codes": codes(q), "scale": bits([c[0] for c in cells]), "zero_point": [c[1] for c in cells]}


def with_group(bits_, group, symmetry):
    return {"bits": bits_, "group": group, "symmetry": symmetry}


def rtn_cases():
    random = np.random.default_rng(SEED)
    kinds = {
        "symmetric": primitives.MappingType.SYMMETRIC,
        "no-clip": primitives.MappingType.SYMMETRIC_NO_CLIPPING_ERR,
        "affine": primitives.MappingType.ASYMMETRIC,
    }
    for symmetry in ("narrow", "symmetric", "no-clip", "affine"):
        for width, group in ((2, 8), (3, None), (4, 8), (8, 5), (4, 7)):
            w = np.asarray(random.standard_t(4, (3, 24)) + 0.1, np.float32)
            w[0, :8] = 0
            w[1, :8] = np.abs(w[1, :8])
            grid = with_group(width, group, symmetry)
            q, _, cells = rtn(w, grid)
            if symmetry in kinds and 24 % (group or 24) == 0:
                qmin, qmax = limits(grid)
                scale, zero = primitives.choose_qparams_affine(
                    torch.from_numpy(w), kinds[symmetry], (1, group or 24), torch.int8, qmin, qmax, eps=1e-12
                )
                ours = np.array([c[0] for c in cells])
                theirs = scale.numpy().reshape(-1)
                live = ours != 1
                assert np.array_equal(ours[live], theirs[live]), symmetry
                if symmetry == "affine":
                    assert np.array_equal(np.array([c[1] for c in cells])[live], zero.numpy().reshape(-1)[live])
                theirs = primitives.quantize_affine(
                    torch.from_numpy(w), (1, group or 24), scale, zero, torch.int8, qmin, qmax
                )
                # It multiplies by 1/s, which decides ties otherwise; -amax is one in each symmetric group.
                ratio = w.reshape(len(ours), -1) / ours[:, None]
                clear = np.abs(ratio - np.floor(ratio) - 0.5) > 1e-5
                assert np.array_equal(theirs.numpy().reshape(ratio.shape)[clear], q.reshape(ratio.shape)[clear])
            yield {"grid": grid, "shape": list(w.shape), "w": bits(w), **on_grid(q, cells)}


# GPTQ and SpQR.


def correlated(random, tokens, columns):
    mix = random.normal(0, 1, (columns, columns)) / math.sqrt(columns) + 0.6 * random.normal(0, 1, (1, columns))
    return sixtyfourths(random.normal(0, 1, (tokens, columns)) @ mix * random.uniform(0.3, 2, columns))


def sixtyfourths(x):
    """Inputs of few digits, which the file holds as small integers."""
    return (np.round(x * 64) / 64).astype(np.float32)


def hessian(x):
    x = x.astype(np.float64)
    return 2 / len(x) * x.T @ x


def damped_factor(h, damping, order):
    """U of the damped, reordered H; by the three steps of the paper."""
    h = h[np.ix_(order, order)].copy()
    dead = np.diag(h) == 0
    mean = np.diag(h)[~dead].mean()
    while True:
        d = h.copy()
        d[np.diag_indices(len(d))] += damping * mean
        d[dead, dead] = 1
        if np.linalg.cond(d) < 1e12:
            return np.linalg.cholesky(np.linalg.inv(d)).T, damping
        damping = min(1, max(10 * damping, 1e-6))


def sweep(w, h, grid, damping, activation, static, fit_group=None, threshold=math.inf):
    rows, columns = w.shape
    diagonal = np.diag(h)
    order = np.argsort(-diagonal, kind="stable") if activation else np.arange(columns)
    u, used = damped_factor(h, damping, order)
    size = grid["group"] or columns
    groups = -(-columns // size)
    work = w.astype(np.float64)[:, order]
    work[:, diagonal[order] == 0] = 0
    q, v = np.zeros(w.shape, int), np.zeros(w.shape, np.float32)
    alive = np.where(diagonal == 0, f32(0), w)
    cells = [[fit(alive[r, g], grid) for g in split(columns, grid)] for r in range(rows)]
    group_of = np.arange(columns) // size
    if not static:
        group_of[order] = np.arange(columns) // size
    kept = []
    if callable(threshold):
        threshold = threshold(u, order)
    for p in range(columns):
        j = order[p]
        for r in range(rows):
            if not static and p % size == 0:
                members = work[r, p : p + size]
                cell = fit(members.astype(np.float32), grid)
                if fit_group:
                    cell = fit_group(members, np.diag(u)[p : p + size], threshold)
                cells[r][p // size] = cell
            cell = cells[r][group_of[j]]
            q[r, j] = code(work[r, p], cell, grid)
            v[r, j] = value(q[r, j], cell)
            error = (work[r, p] - float(v[r, j])) / u[p, p]
            if error**2 > threshold:
                v[r, j] = f32(work[r, p])
                kept.append((r, int(j), v[r, j]))
                q[r, j] = code(0, cell, grid)
                error = (work[r, p] - float(v[r, j])) / u[p, p]
            work[r, p + 1 :] -= error * u[p, p + 1 :]
    assert groups == len(cells[0])
    return q, v, [c for row in cells for c in row], group_of, used, sorted(kept)


def reference_gptq(w, x, grid, damping, activation, static):
    """The authors' own code, in 32-bit floats."""
    where = os.environ.get("GPTQ_REFERENCE")
    if not where:
        return None
    sys.path.insert(0, where)
    sys.modules.setdefault("transformers", types.SimpleNamespace(Conv1D=type("Conv1D", (), {})))
    torch.cuda.synchronize = lambda: None
    with contextlib.redirect_stdout(io.StringIO()):
        import gptq
        import quant

        layer = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
        layer.weight.data = torch.from_numpy(w.copy())
        solver = gptq.GPTQ(layer)
        solver.quantizer = quant.Quantizer()
        solver.quantizer.configure(grid["bits"], perchannel=True, sym=False)
        solver.add_batch(torch.from_numpy(x), None)
        size = grid["group"] or -1
        solver.fasterquant(
            blocksize=grid["group"] or 128, percdamp=damping, groupsize=size, actorder=activation, static_groups=static
        )
    COMPARED["gptq"] = "IST-DASLab/gptq, gptq.py"
    return layer.weight.data.numpy()


def gptq_cases():
    random = np.random.default_rng(SEED + 1)
    for number, (shape, tokens, grid, damping, activation, static) in enumerate(
        [
            ((32, 64), 96, with_group(4, 16, "affine"), 0.01, False, False),
            ((8, 48), 96, with_group(3, 16, "affine"), 0.01, True, True),
            ((8, 48), 96, with_group(3, 16, "affine"), 0.01, True, False),
            ((8, 48), 96, with_group(4, None, "affine"), 0.001, True, False),
            ((6, 30), 60, with_group(4, 8, "symmetric"), 0.01, False, True),
            ((6, 30), 60, with_group(2, 7, "narrow"), 0.1, True, False),
            ((6, 30), 12, with_group(4, 8, "affine"), 0.0, False, False),
        ]
    ):
        w = np.asarray(random.normal(0, 1, shape), np.float32)
        x = correlated(random, tokens, shape[1])
        dead = number in (4, 5)
        if dead:
            x[:, [3, 17]] = 0
        h = hessian(x)
        q, v, cells, group_of, used, _ = sweep(w, h, grid, damping, activation, static)
        error = lambda v: float(((x.astype(np.float64) @ (v - w).T.astype(np.float64)) ** 2).sum() / len(x))
        if grid["symmetry"] == "affine" and used == damping and not dead:
            theirs = reference_gptq(w, x, grid, damping, activation, static)
            if theirs is not None:
                same = np.mean(np.abs(theirs - v) < 1e-4)
                print("gptq", number, "equal to the authors' own:", same, error(theirs) / error(v))
                assert same > 0.95 and 0.9 < error(theirs) / error(v) < 1.1
        yield {
            "grid": grid,
            "shape": list(shape),
            "damping": damping,
            "used": used,
            "activation": activation,
            "static": static,
            "w": bits(w),
            "x": codes(x * 64),
            "group_of": codes(group_of),
            "error": error(v),
            "nearest": error(rtn(w, grid)[1]),
            **on_grid(q, cells),
        }


def spqr_cases():
    random = np.random.default_rng(SEED + 2)
    for activation in (False, True):
        grid, tau = with_group(3, 8, "affine"), 0.05
        w = np.asarray(random.normal(0, 1, (8, 32)), np.float32)
        w[random.integers(0, 8, 6), random.integers(0, 32, 6)] *= 8
        x = correlated(random, 64, 32)

        def threshold(u, order):
            variance = w.astype(np.float64)[:, order].var(0, ddof=1)
            return tau * float((variance / np.diag(u) ** 2).mean())

        def fit_group(members, pivots, most):
            def error(keep):
                cell = fit(members[keep].astype(np.float32), grid)
                values = np.array([value(code(m, cell, grid), cell) for m in members[keep]], np.float64)
                return (((members[keep] - values) / pivots[keep]) ** 2).sum()

            everyone = np.ones(len(members), bool)
            stay = everyone.copy()
            for out in range(len(members)):
                rest = everyone.copy()
                rest[out] = False
                stay[out] = not error(everyone) - error(rest) > most
            return fit(members[stay].astype(np.float32), grid)

        q, _, cells, group_of, _, kept = sweep(
            w, hessian(x), grid, 0.01, activation, False, fit_group=fit_group, threshold=threshold
        )
        assert 4 <= len(kept) < 60, len(kept)
        yield {
            "grid": grid,
            "shape": list(w.shape),
            "threshold": tau,
            "activation": activation,
            "w": bits(w),
            "x": codes(x * 64),
            "rows": [k[0] for k in kept],
            "columns": [k[1] for k in kept],
            "values": bits([k[2] for k in kept]),
            "group_of": codes(group_of),
            **on_grid(q, cells),
        }


def hqq_cases():
    random = np.random.default_rng(SEED + 3)
    try:
        from hqq.core.optimize import optimize_weights_proximal_v2

        COMPARED["hqq"] = "0.2.8.post1"
    except ImportError:
        optimize_weights_proximal_v2 = None
    for width in (2, 3, 4, 8):
        w = np.asarray(random.standard_t(4, (12, 64)), np.float32)
        grid = with_group(width, 16, "affine")
        levels = 2**width - 1
        groups = w.reshape(-1, 16)
        low, high = groups.min(1, keepdims=True), groups.max(1, keepdims=True)
        scale = ((high.astype(np.float64) - low) / levels).astype(np.float32)
        zero = -low.astype(np.float64) / scale
        zero = np.round(zero) if width == 4 else zero
        options = {"lp_norm": 0.7, "beta": 10.0, "kappa": 1.01, "iters": 20, "early_stop": False}
        arguments = dict(
            tensor=torch.from_numpy(groups.astype(np.float64)),
            scale=torch.from_numpy(1 / scale.astype(np.float64)),
            zero=torch.from_numpy(zero),
            min_max=[0, levels],
            axis=1,
            dtype=torch.float64,
            device="cpu",
        )
        _, _, after = primitives.optimize_weights_proximal_legacy(**arguments, opt_params=options)
        if optimize_weights_proximal_v2:
            more = {**options, "tol": 0.0, "scale_gridsearch": False}
            _, _, same = optimize_weights_proximal_v2(**arguments, opt_params=more)
            assert torch.equal(after, same)
        _, _, stopped = primitives.optimize_weights_proximal_legacy(
            **arguments, opt_params={**options, "early_stop": True}
        )
        yield {
            "grid": grid,
            "shape": list(w.shape),
            "w": bits(w),
            "scale": bits(scale),
            "zero": numbers(after.numpy() - 2 ** (width - 1)),
            "zero_stopped": numbers(stopped.numpy() - 2 ** (width - 1)),
        }


def awq_cases():
    random = np.random.default_rng(SEED + 4)
    for width, kind in ((4, torch.int4), (3, torch.int3)):
        grid = with_group(width, 16, "affine")
        w = np.asarray(random.normal(0, 1, (8, 32)), np.float32)
        x = sixtyfourths(correlated(random, 60, 32) * random.choice([0.3, 1, 8], 32, p=[0.4, 0.5, 0.1]))
        wide = x.astype(np.float64)
        importance = np.abs(wide).mean(0)

        def scale_of(ratio):
            s = np.maximum(importance**ratio, 1e-4)
            return (s / math.sqrt(s.max() * s.min())).astype(np.float32)

        errors = []
        for step in range(20):
            s = scale_of(step / 20)
            _, v, _ = rtn((w * s).astype(np.float32), grid)
            delta = v.astype(np.float64) / s - w
            errors.append(float(((wide @ delta.T) ** 2).sum() / len(x)))
        best = int(np.argmin(errors))
        observer = AWQObserver(
            torch.from_numpy(w),
            None,
            IntxWeightOnlyConfig(weight_dtype=kind, granularity=PerGroup(16), mapping_type=MappingType.ASYMMETRIC),
        )
        observer(torch.from_numpy(x), None)
        assert np.allclose(observer.calculate_qparams().numpy(), scale_of(best / 20), rtol=1e-5)
        # Clipping, group by group.
        s = scale_of(best / 20)
        scaled = (w * s).astype(np.float32)
        cells, clipped = [], 0
        for row in scaled:
            for group in split(32, grid):
                amax, tried = np.abs(row[group]).max(), []
                for step in range(10):
                    most = amax * f32(1 - f32(step) / f32(20))
                    cell = fit(np.clip(row[group], -most, most), grid)
                    v = np.array([value(code(m, cell, grid), cell) for m in row[group]], np.float64)
                    tried.append((float((((wide[:, group] / s[group]) @ (v - row[group])) ** 2).sum()), step, cell))
                _, step, cell = min(tried, key=lambda t: t[:2])
                clipped += step > 0
                cells.append(cell)
        q = [
            [code(scaled[r, j], cells[r * 2 + j // 16], grid) for j in range(32)] for r in range(8)
        ]
        yield {
            "grid": grid,
            "shape": list(w.shape),
            "w": bits(w),
            "x": codes(x * 64),
            "input_scale": bits(s),
            "ratio": best / 20,
            "errors": errors,
            "clipped": int(clipped),
            **on_grid(q, cells),
        }


def smooth_cases():
    random = np.random.default_rng(SEED + 5)
    for alpha in (0.0, 0.5, 0.8, 1.0):
        w = np.asarray(random.normal(0, 1, (6, 16)), np.float32)
        x = np.asarray(random.normal(0, 4, (20, 16)), np.float32)
        observer = SmoothQuantObserver(torch.from_numpy(w), alpha)
        observer(torch.from_numpy(x))
        yield {
            "alpha": alpha,
            "shape": [6, 16],
            "w": bits(w),
            "input_max": bits(np.abs(x).max(0)),
            "scale": bits(observer.calculate_qparams()[0].numpy()),
        }


def lorc_cases():
    random = np.random.default_rng(SEED + 6)
    for shape, rank in (((12, 20), 4), ((20, 12), 5), ((9, 9), 9)):
        w = np.asarray(random.normal(0, 1, shape), np.float32)
        _, v, _ = rtn(w, with_group(2, None, "symmetric"))
        u, s, vt = np.linalg.svd(w.astype(np.float64) - v)
        u, vt = u[:, :rank], vt[:rank]
        sign = np.sign(u[np.abs(u).argmax(0), np.arange(rank)])
        root = np.sqrt(s[:rank])
        yield {
            "shape": list(shape),
            "rank": rank,
            "w": bits(w),
            "quantized": bits(v),
            "singular_values": numbers(s),
            "left": bits(u * sign * root),
            "right": bits(vt * (sign * root)[:, None]),
        }


def adaround_cases():
    """Loss and gradient by torch's autograd, steps by torch's Adam."""
    random = np.random.default_rng(SEED + 7)
    for grid, iterations, lam in (
        (with_group(3, 8, "affine"), 200, 0.01),
        (with_group(4, None, "symmetric"), 50, 0.5),
        (with_group(2, 8, "narrow"), 120, 0.01),
    ):
        qmin, qmax = limits(grid)
        w = np.asarray(random.normal(0, 1, (5, 24)), np.float32)
        x = correlated(random, 48, 24)
        q, _, cells = rtn(w, grid)
        groups = len(split(24, grid))
        size = grid["group"] or 24
        spread = lambda k: np.array([[cells[r * groups + j // size][k] for j in range(24)] for r in range(5)])
        scale32, zero = spread(0).astype(np.float32), torch.from_numpy(spread(1).astype(np.float64))
        ratio = torch.from_numpy((w / scale32).astype(np.float64))
        scale = torch.from_numpy(scale32.astype(np.float64))
        weight, inputs = torch.from_numpy(w.astype(np.float64)), torch.from_numpy(x.astype(np.float64))
        floor = ratio.floor()
        v = (-torch.log(1.2 / (ratio - floor + 0.1) - 1)).requires_grad_()
        optimizer = torch.optim.Adam([v], lr=1e-2)
        for step in range(iterations):
            optimizer.zero_grad()
            h = torch.clamp(torch.sigmoid(v) * 1.2 - 0.1, 0, 1)
            soft = scale * (torch.clamp(floor + h + zero, qmin, qmax) - zero)
            loss = (((soft - weight) @ inputs.T) ** 2).sum(0).mean()
            warm = 0.2 * iterations
            if step >= warm:
                beta = 2 + 0.5 * 18 * (1 + math.cos(math.pi * (step - warm) / (iterations - warm)))
                loss = loss + lam * (1 - (2 * h - 1).abs() ** beta).sum()
            loss.backward()
            optimizer.step()
        yield {
            "grid": grid,
            "iterations": iterations,
            "lambda": lam,
            "shape": [5, 24],
            "w": bits(w),
            "x": codes(x * 64),
            "v": numbers(v.detach().numpy()),
        }


def equalize_cases():
    random = np.random.default_rng(SEED + 8)
    for inner in (1, 9):
        first = np.asarray(random.normal(0, 1, (6, 10)) * 10.0 ** random.uniform(-2, 2, (6, 1)), np.float32)
        bias = np.asarray(random.normal(0, 1, 6), np.float32)
        second = np.asarray(random.normal(0, 1, (4, 6, inner)), np.float32)
        first[2] = 0
        r1, r2 = np.abs(first).max(1).astype(np.float64), np.abs(second).max((0, 2)).astype(np.float64)
        s = np.where(r1 > 0, np.sqrt(r1 / r2), 1)
        yield {
            "inner": inner,
            "first": bits(first),
            "bias": bits(bias),
            "second": bits(second),
            "scale": bits(s),
            "first_after": bits(first / s[:, None]),
            "bias_after": bits(bias / s),
            "second_after": bits(second * s[None, :, None]),
        }


def bias_cases():
    random = np.random.default_rng(SEED + 9)
    mpmath.mp.dps = 40
    beta, gamma = random.normal(0, 2, 12), random.normal(0, 1, 12)
    gamma[0], beta[1], gamma[1] = 0, -9, 0.5
    phi, cdf = mpmath.npdf, mpmath.ncdf

    def clipped(m, s, a, b):
        m, s = mpmath.mpf(float(m)), abs(mpmath.mpf(float(s)))
        if s == 0:
            return min(max(m, a), b)
        return mpmath.quad(
            lambda x: min(max(x, a), b) * phi(x, m, s),
            sorted({m - 40 * s, max(m - 40 * s, min(a, m + 40 * s)), m, min(m + 40 * s, max(b, m - 40 * s)), m + 40 * s}),
        )

    w = np.asarray(random.normal(0, 1, (5, 12 * 4)), np.float32)
    _, v, _ = rtn(w, with_group(3, None, "affine"))
    means = [float(clipped(m, s, 0, mpmath.mpf(10) ** 9)) for m, s in zip(beta, gamma)]
    yield {
        "beta": numbers(beta),
        "gamma": numbers(gamma),
        "relu": means,
        "relu6": [float(clipped(m, s, 0, 6)) for m, s in zip(beta, gamma)],
        "w": bits(w),
        "quantized": bits(v),
        "correction": numbers(-(v.astype(np.float64) - w) @ np.repeat(means, 4)),
    }


def llm_int8_cases():
    random = np.random.default_rng(SEED + 10)
    w = np.asarray(random.normal(0, 1, (7, 32)), np.float32)
    x = sixtyfourths(random.normal(0, 1, (9, 32)))
    x[:, [4, 20]] *= 15
    x[3, 9] = 6
    outliers = np.flatnonzero((np.abs(x) >= 6).any(0))
    rest = x.copy()
    rest[:, outliers] = 0

    def int8(m):
        s = np.abs(m).max(1, keepdims=True) / f32(127)
        return np.round(m / s).astype(np.int64), s.astype(np.float64)

    (qx, sx), (qw, sw) = int8(rest), int8(w)
    y = (qx @ qw.T) * sx * sw.T + x[:, outliers].astype(np.float64) @ w[:, outliers].T.astype(np.float64)
    yield {"w": bits(w), "x": codes(x * 64), "outliers": codes(outliers), "y": bits(y)}


content = {
    "rtn": list(rtn_cases()),
    "gptq": list(gptq_cases()),
    "spqr": list(spqr_cases()),
    "hqq": list(hqq_cases()),
    "awq": list(awq_cases()),
    "smooth": list(smooth_cases()),
    "lorc": list(lorc_cases()),
    "adaround": list(adaround_cases()),
    "equalize": list(equalize_cases()),
    "bias": list(bias_cases()),
    "llm_int8": list(llm_int8_cases()),
}
header = {**COMPARED, "numpy": np.__version__, "seed": SEED, "tolerance": "codes 0, f64 1e-9, f32 1e-6"}
header["regenerate"] = "python tools/golden/quant_ptq.py"
OUT.write_text(json.dumps({"header": header, **content}) + "\n")
