"""Weights and logits of a transformer encoder that PyTorch computes with its own attention, for kd-train.

Run with torch, safetensors and numpy installed: python tools/golden/kd_train_transformer.py
Tolerance in the test: 1e-5 of the largest logit.
"""

import json
import pathlib

import torch
from safetensors.torch import save_file
from torch import nn

OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/kd-train/tests/golden"
WIDTH, HEADS, FEED_FORWARD, LAYERS, VOCABULARY, LENGTH, CLASSES = 12, 3, 20, 2, 17, 9, 4

torch.manual_seed(0)
tokens, positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
layer = nn.TransformerEncoderLayer(
    WIDTH, HEADS, FEED_FORWARD, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
)
encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
norm, output = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES)
parts = nn.ModuleList([tokens, positions, encoder, norm, output])
# No bias of zero and no scale of one, and layers that differ.
with torch.no_grad():
    for parameter in parts.parameters():
        parameter.add_(0.3 * torch.randn_like(parameter))


def forward(ids):
    padding = ids == 0
    x = tokens(ids) + positions(torch.arange(LENGTH))
    x = encoder(x, src_key_padding_mask=padding)
    present = (~padding).unsqueeze(2).float()
    return output(norm((x * present).sum(1) / present.sum(1)))


# Full, short, of one token, and with padding in the middle.
ids = torch.randint(1, VOCABULARY, (4, LENGTH))
ids[1, 5:] = 0
ids[2, 1:] = 0
ids[3, 2:4] = 0
parts.eval()
with torch.no_grad():
    logits = forward(ids)

# The same numbers under one name a layer: queries, keys and values are rows of `in_proj`.
names = {"tokens.weight": tokens.weight, "positions.weight": positions.weight}
for i, layer in enumerate(encoder.layers):
    attention = layer.self_attn
    for j, part in enumerate(["query", "key", "value"]):
        rows = slice(j * WIDTH, (j + 1) * WIDTH)
        names[f"layers.{i}.attention.{part}.weight"] = attention.in_proj_weight[rows]
        names[f"layers.{i}.attention.{part}.bias"] = attention.in_proj_bias[rows]
    modules = {
        "norm1": layer.norm1,
        "attention.output": attention.out_proj,
        "norm2": layer.norm2,
        "hidden": layer.linear1,
        "output": layer.linear2,
    }
    for name, module in modules.items():
        names[f"layers.{i}.{name}.weight"], names[f"layers.{i}.{name}.bias"] = module.weight, module.bias
for name, module in {"norm": norm, "output": output}.items():
    names[f"{name}.weight"], names[f"{name}.bias"] = module.weight, module.bias
state = {name: tensor.detach().clone().contiguous() for name, tensor in names.items()}
save_file(state, OUT / "torch_transformer.safetensors")
header = {
    "torch": torch.__version__,
    "seed": 0,
    "tolerance": 1e-5,
    "regenerate": "python tools/golden/kd_train_transformer.py",
}
cases = {"ids": ids.flatten().tolist(), "logits": logits.flatten().tolist()}
(OUT / "torch_transformer.json").write_text(json.dumps({"header": header, **cases}) + "\n")
