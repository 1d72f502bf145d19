"""Golden vectors of coupled channels: a residual network, and which of its channels public code keeps.

Called by `run.py` where `--references` are given. Writes `torch_resnet.safetensors` (the weights, in PyTorch's layout) and
`torch_resnet.json` (examples, labels, scores and kept channels) to the tests of kd-train.

- Torch-Pruning 1.6: magnitude, scales of batch norm, Taylor, each with its own defaults of members, reduction and
  normalizer, scopes local, global and isomorphic. Gradients are those of the cross entropy, batch norm in inference.
- FPGM: the authors' code on the convolutions that are coupled to no other.
"""

import json
import pathlib

import public
import resnet
import torch
from safetensors.torch import save_file
from torch import nn

SEED = 11
OUT = pathlib.Path(__file__).resolve().parents[3] / "crates/kd-train/tests/golden"
TOLERANCE = 1e-4
CRITERIA = {
    "l1": {"magnitude": {"p": 1}},
    "l2": {"magnitude": {"p": 2}},
    "bn-scale": {"bn-scale": {}},
    "taylor": {"taylor": {"form": "sum-abs"}},
    "taylor-abs-sum": {"taylor": {"form": "abs-sum"}},
}


def trained():
    """A network that has learned a little, so that no two channels are alike and batch norm has statistics."""
    torch.manual_seed(SEED)
    net = resnet.ResNet(depth=20, width=4)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(30):
        x = torch.randn(32, 1, 8, 8)
        loss = nn.functional.cross_entropy(net(x), (x.mean((1, 2, 3)) > 0).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    net.zero_grad()
    return net.eval()


def apart(scores):
    """No two scores of a group are so near that single precision could decide between them."""
    for name, values in scores.items():
        ranked = sorted(values)
        gaps = [b - a for a, b in zip(ranked, ranked[1:])]
        assert min(gaps) > 1e-5 * max(values), (name, min(gaps))


def write():
    net = trained()
    x = torch.randn(24, 1, 8, 8)
    labels = torch.randint(0, 10, (24,))
    nn.functional.cross_entropy(net(x), labels).backward()
    cases = []
    for name, criterion in CRITERIA.items():
        importance = resnet.IMPORTANCES[name]()
        scores = resnet.scores(net, x[:1], importance)
        apart(scores)
        source = "public: VainF/Torch-Pruning 1.6.0"
        cases.append({"source": source, "criterion": criterion, "scores": scores})
        for scope, share in [("local", 0.5), ("local", 0.3), ("global", 0.5), ("isomorphic", 0.5)]:
            keep = resnet.chosen(net, x[:1], importance, share, scope)
            assert keep and all(keep.values()), (name, scope)
            cases.append(
                {"source": source, "criterion": criterion, "scope": scope, "share": share, "keep": keep}
            )
    keep = {}
    for name, module in net.named_modules():
        if name.endswith("first.conv"):
            kept = public.fpgm(module.weight.detach().numpy().copy(), 0.5)
            keep[f"{name}.weight"] = [unit for unit, stays in enumerate(kept) if stays]
    source = "public: he-y/filter-pruning-geometric-median 44fbab4"
    cases.append({"source": source, "criterion": {"fpgm": {}}, "scope": "local", "share": 0.5, "keep": keep})
    tensors = {name: value for name, value in net.state_dict().items() if "num_batches" not in name}
    save_file(tensors, OUT / "torch_resnet.safetensors")
    header = {
        "about": "channels that public code keeps of a residual network, depth 20, width 4",
        "regenerate": "cargo xtask golden pruning --references DIR",
        "versions": {"torch": torch.__version__},
        "seed": SEED,
        "tolerance": TOLERANCE,
    }

    def short(values):
        return [float(f"{value:.6g}") for value in values]

    for case in cases:
        if "scores" in case:
            case["scores"] = {name: short(values) for name, values in case["scores"].items()}
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    inputs = json.dumps(short(x.flatten().tolist()), separators=(",", ":"))
    text = f'{{"header":{json.dumps(header)},\n"x":{inputs},\n"labels":{labels.tolist()},\n"cases":[\n{lines}\n]}}\n'
    (OUT / "torch_resnet.json").write_text(text)
    print(f"{len(cases)} cases of coupled channels")
