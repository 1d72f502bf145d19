"""Golden numbers for quant-core's weight sharing: Lloyd's algorithm of scikit-learn from the same first centroids.

Run with numpy and scikit-learn installed: python tools/golden/quant_kmeans.py
Floats are stored as the integers of their 32 bits. Tolerance: codes equal, centroids 1e-6 of the largest.
"""

import json
import pathlib
import warnings

import numpy as np
import sklearn
from sklearn.cluster import KMeans

warnings.filterwarnings("ignore")

SEED = 0
OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/quant-core/tests/golden/kmeans.json"


def bits(x):
    return np.ascontiguousarray(x, np.float32).view(np.uint32).reshape(-1).tolist()


def empties(x, centroids):
    """Whether a cluster is ever empty on the way."""
    for _ in range(1000):
        labels = np.abs(x[:, None] - centroids).argmin(1)
        if len(set(labels)) < len(centroids):
            return True
        centroids = np.array([x[labels == k].mean() for k in range(len(centroids))])
    return False


def cases():
    random = np.random.default_rng(SEED)
    draws = {
        "normal": lambda n: random.normal(0, 0.05, n),
        "laplace": lambda n: random.laplace(0, 1.0, n),
        "uniform": lambda n: random.uniform(-2, 3, n),
        "two humps": lambda n: np.concatenate([random.normal(-1, 0.1, n // 2), random.normal(2, 0.3, n - n // 2)]),
    }
    for name, draw in draws.items():
        for count in (2, 3, 4, 6, 8, 12, 16):
            x = draw(400).astype(np.float32)
            # In one dimension and 64 bits, so that its float sums are ours.
            start = np.linspace(x.min(), x.max(), count).astype(np.float32).astype(np.float64)
            found = KMeans(count, init=start[:, None], n_init=1, max_iter=1000, tol=0.0, algorithm="lloyd")
            found.fit(x.astype(np.float64)[:, None])
            if empties(x.astype(np.float64), start):
                continue  # scikit-learn moves an empty cluster elsewhere; here it stays.
            centroids = found.cluster_centers_[:, 0]
            order = np.argsort(centroids)
            rank = np.argsort(order)
            yield {
                "name": name,
                "count": count,
                "x": bits(x),
                "centroids": bits(centroids[order]),
                "codes": rank[found.labels_].tolist(),
            }


def main():
    content = {"scikit-learn": sklearn.__version__, "seed": SEED, "cases": list(cases())}
    OUT.write_text(json.dumps(content) + "\n")
    print(len(content["cases"]), "cases")


if __name__ == "__main__":
    main()
