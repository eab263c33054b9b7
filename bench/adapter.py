"""What the adapter costs per streamed token: the time between the engine's chunk and the chunk that is sent.

`python -m bench adapter` streams answers of a scripted engine, one token of some four characters per chunk, with and
without tools, alone and many at once; the engine's own time, measured alone in turns with the rest, is taken off.
"""

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from rich.console import Console
from rich.table import Table

from candle_vllm_openai import (
    AdapterConfig,
    ChatCompletionRequest,
    GenerationChunk,
    GenerationParams,
    OpenAIAdapter,
    ScriptedEngine,
    parse_request,
)

TOKEN_CHARS = 4
TOOL = {"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}
TEMPLATE = "{{ tools }}{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
Drain = Callable[[], AsyncIterator[object]]


def prose(num_chars: int) -> str:
    """Text without marks."""
    return ("The quick brown fox jumps over the lazy dog. " * (num_chars // 45 + 1))[:num_chars]


def call(num_chars: int) -> str:
    """A call whose arguments are that long."""
    return f'<tool_call>\n{{"name": "search", "arguments": {json.dumps({"text": prose(num_chars)})}}}\n</tool_call>'


def answers(num_tokens: int) -> dict[str, tuple[str, dict[str, Any]]]:
    """What is streamed: an answer's text and the fields of its request, by name."""
    num_chars = num_tokens * TOKEN_CHARS
    return {
        "text, no tools": (prose(num_chars), {}),
        "text, log probabilities": (prose(num_chars), {"logprobs": True, "top_logprobs": 1}),
        "text, tools on offer": (prose(num_chars), {"tools": [TOOL]}),
        "a call": (call(num_chars), {"tools": [TOOL]}),
        "reasoning, then a call": (f"<think>{prose(num_chars)}</think>{call(num_chars)}", {"tools": [TOOL]}),
    }


class Measured:
    """An answer, and the ways to stream it."""

    def __init__(self, text: str, fields: dict[str, Any], reasoning: str) -> None:
        words = sorted({text[start : start + TOKEN_CHARS] for start in range(0, len(text), TOKEN_CHARS)})
        template = TEMPLATE + "{# <tool_call> #}"
        self._engine = ScriptedEngine(
            lambda prompt, params: text, chat_template=template, words=words, pause=lambda: asyncio.sleep(0)
        )
        self._adapter = OpenAIAdapter(self._engine, AdapterConfig(parser="qwen", reasoning=reasoning))
        self._request: ChatCompletionRequest = parse_request(
            {"messages": [{"role": "user", "content": "Hi"}], "stream": True, **fields}
        )
        self._params = GenerationParams(
            max_tokens=1 << 30, logprobs=self._request.logprobs, top_logprobs=self._request.top_logprobs
        )
        self.num_tokens = len(self._engine.tokenize(text)) + 1

    def engine_alone(self) -> AsyncGenerator[GenerationChunk, None]:
        """The engine's chunks."""
        return self._engine.generate_stream([1], self._params)

    def adapted(self) -> AsyncIterator[object]:
        """The adapter's chunks."""
        return self._adapter.chat_completion_stream(self._request)

    async def written(self) -> AsyncIterator[object]:
        """The adapter's chunks, as they are sent."""
        async with aclosing(self._adapter.chat_completion_stream(self._request)) as chunks:
            async for chunk in chunks:
                yield chunk.to_json()


async def drained(make: Drain, num_streams: int) -> float:
    """Seconds of the processor's time for streams at once, to their ends."""

    async def drain() -> None:
        async for _ in make():
            pass

    start = time.process_time()
    await asyncio.gather(*(drain() for _ in range(num_streams)))
    return time.process_time() - start


def main(arguments: Sequence[str]) -> None:
    """Measure, and print microseconds per token."""
    parser = argparse.ArgumentParser(prog="bench adapter", description=__doc__)
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args(arguments)
    table = Table("answer", "streams", "engine alone", "adapter", "JSON", title="µs per token, medians")
    for name, (text, fields) in answers(asked.tokens).items():
        measured = Measured(text, fields, "think" if name.startswith("reasoning") else "none")
        for num_streams in asked.streams:
            ways = (measured.engine_alone, measured.adapted, measured.written)
            asyncio.run(drained(measured.written, 1))
            rounds = [[asyncio.run(drained(way, num_streams)) for way in ways] for _ in range(asked.rounds)]
            scale = 1e6 / (num_streams * measured.num_tokens)
            engine, adapter, written = (statistics.median(times) * scale for times in zip(*rounds, strict=True))
            table.add_row(
                name, str(num_streams), *(f"{each:.1f}" for each in (engine, adapter - engine, written - adapter))
            )
    Console().print(table)
