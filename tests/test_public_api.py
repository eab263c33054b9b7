"""The public names: `__all__` is sorted, complete, and what docs/library-api.md lists."""

import importlib
import inspect
import subprocess
import sys

import pytest

import tables
from workspace import PACKAGES, ROOT

LAYERS = ["openai", "responses", "server"]
FACADES = {f"candle_vllm.{layer}": f"candle_vllm_{layer}" for layer in LAYERS}


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


def test_the_page_has_every_package() -> None:
    text = (ROOT / "docs/library-api.md").read_text(encoding="utf-8")
    assert tables.renewed(text) == text, "`make docs` writes the tables anew"
    listed = {match[3] for match in tables.TABLE.finditer(text) if match[2] == "names"}
    assert listed == set(PACKAGES[:-1])


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
