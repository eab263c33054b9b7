"""What each distribution declares is what its sources import, pinned where it is ours."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from workspace import PACKAGES, ROOT, SOURCES

PROJECTS = {name: folder.parent / "pyproject.toml" for name, folder in SOURCES.items()}


def project(name: str) -> dict[str, Any]:
    return tomllib.loads(PROJECTS[name].read_text(encoding="utf-8"))["project"]


def dependencies(name: str) -> list[str]:
    """What a distribution needs, its extras among it."""
    about = project(name)
    extras = about.get("optional-dependencies", {}) if name != "candle_vllm" else {}
    return [*about["dependencies"], *(line for extra in extras.values() for line in extra)]


def requirements(lines: Iterable[str]) -> dict[str, Requirement]:
    parsed = [Requirement(line) for line in lines]
    return {canonicalize_name(r.name): r for r in parsed}


def imported(*folders: Path) -> set[str]:
    """Distributions that the sources below some folders import."""
    paths = [path for folder in folders for path in folder.rglob("*.py")]
    tops = {top for path in paths for top in imported_names(ast.parse(path.read_text(encoding="utf-8")))}
    return {distribution(top) for top in tops - sys.stdlib_module_names}


PEERS = {"gguf", "llama-cpp"}
"""What a benchmark compares with, run by a Python of its own that is named on the command line."""


def imported_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


@cache
def owners() -> Mapping[str, list[str]]:
    return packages_distributions()


def distribution(top: str) -> str:
    return canonicalize_name(owners().get(top, [top])[0])


@pytest.mark.parametrize("package", PACKAGES[:-1])
def test_a_package_declares_what_it_imports_and_no_more(package: str) -> None:
    assert set(requirements(dependencies(package))) == imported(SOURCES[package])


def test_the_root_offers_every_package_as_an_extra() -> None:
    root = project("candle_vllm")
    extras = root["optional-dependencies"]
    needed = imported(SOURCES["candle_vllm"])
    offered = requirements(root["dependencies"] + extras["openai"] + extras["responses"] + extras["server"])
    assert set(offered) == needed
    assert extras["all"] == ["candle-vllm[openai,mcp,responses,server]"]
    assert extras["triton"] == [f"candle-vllm-core[triton]=={root['version']}"]


def test_tools_import_only_what_set_up_installs() -> None:
    names = [*project("candle_vllm")["optional-dependencies"]["dev"]]
    for package in PACKAGES:
        names += dependencies(package)
    folders = [ROOT / name for name in ("tests", "examples", "bench", "training", "scripts")]
    folders += [folder.parent / "tests" for folder in SOURCES.values()]
    ours = {canonicalize_name(package) for package in PACKAGES}
    paths = [path for folder in folders for path in folder.rglob("*.py")]
    helpers = {canonicalize_name(name) for path in paths for name in (path.stem, path.parent.name)}
    assert imported(*folders) - ours - helpers - PEERS - set(requirements(names)) == set()


def test_our_own_packages_pin_each_other_exactly() -> None:
    versions = {canonicalize_name(name): project(name)["version"] for name in PACKAGES}
    assert len(set(versions.values())) == 1
    for package in PACKAGES:
        about = project(package)
        lines = [
            *about["dependencies"],
            *(x for extra in about.get("optional-dependencies", {}).values() for x in extra),
        ]
        for name, requirement in requirements(lines).items():
            if name in versions and not requirement.extras:
                assert str(requirement.specifier) == f"=={versions[name]}", f"{package}: {requirement}"


def test_the_constraints_pin_all_of_it_once() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", pin) for pin in pins)
    versions = {canonicalize_name(pin.partition("==")[0]): Version(pin.partition("==")[2]) for pin in pins}
    assert len(versions) == len(pins)
    assert str(versions["torch"]) == "2.13.0"
    wanted = [line for name in PACKAGES for line in dependencies(name)]
    extras = project("candle_vllm")["optional-dependencies"]
    wanted += [*extras["dev"], *extras["clients"]]
    for name, requirement in requirements(wanted).items():
        if not name.startswith("candle-vllm"):
            assert versions[name] in requirement.specifier, str(requirement)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_holds_every_file_of_its_package(package: str, tmp_path: Path) -> None:
    folder = PROJECTS[package].parent
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = (path for path in (SOURCES[package] / package).rglob("*") if path.is_file())
    assert held == {str(path.relative_to(SOURCES[package])) for path in sources if "__pycache__" not in path.parts}
    assert f"{package}/py.typed" in held
