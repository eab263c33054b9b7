"""Kernels run on the GPU where there is one, and else on the CPU in triton's interpreter, which conftest.py chooses."""

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import kernel_errors
import pytest
import torch

if importlib.util.find_spec("triton") is None:
    collect_ignore_glob = ["test_*.py"]
elif not torch.cuda.is_available():
    importlib.import_module("interpreter").mend()


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def poisoned() -> Iterator[None]:
    """What is never written is NaN, and of integers the largest."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def kept_errors(record_property: Callable[[str, object], None]) -> Iterator[None]:
    kernel_errors.SEEN.clear()
    yield
    for error in kernel_errors.SEEN:
        record_property("kernel error", (error.dtype, error.absolute, error.relative))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for report in terminalreporter.stats.get("", []) if report.when == "teardown"]
    found = [
        (Path(report.location[0]).stem.removeprefix("test_"), kernel_errors.Error(*value))
        for report in reports
        for name, value in report.user_properties
        if name == "kernel error"
    ]
    if found:
        terminalreporter.section("worst errors of kernels beside their references")
        for line in kernel_errors.lines(found):
            terminalreporter.write_line(line)
