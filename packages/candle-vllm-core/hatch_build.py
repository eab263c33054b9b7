"""Builds the libraries of C functions with the package, where there is a C compiler; it is whole without them."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("src/candle_vllm_core/native")
FLAGS = ("-O3", "-fPIC", "-shared", "-ffp-contract=off")
PROCESSORS = {
    "avx2": ("-mavx2", "-mfma"),
    "avx512": ("-mfma", *(f"-mavx512{part}" for part in ("f", "bw", "dq", "vl", "vnni", "bf16"))),
}


class NativeLibrary(BuildHookInterface[Any]):
    """A wheel with the libraries is for one platform; one without is for all."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile next to the sources."""
        folder = Path(self.root) / FOLDER
        for old in folder.glob("libnative*"):
            old.unlink()
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if self.target_name != "wheel" or sys.platform != "linux" or platform.machine() != "x86_64" or not compiler:
            return
        built = [name for kind in PROCESSORS if (name := self._built(folder, compiler, kind))]
        if built:
            build_data["artifacts"] += [str(FOLDER / name) for name in built]
            build_data["pure_python"] = False
            build_data["tag"] = "py3-none-linux_x86_64"

    def _built(self, folder: Path, compiler: str, kind: str) -> str | None:
        """The file's name; None where it was not to be built."""
        sources = sorted(str(path) for path in folder.glob("*.c"))
        library = folder / f"libnative-{kind}.so"
        command = [compiler, *FLAGS, *PROCESSORS[kind], *sources, "-o", str(library), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            library.unlink(missing_ok=True)
            self.app.display_warning(f"no C functions for {kind}, {compiler} says: {done.stderr[-500:]}")
            return None
        return library.name
