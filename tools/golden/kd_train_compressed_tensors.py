"""A folder that compressed-tensors wrote, and what it reads from it, for `kd dequantize`: every format of the package.

Run with torch, numpy, safetensors and compressed-tensors 0.20 installed:
python tools/golden/kd_train_compressed_tensors.py
Tolerance in the test: equal; fp4 and fp6, which the package decodes in bfloat16, equal after that rounding.
"""

import json
import pathlib

import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationConfig, QuantizationStatus, apply_quantization_config
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/kd-train/tests/golden/compressed_tensors"


def weights(bits, kind, strategy, symmetric=True, **rest):
    return {"num_bits": bits, "type": kind, "strategy": strategy, "symmetric": symmetric, **rest}


F8, U8 = {"scale_dtype": "torch.float8_e4m3fn"}, {"scale_dtype": "torch.uint8"}
TOKEN = {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True, "symmetric": True}
LAYERS = {
    "int2": weights(2, "int", "group", False, group_size=32),
    "int3": weights(3, "int", "channel", False),
    "int4": weights(4, "int", "group", False, group_size=32),
    "int4s": weights(4, "int", "group", group_size=16),
    "int5": weights(5, "int", "group", False, group_size=16),
    "int6": weights(6, "int", "channel"),
    "int7": weights(7, "int", "tensor", False),
    "int8": weights(8, "int", "channel"),
    "int8q": weights(8, "int", "channel"),
    "int8qa": weights(8, "int", "channel", False),
    "e4m3_tensor": weights(8, "float", "tensor"),
    "e4m3_channel": weights(8, "float", "channel"),
    "e4m3_block": weights(8, "float", "block", block_structure=[8, 16]),
    "nvfp4": weights(4, "float", "tensor_group", group_size=16, **F8),
    "mxfp4": weights(4, "float", "group", group_size=32, **U8),
    "mxfp6": weights(6, "float", "group", group_size=32, **U8),
    "mxfp8": weights(8, "float", "group", group_size=32, **U8),
}


def qparams(module, args):
    """Scales and zero points by ranges, as the package's observers have them in essence."""
    weight, group = module.weight.data, args.group_size
    rows, columns = weight.shape
    if args.strategy == "tensor":
        cells = weight.reshape(1, -1)
    elif args.strategy == "block":
        h, w = args.block_structure
        cells = weight.reshape(rows // h, h, columns // w, w).transpose(1, 2).reshape(-1, h * w)
    else:
        cells = weight.reshape(-1, group or columns)
    low, high = cells.amin(1).clamp(max=0), cells.amax(1).clamp(min=0)
    most = torch.maximum(-low, high)
    if args.type == "float":
        top = {8: 448.0, 6: 7.5, 4: 6.0}[args.num_bits]
        scale = most / top
        if args.scale_dtype == torch.uint8:
            scale = 2.0 ** torch.floor(torch.log2(most) - {8: 8, 6: 2, 4: 2}[args.num_bits])
        if args.strategy == "tensor_group":
            total = 448 * 6 / weight.abs().max()
            module.weight_global_scale.data = total.reshape(1)
            scale = (scale * total).to(torch.float8_e4m3fn).float()
        zero = torch.zeros_like(scale)
    else:
        qmin, qmax = -(2 ** (args.num_bits - 1)), 2 ** (args.num_bits - 1) - 1
        scale = most / ((qmax - qmin) / 2) if args.symmetric else (high - low) / (qmax - qmin)
        zero = torch.zeros_like(scale) if args.symmetric else (qmin - torch.round(low / scale)).clamp(qmin, qmax)
    module.weight_scale.data = scale.reshape(module.weight_scale.shape)
    if hasattr(module, "weight_zero_point"):
        module.weight_zero_point.data = zero.reshape(module.weight_scale.shape).to(module.weight_zero_point.dtype)


def main():
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({name: torch.nn.Linear(64, 24, bias=name == "int4") for name in LAYERS})
    groups = {}
    for name, args in LAYERS.items():
        groups[name] = {"targets": [f"re:{name}$"], "weights": args}
        if name.startswith("int8q"):
            groups[name]["input_activations"] = TOKEN
    config = QuantizationConfig.model_validate({"config_groups": groups, "ignore": []})
    apply_quantization_config(model, config, show_progress=False)
    for module in model.values():
        qparams(module, module.quantization_scheme.weights)
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    OUT.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, OUT / "model.safetensors")
    (OUT / "config.json").unlink(missing_ok=True)
    compressor.update_config(OUT)
    compressor.decompress_model(model)
    decoded = {k: v.float().contiguous() for k, v in model.state_dict().items() if k.endswith((".weight", ".bias"))}
    # Not named as the folder's own tensors are.
    save_file(decoded, OUT / "decoded.safetensors.data")


if __name__ == "__main__":
    main()
