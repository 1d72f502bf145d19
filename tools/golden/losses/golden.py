"""Golden vectors of losses: inputs, value and gradients in float64, from the formula and from public implementations.

Each group of losses is a module beside this one that declares cases with `case`. A case has named inputs as
`kd loss eval` reads them, the loss as a recipe writes it, and the formula in PyTorch, written for this project; where
a public implementation is at hand, also a function that calls it. `run.py` writes `NAME.safetensors` for each loss.
"""

import importlib.util
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parents[3] / "crates/kd-core/tests/golden/losses"
REFERENCES = None  # The folder of checkouts, each at the commit in `references.toml`; set by `run.py`.
LOSSES = {}


def normal(seed, *shape, scale=1.0):
    """Normal numbers from a seed, float64."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * scale


def classes(seed, batch, count):
    """Labels from a seed."""
    return torch.randint(0, count, (batch,), generator=torch.Generator().manual_seed(seed))


def load(repository, path):
    """A module of a checkout, by its file; None without the checkouts."""
    if REFERENCES is None:
        return None
    root = REFERENCES / repository
    file = root / path
    if not file.exists():
        raise SystemExit(f"{file} is not there: see references.toml")
    name = "reference_" + "_".join((repository, *pathlib.Path(path).with_suffix("").parts)).replace("-", "_")
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def differentiate(inputs, function):
    """Value and gradients of everything that is trained."""
    leaves = {}
    for name, x in inputs.items():
        x = x.clone()
        leaves[name] = x.requires_grad_(True) if name.startswith(("student.", "connector.")) else x
    value = function(leaves)
    trained = [name for name, x in leaves.items() if x.requires_grad]
    if value.requires_grad:
        gradients = torch.autograd.grad(value, [leaves[name] for name in trained], allow_unused=True)
    else:
        gradients = [None] * len(trained)
    zero = lambda name, g: torch.zeros_like(inputs[name]) if g is None else g.contiguous()
    return value.detach().reshape(1), {name: zero(name, g) for name, g in zip(trained, gradients)}


def case(loss, name, knobs, inputs, formula, reference=None, tolerance=1e-7):
    """Declares one case.

    `knobs` is the TOML behind `LOSS = `. `reference`, if given and not None, is called as `formula` is; its value and
    gradients, of what it has gradients for, are stored beside the formula's and must agree to `tolerance`, relative.
    """
    tensors, notes = LOSSES.setdefault(loss, ({}, []))
    if any(note["name"] == name for note in notes):
        raise SystemExit(f"two cases of {loss} are named {name}")
    value, gradients = differentiate(inputs, formula)
    note = {"name": name, "loss": f"{loss} = {knobs}", "reference": 0.0}
    for key, x in inputs.items():
        tensors[f"{name}/{key}"] = x.contiguous()
    tensors[f"{name}/value"] = value
    for key, x in gradients.items():
        tensors[f"{name}/grad.{key}"] = x
    if reference is not None:
        theirs, their_gradients = differentiate(inputs, reference)
        gap = (theirs - value).abs().item()
        if not gap <= tolerance * max(1.0, value.abs().item()):
            raise SystemExit(f"{loss} {name}: the formula gives {value.item()}, the reference {theirs.item()}")
        tensors[f"{name}/reference.value"] = theirs
        for key, x in their_gradients.items():
            tensors[f"{name}/reference.grad.{key}"] = x
        note["reference"] = tolerance
    notes.append(note)


def save(names):
    OUT.mkdir(parents=True, exist_ok=True)
    for loss, (tensors, notes) in LOSSES.items():
        if names and loss not in names:
            continue
        header = {"cases": json.dumps(notes), "torch": torch.__version__}
        save_file(tensors, OUT / f"{loss}.safetensors", metadata=header)
        print(f"{loss}: {len(notes)} cases, {sum(note['reference'] > 0 for note in notes)} with a reference")
