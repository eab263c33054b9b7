"""The workspace as the tests in this folder see it: packages, modules, syntax trees."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]

# From the lowest layer to the highest.
SOURCES = {
    "candle_vllm_core": ROOT / "packages/candle-vllm-core/src",
    "candle_vllm_openai": ROOT / "packages/candle-vllm-openai/src",
    "candle_vllm_responses": ROOT / "packages/candle-vllm-responses/src",
    "candle_vllm_server": ROOT / "packages/candle-vllm-server/src",
    "candle_vllm": ROOT / "src",
}
PACKAGES = list(SOURCES)


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name and its text; `path` is None for a text that a test wrote."""

    name: str
    source: str
    path: Path | None = None

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    @property
    def inner(self) -> str:
        """The name inside its package: `runtime.loop`, or nothing for the package itself."""
        return self.name.partition(".")[2]

    @property
    def folder(self) -> str:
        """The dotted name that a relative import of one dot starts from."""
        is_package = self.path is not None and self.path.name == "__init__.py"
        return self.name if is_package else self.name.rpartition(".")[0]

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)


def modules() -> Iterator[Module]:
    """Every module of every package."""
    for package, folder in SOURCES.items():
        for path in sorted((folder / package).rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            yield Module(name, path.read_text(encoding="utf-8"), path)
