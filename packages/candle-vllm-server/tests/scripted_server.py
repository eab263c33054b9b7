"""The server's own command line over a scripted engine: `python scripted_server.py MODE [flags]`."""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import suppress
from typing import Any

from candle_vllm_core import ModelLoadError, ScriptedEngine
from candle_vllm_server.__main__ import DESCRIPTION, run
from candle_vllm_server.flags import parse


async def stuck() -> None:
    """Lets nothing pass."""
    await asyncio.Event().wait()


class Deaf(ScriptedEngine):
    """Does not end when it is told to."""

    async def generate_stream(self, prompt: Any, params: Any = None) -> Any:
        async for chunk in super().generate_stream(prompt, params):
            yield chunk
            while True:
                with suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()


class Announced(ScriptedEngine):
    """Says when it is closed."""

    def close(self) -> None:
        super().close()
        sys.stdout.write("closed\n")
        sys.stdout.flush()


async def open_engine(config: object) -> ScriptedEngine:
    sys.stdout.write("loading\n")
    sys.stdout.flush()
    match MODE:
        case "broken":
            raise ModelLoadError("there are no weights in /nowhere; give a directory with *.safetensors files")
        case "slow":
            await asyncio.to_thread(threading.Event().wait)
        case "endless":
            return Announced(lambda prompt, params: "word " * 10_000, pause=lambda: asyncio.sleep(0.001))
        case "deaf":
            return Deaf(["never ends"])
        case "stuck":
            return Announced(lambda prompt, params: "never said", pause=stuck)
    return Announced(lambda prompt, params: "Hello there.")


MODE = sys.argv[1]
sys.exit(run(parse("candle-vllm-server", DESCRIPTION, sys.argv[2:]), open_engine))
