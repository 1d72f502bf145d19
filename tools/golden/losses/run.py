"""Writes the golden vectors of all losses, or of those that are named.

    python tools/golden/losses/run.py [--references DIR] [NAME ...]

`DIR` holds checkouts of the public implementations, each in a folder of its repository's name and at the commit that
`references.toml` says. Without it the vectors are written from the formulas alone.
"""

import argparse
import importlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import golden  # noqa: E402

GROUPS = ["response", "response_more", "response_third", "feature", "feature_more", "relation", "transformer", "combination", "data_free"]

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--references", type=pathlib.Path)
parser.add_argument("names", nargs="*")
arguments = parser.parse_args()
golden.REFERENCES = arguments.references
for group in GROUPS:
    if (pathlib.Path(__file__).parent / f"{group}.py").exists():
        importlib.import_module(group)
golden.save(arguments.names)
