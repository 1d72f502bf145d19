"""Weights and logits that PyTorch made, for kd-train: what a user's own teacher looks like.

Run with torch, safetensors and numpy installed: python tools/golden/kd_train.py
Tolerance in the test: 1e-5 of the largest logit.
"""

import json
import pathlib

import torch
from safetensors.torch import save_file
from torch import nn

OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/kd-train/tests/golden"


class Block(nn.Module):
    def __init__(self, channels, outputs):
        super().__init__()
        self.conv = nn.Conv2d(channels, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return nn.functional.max_pool2d(torch.relu(self.norm(self.conv(x))), 2)


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(1, 4), Block(4, 6)])
        self.hidden = nn.Linear(24, 12)
        self.output = nn.Linear(12, 10)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.output(torch.relu(self.hidden(x.flatten(1))))


torch.manual_seed(0)
net = ConvNet()
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for _ in range(20):
    x = torch.randn(32, 1, 8, 8)
    loss = nn.functional.cross_entropy(net(x), (x.mean((1, 2, 3)) > 0).long())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
net.eval()
x = torch.randn(5, 1, 8, 8)
save_file(net.state_dict(), OUT / "torch_convnet.safetensors")
header = {"torch": torch.__version__, "seed": 0, "tolerance": 1e-5, "regenerate": "python tools/golden/kd_train.py"}
cases = {"x": x.flatten().tolist(), "logits": net(x).flatten().tolist()}
(OUT / "torch_convnet.json").write_text(json.dumps({"header": header, **cases}) + "\n")
