"""What the chat templates of released checkpoints cost: to compile and probe once, and to render for every request.

`python -m bench templates` prints a row for each, beside transformers' own rendering of the same conversation, and for
how many conversations both give the same prompt.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from candle_vllm_openai import ApiError
from candle_vllm_openai.prompt import PromptTemplate

sys.path.insert(0, str(Path(__file__).parent.parent / "packages/candle-vllm-openai/tests/support"))

import chat_templates as given


def main(arguments: Sequence[str]) -> None:
    """Time, compare, and print."""
    parser = argparse.ArgumentParser(prog="bench templates", description=__doc__)
    parser.add_argument("--repeat", type=int, default=50, help="renderings of each")
    parser.add_argument("--turns", type=int, default=20, help="turns of the timed conversation")
    asked = parser.parse_args(arguments)
    table = Table(
        "template", "compile ms", "render us", "transformers us", "same prompt", "other", "transformers fails"
    )
    totals = [0, 0, 0]
    for name in given.NAMES:
        counts = compared(name)
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
        table.add_row(name, *timed(name, asked.turns, asked.repeat), *map(str, counts))
    table.add_row("all", "", "", "", *map(str, totals))
    Console().print(table)


def timed(name: str, turns: int, repeat: int) -> list[str]:
    """Compiling, and rendering a conversation of so many turns, by us and by transformers."""
    template = given.chat_template(name)
    messages: list[dict[str, Any]] = []
    for turn in range(turns):
        messages.append({"role": "user", "content": f"Question {turn} " * 40})
        messages.append({"role": "assistant", "content": f"Answer {turn} " * 40})
    messages.append({"role": "user", "content": "And?"})
    request = given.request(messages, tools=given.TOOLS)
    ours = PromptTemplate(template)
    return [
        f"{took(lambda: PromptTemplate(template), 3) * 1e3:.0f}",
        f"{took(lambda: ours.render(request), repeat) * 1e6:.0f}",
        f"{took(lambda: theirs(name, messages), repeat) * 1e6:.0f}",
    ]


def theirs(name: str, messages: list[dict[str, Any]]) -> str | None:
    """What transformers renders; None if the template refuses."""
    try:
        return str(given.reference(given.chat_template(name), messages, tools=given.TOOLS))
    except Exception:  # templates fail in any way, with any exception
        return None


def compared(name: str) -> list[int]:
    """How many conversations both render alike, differently, and transformers not at all."""
    counts = [0, 0, 0]
    for messages in (*given.CONVERSATIONS.values(), *given.CALLS.values(), given.TWO_CALLS):
        written = {
            theirs(name, given.as_read(messages, as_text=as_text, no_content=content))
            for as_text in (False, True)
            for content in (None, "")
        }
        try:
            ours = given.rendered(given.chat_template(name), messages, tools=given.TOOLS)
        except ApiError:
            ours = ""
        counts[2 if written == {None} else int(ours not in written)] += 1
    return counts


def took(run: Callable[[], object], repeat: int) -> float:
    """The median of so many runs, in seconds."""
    times = []
    for _ in range(repeat):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return median(times)
