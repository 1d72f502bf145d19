"""What public implementations say of the same tensors; their code is run from its checkout and never copied.

Where one differs from the definition by intent of ours, the call is chosen so that both must agree: SparseGPT removes one
weight more in each block, so that it is asked for one fewer; LAMP and FPGM are compared by what they keep.
"""

import ast
import contextlib
import io
import math
import types

import numpy as np
import torch
import torch.nn.utils.prune
from torch import Tensor

FOLDER = None


def parts(path, names, scope):
    """Definitions of these names in a file of a checkout, run in `scope`."""
    # `async` was a name like any other when some of this was written.
    tree = ast.parse((FOLDER / path).read_text().replace("async=", "non_blocking="))
    named = [node for node in ast.walk(tree) if getattr(node, "name", None) in names]
    # A method may have a function's name; the function is what is asked for, if there is one.
    found = [node for node in named if node in tree.body] or named
    assert len(found) == len(names), (path, names)
    module = ast.Module(body=found, type_ignores=[])
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(module, str(path), "exec"), scope)
    return scope


def quietly(call, *arguments, **named):
    with contextlib.redirect_stdout(io.StringIO()):
        return call(*arguments, **named)


def sparsegpt(w, x, share, nm, size, damping, quant=None):
    """Mask and weight of `fasterprune`; `nm` is (removed, of)."""
    scope = {"torch": torch, "nn": torch.nn, "math": math, "time": __import__("time"), "DEBUG": False}
    scope["transformers"] = types.SimpleNamespace(Conv1D=type("Conv1D", (), {}))
    parts("sparsegpt/quant.py", ["quantize"], scope)
    parts("sparsegpt/sparsegpt.py", ["SparseGPT"], scope)
    layer = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
    layer.weight.data = torch.from_numpy(w.copy())
    pruner = scope["SparseGPT"](layer)
    for sample in torch.from_numpy(x):
        pruner.add_batch(sample[None, None], None)
    if quant is not None:
        scale, zero, bits = quant
        column = [torch.from_numpy(v.astype(np.float32))[:, None] for v in (scale, zero)]
        pruner.quantizer = types.SimpleNamespace(
            ready=lambda: True, scale=column[0], zero=column[1], maxq=torch.tensor(2**bits - 1)
        )
    synchronize, torch.cuda.synchronize = torch.cuda.synchronize, lambda: None
    try:
        # H here is a mean over samples; damping is relative to it, so that nothing else depends on the factor.
        quietly(pruner.fasterprune, share, *(nm or (0, 0)), blocksize=size, percdamp=damping)
    finally:
        torch.cuda.synchronize = synchronize
    return layer.weight.detach().numpy()


class Block(torch.nn.Module):
    """A layer as the code of Wanda and OWL expects one of a language model."""

    def __init__(self, w):
        super().__init__()
        self.linear = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
        self.linear.weight.data = torch.from_numpy(w.copy())

    def forward(self, x, **_):
        self.linear(x)
        return (x,)


def language_model(layers):
    """A model of single linear layers, each of which gets the model's own input."""
    model = types.SimpleNamespace(config=types.SimpleNamespace(use_cache=False), seqlen=1, hf_device_map={})
    model.model = types.SimpleNamespace(layers=[Block(w) for w in layers])
    return model


def wanda(w, x, share, nm):
    """The weight after `prune_wanda`."""
    scope = {"torch": torch, "nn": torch.nn}
    parts("wanda/lib/layerwrapper.py", ["WrappedGPT"], scope)
    parts("wanda/lib/prune.py", ["find_layers", "prune_wanda"], scope)
    inputs = torch.from_numpy(x)[:, None]
    scope["get_loaders"] = lambda *_, **__: (None, None)
    scope["prepare_calibration_input"] = lambda *_: (inputs.clone(), inputs.clone(), None, None)
    model = language_model([w])
    arguments = types.SimpleNamespace(nsamples=len(x), seed=0, sparsity_ratio=share, use_variant=False)
    quietly(scope["prune_wanda"], arguments, model, None, "cpu", *(nm or (0, 0)))
    return model.model.layers[0].linear.weight.detach().numpy()


def owl(layers, sparsity, m, spread):
    """The ratios of `prune_wanda_outlier`: its lines from the scores of layers to what is kept of each."""
    source = (FOLDER / "OWL/lib/prune_all.py").read_text()
    scope = {"np": np, "torch": torch, "args": types.SimpleNamespace(Lamda=spread, sparsity_ratio=sparsity)}
    parts("OWL/lib/prune_all.py", ["check_outlier_mean"], scope)
    wrapped = parts("OWL/lib/layerwrapper.py", ["WrappedGPT"], {"torch": torch, "nn": torch.nn})["WrappedGPT"]
    shares = []
    for w, x in layers:
        block = Block(w).linear
        watch = wrapped(block)
        watch.add_batch(torch.from_numpy(x), None)
        scores = torch.abs(block.weight.data) * torch.sqrt(watch.scaler_row.reshape((1, -1)))
        shares.append(scope["check_outlier_mean"](torch.flatten(scores), m))
    body = source[source.index("def prune_wanda_outlier(") :]
    lines = [line.strip() for line in body.splitlines() if line.strip().startswith("all_layer_ratio")]
    scope["all_layer_ratio"] = shares
    # The first two make the list; those after the mapping belong to the pruning.
    for line in lines[2:5]:
        exec(line, scope)
    return 1 - scope["all_layer_ratio"]


def lamp(w):
    scope = parts("layer-adaptive-sparsity/tools/pruners.py", ["_normalize_scores"], {"torch": torch})
    return scope["_normalize_scores"](torch.from_numpy(w) ** 2).numpy()


def fpgm(w, share):
    """The codebook of `get_filter_similar`: 1 for filters that stay."""
    from scipy.spatial import distance

    scope = {"torch": torch, "np": np, "distance": distance}
    parts("filter-pruning-geometric-median/pruning_cifar10.py", ["get_filter_similar"], scope)
    cuda, torch.Tensor.cuda = torch.Tensor.cuda, lambda x: x
    try:
        book = quietly(scope["get_filter_similar"], None, torch.from_numpy(w), 1.0, share, w.size)
    finally:
        torch.Tensor.cuda = cuda
    return book.reshape(w.shape[0], -1)[:, 0] == 1


def obs(w, grads, size, damping, choose):
    """Scores and the summed update, by the inverse that sparseml builds from one gradient after the other."""
    scope = {"torch": torch, "math": math, "Tensor": Tensor}
    path = "sparseml/src/sparseml/pytorch/sparsification/pruning/modifier_pruning_obs.py"
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.from_numpy(w).dtype)
    try:
        inverse = parts(path, ["EmpiricalBlockFisherInverse"], scope)["EmpiricalBlockFisherInverse"](
            len(grads), size, w.size, damping, torch.device("cpu")
        )
        for g in grads:
            inverse.add_grad(torch.from_numpy(g.reshape(-1)))
    finally:
        torch.set_default_dtype(before)
    flat, diagonal = torch.from_numpy(w.reshape(-1)), inverse.diag()
    scores = (flat**2 / (2 * diagonal)).numpy().reshape(w.shape)
    keep = choose(scores)
    gone = torch.from_numpy(~keep.reshape(-1))
    left = (flat - inverse.mul(flat * gone / diagonal)).numpy().reshape(w.shape).copy()
    left[~keep] = 0
    return scores, keep, left


def torch_pruning(w, score, grad=None):
    """What an importance of Torch-Pruning says of the output channels of one convolution."""
    import torch_pruning as tp

    conv = torch.nn.Conv2d(w.shape[1], w.shape[0], w.shape[2:], bias=False)
    conv.weight.data = torch.from_numpy(w.copy())
    graph = tp.DependencyGraph().build_dependency(conv, example_inputs=torch.zeros(1, w.shape[1], 8, 8))
    if grad is not None:
        conv.weight.grad = torch.from_numpy(grad.copy())
    group = graph.get_pruning_group(conv, tp.prune_conv_out_channels, idxs=list(range(w.shape[0])))
    return score(tp.importance)(group).numpy()


def bn_scale(gamma):
    """What Torch-Pruning's importance of batch norm says of the channels of a convolution before one."""
    import torch_pruning as tp

    model = torch.nn.Sequential(torch.nn.Conv2d(3, gamma.size, 3, bias=False), torch.nn.BatchNorm2d(gamma.size))
    model[1].weight.data = torch.from_numpy(gamma.copy())
    graph = tp.DependencyGraph().build_dependency(model, example_inputs=torch.zeros(1, 3, 8, 8))
    group = graph.get_pruning_group(model[0], tp.prune_conv_out_channels, idxs=list(range(gamma.size)))
    return tp.importance.BNScaleImportance(normalizer=None)(group).numpy()


def unstructured(w, count):
    """PyTorch's own mask of the `count` smallest magnitudes removed."""
    layer = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
    layer.weight.data = torch.from_numpy(w.copy())
    torch.nn.utils.prune.l1_unstructured(layer, "weight", amount=count)
    return layer.weight_mask.numpy().astype(bool)
