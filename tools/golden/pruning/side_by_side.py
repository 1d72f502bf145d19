"""The other side of `configs/resnet-20-half.toml`: the same network, pruned by Torch-Pruning and fine-tuned in PyTorch.

    python tools/golden/pruning/side_by_side.py runs/resnet-20 --data DIR [--criterion l2] [--seeds 3] [--threads 2] [--device cuda] [--against CUT]

`RUN` is what `kd train configs/resnet-20.toml` left, a stage's folder, or a file of weights. Half of the multiply-accumulates
go, as few channels as that takes, every group losing the same share; the groups' importance is Torch-Pruning's own with
its defaults. Then the network learns from labels with AdamW, the one-cycle rate, batches of 128 and shifts of a pixel, as
the recipe says. `DIR` holds Fashion-MNIST's four files, `kd data fetch fashion-mnist` brings them. Prints one line a seed:
accuracy before, behind the cut and after fine-tuning, multiply-accumulates, and seconds. With `--keep FILE` the channels
that stay are written as JSON, by convolution; with `--against CUT`, the `cut.json` of the recipe's stage, the channels of
both are compared. With `--fpgm REFERENCES`, a folder of the checkouts that `references.toml` names, nothing is trained: the channels
that FPGM's authors' code leaves are compared, of the convolutions that are coupled to no other.
"""

import argparse
import gzip
import json
import math
import pathlib
import time

import numpy as np
import public
import resnet
import torch
from safetensors.torch import load_file
from torch import nn

# As `datasets/src/catalog.rs` has them.
MEAN, STD = 0.2860, 0.3530
# Where it all runs; `--device` moves it.
DEVICE = "cpu"
CALIBRATION = 8


def read(folder, part):
    """Rows as the network sees them, and labels."""
    pixels = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    x = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 1, 28, 28).astype(np.float32) / 255
    y = np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)
    return torch.from_numpy((x - MEAN) / STD).to(DEVICE), torch.from_numpy(y).to(DEVICE)


def weights(path):
    """The file behind a run, a stage's folder or a file."""
    path = pathlib.Path(path)
    if path.is_dir():
        path = next(iter([*path.glob("model.safetensors"), *path.glob("1-*/model.safetensors")]))
    return load_file(path)


def load(path):
    tensors = weights(path)
    net = resnet.ResNet(depth=20, width=tensors["stem.conv.weight"].shape[0])
    missing, unexpected = net.load_state_dict(tensors, strict=False)
    assert not unexpected and all(name.endswith("num_batches_tracked") for name in missing), (missing, unexpected)
    return net.to(DEVICE)


def macs(net):
    """Multiply-accumulates of convolutions and the linear layer for one example, padding counted, as `kd` counts."""
    found = []

    def count(module, _, output):
        kernel = module.weight[0].numel()
        found.append(kernel * output[0].numel())

    layers = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        net.eval()(torch.zeros(1, 1, 28, 28, device=DEVICE))
    for hook in hooks:
        hook.remove()
    return sum(found)


@torch.no_grad()
def accuracy(net, x, y):
    net.eval()
    right = sum((net(a).argmax(1) == b).sum().item() for a, b in zip(x.split(500), y.split(500)))
    return right / len(y)


def gradients(net, x, y, batch):
    """Those of the cross entropy over the calibration batches, batch norm in inference."""
    net.eval()
    net.zero_grad()
    for a, b in list(zip(x.split(batch), y.split(batch)))[:CALIBRATION]:
        nn.functional.cross_entropy(net(a), b).backward()


def half(path, criterion, train, batch, target):
    """The network with the smallest share of channels gone that takes `target` of its multiply-accumulates."""
    example = torch.zeros(1, 1, 28, 28, device=DEVICE)
    before = macs(load(path))
    widths = {m.out_channels for m in load(path).modules() if isinstance(m, nn.Conv2d)}
    shares = sorted({k / n for n in widths for k in range(1, n)})
    low, high = 0, len(shares) - 1
    while low <= high:
        middle = (low + high) // 2
        net = load(path)
        if criterion.startswith("taylor"):
            gradients(net, *train, batch)
        kept = resnet.chosen(net, example, resnet.IMPORTANCES[criterion](), shares[middle])
        resnet.pruner(net, example, resnet.IMPORTANCES[criterion](), shares[middle]).step()
        if before - macs(net) >= math.ceil(target * before - 1e-9):
            best, high = (net, kept, shares[middle]), middle - 1
        else:
            low = middle + 1
    return best


def compared(kept, path):
    """In how many groups a receipt of `kd` keeps the same outputs, and how many channels differ."""
    slices = json.loads(path.read_text())["slices"]
    ours = {s["path"]: set(s["keep"]) for s in slices if s["dim"] == 0}
    same = [name for name, keep in kept.items() if ours.get(name) == set(keep)]
    other = sum(len(set(keep) ^ ours.get(name, set())) for name, keep in kept.items())
    return f"the same channels in {len(same)} of {len(kept)} groups, {other} channels differ"


def by_authors(net, path):
    """As `compared`, for FPGM: each inner convolution loses as many channels as in the receipt."""
    kept = {}
    sizes = {s["path"]: len(s["keep"]) for s in json.loads(path.read_text())["slices"] if s["dim"] == 0}
    for name, module in net.named_modules():
        weight = f"{name}.weight"
        if name.endswith("first.conv") and weight in sizes:
            share = 1 - sizes[weight] / module.out_channels
            stays = public.fpgm(module.weight.detach().numpy().copy(), share)
            kept[weight] = [unit for unit, stay in enumerate(stays) if stay]
            assert len(kept[weight]) == sizes[weight], weight
    return compared(kept, path)


def rate(step, steps, peak):
    """The one-cycle schedule of the recipe, with PyTorch's defaults."""
    start, turn = peak / 25, 0.3
    at = step / steps
    low, high, at = (start, peak, at / turn) if at < turn else (peak, start / 1e4, (at - turn) / (1 - turn))
    return low + (high - low) * (1 - math.cos(math.pi * at)) / 2


def shifted(x, generator):
    """Each image moved by up to a pixel in both directions; black moves in."""
    padded = nn.functional.pad(x, (1, 1, 1, 1), value=-MEAN / STD)
    out = torch.empty_like(x)
    moves = torch.randint(0, 3, (len(x), 2), generator=generator)
    for down in range(3):
        for right in range(3):
            chosen = (moves == torch.tensor([down, right])).all(1).to(x.device)
            out[chosen] = padded[chosen][:, :, down : down + 28, right : right + 28]
    return out


def tune(net, x, y, arguments, seed):
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1.0, weight_decay=0.01)
    per_epoch = len(x) // arguments.batch
    for epoch in range(arguments.epochs):
        order = torch.randperm(len(x), generator=generator).to(x.device)
        net.train()
        for step in range(per_epoch):
            rows = order[step * arguments.batch : (step + 1) * arguments.batch]
            for group in optimizer.param_groups:
                group["lr"] = rate(epoch * per_epoch + step, arguments.epochs * per_epoch, arguments.peak)
            loss = nn.functional.cross_entropy(net(shifted(x[rows], generator)), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--criterion", choices=resnet.IMPORTANCES, default="l2")
    parser.add_argument("--macs", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--peak", type=float, default=5e-3)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("--against", type=pathlib.Path)
    parser.add_argument("--fpgm", type=pathlib.Path)
    arguments = parser.parse_args()
    global DEVICE
    DEVICE = arguments.device
    torch.set_num_threads(arguments.threads)
    if arguments.fpgm:
        public.FOLDER = arguments.fpgm
        print(by_authors(load(arguments.run), arguments.against))
        return
    train, test = read(arguments.data, "train"), read(arguments.data, "t10k")
    dense = load(arguments.run)
    before, cost = accuracy(dense, *test), macs(dense)
    for seed in range(arguments.seeds):
        begun = time.time()
        net, kept, share = half(arguments.run, arguments.criterion, train, arguments.batch, arguments.macs)
        if arguments.keep:
            arguments.keep.write_text(json.dumps(kept) + "\n")
        if arguments.against:
            print(compared(kept, arguments.against), flush=True)
        cut = accuracy(net, *test)
        tune(net, *train, arguments, seed)
        print(
            f"seed {seed}: dense {before:.4f}, {share:.4f} of the channels gone {cut:.4f}, "
            f"fine-tuned {accuracy(net, *test):.4f}, {macs(net)} of {cost} MACs, {time.time() - begun:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
