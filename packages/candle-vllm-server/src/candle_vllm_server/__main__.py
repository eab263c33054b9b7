"""`candle-vllm-server`: the command line that serves one model over HTTP."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.traceback import Traceback

from candle_vllm_responses import Engine, InferenceEngine

from . import logs, startup
from .app import build
from .context import Context
from .flags import parse
from .manager import ModelManager, OpenEngine
from .serving import PortError, Serving, bind
from .settings import Settings, publish_token

DESCRIPTION = "Serve a model over OpenAI's API."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is told to stop; the process's exit code."""
    return run(parse("candle-vllm-server", DESCRIPTION, arguments), InferenceEngine.new)


def run(settings: Settings, open_engine: OpenEngine) -> int:
    """Run a server with these settings until it is told to stop; the process's exit code."""
    console = Console(stderr=True, highlight=False)
    logs.configure(settings.log_level)
    publish_token(settings)
    try:
        listener = bind(settings.host, settings.port)
    except PortError as error:
        return _failed(console, error)
    url = startup.url_of(settings.host, listener.getsockname()[1])

    def ready(engine: Engine) -> None:
        startup.announce_ready(console, settings, engine.model_info(), engine.stats(), url)

    startup.announce_load(console, settings)
    manager = ModelManager(settings, open_engine, ready)
    context = Context(settings=settings, manager=manager)
    Serving(build(context), context).run(sockets=[listener])
    if manager.failure is not None:
        return _failed(console, manager.failure, trace=settings.verbose)
    console.print("Stopped.")
    return 0


def _failed(console: Console, error: Exception, *, trace: bool = False) -> int:
    if trace:
        console.print(Traceback.from_exception(type(error), error, error.__traceback__))
    console.print(f"[red]candle-vllm-server:[/red] {escape(str(error) or type(error).__name__)}", soft_wrap=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
