"""Builds the library of C functions with the package, where there is a C compiler; without it the package is whole."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("src/candle_vllm_core/native")
FLAGS = (
    *("-O3", "-fPIC", "-shared", "-ffp-contract=off"),
    *("-mfma", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni", "-mavx512bf16"),
)


class NativeLibrary(BuildHookInterface[Any]):
    """A wheel with the library is for one platform; one without is for all."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile next to the sources."""
        folder = Path(self.root) / FOLDER
        library = folder / "libnative.so"
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if self.target_name != "wheel" or sys.platform != "linux" or platform.machine() != "x86_64" or not compiler:
            library.unlink(missing_ok=True)
            return
        sources = sorted(str(path) for path in folder.glob("*.c"))
        fresh = library.with_suffix(".new")
        done = subprocess.run([compiler, *FLAGS, *sources, "-o", str(fresh), "-lm"], capture_output=True, text=True)
        if done.returncode:
            library.unlink(missing_ok=True)
            self.app.display_warning(f"the C functions were not built, {compiler} says: {done.stderr[-500:]}")
            return
        fresh.replace(library)
        build_data["artifacts"].append(str(FOLDER / library.name))
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-linux_x86_64"
