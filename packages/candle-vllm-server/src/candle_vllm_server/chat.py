"""`python -m candle_vllm_server.chat`: talk with a model in this terminal, the engine in the same process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing, closing, suppress
from importlib import import_module
from typing import TextIO

from rich.console import Console
from rich.markup import escape

from candle_vllm_responses import (
    CandleVllmError,
    ChatCompletionRequest,
    Engine,
    InferenceEngine,
    OpenAIAdapter,
    parse_request,
)

from . import logs
from .flags import parse
from .settings import Settings, publish_token

DESCRIPTION = "Talk with a model in this terminal."
COMMANDS = "/reset begins anew, /quit or Ctrl-D leaves, Ctrl-C stops an answer"
PROMPT = "> "


class Chat:
    """A conversation: its messages so far, and how it goes on."""

    def __init__(self, adapter: OpenAIAdapter, out: TextIO) -> None:
        self._adapter, self._out = adapter, out
        self._messages: list[dict[str, str]] = []

    def reset(self) -> None:
        """Forget everything said."""
        self._messages.clear()

    async def say(self, text: str) -> None:
        """Write the answer to `text` as it comes; a turn that fails or is stopped before its first word is forgotten.

        Raises:
            CandleVllmError: the answer failed.
        """
        self._messages.append({"role": "user", "content": text})
        answer = ""
        try:
            async with aclosing(self._adapter.chat_completion_stream(self._request())) as chunks:
                async for chunk in chunks:
                    piece = "".join(choice.delta.content or "" for choice in chunk.choices)
                    answer += piece
                    self._write(piece)
        finally:
            self._write("\n")
            if answer:
                self._messages.append({"role": "assistant", "content": answer})
            else:
                self._messages.pop()

    def _request(self) -> ChatCompletionRequest:
        return parse_request({"messages": self._messages, "stream": True})

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Chat until the end of the input; the process's exit code."""
    settings = parse("candle-vllm-chat", DESCRIPTION, arguments, ("model", "sampling", "output"))
    console = Console(stderr=True, highlight=False)
    logs.configure(settings.log_level)
    publish_token(settings)
    try:
        engine = InferenceEngine(settings.engine_config())
    except CandleVllmError as error:
        if settings.verbose:
            console.print_exception()
        console.print(f"[red]candle-vllm-chat:[/red] {escape(str(error))}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 0
    with closing(engine):
        talk(engine, settings, console)
    return 0


def talk(engine: Engine, settings: Settings, console: Console) -> None:
    """Read a line, answer it, until the end of the input or `/quit`."""
    chat = Chat(OpenAIAdapter.with_config(engine, settings.adapter_config()), sys.stdout)
    if sys.stdin.isatty():
        with suppress(ImportError):
            import_module("readline")  # gives `input` line editing and history
    console.print(f"{escape(engine.model_info().model_id)}: {COMMANDS}", soft_wrap=True)
    with asyncio.Runner() as runner:
        while (line := _read(console)) != "/quit":
            if line == "/reset":
                chat.reset()
            elif line:
                _answer(runner, chat, line, console)


def _answer(runner: asyncio.Runner, chat: Chat, line: str, console: Console) -> None:
    try:
        runner.run(chat.say(line))
    except KeyboardInterrupt:
        console.print("(stopped)", style="dim")
    except CandleVllmError as error:
        console.print(escape(str(error)), style="red")


def _read(console: Console) -> str:
    """The next line; the end of the input is `/quit`. From a file or a pipe, no prompt is shown."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        return line.strip() if line else "/quit"
    try:
        return input(PROMPT).strip()
    except EOFError:
        return "/quit"
    except KeyboardInterrupt:
        console.print(f"\n{COMMANDS}", style="dim")
        return ""


if __name__ == "__main__":
    sys.exit(main())
