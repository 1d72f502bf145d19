"""Trained scores of block movement pruning, by the code of its authors, for kd-train.

    python tools/golden/movement/run.py --references DIR

`DIR` holds the checkout that `references.toml` names. One encoder layer is patched by the authors' own coordinator: tiles
in attention and shared hidden units ("hybrid"), or tiles everywhere under a fixed share ("topK"). Weights stay, and the
loss is a sum of masked weights times random numbers, so that weight times gradient is known: the vectors hold these
products, as a transformer of kd-train lays weights out, and what the authors' masks, thresholds, penalties and PyTorch's
Adam make of them. Tolerance in the test: 1e-5.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import sys
import types

import torch
from torch import nn

OUT = pathlib.Path(__file__).resolve().parents[3] / "crates/kd-train/tests/golden/movement.json"
WIDTH, FEED_FORWARD, ROWS, COLUMNS = 8, 12, 4, 2
STEPS, WARM_UP, FIRST, LAST = 25, 1, 3, 5
RATE, LAMBDA, UNITS, THRESHOLD, KEPT = 0.25, 60.0, 0.25, 0.1, 0.25

arguments = argparse.ArgumentParser()
arguments.add_argument("--references", required=True)
sys.path.insert(0, str(pathlib.Path(arguments.parse_args().references) / "nn_pruning"))
# The package reads model classes by name and needs none of them here.
stub = types.ModuleType("transformers")
for name in ("AutoConfig", "AutoModelForQuestionAnswering", "BertConfig", "BartConfig", "T5Config"):
    setattr(stub, name, type(name, (), {}))
sys.modules["transformers"] = stub
# Its dataclasses have defaults that Python takes since 3.11 only if they can be hashed.
plain = dataclasses.dataclass
dataclasses.dataclass = functools.partial(plain, unsafe_hash=True)

from nn_pruning.model_structure import BertStructure  # noqa: E402
from nn_pruning.modules.masked_nn import MaskedLinear  # noqa: E402
from nn_pruning.patch_coordinator import ModelPatchingCoordinator, SparseTrainingArguments  # noqa: E402
from nn_pruning.training_patcher import PatcherContext  # noqa: E402

dataclasses.dataclass = plain

SIZES = {
    "attention.query": ("attention.self.query", WIDTH, WIDTH),
    "attention.key": ("attention.self.key", WIDTH, WIDTH),
    "attention.value": ("attention.self.value", WIDTH, WIDTH),
    "attention.output": ("attention.output.dense", WIDTH, WIDTH),
    "hidden": ("intermediate.dense", WIDTH, FEED_FORWARD),
    "output": ("output.dense", FEED_FORWARD, WIDTH),
}


def model():
    """An encoder layer with the names that the authors' patterns look for."""
    whole = nn.Module()
    whole.config = types.SimpleNamespace(num_hidden_layers=1)
    whole.device = torch.device("cpu")
    for name, inputs, outputs in SIZES.values():
        at = whole
        *folders, last = f"bert.encoder.layer.0.{name}".split(".")
        for folder in folders:
            if not hasattr(at, folder):
                at.add_module(folder, nn.Module())
            at = getattr(at, folder)
        at.add_module(last, nn.Linear(inputs, outputs))
    return whole


def coordinator(args):
    found = ModelPatchingCoordinator.__new__(ModelPatchingCoordinator)
    found.sparse_args, found.patcher_context = args, PatcherContext()
    found.model_structure, found.layer_head_mask = BertStructure, None
    return found


def numbers(x):
    return [float(str(v)) for v in x.detach().numpy().astype("float32").ravel()]


def case(name, args, rate):
    torch.manual_seed(4)
    whole, guide = model(), coordinator(args)
    guide.patch_model(whole)
    layers = dict(whole.named_modules())
    layers = {ours: layers[f"bert.encoder.layer.0.{theirs}"] for ours, (theirs, _, _) in SIZES.items()}
    assert all(isinstance(layer, MaskedLinear) for layer in layers.values())
    scores = [p for n, p in whole.named_parameters() if "mask_score" in n]
    adam = torch.optim.AdamW(scores, lr=rate, weight_decay=0.0)
    steps = []
    for step in range(STEPS + 1):
        guide.schedule_threshold(step=step, total_step=STEPS, warmup_steps=WARM_UP, training=True)
        masks = {n: layer.mask_module(layer.weight, guide.patcher_context.get_context_data("threshold")) for n, layer in layers.items()}
        # Burn stores linear layers as [in, out].
        kept = {n: "".join("01"[int(v)] for v in mask.t().reshape(-1)) for n, mask in masks.items()}
        if step == STEPS:
            steps.append({"masks": kept})
            break
        loss, products = 0.0, {}
        for n, layer in layers.items():
            random = torch.randn_like(layer.weight) + 0.3
            loss = loss + (layer.get_masked_weights_bias()[0] * random).sum()
            products[n] = numbers((layer.weight * random).t().contiguous())
        penalty, weight, _ = guide.regularization_loss(whole)
        adam.zero_grad()
        (loss + penalty * weight).backward()
        adam.step()
        # Tiles row-major over [out, in]; hidden units once, by the layer that writes them.
        contexts = {n: next(c for c in layer.mask_module.context_modules if c is not None) for n, layer in layers.items()}
        now = {n: numbers(context.mask_scores) for n, context in contexts.items()}
        steps.append({"masks": kept, "products": products, "scores": now})
    return {"name": name, "steps": steps}


hybrid = SparseTrainingArguments.hybrid(LAMBDA)
hybrid.attention_block_rows, hybrid.attention_block_cols = ROWS, COLUMNS
hybrid.final_threshold, hybrid.dense_lambda = THRESHOLD, UNITS
hybrid.initial_warmup, hybrid.final_warmup, hybrid.linear_min_parameters = FIRST, LAST, 0.0
top = SparseTrainingArguments()
top.attention_output_with_dense = False
top.attention_block_rows = top.dense_block_rows = ROWS
top.attention_block_cols = top.dense_block_cols = COLUMNS
top.initial_threshold, top.final_threshold = 1.0, KEPT
top.initial_warmup, top.final_warmup = FIRST, LAST

knobs = {
    "width": WIDTH, "feed-forward": FEED_FORWARD, "rows": ROWS, "columns": COLUMNS, "steps": STEPS, "rate": RATE,
    "begin": FIRST * WARM_UP / STEPS, "end": 1 - LAST * WARM_UP / STEPS, "regularisation": LAMBDA, "units": UNITS,
    "threshold": THRESHOLD, "sparsity": 1 - KEPT,
}
cases = [case("hybrid", hybrid, RATE), case("top", top, top.mask_scores_learning_rate)]
# The same seed gives both the same products: they are stored once.
products = [[step.pop("products", None) for step in one["steps"]] for one in cases]
assert products[0] == products[1]
header = {
    "about": "trained scores and masks of nn_pruning",
    "regenerate": "cargo xtask golden movement --references DIR",
    "torch": torch.__version__,
    "tolerance": 1e-5,
}
whole = {"header": header, "knobs": knobs, "products": products[0][:STEPS], "cases": cases}
OUT.write_text(json.dumps(whole, separators=(",", ":")) + "\n")
