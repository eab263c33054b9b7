"""Offered load against a server with OpenAI's API: throughput, time to the first token, time between tokens, errors.

Requests arrive as a Poisson process of `--rate` a second (all at once without it) and at most `--concurrency` are under
way; what waits for a place counts as waiting. Without `--url` a server is started with `--model`, or with the embedded
model, and stopped at the end.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field

import httpx
from rich.console import Console
from rich.table import Table

WORDS = "the engine answers what a prompt asks and never waits for more than one block of work at once".split()
START_SECONDS = 300
PERCENTILES = (50, 90, 99)


@dataclass
class Told:
    """What one request was told, and when."""

    arrived: float
    times: list[float] = field(default_factory=list)
    """Of each chunk that carries text."""
    prompt_tokens: int = 0
    new_tokens: int = 0
    error: str | None = None

    @property
    def first(self) -> float:
        """Seconds from the request's arrival to its first text."""
        return self.times[0] - self.arrived

    @property
    def gaps(self) -> list[float]:
        """Seconds between two chunks."""
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]


def body(args: argparse.Namespace, number: int) -> dict[str, object]:
    """A request whose prompt no other one has."""
    draw = random.Random(f"{args.seed} {number}")
    count = draw.randint(*args.prompt_words)
    text = f"{number}: " + " ".join(draw.choice(WORDS) for _ in range(count))
    found: dict[str, object] = {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": draw.randint(*args.answer_tokens),
        "temperature": args.temperature,
        "seed": number,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if args.ignore_eos:
        found["ignore_eos"] = True
    if args.name:
        found["model"] = args.name
    return found


async def ask(client: httpx.AsyncClient, args: argparse.Namespace, number: int, told: Told) -> None:
    """Send one request and note its chunks."""
    async with client.stream("POST", "/v1/chat/completions", json=body(args, number)) as response:
        if response.status_code != httpx.codes.OK:
            await response.aread()
            told.error = f"{response.status_code} {response.text[:80]}"
            return
        async for line in response.aiter_lines():
            if line.startswith("data: ") and line != "data: [DONE]":
                note(json.loads(line[6:]), told)
    if not told.times and told.error is None:
        told.error = "no text"


def note(chunk: dict[str, object], told: Told) -> None:
    """Take in one chunk of a stream."""
    match chunk:
        case {"error": {"message": str(message)}}:
            told.error = message[:80]
        case {"choices": [{"delta": {"content": str(text)}}, *_]} if text:
            told.times.append(time.perf_counter())
    match chunk:
        case {"usage": {"prompt_tokens": int(prompt), "completion_tokens": int(new)}}:
            told.prompt_tokens, told.new_tokens = prompt, new


async def arrivals(args: argparse.Namespace) -> AsyncIterator[int]:
    """The numbers of the requests, each when it arrives."""
    draw = random.Random(args.seed)
    due = time.perf_counter()
    for number in range(args.requests):
        yield number
        if args.rate:
            due += draw.expovariate(args.rate)
            await asyncio.sleep(max(due - time.perf_counter(), 0))


async def offer(url: str, args: argparse.Namespace) -> tuple[list[Told], float]:
    """Offer the whole load; what each request was told, and the seconds until the last one was."""
    places = asyncio.Semaphore(args.concurrency)
    key = os.environ.get("OPENAI_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    limits = httpx.Limits(max_connections=args.concurrency)
    everyone: list[Told] = []
    async with httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=args.timeout) as client:

        async def one(number: int, told: Told) -> None:
            async with places:
                try:
                    await ask(client, args, number, told)
                except httpx.HTTPError as error:
                    told.error = type(error).__name__

        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            async for number in arrivals(args):
                everyone.append(Told(time.perf_counter()))
                tasks.create_task(one(number, everyone[-1]))
    return everyone, time.perf_counter() - began


@contextlib.contextmanager
def server(args: argparse.Namespace) -> Iterator[str]:
    """The URL of the server that was named, or of one that runs as long as this lasts."""
    if args.url:
        yield args.url.removesuffix("/").removesuffix("/v1")
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "candle_vllm_server", "--p", str(port), *args.server_arguments.split()]
    if args.model:
        command += ["--m", args.model]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            if not becomes_ready(url, process):
                log.seek(0)
                sys.exit(f"the server did not become ready; it said: {log.read()}")
            yield url
        finally:
            process.terminate()


def becomes_ready(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Ask until the server says that it is ready; it has no way to call us."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/ready", timeout=5).status_code == httpx.codes.OK:
                return True
        if process.poll() is not None:
            return False
        time.sleep(0.05)
    return False


def tables(everyone: Sequence[Told], seconds: float, args: argparse.Namespace) -> Iterator[Table]:
    """What the load met with."""
    good = [told for told in everyone if told.error is None]
    rate = f"{args.rate:g} a second" if args.rate else "all at once"
    title = f"{len(everyone)} requests, {rate}, at most {args.concurrency} under way"
    totals = Table("answered", "errors", "seconds", "requests/s", "tokens in/s", "tokens out/s", title=title)
    tokens = sum(told.prompt_tokens for told in good), sum(told.new_tokens for told in good)
    speeds = (len(good) / seconds, *(count / seconds for count in tokens))
    totals.add_row(
        str(len(good)), str(len(everyone) - len(good)), f"{seconds:.1f}", *(f"{speed:.1f}" for speed in speeds)
    )
    yield totals
    times = Table("ms", *(f"p{percent}" for percent in PERCENTILES), "most")
    for name, found in (
        ("to the first token", [told.first for told in good]),
        ("between tokens", [gap for told in good for gap in told.gaps]),
    ):
        if len(found) > 1:
            cuts = statistics.quantiles(found, n=100, method="inclusive")
            cells = [*(cuts[percent - 1] for percent in PERCENTILES), max(found)]
            times.add_row(name, *(f"{cell * 1000:.1f}" for cell in cells))
    yield times
    if errors := Counter(told.error for told in everyone if told.error is not None):
        complaints = Table("error", "times")
        for error, count in errors.most_common(10):
            complaints.add_row(error, str(count))
        yield complaints


def main(arguments: Sequence[str] | None = None) -> None:
    """Offer the load and print the tables."""
    parser = argparse.ArgumentParser(prog="bench serving", description=__doc__)
    parser.add_argument("--url", help="of a running server; its key is read from OPENAI_API_KEY")
    parser.add_argument("--name", help="the model that requests ask for; none by default")
    parser.add_argument("--model", help="directory or Hugging Face id to start a server with")
    parser.add_argument("--server-arguments", default="", help="further arguments for that server, in one text")
    parser.add_argument("--rate", type=float, help="requests a second; all at once without it")
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--concurrency", type=int, default=64, help="requests under way at once")
    parser.add_argument("--prompt-words", type=int, nargs=2, default=(8, 64), help="least and most")
    parser.add_argument("--answer-tokens", type=int, nargs=2, default=(16, 64), help="least and most")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--ignore-eos", action="store_true", help="asks for answers of full length, if the server can")
    parser.add_argument("--timeout", type=float, default=600, help="seconds without a byte that are an error")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(arguments)
    with server(args) as url:
        everyone, seconds = asyncio.run(offer(url, args))
    console = Console()
    for table in tables(everyone, seconds, args):
        console.print(table)
    if any(told.error is not None for told in everyone):
        sys.exit(1)


if __name__ == "__main__":
    main()
