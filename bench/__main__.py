"""Runs one measurement by name: `python -m bench decode --batch 1 16`."""

import importlib
import sys
from pathlib import Path

BENCHES = sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py") if path.stem != "models")


def main() -> None:
    """Run the measurement that the first argument names; `decode` if there is none."""
    arguments = sys.argv[1:]
    name = arguments.pop(0) if arguments and not arguments[0].startswith("-") else "decode"
    if name not in BENCHES:
        sys.exit(f"bench: there is no {name!r}; there are {', '.join(BENCHES)}")
    importlib.import_module(f"bench.{name}").main(arguments)


main()
