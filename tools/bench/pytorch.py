"""The opponent of `cargo xtask bench train`: the networks of `benches/src/networks.rs` in PyTorch, at its best.

    python tools/bench/pytorch.py serve --threads 2

It reads one request a line and answers each with one line; what fails is answered with `error …`.

    version                torch 2.15.0, AVX512
    count NETWORK          trainable numbers and examples of a batch: `669706 128`
    pytorch NETWORK STEPS  seconds of a training step, as PyTorch runs it
    compiled NETWORK STEPS the same with forward pass and loss under `torch.compile`
    choice KIND NETWORK    which of the ways below was the fastest, for KIND `pytorch` or `compiled`

A step is forward pass, cross entropy, backward pass and AdamW, of data that are in memory; gradients are set to None,
and nothing is read out.

What is tried when a network is first asked for, in every combination; the fastest stays:

- images and convolutions contiguous or `channels_last`;
- AdamW `foreach` or `fused` (the plain loop is never faster than `foreach`);
- attention by `scaled_dot_product_attention` or written out.

For `compiled` the layouts are tried again, with the optimizer that was the fastest without. Beyond that: ReLU is in
place wherever autograd allows it, and queries, keys and values are one linear layer. Everything is float32, as it is
on the other side. Weights have PyTorch's own initial values; a step takes the same time with any. The command starts
this with glibc told to keep freed memory, as the other side does.
"""

import itertools
import os
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

SEED = 1
# So low that thousands of steps on one batch change no activation from used to unused: numbers stay normal.
RATE = 1e-6
WEIGHT_DECAY = 0.01


def relu(x):
    return F.relu(x, inplace=True)


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(784, 512)
        self.second = nn.Linear(512, 512)
        self.output = nn.Linear(512, 10)

    def forward(self, x):
        return self.output(relu(self.second(relu(self.first(x)))))


class Unit(nn.Module):
    """A convolution without bias, and batch norm."""

    def __init__(self, source, target, kernel, stride=1, groups=1):
        super().__init__()
        self.conv = nn.Conv2d(source, target, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(target)

    def forward(self, x):
        return self.norm(self.conv(x))


class ConvNet(nn.Module):
    def __init__(self, channels, hidden):
        super().__init__()
        self.first = Unit(1, channels[0], 5)
        self.second = Unit(channels[0], channels[1], 5)
        self.hidden = nn.Linear(channels[1] * 7 * 7, hidden)
        self.output = nn.Linear(hidden, 10)

    def forward(self, x):
        x = F.max_pool2d(relu(self.first(x)), 2)
        x = F.max_pool2d(relu(self.second(x)), 2)
        return self.output(relu(self.hidden(x.flatten(1))))


class Residual(nn.Module):
    def __init__(self, source, target, stride):
        super().__init__()
        self.first = Unit(source, target, 3, stride)
        self.second = Unit(target, target, 3)
        self.shortcut = Unit(source, target, 1, stride) if source != target or stride != 1 else nn.Identity()

    def forward(self, x):
        y = self.second(relu(self.first(x)))
        y += self.shortcut(x)
        return relu(y)


class ResNet(nn.Module):
    def __init__(self, depth, width):
        super().__init__()
        blocks = []
        source = width
        for stage in range(3):
            target = width << stage
            for block in range((depth - 2) // 6):
                blocks.append(Residual(source, target, 2 if stage > 0 and block == 0 else 1))
                source = target
        self.stem = Unit(3, width, 3)
        self.blocks = nn.Sequential(*blocks)
        self.output = nn.Linear(source, 10)

    def forward(self, x):
        x = self.blocks(relu(self.stem(x)))
        return self.output(F.adaptive_avg_pool2d(x, 1).flatten(1))


class DsCnn(nn.Module):
    def __init__(self, stem, channels, strides):
        super().__init__()
        self.stem = Unit(3, stem, 3)
        self.blocks = nn.ModuleList()
        source = stem
        for target, stride in zip(channels, strides):
            self.blocks.append(nn.ModuleList([Unit(source, source, 3, stride, groups=source), Unit(source, target, 1)]))
            source = target
        self.output = nn.Linear(source, 10)

    def forward(self, x):
        x = relu(self.stem(x))
        for depthwise, pointwise in self.blocks:
            x = relu(pointwise(relu(depthwise(x))))
        return self.output(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Layer(nn.Module):
    def __init__(self, width, heads, feed_forward, attention):
        super().__init__()
        self.heads, self.attention = heads, attention
        self.norm1 = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, feed_forward)
        self.output = nn.Linear(feed_forward, width)

    def forward(self, x, mask):
        batch, length, width = x.shape
        projected = self.project(self.norm1(x)).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        if self.attention == "sdpa":
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        else:
            scores = query @ key.transpose(-2, -1) * (width // self.heads) ** -0.5
            mixed = torch.softmax(scores + mask, -1) @ value
        x = x + self.mix(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.output(F.gelu(self.hidden(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self, width, layers, heads, feed_forward, length, vocabulary, classes, attention):
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.randn(length, width) * 0.02)
        self.layers = nn.ModuleList(Layer(width, heads, feed_forward, attention) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, classes)

    def forward(self, ids):
        padding = ids == 0
        mask = padding.float().mul(-1e9)[:, None, None, :]
        x = self.tokens(ids) + self.positions
        for layer in self.layers:
            x = layer(x, mask)
        present = (~padding).float().unsqueeze(2)
        mean = (x * present).sum(1) / present.sum(1).clamp(min=1.0)
        return self.output(self.norm(mean))


def images(batch, *shape):
    return torch.rand(batch, *shape) * 2 - 1


def sequences(batch, length):
    ids = torch.randint(1, 256, (batch, length))
    for row in range(batch):
        # Padding behind a sequence, as the other side has it.
        ids[row, length - row % (length // 2) :] = 0
    return ids


# Name: batch, classes, the data of a batch, whether there are images, the network for a kind of attention.
NETWORKS = {
    "mlp": (128, 10, lambda n: images(n, 784), False, lambda _: Mlp()),
    "teacher": (128, 10, lambda n: images(n, 1, 28, 28), True, lambda _: ConvNet([16, 32], 128)),
    "student": (128, 10, lambda n: images(n, 1, 28, 28), True, lambda _: ConvNet([6, 10], 32)),
    "resnet-20": (64, 10, lambda n: images(n, 3, 32, 32), True, lambda _: ResNet(20, 16)),
    "ds-cnn": (64, 10, lambda n: images(n, 3, 32, 32), True, lambda _: DsCnn(32, [64, 64, 128, 128], [2, 1, 2, 1])),
    "transformer": (32, 26, lambda n: sequences(n, 64), False, lambda kind: Transformer(128, 4, 4, 512, 64, 256, 26, kind)),
}


class Job:
    """A network with its data and its optimizer, in one of the ways to run it."""

    def __init__(self, name, layout, adam, attention, compiled):
        batch, classes, data, _, network = NETWORKS[name]
        torch.manual_seed(SEED)
        memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
        self.model = network(attention).to(memory_format=memory).train()
        self.data = data(batch)
        if self.data.dim() == 4:
            self.data = self.data.contiguous(memory_format=memory)
        self.targets = torch.arange(batch) % classes
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY, foreach=adam == "foreach", fused=adam == "fused"
        )
        self.way = [layout, adam, attention]
        self.loss = torch.compile(self.forward, dynamic=False) if compiled else self.forward

    def forward(self, data, targets):
        return F.cross_entropy(self.model(data), targets)

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.data, self.targets)
        loss.backward()
        self.optimizer.step()
        return loss

    def run(self, steps):
        """Seconds of a step, after one that does not count."""
        self.step()
        start = time.perf_counter()
        for _ in range(steps):
            loss = self.step()
        seconds = (time.perf_counter() - start) / steps
        if not torch.isfinite(loss).item():
            raise RuntimeError("the loss is not finite")
        return seconds


def fastest(jobs):
    """The job with the fastest of five short turns; they alternate, so that a busy moment meets all of them."""
    if len(jobs) == 1:
        return jobs[0]
    best = [job.run(2) for job in jobs]
    steps = max(1, round(0.1 / min(best)))
    for _ in range(5):
        for i, job in enumerate(jobs):
            best[i] = min(best[i], job.run(steps))
    return jobs[best.index(min(best))]


class Server:
    def __init__(self):
        self.jobs = {}

    def job(self, kind, name):
        if (kind, name) not in self.jobs:
            self.jobs[kind, name] = self.compiled(name) if kind == "compiled" else self.eager(name)
        return self.jobs[kind, name]

    def eager(self, name):
        layouts = ["contiguous", "channels_last"] if NETWORKS[name][3] else ["-"]
        attentions = ["sdpa", "written out"] if name == "transformer" else ["-"]
        ways = itertools.product(layouts, ["foreach", "fused"], attentions)
        return fastest([Job(name, *way, compiled=False) for way in ways])

    def compiled(self, name):
        layouts = ["contiguous", "channels_last"] if NETWORKS[name][3] else ["-"]
        _, adam, attention = self.job("pytorch", name).way
        return fastest([Job(name, layout, adam, attention, compiled=True) for layout in layouts])

    def answer(self, words):
        match words:
            case ["version"]:
                return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"
            case ["count", name] if name in NETWORKS:
                batch, _, _, _, network = NETWORKS[name]
                return f"{sum(p.numel() for p in network('sdpa').parameters() if p.requires_grad)} {batch}"
            case ["choice", "pytorch" | "compiled" as kind, name] if name in NETWORKS:
                return ", ".join(word for word in self.job(kind, name).way if word != "-")
            case ["pytorch" | "compiled" as kind, name, steps] if name in NETWORKS:
                return f"{self.job(kind, name).run(int(steps)):.9e}"
        return f"error not understood: {' '.join(words)}"


def serve():
    # Replies go to the real output; what libraries print joins the errors.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = Server()
    for line in sys.stdin:
        try:
            reply = server.answer(line.split())
        except Exception as error:
            # One line, the first: what compilers say after it fills pages.
            reply = "error " + f"{type(error).__name__}: {error}".splitlines()[0]
        print(reply, file=replies, flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", "--threads", threads]:
            torch.set_num_threads(int(threads))
            torch.set_num_interop_threads(1)
            # All networks are compiled from one function; more than these would quietly run as if not compiled.
            torch._dynamo.config.recompile_limit = 4 * len(NETWORKS)
            torch._dynamo.config.fail_on_recompile_limit_hit = True
            serve()
        case _:
            sys.exit("usage: pytorch.py serve --threads N")
