"""`Sandbox`: the process that a grammar is tried in, with limits that hold whatever the grammar is."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

TRIAL = Path(__file__).with_name("trial.py")
BEGIN = "import runpy, sys; sys.path[:] = sys.argv[2:]; runpy.run_path(sys.argv[1], run_name='__main__')"
START_SECONDS = 60.0
OUT_OF_TIME = 24  # SIGXCPU, which not every system has
EASY = '{"grammars":[{"lark_grammar":"start: \\"a\\""}]}'


class TrialError(Exception):
    """A grammar took more time, memory or stack than it may; the message says which.

    `for_good` is false if it only had to wait too long: another time it may be taken.
    """

    def __init__(self, message: str, *, for_good: bool = True) -> None:
        super().__init__(message)
        self.for_good = for_good


class Sandbox:
    """Tries grammars one after the other in a process of its own, which is started when it is first needed."""

    def __init__(self, limits: dict[str, Any], seconds: float, patience: float) -> None:
        """`limits`: of `llguidance.LLParserLimits`; `seconds`: how long one grammar may compute.

        `patience`: seconds that it may take on a machine that has other things to do.
        """
        self._limits, self._seconds, self._patience = limits, seconds, patience
        self._busy = threading.RLock()
        self._process: subprocess.Popen[str] | None = None
        self._closed = False

    def try_out(self, grammar: str) -> str:
        """What is wrong with a grammar; empty if nothing is.

        Raises:
            TrialError: it took too long, or brought its process down.
            OSError: no process could be started.
        """
        with self._busy:
            process = self._process
            if process is None or process.poll() is not None:
                process = self._started()
            return self._ask(process, grammar, self._patience)

    def close(self) -> None:
        """End the process, and with it a trial that is running."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()
        with self._busy:
            self._end()

    def _started(self) -> subprocess.Popen[str]:
        self._end()
        command = [sys.executable, "-I", "-c", BEGIN, str(TRIAL), *(path for path in sys.path if path)]
        self._process = process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        if self._closed:
            process.kill()
        try:
            self._ask(process, EASY, START_SECONDS)
        except TrialError as error:
            raise OSError(f"the process that tries constraints did not start: {error}") from error
        return process

    def _ask(self, process: subprocess.Popen[str], grammar: str, patience: float) -> str:
        if process.stdin is None or process.stdout is None:
            raise OSError("the process that tries constraints has no pipes")
        timer = threading.Timer(patience, process.kill)
        timer.start()
        try:
            process.stdin.write(json.dumps([grammar, self._limits, self._seconds]) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        in_time = timer.is_alive()
        timer.cancel()
        if answer:
            return str(json.loads(answer))
        self._end()
        if not in_time:
            raise TrialError(f"it was not ready after {patience:g} s", for_good=False)
        if -process.returncode == OUT_OF_TIME:
            raise TrialError(f"it takes over {self._seconds:g} s")
        raise TrialError("it needs more memory or stack than it may")

    def _end(self) -> None:
        """End the process and wait for it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with suppress(OSError), process:  # what was not yet written to it is lost
                pass
