"""Golden ranges for quant-core's histogram observers.

Run with the packages of requirements.txt installed: python tools/golden/quant_observers.py
The values come from a generator of integers that the test repeats, by operations that are exact or correctly rounded
on both sides, so that only results are stored:
- l2: torch's HistogramObserver, all values at once and in ten batches; to be met within a bin of torch's.
- quantiles: order statistics; to be met within a bin.
- entropy: the divergence of every candidate, bin by bin, straight from its definition; to be met exactly.
- mse: the true error of each candidate range, by torch's fake quantization; ours must be within half a percent of the best.
"""

import json
import math
import pathlib

import numpy as np
import torch
from torch.ao.quantization.observer import HistogramObserver, PerChannelMinMaxObserver

SEED = 11
COUNT = 20_000
BINS = 4096
OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/quant-core/tests/golden"
LEVELS = {"int8 tensor narrow": (-127, 127), "int8 tensor affine": (-128, 127)}


class Lcg:
    def __init__(self, seed):
        self.state = seed

    def bits(self):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return self.state >> 33

    def uniform(self):
        return (self.bits() >> 7) / 2**24

    def normal(self):
        """Twelve uniform numbers less six (Irwin and Hall)."""
        return sum(self.bits() >> 7 for _ in range(12)) / 2**24 - 6.0


def values(name, lcg):
    if name == "normal":
        return lcg.normal()
    if name == "relu":
        return max(lcg.normal(), 0.0)
    if name == "heavy":
        x = lcg.normal()
        return x * x * x
    if name == "outliers":
        x = lcg.normal()
        return x * 20.0 if lcg.bits() % 1000 == 0 else x
    if name == "skewed":
        return lcg.uniform() * lcg.uniform() * 4.0 - 0.3
    raise KeyError(name)


def torch_l2(batches):
    observer = HistogramObserver(bins=2048, dtype=torch.qint8, qscheme=torch.per_tensor_affine)
    for batch in batches:
        observer(torch.from_numpy(batch))
    low, high = observer._non_linear_param_search()
    return {"min": float(low), "max": float(high), "bin": (batches_max(batches) - batches_min(batches)) / 2048}


def batches_min(batches):
    return float(min(batch.min() for batch in batches))


def batches_max(batches):
    return float(max(batch.max() for batch in batches))


def histogram(x):
    """Counts without zeros, width and first bin, on the finest grid of powers of two that needs no more than BINS."""
    low, high = float(x.min()), float(x.max())
    exponent = -149
    while math.floor(high / 2.0**exponent) - math.floor(low / 2.0**exponent) + 1 > BINS:
        exponent += 1
    width = 2.0**exponent
    first = math.floor(low / width)
    counts = np.zeros(math.floor(high / width) - first + 1)
    np.add.at(counts, np.floor(x[x != 0].astype(np.float64) / width).astype(int) - first, 1)
    return counts, width, first


def divergence(counts, begin, end, levels):
    p = counts[begin:end].copy()
    inside = p.copy()
    p[0] += counts[:begin].sum()
    p[-1] += counts[end:].sum()
    group = np.arange(end - begin) * levels // (end - begin)
    mass = np.bincount(group, inside, levels)
    filled = np.bincount(group, inside > 0, levels)
    q = np.where(inside > 0, (mass / np.maximum(filled, 1))[group], 0)
    if q.sum() == 0 or np.any((p > 0) & (q == 0)):
        return math.inf
    p, q = p[p > 0] / p.sum(), q[p > 0] / q.sum()
    return float((p * np.log(p / q)).sum())


def entropy(x, scheme):
    qmin, qmax = LEVELS[scheme]
    counts, width, first = histogram(x)
    low, high = float(x.min()), float(x.max())
    if scheme.endswith("affine") and low < 0 < high:
        zero, levels = -first, qmax - qmin + 1
        candidates = [(t, max(zero - t, 0), min(zero + t, len(counts))) for t in range(1, max(zero, len(counts) - zero) + 1)]
    else:
        levels = qmax + 1 if scheme.endswith("narrow") else qmax - qmin + 1
        bins = np.arange(first, first + len(counts))
        size = np.where(bins < 0, -bins - 1, bins)
        counts = np.bincount(size, counts)
        candidates = [(t, 0, t) for t in range(1, len(counts) + 1)]
    found = [(divergence(counts, a, b, levels), -t) for t, a, b in candidates if b - a >= levels]
    # Equal but for rounding: the widest.
    least = min(found)[0]
    t = max(-t for d, t in found if d <= least * (1 + 1e-9))
    return [max(low, -t * width), min(high, t * width)]


def errors(x, scheme):
    qmin, qmax = LEVELS[scheme]
    x = torch.from_numpy(x).double()
    low, high = min(x.min().item(), 0.0), max(x.max().item(), 0.0)
    found = []
    for cut in range(100):
        factor = 1 - cut / 100
        if scheme.endswith("narrow"):
            scale, zero = max(-low, high) * factor / qmax, 0
        else:
            scale = (high - low) * factor / (qmax - qmin)
            zero = min(max(qmin - round(low * factor / scale), qmin), qmax)
        y = torch.fake_quantize_per_tensor_affine(x, scale, zero, qmin, qmax)
        found.append((y - x).abs().pow(2.4).mean().item())
    return found


cases = []
for name in ("normal", "relu", "heavy", "outliers", "skewed"):
    lcg = Lcg(SEED)
    x = np.asarray([values(name, lcg) for _ in range(COUNT)], np.float32)
    order = np.sort(x)
    case = {"name": name, "min": float(x.min()), "max": float(x.max()), "sum": float(x.astype(np.float64).sum())}
    case["l2"] = {"whole": torch_l2([x]), "batches": torch_l2(np.split(x, 10))}
    case["quantiles"] = [
        {"share": share, "min": float(order[cut]), "max": float(order[COUNT - 1 - cut])}
        for share, cut in ((1.0, 0), (0.9999, 1), (0.999, 10), (0.9, 1000))
    ]
    case["entropy"] = {scheme: entropy(x, scheme) for scheme in LEVELS}
    case["mse"] = {scheme: errors(x, scheme) for scheme in LEVELS}
    cases.append(case)
    print(name, case["min"], case["max"], case["l2"], case["entropy"], {s: int(np.argmin(e)) for s, e in case["mse"].items()})

lcg = Lcg(SEED)
x = np.asarray([lcg.normal() for _ in range(600)], np.float32).reshape(10, 12, 5)
observer = PerChannelMinMaxObserver(ch_axis=1)
for batch in x:
    observer(torch.from_numpy(batch[None]))
channels = {"shape": [1, 12, 5], "axis": 1, "min": observer.min_val.tolist(), "max": observer.max_val.tolist()}

header = {"torch": torch.__version__, "numpy": np.__version__, "seed": SEED, "count": COUNT, "bins": BINS}
header["regenerate"] = "python tools/golden/quant_observers.py"
content = {"header": header, "channels": channels, "cases": cases}
(OUT / "observers.json").write_text(json.dumps(content) + "\n")
