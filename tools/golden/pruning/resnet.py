"""The residual network of `kd` in PyTorch, with its names, and what Torch-Pruning 1.6 removes of it.

`models/resnet.rs` of kd-train is the same network: a file of weights that `kd` wrote loads into this one, and the other
way round.
"""

import torch
import torch_pruning as tp
from torch import nn


class Unit(nn.Module):
    """A convolution with batch norm."""

    def __init__(self, channels, outputs, kernel, stride):
        super().__init__()
        self.conv = nn.Conv2d(channels, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.norm(self.conv(x))


class Block(nn.Module):
    def __init__(self, channels, outputs, stride):
        super().__init__()
        self.first = Unit(channels, outputs, 3, stride)
        self.second = Unit(outputs, outputs, 3, 1)
        changes = channels != outputs or stride != 1
        self.shortcut = Unit(channels, outputs, 1, stride) if changes else None

    def forward(self, x):
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return torch.relu(self.second(torch.relu(self.first(x))) + shortcut)


class ResNet(nn.Module):
    def __init__(self, depth=20, width=16, channels=1, classes=10):
        super().__init__()
        blocks = (depth - 2) // 6

        def stage(inputs, outputs, stride):
            first = [Block(inputs, outputs, stride)]
            return nn.ModuleList(first + [Block(outputs, outputs, 1) for _ in range(1, blocks)])

        self.stem = Unit(channels, width, 3, 1)
        self.stage1 = stage(width, width, 1)
        self.stage2 = stage(width, 2 * width, 2)
        self.stage3 = stage(2 * width, 4 * width, 2)
        self.output = nn.Linear(4 * width, classes)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        for block in [*self.stage1, *self.stage2, *self.stage3]:
            x = block(x)
        return self.output(x.mean((2, 3)))


IMPORTANCES = {
    "l1": lambda: tp.importance.GroupMagnitudeImportance(p=1),
    "l2": lambda: tp.importance.GroupMagnitudeImportance(p=2),
    "bn-scale": lambda: tp.importance.BNScaleImportance(),
    "taylor": lambda: tp.importance.GroupTaylorImportance(),
    "taylor-abs-sum": lambda: tp.importance.GroupTaylorImportance(multivariable=True),
}


def pruner(net, example, importance, share, scope="local"):
    """Torch-Pruning's pruner. In the local scope ⌊share·n + 1e-9⌋ of n channels go, as in `kd`; its own count is
    n − ⌊n·(1 − share)⌋, one more where share·n is no whole number."""
    knobs = {"global_pruning": scope != "local", "isomorphic": scope == "isomorphic"}
    if scope == "local":
        removed = {m: int(share * m.out_channels + 1e-9) for m in net.modules() if isinstance(m, nn.Conv2d)}
        # Half a channel below: no rounding of the product decides.
        knobs["pruning_ratio_dict"] = {m: (k - 0.5) / m.out_channels for m, k in removed.items()}
    ignored = [net.output]
    return tp.pruner.BasePruner(net, example, importance, pruning_ratio=share, ignored_layers=ignored, **knobs)


def writers(net, group):
    """Names of the convolutions that write the channels of a group, in the network's order."""
    functions = [tp.prune_conv_out_channels]
    found = {id(dep.target.module) for dep, _ in group if dep.handler in functions}
    return [name for name, module in net.named_modules() if id(module) in found]


def chosen(net, example, importance, share, scope="local"):
    """Channels that stay, by the first convolution that writes them. Groups that lose nothing are left out."""
    kept = {}
    for group in pruner(net, example, importance, share, scope).step(interactive=True):
        names = writers(net, group)
        # Indices of the group's root, which are those of everything in it: nothing here is concatenated.
        gone = set(group[0].idxs)
        size = net.get_submodule(names[0]).out_channels
        kept[f"{names[0]}.weight"] = [unit for unit in range(size) if unit not in gone]
    return kept


def scores(net, example, importance):
    """Scores of all channels, by the first convolution that writes them."""
    graph = tp.DependencyGraph().build_dependency(net, example_inputs=example)
    found = {}
    for group in graph.get_all_groups(ignored_layers=[net.output], root_module_types=[nn.Conv2d]):
        found[f"{writers(net, group)[0]}.weight"] = importance(group).tolist()
    return found
