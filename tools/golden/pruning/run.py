"""Golden vectors of the criteria of `prune-core`: scores, masks and updated weights, by name as `kd prune eval` has them.

    python tools/golden/pruning/run.py [--references DIR]

Every case says where its numbers are from. `formula`: the definition in numpy (`formulas.py`), in the precision of its
inputs; `obs` in 50 digits. `public`: the code of others (`public.py`), run from the checkouts in `DIR` that
`references.toml` lists, torch-pruning 1.6.0 and torch itself. Without `DIR` there are formulas alone. Where both are
there, this also holds one against the other. Single precision inputs are stored in their shortest decimals.
"""

import argparse
import json
import pathlib
import platform

import coupled
import formulas
import numpy as np
import public
from formulas import mask, matrix, text

SEED = 6
OUT = pathlib.Path(__file__).resolve().parents[3] / "crates/prune-core/tests/golden/criteria.json"
cases = []
tensors = {}


def numbers(x):
    x = np.asarray(x)
    if x.dtype == np.float32:
        return [float(str(v)) for v in x.ravel()]
    return [float(v) for v in x.ravel()]


def place(x):
    """The index of a tensor among all, which many cases share."""
    line = json.dumps({"shape": list(x.shape), "values": numbers(x)}, separators=(",", ":"))
    return tensors.setdefault(line, len(tensors))


def add(name, criterion, inputs, outputs, pattern=None, source="formula"):
    """Takes a case down; masks are booleans."""
    kind = next(iter(inputs.values())).dtype
    stored = {}
    for key, value in outputs.items():
        value = np.asarray(value)
        entry = {"shape": list(value.shape)}
        if value.dtype == bool:
            entry["mask"] = "".join("01"[int(v)] for v in value.ravel())
        else:
            assert np.isfinite(value).all(), name
            entry["values"] = numbers(value)
        stored[key] = entry
    case = {"name": name, "source": source, "dtype": str(kind).replace("float", "f"), "criterion": criterion}
    if pattern is not None:
        case["pattern"] = text(pattern)
    case["inputs"] = {key: place(x) for key, x in inputs.items()}
    case["outputs"] = stored
    cases.append(case)


def shaped(flat, w):
    return flat.reshape(w.shape)


def chosen(scores, pattern, by_row=False):
    """The mask, after making sure that no rounding decides it."""
    found = mask(matrix(scores), pattern, by_row)
    return shaped(found, scores)


PATTERNS = [
    ("unstructured", 0.6),
    ("nm", 2, 4),
    ("nm", 1, 5),
    ("block", 2, 3, 0.5),
    ("rows", 0.4),
    ("columns", 0.5),
]


def of_formulas(kind, rng):
    def normal(*shape):
        return rng.standard_normal(shape).astype(kind)

    w, g = normal(5, 3, 2, 2), normal(5, 3, 2, 2)
    ties = (rng.integers(-3, 4, (6, 7)) / 4).astype(kind)
    for p in (1, 2):
        scores = formulas.magnitude(w, p)
        for pattern in PATTERNS:
            keep = chosen(scores, pattern)
            outputs = {"scores": scores, "mask": keep, "weight": w * keep}
            add(f"magnitude {p} {pattern[0]}", {"magnitude": {"p": p}}, {"weight": w}, outputs, pattern)
        channels = matrix(scores).sum(1)
        keep = formulas.strike(channels, formulas.removed(0.5, 5))
        outputs = {"scores": channels, "mask": keep, "weight": w * keep[:, None, None, None]}
        add(f"magnitude {p} channels", {"magnitude": {"p": p}}, {"weight": w}, outputs, ("channels", 0.5))
        add(f"magnitude {p} channel", {"magnitude": {"p": p, "unit": "channel"}}, {"weight": w}, {"scores": channels})
    for pattern in PATTERNS:
        scores = np.abs(ties)
        keep = chosen(scores, pattern)
        outputs = {"scores": scores, "mask": keep, "weight": ties * keep}
        add(f"magnitude ties {pattern[0]}", {"magnitude": {}}, {"weight": ties}, outputs, pattern)

    layers = [normal(4, 6), 0.1 * normal(5, 3), ties]
    inputs = {f"layers.{k}.weight": x.astype(kind) for k, x in enumerate(layers)}
    for name, score in [("magnitude", np.abs), ("lamp", lambda x: formulas.lamp(x**2))]:
        scores = [score(x.astype(kind)) for x in layers]
        flat = np.concatenate([x.ravel() for x in scores])
        keep = formulas.strike(flat, formulas.removed(0.7, flat.size))
        outputs, at = {}, 0
        for k, x in enumerate(scores):
            part = keep[at : at + x.size].reshape(x.shape)
            at += x.size
            outputs |= {f"layers.{k}.scores": x, f"layers.{k}.mask": part}
            outputs[f"layers.{k}.weight"] = layers[k].astype(kind) * part
        add(f"{name} global", {name: {}}, inputs, outputs, ("global", 0.7))

    for knob in ({"value": 0.5}, {"sigma": 0.75}):
        height = knob.get("value") or knob["sigma"] * w.std(ddof=1)
        keep = np.abs(w) >= height
        outputs = {"scores": np.abs(w), "mask": keep, "weight": w * keep}
        add(f"threshold {next(iter(knob))}", {"threshold": knob}, {"weight": w}, outputs)

    for name, x in [("plain", w), ("ties", ties), ("zeros", np.zeros((2, 3), kind))]:
        outputs = {"scores": formulas.lamp(x**2)}
        add(f"lamp {name}", {"lamp": {"unit": "element"}}, {"weight": x}, outputs)
        outputs = {"scores": formulas.lamp((matrix(x) ** 2).sum(1))}
        add(f"lamp channel {name}", {"lamp": {"unit": "channel"}}, {"weight": x}, outputs)

    scores = formulas.random(7, "weight", w.size).reshape(w.shape)
    keep = chosen(scores, ("unstructured", 0.3))
    outputs = {"scores": scores, "mask": keep, "weight": w * keep}
    add("random", {"random": {"seed": 7}}, {"weight": w}, outputs, ("unstructured", 0.3))

    gamma = normal(7)
    keep = formulas.strike(np.abs(gamma), 4)
    add("bn-scale", {"bn-scale": {}}, {"bn.weight": gamma}, {"scores": np.abs(gamma), "mask": keep}, ("channels", 0.6))

    scores = formulas.fpgm(w)
    keep = formulas.strike(scores, 2)
    outputs = {"scores": scores, "mask": keep, "weight": w * keep[:, None, None, None]}
    add("fpgm", {"fpgm": {}}, {"weight": w}, outputs, ("channels", 0.4))

    both = {"weight": w, "grad": g}
    for form in ("sum-abs", "abs-sum", "sum-square", "square-sum"):
        scores = formulas.taylor(w, g, form)
        add(f"taylor {form}", {"taylor": {"form": form}}, both, {"scores": scores})
        element = np.abs(w * g) if "abs" in form else (w * g) ** 2
        keep = chosen(element, ("unstructured", 0.6))
        outputs = {"scores": element, "mask": keep, "weight": w * keep}
        add(f"taylor element {form}", {"taylor": {"form": form}}, both, outputs, ("unstructured", 0.6))

    many = {"layers.0.weight": w, "layers.0.grad": g, "layers.1.weight": ties, "layers.1.grad": normal(6, 7)}
    parts = [np.abs(many[f"layers.{k}.weight"] * many[f"layers.{k}.grad"]) for k in range(2)]
    for normalize in (False, True):
        total = sum(x.sum() for x in parts) if normalize else np.asarray(1, kind)
        outputs = {f"layers.{k}.scores": x / total for k, x in enumerate(parts)}
        add(f"snip {normalize}", {"snip": {"normalize": normalize}}, many, outputs)
    scores = matrix(np.abs(w * g)).sum(1)
    keep = formulas.strike(scores, 2)
    outputs = {"scores": scores, "mask": keep, "weight": w * keep[:, None, None, None]}
    add("snip channels", {"snip": {}}, both, outputs, ("channels", 0.4))

    ws, gs = normal(4, 3, 5), normal(4, 3, 5)
    scores = formulas.movement(ws, gs, 0.5)
    add("movement steps", {"movement": {"rate": 0.5}}, {"weights": ws, "grads": gs}, {"scores": scores})
    scores = formulas.movement(w[None], g[None], 1.0)
    keep = chosen(scores, ("unstructured", 0.5))
    outputs = {"scores": scores, "mask": keep, "weight": w * keep}
    add("movement", {"movement": {}}, both, outputs, ("unstructured", 0.5))

    x = normal(20, 12)
    both = {"weight": w, "activations": x}
    scores = formulas.wanda(w, x)
    for pattern in PATTERNS:
        keep = chosen(scores, pattern, by_row=True)
        outputs = {"scores": scores, "mask": keep, "weight": w * keep}
        add(f"wanda {pattern[0]}", {"wanda": {}}, both, outputs, pattern)
    keep = chosen(scores, ("unstructured", 0.6))
    outputs = {"scores": scores, "mask": keep, "weight": w * keep}
    add("wanda layer", {"wanda": {"group": "layer"}}, both, outputs, ("unstructured", 0.6))

    v, x = normal(4, 14), normal(40, 14) @ normal(14, 14)
    dead = x.copy()
    dead[:, 3] = 0
    for inputs, what in [(x, "live"), (dead, "dead")]:
        for pattern in [("unstructured", 0.5), ("nm", 2, 4)]:
            keep, left = formulas.sparsegpt(v, inputs, pattern, 6, 0.01)
            knobs = {"block-size": 6}
            both = {"weight": v, "activations": inputs}
            add(f"sparsegpt {what} {pattern[0]}", {"sparsegpt": knobs}, both, {"mask": keep, "weight": left}, pattern)
    scale, zero = (np.abs(v).max(1) / 7).astype(kind), rng.integers(6, 10, 4).astype(kind)
    for pattern in [("unstructured", 0.5), ("nm", 2, 4)]:
        keep, left = formulas.sparsegpt(v, x, pattern, 14, 0.05, formulas.affine(scale, zero, 4))
        both = {"weight": v, "activations": x, "quant.scale": scale, "quant.zero": zero}
        knobs = {"bits": 4, "damping": 0.05}
        add(f"sparsegpt bits {pattern[0]}", {"sparsegpt": knobs}, both, {"mask": keep, "weight": left}, pattern)

    gs = normal(9, 5, 3, 2, 2)
    scores = formulas.obd(w, gs)
    keep = chosen(scores, ("unstructured", 0.5))
    outputs = {"scores": scores, "mask": keep, "weight": w * keep}
    add("obd", {"obd": {}}, {"weight": w, "grads": gs}, outputs, ("unstructured", 0.5))
    outputs = {"scores": matrix(scores).sum(1)}
    add("obd channel", {"obd": {"unit": "channel"}}, {"weight": w, "grads": gs}, outputs)
    h = np.abs(normal(5, 3, 2, 2))
    add("obd hessian", {"obd": {}}, {"weight": w, "hessian": h}, {"scores": (0.5 * h * w * w).astype(kind)})

    v, gs = normal(4, 7), normal(24, 4, 7)
    for update in ("joint", "sum", "none"):
        for size, damping in [(7, 1e-7), (50, 1e-3)]:
            for pattern in [("unstructured", 0.5), ("nm", 2, 4)]:
                scores, keep, left = formulas.obs(v, gs, size, damping, lambda s: chosen(s, pattern), update)
                knobs = {"block-size": size, "damping": damping, "update": update}
                outputs = {"scores": scores, "mask": keep, "weight": left}
                add(f"obs {update} {size} {pattern[0]}", {"obs": knobs}, {"weight": v, "grads": gs}, outputs, pattern)
    # Fewer gradients than weights in a block: all that keeps the matrix from being singular is its damping.
    few, pattern = gs[:6], ("unstructured", 0.5)
    scores, keep, left = formulas.obs(v, few, 50, 1e-7, lambda s: chosen(s, pattern), "joint")
    outputs = {"scores": scores, "mask": keep, "weight": left}
    add("obs few gradients", {"obs": {}}, {"weight": v, "grads": few}, outputs, pattern)

    members = [(normal(6, 4, 3, 3), normal(6, 4, 3, 3)), (normal(6, 4, 5), normal(6, 4, 5))]
    inputs = {}
    for k, (a, d) in enumerate(members):
        inputs |= {f"layers.{k}.activations": a, f"layers.{k}.grad.activations": d}
    scores = formulas.group_fisher(members)
    keep = formulas.strike(scores, 2)
    add("group-fisher members", {"group-fisher": {}}, inputs, {"scores": scores, "mask": keep}, ("channels", 0.5))
    a, d = members[0]
    inputs = {"activations": a, "grad.activations": d}
    add("group-fisher", {"group-fisher": {}}, inputs, {"scores": formulas.group_fisher(members[:1])})

    for p in (1, 2):
        add(
            f"activation-norm {p}",
            {"activation-norm": {"p": p}},
            {"activations": a},
            {"scores": formulas.activation_norm(a, p)},
        )

    layers = [
        (normal(6, 10) ** 3, normal(12, 10) ** 3),
        (normal(8, 5), normal(9, 5)),
        (normal(7, 9) ** 5, normal(9, 9)),
    ]
    layers = [(w.astype(kind), x.astype(kind)) for w, x in layers]
    inputs = {}
    for k, (w, x) in enumerate(layers):
        inputs |= {f"layers.{k}.weight": w, f"layers.{k}.activations": x}
    for m, spread in [(5.0, 0.08), (3.0, 0.2)]:
        outputs = {"sparsity": formulas.owl(layers, 0.6, m, spread)}
        add(f"owl {m}", {"owl": {"sparsity": 0.6, "m": m, "lambda": spread}}, inputs, outputs)
    outputs = {"sparsity": np.full(3, 0.6)}
    add("owl all equal", {"owl": {"sparsity": 0.6, "m": 1e6}}, inputs, outputs)


def compared(ours, theirs, tolerance, name):
    distance = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert distance <= tolerance, (name, distance)


def of_public_code(rng):
    """Single precision, as the public code has it; sparseml in double too."""

    def normal(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    w = normal(8, 12)
    x = normal(40, 12) @ normal(12, 12)
    both = {"weight": w, "activations": x}
    repo = "public: IST-DASLab/sparsegpt 147d215"
    for size in (12, 4):
        n = 8 * size
        # Their threshold is included, so that index int(n * share) is the last to go: one fewer than we remove.
        theirs = public.sparsegpt(w, x, (n // 2 - 1 + 0.5) / n, None, size, 0.01)
        keep, left = formulas.sparsegpt(w, x, ("unstructured", 0.5), size, 0.01)
        assert ((theirs != 0) == keep).all()
        compared(left, theirs, 1e-4, "sparsegpt")
        outputs = {"mask": theirs != 0, "weight": theirs}
        add(f"sparsegpt public {size}", {"sparsegpt": {"block-size": size}}, both, outputs, ("unstructured", 0.5), repo)
    theirs = public.sparsegpt(w, x, 0, (2, 4), 8, 0.01)
    outputs = {"mask": theirs != 0, "weight": theirs}
    add("sparsegpt public n:m", {"sparsegpt": {"block-size": 8}}, both, outputs, ("nm", 2, 4), repo)
    scale, zero = (np.abs(w).max(1) / 7).astype(np.float32), np.full(8, 8, np.float32)
    theirs = public.sparsegpt(w, x, 0, (2, 4), 12, 0.01, (scale, zero, 4))
    keep, left = formulas.sparsegpt(w, x, ("nm", 2, 4), 12, 0.01, formulas.affine(scale, zero, 4))
    compared(left, theirs, 1e-4, "sparsegpt bits")
    inputs = both | {"quant.scale": scale, "quant.zero": zero}
    # A kept weight that rounds to 0 is 0 there too: the mask is the formula's.
    outputs = {"mask": keep, "weight": theirs}
    add("sparsegpt public bits", {"sparsegpt": {"bits": 4}}, inputs, outputs, ("nm", 2, 4), repo)

    repo = "public: locuslab/wanda 8e8fc87"
    for pattern, nm in [(("unstructured", 0.5), None), (("nm", 2, 4), (2, 4)), (("nm", 1, 4), (3, 4))]:
        theirs = public.wanda(w, x, 0.5, nm)
        outputs = {"mask": theirs != 0, "weight": theirs}
        add(f"wanda public {pattern[0]} {pattern[1]}", {"wanda": {}}, both, outputs, pattern, repo)

    layers = [
        (normal(6, 10) ** 3, normal(12, 10) ** 3),
        (normal(8, 5), normal(9, 5)),
        (normal(7, 9) ** 5, normal(9, 9)),
    ]
    inputs = {}
    for k, (a, b) in enumerate(layers):
        inputs |= {f"layers.{k}.weight": a, f"layers.{k}.activations": b}
    outputs = {"sparsity": public.owl(layers, 0.7, 5.0, 0.08)}
    add("owl public", {"owl": {"sparsity": 0.7}}, inputs, outputs, source="public: luuyin/OWL dddb7a4")

    outputs = {"scores": public.lamp(w)}
    add("lamp public", {"lamp": {}}, {"weight": w}, outputs, source="public: jaeho-lee/layer-adaptive-sparsity 94e53b1")

    conv, grad = normal(10, 3, 3, 3), normal(10, 3, 3, 3)
    keep = public.fpgm(conv, 0.4)
    outputs = {"mask": keep, "weight": conv * keep[:, None, None, None]}
    source = "public: he-y/filter-pruning-geometric-median 44fbab4"
    add("fpgm public", {"fpgm": {}}, {"weight": conv}, outputs, ("channels", 0.4), source)

    source = "public: VainF/Torch-Pruning 1.6.0"
    for p in (1, 2):
        scores = public.torch_pruning(conv, lambda tp: tp.GroupMagnitudeImportance(p=p, normalizer=None))
        knobs = {"magnitude": {"p": p, "unit": "channel"}}
        add(f"magnitude public {p}", knobs, {"weight": conv}, {"scores": scores}, source=source)
    for form in ("sum-abs", "abs-sum"):
        several = form == "abs-sum"
        scores = public.torch_pruning(
            conv, lambda tp: tp.GroupTaylorImportance(multivariable=several, normalizer=None), grad
        )
        inputs = {"weight": conv, "grad": grad}
        add(f"taylor public {form}", {"taylor": {"form": form}}, inputs, {"scores": scores}, source=source)

    gamma = normal(9)
    add("bn-scale public", {"bn-scale": {}}, {"bn.weight": gamma}, {"scores": public.bn_scale(gamma)}, source=source)

    keep = public.unstructured(w, 57)
    outputs = {"mask": keep, "weight": w * keep}
    add(
        "magnitude public",
        {"magnitude": {}},
        {"weight": w},
        outputs,
        ("unstructured", 0.6),
        "public: torch.nn.utils.prune",
    )

    repo = "public: neuralmagic/sparseml 1c04a01"
    for kind, damping in [(np.float64, 1e-5), (np.float32, 1e-2)]:
        v, gs = normal(6, 9).astype(kind), normal(80, 6, 9).astype(kind)
        scores, keep, left = public.obs(v, gs, 8, damping, lambda s: mask(s, ("unstructured", 0.4)))
        knobs = {"block-size": 8, "damping": damping, "update": "sum"}
        outputs = {"scores": scores, "mask": keep, "weight": left}
        add(f"obs public {damping}", {"obs": knobs}, {"weight": v, "grads": gs}, outputs, ("unstructured", 0.4), repo)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--references", type=lambda folder: pathlib.Path(folder).resolve())
    public.FOLDER = parser.parse_args().references
    for kind in (np.float64, np.float32):
        of_formulas(kind, np.random.default_rng(SEED))
    if public.FOLDER is not None:
        of_public_code(np.random.default_rng(SEED + 1))
    header = {
        "about": "criteria of pruning on named tensors; 1 is kept",
        "regenerate": "cargo xtask golden pruning --references DIR",
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "seed": SEED,
        "tolerance": {"f64": 1e-9, "f32": 1e-5, "weight-f32": 1e-4, "mask": 0},
    }
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    shared = ",\n".join(tensors)
    OUT.write_text(f'{{"header":{json.dumps(header)},"tensors":[\n{shared}\n],"cases":[\n{lines}\n]}}\n')
    print(f"{len(cases)} cases, {OUT.stat().st_size // 1024} KiB")
    if public.FOLDER is not None:
        coupled.write()


if __name__ == "__main__":
    main()
