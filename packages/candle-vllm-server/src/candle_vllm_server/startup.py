"""What a person sees while the server starts."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from candle_vllm_responses import EngineStats, ModelInfo

from .guards import is_loopback
from .settings import Settings

UNITS = ((10**9, "B"), (10**6, "M"), (10**3, "K"))


def announce_load(console: Console, settings: Settings) -> None:
    """Say what is being loaded."""
    _line(console, f"Loading   {escape(settings.model_path or 'the embedded model')}")


def announce_ready(console: Console, settings: Settings, info: ModelInfo, stats: EngineStats, url: str) -> None:
    """Say what was loaded, how much fits, and how to talk to it."""
    model = settings.served_name or info.model_id
    _line(
        console,
        f"Model     {escape(model)} ({escape(info.architecture)}, {count(info.num_parameters)} parameters, "
        f"{info.dtype} on {info.device}, up to {info.max_sequence_length:,} tokens a sequence)",
    )
    if info.memory is not None:
        _line(console, f"Memory    {info.memory}")
    if stats.kv_blocks_total:
        _line(console, f"KV cache  {kept(info, stats)}")
    if not is_loopback(settings.host) and settings.api_key is None:
        _line(
            console, "[yellow]Open      anyone who reaches this address may use it; --api-key asks for a key[/yellow]"
        )
    _line(console, f"Ready     {url} (Ctrl-C ends it)\n")
    _line(console, escape(example(url, with_key=settings.api_key is not None)))


def kept(info: ModelInfo, stats: EngineStats) -> str:
    """How many blocks there are, and what a sequence takes of them and beside them."""
    said = f"{stats.kv_blocks_total:,} blocks of {stats.block_size}: {info.kv_cache_tokens:,} tokens fit"
    said += f", {info.kv_bytes_per_token:,} bytes each"
    if info.kv_bytes_per_token_beyond_window != info.kv_bytes_per_token:
        said += f" and {info.kv_bytes_per_token_beyond_window:,} beyond the window"
    if info.state_bytes_per_sequence:
        said += f"; {info.state_bytes_per_sequence:,} bytes a sequence for recurrent layers"
    return said


def example(url: str, *, with_key: bool) -> str:
    """A first request, to paste into a terminal."""
    key = " -H 'Authorization: Bearer '$CANDLE_VLLM_API_KEY" if with_key else ""
    body = '{"stream": true, "messages": [{"role": "user", "content": "What is candle-vllm?"}]}'
    return f"  curl -N {url}/v1/chat/completions{key} -H 'Content-Type: application/json' -d '{body}'"


def count(number: int) -> str:
    """A large number in three digits: 494,032,768 is 494M."""
    for size, unit in UNITS:
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)


def url_of(host: str, port: int) -> str:
    """Where the server is reached."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


def _line(console: Console, text: str) -> None:
    """Print a line that stays one line, to be copied whole."""
    console.print(text, soft_wrap=True)
