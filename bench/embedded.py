"""The model that ships with the package: how soon it is there, and how fast it writes.

`python -m bench embedded` prints the time to import the core, to open the engine and until the server is ready, each in
a process of its own, and tokens per second for one answer and for sixteen at once.
"""

import argparse
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from candle_vllm_core import EngineConfig, GenerationParams, InferenceEngine

ROUNDS = 5
PORT = 20_990
IMPORT = "import time; t = time.perf_counter(); import candle_vllm_core; print(time.perf_counter() - t)"
OPEN = (
    "import time; t = time.perf_counter(); from candle_vllm_core import InferenceEngine; "
    "e = InferenceEngine(); print(time.perf_counter() - t); e.close()"
)


def said(program: str) -> float:
    """The number that a program prints."""
    return float(subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout)


def server_ready() -> float:
    """Seconds from starting the server's process until it says that the model answers."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "candle_vllm_server", "--p", str(PORT)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            while not answers(f"http://127.0.0.1:{PORT}/ready"):
                time.sleep(0.01)
            return time.perf_counter() - started
        finally:
            process.terminate()


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False


def speed(engine: InferenceEngine, batch: int) -> float:
    """Tokens per second of so many answers at once."""
    prompt = engine.tokenize("<|im_start|>user\nWhat is candle-vllm?<|im_end|>\n<|im_start|>assistant\n")
    params = GenerationParams(max_tokens=128, temperature=0, ignore_eos=True)
    started = time.perf_counter()
    outputs = engine.generate_batch([prompt] * batch, params)
    return sum(output.stats.generated_tokens for output in outputs) / (time.perf_counter() - started)


def median(measure: Callable[[], float]) -> float:
    """The median of a few measurements."""
    return statistics.median(measure() for _ in range(ROUNDS))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    argparse.ArgumentParser(prog="bench embedded", description=__doc__).parse_args(arguments)
    table = Table("what", "median", title=f"The embedded model, {ROUNDS} rounds")
    table.add_row("import candle_vllm_core", f"{median(lambda: said(IMPORT)):.3f} s")
    table.add_row("open the engine, import included", f"{median(lambda: said(OPEN)):.2f} s")
    table.add_row("server ready, from the start of its process", f"{median(server_ready):.2f} s")
    with InferenceEngine(EngineConfig(device="cpu")) as engine:
        speed(engine, 1)
        table.add_row("one answer", f"{median(lambda: speed(engine, 1)):.0f} tokens/s")
        table.add_row("sixteen answers at once", f"{median(lambda: speed(engine, 16)):.0f} tokens/s")
    Console().print(table)
