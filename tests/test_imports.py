"""What importing a package does, seen in a fresh interpreter: the layering test cannot see third parties' imports."""

import json
import subprocess
import sys

import pytest

# The interpreter says what changed between its first line and the line after the import.
PROBE = """
import json, logging, os, signal, sys, threading, warnings

def world():
    return {
        "environment": dict(os.environ),
        "threads": threading.active_count(),
        "warning filters": [str(f) for f in warnings.filters],
        "root logger": [logging.root.level, [str(h) for h in logging.root.handlers]],
        "search path": list(sys.path),
        "hooks": [str(sys.excepthook), str(sys.displayhook), str(signal.getsignal(signal.SIGINT))],
        "folder": os.getcwd(),
    }

before = world()
import PACKAGE
after = world()
changed = {key: [before[key], after[key]] for key in before if before[key] != after[key]}
print(json.dumps({"modules": sorted(sys.modules), "changed": changed}))
"""


def imported(package: str) -> tuple[set[str], dict[str, object]]:
    """The modules loaded and the globals changed by importing a package."""
    probe = PROBE.replace("PACKAGE", package)
    run = subprocess.run([sys.executable, "-W", "error", "-c", probe], capture_output=True, text=True, check=True)
    report = json.loads(run.stdout)
    return set(report["modules"]), report["changed"]


@pytest.mark.parametrize(
    ("package", "absent"),
    [
        ("candle_vllm_core", {"torch", "transformers", "numpy", "huggingface_hub", "pydantic", "fastapi", "mcp"}),
        ("candle_vllm_openai", {"torch", "transformers", "huggingface_hub", "fastapi", "mcp", "starlette"}),
        ("candle_vllm_responses", {"torch", "transformers", "huggingface_hub", "fastapi", "mcp", "starlette"}),
        ("candle_vllm_server", {"torch", "transformers", "huggingface_hub", "mcp", "uvicorn"}),
        ("candle_vllm", {"torch", "transformers", "numpy", "huggingface_hub", "pydantic", "fastapi", "mcp"}),
    ],
)
def test_importing_a_package_loads_little(package: str, absent: set[str]) -> None:
    modules, _ = imported(package)
    assert package in modules
    assert modules & absent == set()


@pytest.mark.parametrize("package", ["candle_vllm_core", "candle_vllm"])
def test_importing_the_engine_changes_nothing(package: str) -> None:
    _, changed = imported(package)
    assert changed == {}


def test_the_probe_sees_what_it_looks_for() -> None:
    thread = "threading.Thread(target=threading.Event().wait, daemon=True).start()"
    modules, changed = imported(f"os, colorsys; os.environ['PLANTED'] = '1'; {thread}")
    assert "colorsys" in modules
    assert set(changed) == {"environment", "threads"}
