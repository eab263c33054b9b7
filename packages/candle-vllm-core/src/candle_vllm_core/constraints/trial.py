"""The program of the process in which a grammar is tried before the engine's own process takes it.

llguidance compiles without a way to interrupt it, and some grammars need minutes, gigabytes, or more stack than there
is. Here they may: the system ends this process when its share is used up. It takes one JSON text per line, a grammar
and its limits and the seconds that it may compute, and answers each with one: an empty text, or what is wrong with it.
"""

from __future__ import annotations

import json
import math
import os
import random
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
NUM_WALKS, WALK_LENGTH = 3, 12
COMPLEX = ("ParserTooComplex", "LexerTooComplex")


def trial(grammar: str, limits: dict[str, Any]) -> str:
    """Compile a grammar and walk a little way into it, with the 256 bytes as tokens; what is wrong with it."""
    matcher = llguidance.LLMatcher(
        llguidance.LLTokenizer("byte"),
        grammar,
        log_level=0,
        limits=llguidance.LLParserLimits(**limits, verbose_errors=False),
    )
    for seed in range(NUM_WALKS):
        if matcher.is_error():
            break
        if said := walk(matcher, seed):
            return said
    return matcher.get_error()


def walk(matcher: llguidance.LLMatcher, seed: int) -> str:
    """Go a random way from the beginning: what is wrong there. A dead end is not, for there are other ways.

    The first step is the matcher's own, so that it has the error if there is one.
    """
    draw = random.Random(seed)
    for place in range(WALK_LENGTH):
        began = time.thread_time()
        forced = matcher.compute_ff_tokens()
        mask = matcher.compute_bitmask() if not matcher.is_stopped() else bytes(32)
        if (seconds := time.thread_time() - began) > STEP_SECONDS:
            return f"one token of it takes {seconds:.2f} s"
        allowed = [token for token in range(256) if mask[token // 8] >> token % 8 & 1]
        if matcher.is_stopped() or not allowed:
            break
        matcher = matcher.deep_copy() if place == 0 else matcher
        matcher.consume_tokens(forced or [draw.choice(allowed)])
    return "" if place == 0 or matcher.stop_reason() not in COMPLEX else matcher.get_error()


def serve(requests: Iterable[str], answers: IO[str]) -> None:
    """Answer one line after the other until there are no more."""
    for line in requests:
        grammar, limits, seconds = json.loads(line)
        limit_time(seconds)
        answers.write(json.dumps(trial(grammar, limits)) + "\n")
        answers.flush()


def limit_time(seconds: float) -> None:
    """Let the system end this process when it has computed so much longer, to a second that begins."""
    if sys.platform != "win32":
        import resource

        end = math.ceil(time.process_time() + seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (end, resource.getrlimit(resource.RLIMIT_CPU)[1]))


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
