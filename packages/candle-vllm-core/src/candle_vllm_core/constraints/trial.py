"""The program of the process in which a grammar is tried before the engine's own process takes it.

llguidance compiles without a way to interrupt it, and some grammars need minutes, gigabytes, or more stack than there
is. Here they may: whoever started this process ends it when the time is over. It takes one JSON text per line, a
grammar and its limits, and answers each with one: an empty text, or what is wrong with the grammar.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable
from typing import IO, Any

import llguidance

MEMORY_BYTES = 256 << 20
STACK_BYTES = 1 << 20
"""Less than a thread of the engine has: what fits here fits there."""
NICENESS = 10
STEP_SECONDS = 0.05


def trial(grammar: str, limits: dict[str, Any]) -> str:
    """Compile a grammar and compute its first mask, with the 256 bytes as tokens; what is wrong with it."""
    matcher = llguidance.LLMatcher(
        llguidance.LLTokenizer("byte"),
        grammar,
        log_level=0,
        limits=llguidance.LLParserLimits(**limits, verbose_errors=False),
    )
    began = time.thread_time()
    if not matcher.is_error():
        matcher.compute_ff_tokens()
        matcher.compute_bitmask()
    if (seconds := time.thread_time() - began) > STEP_SECONDS:
        return f"its first token takes {seconds:.2f} s"
    return matcher.get_error()


def serve(requests: Iterable[str], answers: IO[str]) -> None:
    """Answer one line after the other until there are no more."""
    for line in requests:
        grammar, limits = json.loads(line)
        answers.write(json.dumps(trial(grammar, limits)) + "\n")
        answers.flush()


def confine() -> None:
    """Take little memory and let others go first; a Ctrl-C is for the process that started this one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.nice(NICENESS)


def main() -> None:
    """Serve standard input on a thread with little stack."""
    confine()
    threading.stack_size(STACK_BYTES)
    thread = threading.Thread(target=serve, args=(sys.stdin, sys.stdout))
    thread.start()
    thread.join()


if __name__ == "__main__":
    main()
