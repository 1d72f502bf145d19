"""Golden weights and logits for kd-deploy: a small torch.nn network, its state dict and what it computes.

Run with torch and numpy installed: python tools/golden/kd_deploy.py
Numbers are exact. Tolerance of the logits: 1e-5, of the weights: none.
"""

import json
import pathlib

import torch
from torch import nn

SEED = 0
OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/kd-deploy/tests/golden/torch_network.json"


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, (3, 2), bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.hidden = nn.Linear(3 * 2 * 2, 5)
        self.layer = nn.LayerNorm(5)
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        x = nn.functional.max_pool2d(x, 2).flatten(1)
        return self.head(self.layer(self.hidden(x)))


def array(tensor):
    return {"shape": list(tensor.shape), "data": tensor.reshape(-1).tolist()}


torch.manual_seed(SEED)
network = Network().eval()
with torch.no_grad():
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            values = torch.rand_like(tensor) + 0.5 if "var" in name else torch.randn_like(tensor) * 0.5
            tensor.copy_(values)
    x = torch.randn(3, 2, 6, 5)
    logits = network(x)

golden = {
    "header": {
        "torch": torch.__version__.split("+")[0],
        "seed": SEED,
        "tolerance": 1e-5,
        "regenerate": "python tools/golden/kd_deploy.py",
    },
    "state_dict": {name: array(t) for name, t in network.state_dict().items() if t.is_floating_point()},
    "input": array(x),
    "logits": array(logits),
}
OUT.parent.mkdir(parents=True, exist_ok=True)
OUT.write_text(json.dumps(golden) + "\n")
