"""Runs one measurement by name: `python -m bench decode --batch 1 16`."""

import sys

from bench import decode, embedded, lifecycle, parity

BENCHES = {"decode": decode.main, "embedded": embedded.main, "lifecycle": lifecycle.main, "parity": parity.main}


def main() -> None:
    """Run the measurement that the first argument names; `decode` if there is none."""
    arguments = sys.argv[1:]
    name = arguments.pop(0) if arguments and not arguments[0].startswith("-") else "decode"
    if name not in BENCHES:
        sys.exit(f"bench: there is no {name!r}; there are {', '.join(BENCHES)}")
    BENCHES[name](arguments)


main()
