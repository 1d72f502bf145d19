"""Golden vectors of `prune-core`: magnitude scores, and masks of every pattern.

Run from the repository root, with numpy installed:

    python tools/golden/prune_core.py

Writes `crates/prune-core/tests/golden/masks.json`. The file is part of the repository; nothing runs this in CI.

The rules, stated here a second time and in another way than in Rust:
- scores are computed in double precision from single precision weights;
- of n units, floor(S * n + 1e-9) are removed, lowest scores first;
- of equal scores the lowest index is kept, so the highest index goes first; -0 equals 0;
- an n:m group runs along a row; a short last group of r keeps min(keep, r);
- a block scores the mean of the elements that are inside the matrix, blocks are numbered row-major.
"""

import json
import math
import pathlib
import platform

import numpy

SEED = 20
OUT = pathlib.Path("crates/prune-core/tests/golden/masks.json")


def remove_lowest(scores, count):
    """Boolean keep-vector: repeatedly strikes out the last of the smallest scores left."""
    keep = numpy.ones(len(scores), dtype=bool)
    left = scores.astype(numpy.float64).copy()
    for _ in range(count):
        smallest = left.min()
        last = numpy.flatnonzero(left == smallest)[-1]
        keep[last] = False
        left[last] = numpy.inf
    return keep


def removed(sparsity, n):
    return math.floor(sparsity * n + 1e-9)


def unstructured(scores, sparsity):
    return remove_lowest(scores.ravel(), removed(sparsity, scores.size)).reshape(scores.shape)


def n_m(scores, keep, of):
    mask = numpy.zeros(scores.shape, dtype=bool)
    rows, columns = scores.shape
    for row in range(rows):
        for start in range(0, columns, of):
            group = scores[row, start : start + of]
            stays = min(keep, len(group))
            mask[row, start : start + of] = remove_lowest(group, len(group) - stays)
    return mask


def block(scores, height, width, sparsity):
    rows, columns = scores.shape
    down, across = -(-rows // height), -(-columns // width)
    means = numpy.array(
        [
            [scores[i * height : (i + 1) * height, j * width : (j + 1) * width].mean() for j in range(across)]
            for i in range(down)
        ]
    )
    keep = remove_lowest(means.ravel(), removed(sparsity, means.size)).reshape(means.shape)
    return numpy.kron(keep, numpy.ones((height, width), dtype=bool))[:rows, :columns].astype(bool)


def bits(mask):
    return "".join("1" if kept else "0" for kept in mask.ravel())


def main():
    rng = numpy.random.default_rng(SEED)
    weights = {
        "normal": rng.standard_normal((6, 10)).astype(numpy.float32),
        # Eighths: many equal magnitudes of both signs, and exact means.
        "ties": (rng.integers(-3, 4, (7, 9)) / 8).astype(numpy.float32),
        "zeros": numpy.where(rng.random((4, 8)) < 0.5, -0.0, 0.0).astype(numpy.float32),
        "one-row": rng.standard_normal((1, 13)).astype(numpy.float32),
        "one-column": rng.standard_normal((11, 1)).astype(numpy.float32),
    }
    sparsities = [0.0, 0.1, 0.5, 0.7, 0.9, 1.0]
    cases = []
    for name, weight in weights.items():
        w = numpy.abs(weight.astype(numpy.float64))
        scores = {f"{unit}-{p}": None for unit in ("element", "channel") for p in (1, 2)}
        for p in (1, 2):
            scores[f"element-{p}"] = (w**p).ravel().tolist()
            scores[f"channel-{p}"] = [math.fsum(row) for row in w**p]
        masks = []
        for s in sparsities:
            masks.append({"pattern": {"unstructured": {"sparsity": s}}, "mask": bits(unstructured(w, s))})
        for keep, of in [(2, 4), (1, 4), (3, 5), (4, 4), (1, 1), (1, 16)]:
            masks.append({"pattern": {"n-m": {"keep": keep, "of": of}}, "mask": bits(n_m(w, keep, of))})
        for rows, columns in [(4, 1), (1, 4), (2, 3), (32, 32)]:
            for s in (0.3, 0.5, 1.0):
                pattern = {"block": {"rows": rows, "columns": columns, "sparsity": s}}
                masks.append({"pattern": pattern, "mask": bits(block(w, rows, columns, s))})
        cases.append(
            {
                "name": name,
                "rows": weight.shape[0],
                "columns": weight.shape[1],
                "weight": weight.astype(numpy.float64).ravel().tolist(),
                "scores": scores,
                "masks": masks,
            }
        )
    header = {
        "about": "magnitude scores, and the masks that they give with p = 1; 1 is kept",
        "regenerate": "python tools/golden/prune_core.py",
        "versions": {"python": platform.python_version(), "numpy": numpy.__version__},
        "seed": SEED,
        "tolerance": {"scores": 1e-15, "masks": 0},
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    OUT.write_text(f'{{"header":{json.dumps(header)},"cases":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
