"""Losses of transformers and language models.

TextBrewer counts the tokens of a whole batch, where ours averages over each sample's tokens first: with samples of
one length they agree. Its `att_ce_loss` is a cross entropy and its softmax runs over masked columns too: with every
token counted, less the same of the teacher with itself, it is the KL. DistillKit computes in float32, hence the
wider tolerance of `gkd`. The code of TRL (`gkd`), of the DistilBERT and TinyBERT authors and of MobileCLIP (a patch)
is not run here: it needs `transformers` or a whole training program.
"""

import importlib
import math
import sys
import types

import golden
import torch
import torch.nn.functional as F
from golden import classes, normal


def package(name, folder, stubs, module):
    """`module` of a package whose own `__init__` is not run, with stubs for what it imports and we do not have."""
    if golden.REFERENCES is None:
        return None
    before = {key: x for key, x in sys.modules.items() if key.split(".")[0] in (name, *stubs)}
    for key in before:
        del sys.modules[key]
    for key, path in folder.items():
        sys.modules[key] = types.ModuleType(key)
        sys.modules[key].__path__ = [str(golden.REFERENCES / path)]
    for key, attributes in stubs.items():
        sys.modules[key] = types.ModuleType(key)
        for attribute in attributes:
            setattr(sys.modules[key], attribute, type(attribute, (), {}))
    try:
        return importlib.import_module(module)
    finally:
        for key in [key for key in sys.modules if key.split(".")[0] in (name, *stubs)]:
            del sys.modules[key]
        sys.modules.update(before)


TB = package("textbrewer", {"textbrewer": "TextBrewer/src/textbrewer"}, {}, "textbrewer.losses")
DK = package(
    "distillkit",
    {"distillkit": "DistillKit/distillkit", "distillkit.lossfuncs": "DistillKit/distillkit/lossfuncs"},
    {
        "transformers": ["PreTrainedModel"],
        "transformers.modeling_outputs": ["CausalLMOutput"],
        "distillkit.signals": ["DenseSignal", "TeacherSignal"],
        "distillkit.hsd_mapping": ["HiddenStateMapping"],
    },
    "distillkit.lossfuncs.jsd",
)

f64 = torch.float64


def case(loss, name, knobs, inputs, *functions):
    """`golden.case` with inputs of its own: a file may not hold one tensor under two names."""
    golden.case(loss, name, knobs, {name: x.clone() for name, x in inputs.items()}, *functions)


def tokens(*rows):
    return torch.tensor(rows, dtype=f64)


def both(seed, name, *shape, scale=1.0):
    return {
        f"student.{name}": normal(seed, *shape, scale=scale),
        f"teacher.{name}": normal(seed + 50, *shape, scale=scale),
    }


def of(x, name):
    return x[f"student.{name}"], x[f"teacher.{name}"]


def per_sample(x, each):
    """The mean over the batch of `each(sample, counted tokens)`; 0 for a sample without tokens."""
    mask = x.get("mask")
    batch = next(t for name, t in x.items() if name.startswith("student.")).shape[0]
    total = torch.zeros((), dtype=f64)
    for b in range(batch):
        kept = slice(None) if mask is None else mask[b].nonzero().flatten()
        if mask is None or kept.numel() > 0:
            total = total + each(b, kept)
    return total / batch


def hidden_mse(x, name):
    s, t = of(x, name)
    return per_sample(x, lambda b, kept: (s[b][kept] - t[b][kept]).square().mean())


def square(a, kept):
    """Rows and columns of `[h, L, L]` that count."""
    return a[:, kept][:, :, kept]


def kl_rows(s, t):
    """KL of log-distributions, mean over everything in front of the last dimension."""
    return (t.exp() * (t - s)).sum(-1).mean()


def attention_kl(x, s, t, kind="scores"):
    def one(b, kept):
        a, c = square(s[b], kept), square(t[b], kept)
        if kind == "scores":
            low = lambda z: F.log_softmax(torch.where(torch.isinf(z), torch.full_like(z, -1e30), z), -1)
            return kl_rows(low(a), low(c))
        log_ratio = torch.where(
            c > 0, c.clamp_min(1e-300).log() - torch.where(c > 0, a, torch.ones_like(a)).log(), 0.0 * a
        )
        return (c * log_ratio).sum(-1).mean()

    return per_sample(x, one)


def att_ce_kl(s, t):
    """The same from TextBrewer, every token counted."""
    ones = torch.ones(s.shape[0], s.shape[2], dtype=f64)
    return TB.att_ce_loss(s, t, ones) - TB.att_ce_loss(t, t, ones)


def reference(function):
    return function if golden.REFERENCES is not None else None


UNEVEN = tokens([1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0])
EVEN = tokens([1, 1, 1, 0, 0], [1, 0, 1, 0, 1])
HOLES = tokens([1, 0, 1, 1, 0], [0, 1, 1, 1, 1], [1, 0, 0, 0, 0])

# tinybert


def cut(a):
    return torch.where(a <= -100, torch.zeros_like(a), a)


def tinybert(x, e=1.0, h=1.0, a=1.0, p=1.0, temperature=1.0, over_classes=False):
    total = 0.0
    if "student.embedding" in x and e:
        total = total + e * hidden_mse(x, "embedding")
    if "student.hidden" in x and h:
        total = total + h * hidden_mse(x, "hidden")
    if "student.attention" in x and a:
        s, t = (cut(z) for z in of(x, "attention"))
        total = total + a * per_sample(
            x, lambda b, kept: (square(s[b], kept) - square(t[b], kept)).square().mean()
        )
    if "student.logits" in x and p:
        s, t = of(x, "logits")
        each = -(F.softmax(t / temperature, -1) * F.log_softmax(s / temperature, -1)).sum(-1)
        counted = x["mask"] if each.dim() == 2 and "mask" in x else torch.ones_like(each)
        term = (each * counted).sum() / counted.sum().clamp_min(1)
        total = total + p * term / (s.shape[-1] if over_classes else 1)
    return total


def layer(seed, batch, length, heads, width, scale=1.0):
    inputs = both(seed, "embedding", batch, length, width, scale=scale)
    inputs |= both(seed + 1, "hidden", batch, length, width, scale=scale)
    return inputs | both(seed + 2, "attention", batch, heads, length, length, scale=scale)


def tinybert_reference(classes=1, mask=None):
    def theirs(x):
        s, t = of(x, "attention")
        m = torch.ones(s.shape[0], s.shape[2], dtype=f64) if mask is None else mask
        total = TB.hid_mse_loss(*of(x, "embedding"), mask) + TB.hid_mse_loss(*of(x, "hidden"), mask)
        return total + TB.att_mse_loss(s, t, m) + TB.kd_ce_loss(*of(x, "logits"), 1) / classes

    return reference(theirs)


x = layer(100, 2, 5, 3, 7) | both(105, "logits", 2, 10, scale=3)
case("tinybert", "all", "{}", x, tinybert, tinybert_reference())
original = lambda x: tinybert(x, over_classes=True)
case("tinybert", "original", "{ mean-over-classes = true }", x, original, tinybert_reference(10))
case("tinybert", "even", "{}", x | {"mask": EVEN}, tinybert, tinybert_reference(1, EVEN))
x = layer(110, 3, 5, 2, 3) | both(115, "logits", 3, 2) | {"mask": UNEVEN}
x["student.attention"][:, :, :, 3] = -1e4
x["teacher.attention"][1, :, 2:, 4] = -300.0
case("tinybert", "uneven", "{}", x, tinybert)
weights = "{ embedding-weight = 0.5, hidden-weight = 0.0, attention-weight = 2.0, prediction-weight = 3.0, temperature = 4.0 }"
case("tinybert", "weights", weights, x, lambda x: tinybert(x, 0.5, 0.0, 2.0, 3.0, 4.0))
x = both(120, "h3", 1, 1, 4)
case("tinybert", "one-token", "{ hidden = 'h3' }", x, lambda x: hidden_mse(x, "h3"))
x = both(121, "logits", 8, 100, scale=300)
case("tinybert", "large-logits", "{ temperature = 2 }", x, lambda x: tinybert(x, temperature=2.0))
x = both(122, "logits", 3, 5, 10) | both(123, "hidden", 3, 5, 4) | {"mask": HOLES}
case("tinybert", "tokens", "{}", x, tinybert)
x = both(124, "attention", 2, 2, 5, 5, scale=300)
case("tinybert", "large-scores", "{}", x, tinybert)
same = normal(125, 2, 5, 4)
same[0, 1] = same[0, 0]
same[1, 2] = 0.0
case("tinybert", "equal", "{}", {"student.hidden": same, "teacher.hidden": same.clone()}, tinybert)

# distilbert


def distilbert(x, ce=5.0, mlm=2.0, cos=1.0, temperature=2.0, cosine=None):
    total = 0.0
    if "student.logits" in x:
        s, t = of(x, "logits")
        s, t = s.reshape(-1, s.shape[-1]), t.reshape(-1, t.shape[-1])
        kept = torch.ones(len(s), dtype=torch.bool)
        if "mask" in x and x["mask"].numel() == len(s):
            kept = x["mask"].flatten() > 0
        log_s, log_t = (F.log_softmax(z[kept] / temperature, -1) for z in (s, t))
        total = total + ce * temperature**2 * kl_rows(log_s, log_t) + 0.0 * s.sum()
        if "targets" in x and mlm and (kept & (x["targets"] >= 0)).any():
            labels = torch.where(kept, x["targets"], torch.full_like(x["targets"], -100))
            total = total + mlm * F.cross_entropy(s, labels, ignore_index=-100)
    if "student.hidden" in x and cos:
        s, t = of(x, "hidden")
        if cosine is not None:
            return total + cos * cosine(s, t, x.get("mask"))
        s, t = s.reshape(-1, s.shape[-1]), t.reshape(-1, t.shape[-1])
        if "mask" in x and x["mask"].numel() == len(s):
            s, t = s[x["mask"].flatten() > 0], t[x["mask"].flatten() > 0]
        dot = (s * t).sum(-1)
        total = (
            total
            + cos * (1 - dot / ((s.square().sum(-1) + 1e-12) * (t.square().sum(-1) + 1e-12)).sqrt()).mean()
        )
    return total


with_cosine = reference(lambda x: distilbert(x, cosine=TB.cos_loss)) if TB else None
words = torch.tensor([3, -100, 9, -100, 0, -100, -100, 5, 5, 1, -100, 2, 7, 7, 7])
x = both(200, "logits", 3, 5, 10, scale=3) | both(201, "hidden", 3, 5, 7) | {"mask": HOLES, "targets": words}
case("distilbert", "all", "{}", x, distilbert, with_cosine)
knobs = "{ alpha-ce = 0.5, alpha-mlm = 0.0, alpha-cos = 3.0, temperature = 4.0 }"
case("distilbert", "weights", knobs, x, lambda x: distilbert(x, 0.5, 0.0, 3.0, 4.0))
x = both(210, "logits", 1, 2) | both(211, "hidden", 1, 3) | {"targets": torch.tensor([1])}
case("distilbert", "sequences", "{}", x, distilbert)
x = both(220, "last", 2, 5, 6)
x["teacher.last"][0, 1] = 0.0
x["student.last"][1, 1] = x["student.last"][1, 0]
rename = lambda x: {
    "student.hidden": x["student.last"],
    "teacher.hidden": x["teacher.last"],
    **{k: x[k] for k in x if k == "mask"},
}
case(
    "distilbert",
    "cosine",
    "{ hidden = 'last' }",
    x,
    lambda x: distilbert(rename(x)),
    reference(lambda x: TB.cos_loss(*of(x, "last"))),
)
x = both(230, "logits", 3, 5, 100, scale=3) | {"mask": UNEVEN}
case("distilbert", "logits", "{}", x, distilbert)
x = both(240, "logits", 2, 3, 10, scale=300) | {"targets": torch.full((6,), -100)}
case("distilbert", "large-logits", "{}", x, distilbert)
x = (
    both(250, "logits", 8, 10)
    | both(251, "hidden", 8, 2, 4)
    | {"targets": classes(252, 8, 10), "mask": torch.ones(8, 2, dtype=f64)}
)
case("distilbert", "sequences-of-tokens", "{}", x, distilbert)

# mobilebert


def mobilebert(x, kind="scores", a=1.0, f=1.0):
    return a * attention_kl(x, *of(x, "attention"), kind) + f * hidden_mse(x, "hidden")


def probabilities(x):
    return {name: F.softmax(t, -1) if name.endswith("attention") else t for name, t in x.items()}


def block(seed, batch, length, heads, width, scale=1.0):
    return both(seed, "attention", batch, heads, length, length, scale=scale) | both(
        seed + 1, "hidden", batch, length, width
    )


x = block(300, 2, 5, 3, 7)
theirs = reference(lambda x: att_ce_kl(*of(x, "attention")) + TB.hid_mse_loss(*of(x, "hidden")))
case("mobilebert", "scores", "{}", x, mobilebert, theirs)
x = probabilities(x)
case(
    "mobilebert",
    "probabilities",
    "{ attention-input = 'probabilities' }",
    x,
    lambda x: mobilebert(x, "probabilities"),
)
x = block(310, 3, 5, 2, 4) | {"mask": UNEVEN}
case("mobilebert", "uneven", "{}", x, mobilebert)
knobs = "{ attention-weight = 0.25, feature-weight = 4.0, attention-input = 'scores' }"
case("mobilebert", "holes", knobs, x | {"mask": HOLES}, lambda x: mobilebert(x, a=0.25, f=4.0))
x = block(320, 3, 5, 2, 4) | {"mask": HOLES}
ignored = (1 - HOLES)[:, None, None, :] * -1e4
x["student.attention"], x["teacher.attention"] = (
    x[f"{w}.attention"] + ignored for w in ("student", "teacher")
)
case(
    "mobilebert",
    "probabilities-holes",
    "{ attention-input = 'probabilities' }",
    probabilities(x),
    lambda x: mobilebert(x, "probabilities"),
)
x = block(330, 1, 4, 2, 3, scale=300)
case("mobilebert", "large", "{}", x, mobilebert)
x = block(340, 2, 4, 1, 3)
future = torch.full((4, 4), -math.inf, dtype=f64).triu(1)
x["student.attention"], x["teacher.attention"] = (
    x[f"{w}.attention"] + future for w in ("student", "teacher")
)
case("mobilebert", "causal", "{}", x, lambda x: mobilebert(x))
x = both(350, "attention", 2, 3, 2, 2)
case(
    "mobilebert",
    "attention-alone",
    "{ feature-weight = 0.0 }",
    x,
    lambda x: attention_kl(x, *of(x, "attention")),
)
x = both(360, "block1", 2, 3, 5)
case(
    "mobilebert",
    "hidden-alone",
    "{ attention-weight = 0, hidden = 'block1' }",
    x,
    lambda x: hidden_mse(x, "block1"),
)

# minilm


def relation(v):
    return v @ v.transpose(-1, -2) / math.sqrt(v.shape[-1])


def minilm(x, kind="scores"):
    s, t = (relation(v) for v in of(x, "value"))
    return attention_kl(x, *of(x, "attention"), kind) + attention_kl(x, s, t)


def last(seed, batch, length, heads, own, theirs, scale=1.0):
    inputs = both(seed, "attention", batch, heads, length, length, scale=scale)
    inputs["student.value"] = normal(seed + 1, batch, heads, length, own, scale=scale)
    inputs["teacher.value"] = normal(seed + 2, batch, heads, length, theirs, scale=scale)
    return inputs


x = last(400, 2, 5, 3, 4, 7)
theirs = reference(
    lambda x: att_ce_kl(*of(x, "attention")) + att_ce_kl(*(relation(v) for v in of(x, "value")))
)
case("minilm", "scores", "{}", x, minilm, theirs)
case(
    "minilm",
    "probabilities",
    "{ attention-input = 'probabilities' }",
    probabilities(x),
    lambda x: minilm(x, "probabilities"),
)
x = last(410, 3, 5, 2, 3, 3)
case("minilm", "uneven", "{ attention-input = 'scores' }", x | {"mask": UNEVEN}, minilm)
case("minilm", "holes", "{}", x | {"mask": HOLES}, minilm)
case("minilm", "one-token", "{}", last(420, 1, 1, 2, 3, 5), minilm)
case("minilm", "large", "{}", last(430, 1, 4, 2, 3, 2, scale=30), minilm)
x = last(440, 2, 4, 1, 5, 5)
x["student.value"][0, 0, 1] = x["student.value"][0, 0, 0]
x["student.value"][1, 0, 2] = 0.0
x["teacher.value"][1] = 0.0
case("minilm", "zeros", "{}", x, minilm)
x = last(450, 8, 2, 2, 2, 1)
x = {f"{name.split('.')[0]}.{name.split('.')[1][0]}1": t for name, t in x.items()}
case(
    "minilm",
    "sites",
    "{ attention = 'a1', value = 'v1' }",
    x,
    lambda x: attention_kl(x, *of(x, "a1")) + attention_kl(x, *(relation(v) for v in of(x, "v1"))),
)

# minilm-v2


def in_heads(v, heads):
    if v.dim() == 4:
        v = v.transpose(1, 2).flatten(2)
    return torch.stack(v.chunk(heads, -1), 1)


def minilm_v2(x, heads, divergence=attention_kl):
    total = 0.0
    for name in ("query", "key", "value"):
        s, t = (relation(in_heads(v, heads)) for v in of(x, name))
        total = total + divergence(x, s, t)
    return total


def projections(seed, own, theirs, scale=1.0):
    inputs = {}
    for i, name in enumerate(("query", "key", "value")):
        inputs[f"student.{name}"] = normal(seed + i, *own, scale=scale)
        inputs[f"teacher.{name}"] = normal(seed + 10 + i, *theirs, scale=scale)
    return inputs


x = projections(500, (2, 5, 6), (2, 5, 12))
for heads in (1, 3, 6):
    theirs = reference(lambda x, heads=heads: minilm_v2(x, heads, lambda _, s, t: att_ce_kl(s, t)))
    case(
        "minilm-v2",
        f"heads-{heads}",
        f"{{ relation-heads = {heads} }}",
        x,
        lambda x, heads=heads: minilm_v2(x, heads),
        theirs,
    )
case("minilm-v2", "side-by-side", "{}", x, lambda x: minilm_v2(x, 1))
x = projections(520, (3, 3, 5, 4), (3, 2, 5, 5))
case("minilm-v2", "apart", "{}", x, lambda x: minilm_v2(x, 2))
case("minilm-v2", "apart-uneven", "{ relation-heads = 1 }", x | {"mask": UNEVEN}, lambda x: minilm_v2(x, 1))
x = projections(540, (3, 5, 4), (3, 1, 5, 8))
case("minilm-v2", "holes", "{ relation-heads = 4 }", x | {"mask": HOLES}, lambda x: minilm_v2(x, 4))
case(
    "minilm-v2",
    "one-token",
    "{ relation-heads = 2 }",
    projections(560, (1, 1, 2), (1, 1, 4)),
    lambda x: minilm_v2(x, 2),
)
case(
    "minilm-v2",
    "large",
    "{ relation-heads = 2 }",
    projections(580, (1, 4, 4), (1, 4, 6), 30),
    lambda x: minilm_v2(x, 2),
)
x = projections(600, (8, 3, 2), (8, 3, 2))
x["student.query"][0, 1] = x["student.query"][0, 0]
x["student.key"][1] = 0.0
x = {name.replace("query", "q"): t for name, t in x.items()}
case(
    "minilm-v2",
    "zeros",
    "{ query = 'q' }",
    x,
    lambda x: minilm_v2({name.replace(".q", ".query"): t for name, t in x.items()}, 1),
)

# pkd-bert


def pkd(x, sites, author=False):
    total = 0.0
    for site in sites:
        s, t = of(x, site)
        if s.dim() == 3:
            s, t = s[:, 0], t[:, 0]
        gap = F.normalize(s, dim=1) - F.normalize(t, dim=1)
        if "mask" in x:
            gap = gap * x["mask"][:, :1]
        total = total + (gap.square().mean() / len(sites) if author else gap.square().sum(-1).mean())
    return total


for batch, width, shape in [(1, 2, ()), (2, 10, (3,)), (3, 7, (2,)), (8, 5, ())]:
    x = both(700 + batch, "hidden", batch, *shape, width)
    theirs = reference(lambda x: TB.pkd_loss(*of(x, "hidden")))
    case("pkd-bert", f"b{batch}", "{}", x, lambda x: pkd(x, ["hidden"]), theirs)
x = both(710, "a", 3, 4, 5) | both(711, "b", 3, 5) | both(712, "unused", 3, 2)
x["student.a"][1] = x["student.a"][0]
theirs = reference(lambda x: TB.pkd_loss(*of(x, "a")) + TB.pkd_loss(*of(x, "b")))
case(
    "pkd-bert",
    "layers",
    "{ layers = ['a', 'b'], variant = 'paper' }",
    x,
    lambda x: pkd(x, ["a", "b"]),
    theirs,
)
case(
    "pkd-bert", "author", "{ layers = ['a', 'b'], variant = 'author' }", x, lambda x: pkd(x, ["a", "b"], True)
)
x = both(720, "hidden", 3, 5, 4, scale=300) | {"mask": HOLES}
x["teacher.hidden"][0, 0] = 0.0
case("pkd-bert", "mask", "{}", x, lambda x: pkd(x, ["hidden"]))

# gkd, minillm


def gkd(x, beta, temperature=1.0):
    s, t = (F.log_softmax(z / temperature, -1) for z in of(x, "logits"))
    kl = lambda p, q: (p.exp() * (p - q)).sum(-1)
    if beta in (0, 1):
        each = kl(s, t) if beta else kl(t, s)
    else:
        m = torch.logaddexp(t + math.log(beta), s + math.log(1 - beta))
        each = beta * kl(t, m) + (1 - beta) * kl(s, m)
    counted = x.get("mask", torch.ones_like(each))
    return (each * counted).sum() / counted.sum().clamp_min(1)


def distillkit(x, temperature):
    s, t = of(x, "logits")
    ids = torch.arange(s.shape[-1]).expand(s.shape)
    mask = x.get("mask", torch.ones(s.shape[:2], dtype=f64))
    total = DK.sparse_js_div(s, ids, t, mask, eps=1e-12, log_target=False, temperature=temperature)
    return total / mask.sum()


for beta in (0.0, 0.1, 0.5, 0.9, 1.0):
    x = both(800, "logits", 3, 5, 10, scale=3) | {"mask": HOLES}
    theirs = reference(lambda x: distillkit(x, 2.0)) if beta == 0.5 and DK else None
    case(
        "gkd",
        f"beta-{beta}",
        f"{{ beta = {beta}, temperature = 2.0 }}",
        x,
        lambda x, b=beta: gkd(x, b, 2.0),
        theirs,
        1e-5,
    )
x = both(810, "logits", 2, 3, 100)
theirs = reference(lambda x: distillkit(x, 1.0)) if DK else None
case("gkd", "no-mask", "{}", x, lambda x: gkd(x, 0.5), theirs, 1e-5)
case("gkd", "rows", "{ beta = 0.25 }", both(820, "logits", 8, 2), lambda x: gkd(x, 0.25))
x = both(830, "logits", 3, 5, 10, scale=300) | {"mask": UNEVEN}
case("gkd", "large-logits", "{}", x, lambda x: gkd(x, 0.5))
same = normal(840, 1, 4, 10)
equal = {"student.logits": same, "teacher.logits": same.clone()}
case("gkd", "equal", "{ temperature = 0.9 }", equal, lambda x: gkd(x, 0.5, 0.9))
case(
    "gkd",
    "nothing-counts",
    "{ beta = 1 }",
    both(850, "logits", 2, 2, 3) | {"mask": torch.zeros(2, 2, dtype=f64)},
    lambda x: gkd(x, 1),
)

for batch, length, count, scale in [(1, 4, 2, 1), (2, 5, 10, 3), (3, 5, 100, 3), (8, 2, 10, 300)]:
    x = both(900 + batch, "logits", batch, length, count, scale=scale)
    if length == 5:
        x["mask"] = HOLES[:batch]
    case("minillm", f"b{batch}-c{count}", "{}", x, lambda x: gkd(x, 1))
case("minillm", "temperature", "{ temperature = 4.0 }", both(920, "logits", 3, 10), lambda x: gkd(x, 1, 4.0))
case("minillm", "equal", "{}", equal, lambda x: gkd(x, 1))

# sequence-kd


def sequence_kd(x):
    logits = x["student.logits"].flatten(0, -2)
    labels = x["targets"]
    if "mask" in x:
        labels = torch.where(x["mask"].flatten() > 0, labels, torch.full_like(labels, -100))
    counted = (labels >= 0).to(f64)
    picked = F.log_softmax(logits, -1).gather(-1, labels.clamp_min(0)[:, None])[:, 0]
    return -(picked * counted).sum() / counted.sum().clamp_min(1)


def cross_entropy(x):
    labels = x["targets"]
    if "mask" in x:
        labels = torch.where(x["mask"].flatten() > 0, labels, torch.full_like(labels, -100))
    return F.cross_entropy(x["student.logits"].flatten(0, -2), labels, ignore_index=-100)


for batch, length, count, scale, mask in [
    (1, 3, 2, 1, None),
    (2, 5, 10, 3, EVEN),
    (3, 5, 100, 3, UNEVEN),
    (3, 5, 10, 300, HOLES),
    (8, 2, 10, 1, None),
]:
    x = {
        "student.logits": normal(1000 + batch, batch, length, count, scale=scale),
        "targets": classes(batch, batch * length, count),
    }
    x["targets"][1] = -100 if batch > 1 else x["targets"][1]
    if mask is not None:
        x["mask"] = mask
    case("sequence-kd", f"b{batch}-c{count}", "{}", x, sequence_kd, cross_entropy)
x = {"student.logits": normal(1010, 2, 2, 3), "targets": torch.tensor([-1, -100, -1, -1])}
case("sequence-kd", "no-tokens", "{}", x, sequence_kd)
x = {"student.logits": normal(1011, 3, 10), "targets": classes(5, 3, 10)}
case("sequence-kd", "rows", "{}", x, sequence_kd, cross_entropy)

# mobileclip


def mobileclip(x, own=0.01, theirs=0.01, normalize=True, teachers=("teacher",)):
    def both_ways(who, temperature):
        unit = (lambda z: F.normalize(z, dim=-1)) if normalize else (lambda z: z)
        logits = unit(x[f"{who}.image"]) @ unit(x[f"{who}.text"]).T / temperature
        return F.log_softmax(logits, -1), F.log_softmax(logits.T, -1)

    total = 0.0
    for teacher in teachers:
        for s, t in zip(both_ways("student", own), both_ways(teacher, theirs)):
            total = total + kl_rows(s, t) / 2 / len(teachers)
    return total


def pairs(seed, batch, own, theirs, who="teacher", scale=1.0):
    inputs = {
        "student.image": normal(seed, batch, own, scale=scale),
        "student.text": normal(seed + 1, batch, own, scale=scale),
    }
    inputs[f"{who}.image"] = normal(seed + 2, batch, theirs, scale=scale)
    inputs[f"{who}.text"] = normal(seed + 3, batch, theirs, scale=scale)
    return inputs


case("mobileclip", "default", "{}", pairs(1100, 3, 16, 8), mobileclip)
knobs = "{ student-temperature = 0.07, teacher-temperature = 0.02 }"
case("mobileclip", "temperatures", knobs, pairs(1110, 8, 10, 12), lambda x: mobileclip(x, 0.07, 0.02))
case("mobileclip", "one-pair", "{}", pairs(1120, 1, 4, 4), mobileclip)
x = pairs(1130, 3, 4, 5)
x["student.image"][1] = x["student.image"][0]
x["teacher.text"][2] = 0.0
case(
    "mobileclip",
    "zeros",
    "{ student-temperature = 0.1, teacher-temperature = 0.1 }",
    x,
    lambda x: mobileclip(x, 0.1, 0.1),
)
knobs = (
    "{ normalize = false, student-temperature = 1, teacher-temperature = 2, image = 'image', text = 'text' }"
)
case(
    "mobileclip",
    "as-they-are",
    knobs,
    pairs(1140, 2, 3, 2, scale=17),
    lambda x: mobileclip(x, 1.0, 2.0, False),
)
x = pairs(1150, 3, 6, 4, "teacher.0") | pairs(1160, 3, 6, 9, "teacher.1")
knobs = "{ student-temperature = 0.1, teacher-temperature = 0.1 }"
case(
    "mobileclip",
    "two-teachers",
    knobs,
    x,
    lambda x: mobileclip(x, 0.1, 0.1, teachers=("teacher.0", "teacher.1")),
)
