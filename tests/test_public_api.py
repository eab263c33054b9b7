"""The public names: `__all__` is sorted, complete, and what docs/library-api.md lists."""

import importlib
import inspect
import re
import subprocess
import sys
from types import ModuleType

import pytest

from workspace import PACKAGES, ROOT

LAYERS = ["openai", "responses", "server"]
FACADES = {f"candle_vllm.{layer}": f"candle_vllm_{layer}" for layer in LAYERS}
PAGE = ROOT / "docs/library-api.md"


def listed(package: str) -> dict[str, str]:
    """The page's rows for a package: each public name and what is said of it."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(f"\n## `{package}`\n")
    section, _, _ = rest.partition("\n## ")
    return dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", section, re.MULTILINE))


def first_sentence(module: ModuleType, name: str) -> str:
    """A class's or function's docstring up to its first line's end; empty for other names, whose type says nothing."""
    value = getattr(module, name)
    own = inspect.isclass(value) or inspect.isfunction(value)
    return (inspect.getdoc(value) or "").partition("\n")[0] if own else ""


def table(module: ModuleType) -> str:
    return "\n".join(f"| `{name}` | {first_sentence(module, name)} |" for name in module.__all__)


@pytest.mark.parametrize("package", [*PACKAGES, *FACADES])
def test_every_listed_name_can_be_imported(package: str) -> None:
    module = importlib.import_module(package)
    assert list(module.__all__) == sorted(set(module.__all__))
    missing = [name for name in module.__all__ if not hasattr(module, name)]
    assert missing == []


@pytest.mark.parametrize("package", PACKAGES[:-1])
def test_no_public_name_is_unlisted(package: str) -> None:
    module = importlib.import_module(package)
    public = {n for n, v in vars(module).items() if not n.startswith("_") and not inspect.ismodule(v)}
    assert public - set(module.__all__) == set()


@pytest.mark.parametrize("package", PACKAGES[:-1])
def test_the_page_lists_every_public_name_with_its_first_sentence(package: str) -> None:
    module = importlib.import_module(package)
    rows = listed(package)
    assert sorted(rows) == sorted(module.__all__), f"the rows for docs/library-api.md are:\n{table(module)}"
    stale = {name: said for name, said in rows.items() if (first := first_sentence(module, name)) and said != first}
    assert stale == {}, f"the rows for docs/library-api.md are:\n{table(module)}"


def test_the_root_package_has_the_cores_names_and_the_layers() -> None:
    root, core = importlib.import_module("candle_vllm"), importlib.import_module("candle_vllm_core")
    assert set(root.__all__) == {*core.__all__, *LAYERS}
    assert all(getattr(root, name) is getattr(core, name) for name in core.__all__)


@pytest.mark.parametrize(("facade", "package"), FACADES.items())
def test_a_layer_has_the_same_names_under_the_root(facade: str, package: str) -> None:
    module, original = importlib.import_module(facade), importlib.import_module(package)
    assert module.__all__ == original.__all__
    assert all(getattr(module, name) is getattr(original, name) for name in module.__all__)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_missing_extra_says_what_to_install(layer: str) -> None:
    code = f"import sys; sys.modules['candle_vllm_{layer}'] = None; import candle_vllm; candle_vllm.{layer}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1
    assert f"candle_vllm.{layer} needs candle_vllm_{layer}: pip install 'candle-vllm[{layer}]'" in run.stderr
