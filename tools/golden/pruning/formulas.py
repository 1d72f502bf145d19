"""The criteria's definitions, written down a second time and in another way than in Rust.

Arrays stay in the precision they come in, so that each formula runs in 64 and in 32 bits. Where the Rust goes a clever
way (a factor of the inverse, a sweep), this goes the long one: an inverse for every column, a minimum found by solving.
"""

import math

import mpmath
import numpy as np


def matrix(x):
    return x.reshape(x.shape[0], -1)


def strike(scores, count):
    """Keep-vector: strikes the smallest left out `count` times, of equal ones the last."""
    keep = np.ones(scores.size, dtype=bool)
    left = scores.ravel().astype(np.float64).copy()
    for _ in range(count):
        last = np.flatnonzero(left == left.min())[-1]
        keep[last] = False
        left[last] = np.inf
    return keep


def removed(share, n):
    return math.floor(share * n + 1e-9)


def mask(scores, pattern, by_row=False):
    """The mask of a matrix by a pattern: ("unstructured", s), ("nm", k, m), ("block", r, c, s), rows, columns."""
    kind, *knobs = pattern
    rows, columns = scores.shape
    if kind == "unstructured" and by_row:
        return np.stack([strike(row, removed(knobs[0], columns)) for row in scores])
    if kind == "unstructured":
        return strike(scores, removed(knobs[0], scores.size)).reshape(scores.shape)
    if kind == "nm":
        keep, of = knobs
        parts = [scores[:, a : a + of] for a in range(0, columns, of)]
        each = [[strike(row, max(0, len(row) - keep)) for row in part] for part in parts]
        return np.concatenate([np.stack(part) for part in each], axis=1)
    r, c, share = {
        "block": lambda: knobs,
        "rows": lambda: (1, columns, knobs[0]),
        "columns": lambda: (rows, 1, knobs[0]),
    }[kind]()
    down, across = -(-rows // r), -(-columns // c)
    tiles = [
        scores[i * r : (i + 1) * r, j * c : (j + 1) * c].astype(np.float64).mean()
        for i in range(down)
        for j in range(across)
    ]
    tiles = np.array(tiles)
    keep = strike(tiles, removed(share, tiles.size)).reshape(down, across)
    return np.kron(keep, np.ones((r, c)))[:rows, :columns].astype(bool)


def text(pattern):
    """A pattern as the command line writes it."""
    kind, *knobs = pattern
    return {
        "unstructured": lambda: f"unstructured sparsity={knobs[0]}",
        "global": lambda: f"unstructured sparsity={knobs[0]} scope=global",
        "nm": lambda: f"keep={knobs[0]} of={knobs[1]}",
        "block": lambda: f"block {knobs[0]}x{knobs[1]} sparsity={knobs[2]}",
        "rows": lambda: f"rows sparsity={knobs[0]}",
        "columns": lambda: f"columns sparsity={knobs[0]}",
        "channels": lambda: f"channels sparsity={knobs[0]}",
    }[kind]()


def magnitude(w, p):
    return np.abs(w) ** p


def lamp(squares):
    """Every square over the sum of all that are no smaller."""
    flat = squares.ravel()
    sums = np.array([flat[flat >= x].sum(dtype=flat.dtype) for x in flat], dtype=flat.dtype)
    return np.divide(flat, sums, out=np.zeros_like(flat), where=sums > 0).reshape(squares.shape)


def fpgm(w):
    filters = matrix(w)
    return np.array([np.linalg.norm(filters - f, axis=1).sum() for f in filters], dtype=w.dtype)


def taylor(w, g, form):
    x = matrix(w) * matrix(g)
    return {
        "sum-abs": lambda: np.abs(x).sum(1),
        "abs-sum": lambda: np.abs(x.sum(1)),
        "sum-square": lambda: (x**2).sum(1),
        "square-sum": lambda: x.sum(1) ** 2,
    }[form]()


def movement(ws, gs, rate):
    return w_dtype(-rate * np.einsum("t...,t...->...", ws, gs), ws)


def w_dtype(x, like):
    return np.asarray(x, dtype=like.dtype)


def wanda(w, x):
    return (np.abs(matrix(w)) * np.linalg.norm(x, axis=0)).reshape(w.shape)


def obd(w, grads):
    return w_dtype(0.5, w) * (grads**2).mean(axis=0) * w**2


def sparsegpt(w, x, pattern, size, damping, code=None):
    """One column after the other, the inverse of what is left of H computed anew for each."""
    w = matrix(w).copy()
    columns = w.shape[1]
    h = 2 * x.T @ x
    for j in np.flatnonzero(np.diag(h) == 0):
        h[j, j] = 1
        w[:, j] = 0
    h = h + np.eye(columns, dtype=w.dtype) * w_dtype(damping, w) * np.diag(h).mean()
    inverses = [np.linalg.inv(h[j:, j:]) for j in range(columns)]
    diagonal = np.array([inverse[0, 0] for inverse in inverses], dtype=w.dtype)
    keep = np.ones(w.shape, dtype=bool)
    for j in range(columns):
        if pattern[0] == "unstructured" and j % size == 0:
            block = slice(j, min(j + size, columns))
            keep[:, block] = mask(w[:, block] ** 2 / diagonal[block], pattern)
        if pattern[0] == "nm" and j % pattern[2] == 0:
            group = slice(j, min(j + pattern[2], columns))
            keep[:, group] = mask(w[:, group] ** 2 / diagonal[group], pattern)
        value = w[:, j].copy()
        stays = value if code is None else code(value)
        value[keep[:, j]] = stays[keep[:, j]]
        value[~keep[:, j]] = 0
        w[:, j:] -= np.outer((w[:, j] - value) / diagonal[j], inverses[j][0])
        w[:, j] = value
    return keep, w


def affine(scale, zero, bits):
    """The rounding of a column, a scale and a zero for each row."""
    top = 2**bits - 1
    return lambda w: scale * (np.clip(np.round(w / scale) + zero, 0, top) - zero)


def obs(w, grads, size, damping, choose, update):
    """Scores, mask and weight; 50 digits, since a Fisher matrix of few gradients is singular but for its damping."""
    with mpmath.workdps(50):
        flat, rows = w.ravel(), grads.reshape(len(grads), -1)
        inverses, scores = [], []
        for a in range(0, flat.size, size):
            g = mpmath.matrix(rows[:, a : a + size].astype(np.float64).tolist())
            fisher = g.T * g / len(rows) + mpmath.mpf(damping) * mpmath.eye(g.cols)
            inverse = fisher**-1
            inverses.append((fisher, inverse))
            scores += [float(mpmath.mpf(float(v)) ** 2 / (2 * inverse[q, q])) for q, v in enumerate(flat[a : a + size])]
        scores = np.array(scores).reshape(w.shape)
        keep = choose(scores)
        left = []
        for b, (fisher, inverse) in enumerate(inverses):
            v = [mpmath.mpf(float(x)) for x in flat[b * size : (b + 1) * size]]
            stays = keep.ravel()[b * size : (b + 1) * size]
            kept = [i for i, s in enumerate(stays) if s]
            gone = [i for i, s in enumerate(stays) if not s]
            new = list(v)
            if update == "joint" and kept and gone:
                block = mpmath.matrix([[fisher[i, j] for j in kept] for i in kept])
                push = mpmath.matrix([sum(fisher[i, j] * v[j] for j in gone) for i in kept])
                for i, delta in zip(kept, mpmath.lu_solve(block, push)):
                    new[i] += delta
            if update == "sum":
                for q in gone:
                    for i in range(len(v)):
                        new[i] -= v[q] / inverse[q, q] * inverse[i, q]
            for q in gone:
                new[q] = mpmath.mpf(0)
            left += [float(x) for x in new]
        return scores, keep, np.array(left).reshape(w.shape)


def group_fisher(members):
    """Members are pairs of activations and gradients, [samples, channels, ...]."""
    by_mask = sum((a * g).reshape(*a.shape[:2], -1).sum(-1) for a, g in members)
    return (by_mask**2).mean(axis=0)


def activation_norm(a, p):
    flat = np.moveaxis(a.reshape(*a.shape[:2], -1), 1, 0).reshape(a.shape[1], -1)
    return np.abs(flat).mean(1) if p == 1 else np.sqrt((flat**2).mean(1))


def owl(layers, sparsity, m, spread):
    shares = []
    for w, x in layers:
        scores = wanda(w, x)
        shares.append((scores > m * scores.mean()).mean())
    shares = np.array(shares)
    if shares.max() == shares.min():
        return np.full(len(shares), sparsity)
    r = (shares - shares.min()) / (shares.max() - shares.min()) * 2 * spread
    return 1 - (r - r.mean() + 1 - sparsity)


def random(seed, path, count):
    """SplitMix64 in Python's own integers."""
    bits = (1 << 64) - 1

    def mix(z):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & bits
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & bits
        return z ^ (z >> 31)

    key = mix(seed)
    for byte in path.encode():
        key = mix(key ^ byte)
    return np.array([(mix((key + i * 0x9E3779B97F4A7C15) & bits) >> 11) / (1 << 53) for i in range(1, count + 1)])
