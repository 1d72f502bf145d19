"""Writes the golden vectors of all losses, or of those that are named.

    python tools/golden/losses/run.py [--references DIR] [NAME ...]

`DIR` holds checkouts of the public implementations, each in a folder of its repository's name and at the commit that
`references.toml` says. Without it the vectors are written from the formulas alone, and what the implementations gave
is gone from them. `cargo xtask golden losses [--references DIR]` runs this with the packages that it needs.
"""

import argparse
import importlib
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import golden  # noqa: E402

GROUPS = [
    "response",
    "response_more",
    "response_third",
    "feature",
    "feature_more",
    "relation",
    "transformer",
    "combination",
    "data_free",
]


def is_stand_in(module):
    """Whether a module was made by hand, or is of a checkout and may have imported one that was."""
    if getattr(module, "__spec__", None) is None:
        return not module.__name__.startswith("torch")
    file = getattr(module, "__file__", None)
    return bool(file and arguments.references and pathlib.Path(file).is_relative_to(arguments.references))


def says_the_same(one, other):
    """Whether two files hold the same, in whatever order their headers name it."""
    (first, numbers), (second, others) = map(parts, (one, other))
    return first == second and numbers == others


def parts(file):
    """Header and numbers of a safetensors file."""
    end = 8 + int.from_bytes(file[:8], "little")
    return json.loads(file[8:end]), file[end:]


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--references", type=lambda folder: pathlib.Path(folder).resolve())
parser.add_argument("names", nargs="*")
arguments = parser.parse_args()
golden.REFERENCES = arguments.references
for group in GROUPS:
    before = set(sys.modules)
    importlib.import_module(group)
    # One group's stand-in for a package would hide what another group needs of it.
    for name in set(sys.modules) - before:
        if is_stand_in(sys.modules[name]):
            del sys.modules[name]
if unknown := set(arguments.names) - set(golden.LOSSES):
    raise SystemExit(f"no loss is named {', '.join(sorted(unknown))}")
files = {path: path.read_bytes() for path in golden.OUT.glob("*.safetensors")}
golden.save(arguments.names)
# safetensors writes the notes in a header in any order: a file that says what it said before stays that file.
for path, file in files.items():
    if says_the_same(file, path.read_bytes()):
        path.write_bytes(file)
