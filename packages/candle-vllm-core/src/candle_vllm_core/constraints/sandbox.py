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
SPARE_SECONDS = 5.0
OUT_OF_PATIENCE, OUT_OF_TIME = 14, 24  # SIGALRM and SIGXCPU, which not every system has
EASY = '{"grammars":[{"lark_grammar":"start: \\"a\\""}]}'


class TrialError(Exception):
    """A grammar took more time, memory or stack than it may; the message says which.

    `for_good` is false if it only had to wait too long: another time it may be taken.
    """

    def __init__(self, message: str, *, for_good: bool = True) -> None:
        super().__init__(message)
        self.for_good = for_good


class Sandbox:
    """Tries grammars one after the other in a process of its own, which is started when it is first needed.

    That process forks one for each grammar, so a hostile one ends nothing but itself.
    """

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
            said, ended_by = self._ask(process, grammar, self._patience + SPARE_SECONDS)
        if said is not None:
            return said
        if ended_by == OUT_OF_TIME:
            raise TrialError(f"it takes over {self._seconds:g} s")
        if ended_by == OUT_OF_PATIENCE:
            raise TrialError(f"it was not ready after {self._patience:g} s", for_good=False)
        raise TrialError("it needs more memory or stack than it may")

    def close(self) -> None:
        """End the process, and with it a trial that is running."""
        self._closed = True
        if (process := self._process) is not None:
            process.kill()
        with self._busy:
            self._end()

    def _started(self) -> subprocess.Popen[str]:
        self._end()
        if not sys.executable:
            raise OSError(
                "Python does not know its own program, so the process that tries constraints cannot be started"
            )
        command = [sys.executable, "-I", "-c", BEGIN, str(TRIAL), *(path for path in sys.path if path)]
        self._process = process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        if self._closed:
            process.kill()
        self._ask(process, EASY, START_SECONDS)
        return process

    def _ask(self, process: subprocess.Popen[str], grammar: str, seconds: float) -> tuple[str | None, int]:
        if process.stdin is None or process.stdout is None:
            raise OSError("the process that tries constraints has no pipes")
        timer = threading.Timer(seconds, process.kill)
        timer.start()
        try:
            process.stdin.write(json.dumps([grammar, self._limits, self._seconds, self._patience]) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        finally:
            timer.cancel()
        if not answer:
            self._end()
            raise OSError("the process that tries constraints ended")
        said, ended_by = json.loads(answer)
        return said, ended_by

    def _end(self) -> None:
        """End the process and wait for it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with suppress(OSError), process:  # what was not yet written to it is lost
                pass
