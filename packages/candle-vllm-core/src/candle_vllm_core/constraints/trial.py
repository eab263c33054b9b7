"""The program of the process in which a grammar is tried before the engine's own process takes it.

llguidance compiles without a way to interrupt it, and some grammars need minutes, gigabytes, or more stack than there
is. Here they may: each is tried in a process that is forked for it, and that the system ends when its share is used up.
This program takes one JSON text per line: a grammar, limits for llguidance, the seconds that it may compute and those
that it may take. It answers each with one: what is wrong with the grammar, null if its process was ended, and by what
signal.
"""

from __future__ import annotations

import json
import math
import os
import random
import re
import signal
import sys
import threading
import time
from typing import Any

import llguidance

MEMORY_BYTES = 256 << 20
STACK_BYTES = 1 << 20
"""Less than a thread of the engine has: what fits here fits there."""
NICENESS = 10
MAX_CHARS = 1000
STEP_SECONDS = 0.05
NUM_WALKS, WALK_LENGTH = 3, 8
BYTES = llguidance.LLTokenizer("byte")
TOKEN_IDS = re.compile(r"<\[\d+\]>")
ANY_TOKEN = f"<[{BYTES.vocab_size - 1}]>"
COMPLEX = ("ParserTooComplex", "LexerTooComplex")


def trial(grammar: str, limits: dict[str, Any]) -> str:
    """Compile a grammar and walk a little way into it, with the 256 bytes as tokens; what is wrong with it.

    One token that is no byte stands for all that the grammar names by id: here it has no others.
    """
    matcher = llguidance.LLMatcher(
        BYTES,
        TOKEN_IDS.sub(ANY_TOKEN, grammar),
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


def apart(grammar: str, limits: dict[str, Any], seconds: float, patience: float) -> tuple[str | None, int]:
    """Try a grammar in a forked process: what is wrong with it, None if the process was ended, and by what signal."""
    if sys.platform == "win32":
        return trial(grammar, limits), 0
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            for file in (0, 1, reader):
                os.close(file)
            confine(seconds, patience)
            thread = threading.Thread(target=lambda: os.write(writer, said_of(grammar, limits)))
            thread.start()
            thread.join()
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        said = answer.read()
    _, status = os.waitpid(child, 0)
    return json.loads(said) if said else None, os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def said_of(grammar: str, limits: dict[str, Any]) -> bytes:
    """What is wrong with a grammar, as the beginning of a JSON text that a pipe takes in one piece."""
    return json.dumps(trial(grammar, limits)[:MAX_CHARS]).encode()


def confine(seconds: float, patience: float) -> None:
    """Let the system end this process when it takes more than its share, to a second that begins."""
    if sys.platform != "win32":
        import resource

        end = math.ceil(time.process_time() + seconds)
        signal.alarm(math.ceil(patience))
        resource.setrlimit(resource.RLIMIT_CPU, (end, end + 1))
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Answer standard input line by line, behind everything else that the machine does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the process that started this one
    threading.stack_size(STACK_BYTES)
    if sys.platform != "win32":
        os.nice(NICENESS)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(apart(*json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
