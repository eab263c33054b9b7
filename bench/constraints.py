"""Constrained answers of the embedded model: whether they are what was asked, and what it costs.

`python -m bench constraints` draws an answer to each of 500 generated schemas and validates it with `jsonschema`, times
compiling each of them and every mask of every answer, and then measures the pauses between the tokens of running
streams, in turns with and without hostile constraints that are sent meanwhile.
"""

import argparse
import asyncio
import importlib
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import jsonschema
from rich.console import Console
from rich.table import Table

from candle_vllm_core import Constraint, EngineConfig, Error, GenerationOutput, GenerationParams, InferenceEngine
from candle_vllm_core.constraints.compiler import Compiler
from candle_vllm_core.tokenizer import Tokenizer
from candle_vllm_core.weights.source import open_source

SUPPORT = Path(__file__).parents[1] / "packages/candle-vllm-core/tests/support"
PROMPT = "<|im_start|>user\nAnswer in JSON: what is candle-vllm?<|im_end|>\n<|im_start|>assistant\n"


def hostile() -> dict[str, dict[str, object]]:
    """Fields of constraints that would take too much, and what they are."""
    links = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(3000)}
    deep: dict[str, object] = {}
    for _ in range(1000):
        deep = {"properties": {"a": deep}}
    return {
        "multipleOf 1000003": {"json_schema": {"type": "integer", "multipleOf": 1_000_003}},
        "20 patterns at once": {
            "json_schema": {"allOf": [{"type": "string", "pattern": f"x{n}.{{1,50}}y"} for n in range(20)]}
        },
        "3000 $refs in a row": {"json_schema": {"$defs": {**links, "d3000": {}}, "$ref": "#/$defs/d0"}},
        "nested 1000 deep": {"json_schema": deep},
        "12 unions of 12 at once": {
            "json_schema": {
                "allOf": [
                    {"anyOf": [{"properties": {f"p{n}{m}": {"minimum": m}}} for m in range(12)]} for n in range(12)
                ]
            }
        },
        "enum of 20000": {"json_schema": {"enum": [f"value {n}" for n in range(20_000)]}},
        "10000 properties": {"json_schema": {"properties": {f"p{n}": {} for n in range(10_000)}}},
        "regex a{1000000000}": {"regex": "a{1000000000}"},
        "regex of 2000 groups": {"regex": "(" * 2000 + "a" + ")*" * 2000},
        "40 regexes at once": {"grammar": "start: T\nT: " + " & ".join(f"/(.|\\n)*x{n}(.|\\n)*/" for n in range(40))},
        "3000 rules in a row": {
            "grammar": "start: r0\n" + "\n".join(f"r{n}: r{n + 1}" for n in range(3000)) + '\nr3000: "a"'
        },
        "regex (a+)+$": {"regex": "(a+)+$"},
        "regex (a|b)*a(a|b){500}": {"regex": "(a|b)*a(a|b){500}"},
    }


def percentiles(seconds: Sequence[float]) -> str:
    """The median, the 99th percentile and the most, in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100) if len(seconds) > 1 else [seconds[0]] * 99
    return f"{1e3 * cuts[49]:.3f} / {1e3 * cuts[98]:.3f} / {1e3 * max(seconds):.3f} ms"


def answers(
    engine: InferenceEngine, constraints: Sequence[Constraint], max_tokens: int
) -> tuple[list[GenerationOutput], float]:
    """An answer to each, half of them greedy, and the seconds that they took together."""
    prompt = engine.tokenize(PROMPT)
    params = [
        GenerationParams(
            constraint=constraint,
            max_tokens=max_tokens,
            temperature=float(number % 2),
            seed=number,
            frequency_penalty=1.0,
        )
        for number, constraint in enumerate(constraints)
    ]
    began = time.perf_counter()
    outputs = engine.generate_batch([prompt] * len(params), params, progress=True)
    return outputs, time.perf_counter() - began


def verdict(schema: dict[str, object], output: GenerationOutput) -> str:
    """Whether an answer is what its schema asks for; one that was cut off cannot be."""
    if output.finish_reason != "stop":
        return f"ended by {output.finish_reason}"
    try:
        jsonschema.Draft202012Validator(schema).validate(json.loads(output.text))
    except (ValueError, jsonschema.ValidationError):
        return "invalid"
    return "valid"


def replay(
    compiler: Compiler, constraints: Sequence[Constraint], outputs: Sequence[GenerationOutput]
) -> dict[str, list[float]]:
    """Compile each constraint and follow each answer once more, alone; the seconds of each part."""
    taken: dict[str, list[float]] = {"compile": [], "mask": [], "accept": [], "forced": [], "tokens": []}
    compiler.compile(Constraint(regex="the first one starts the process")).result()
    for constraint, output in zip(constraints, outputs, strict=True):
        began = time.perf_counter()
        compiled = compiler.compile(constraint).result()
        taken["compile"].append(time.perf_counter() - began)
        matcher, at = compiled.matcher(), 0
        while at < len(output.tokens):
            began = time.perf_counter()
            matcher.automaton.compute_bitmask()
            masked = time.perf_counter()
            forced = matcher.accept(output.tokens[at])
            taken["mask"].append(masked - began)
            taken["accept"].append(time.perf_counter() - masked)
            taken["forced"].append(len(forced))
            at += 1 + len(forced)
        taken["tokens"].append(len(output.tokens))
    return taken


async def pauses(engine: InferenceEngine, streams: int, tokens: int) -> list[float]:
    """The seconds between the tokens of some streams that run at once."""

    async def one(number: int) -> list[float]:
        params = GenerationParams(max_tokens=tokens, temperature=0, ignore_eos=True)
        async with aclosing(engine.generate_stream(engine.tokenize(f"{number} {PROMPT}"), params)) as stream:
            times = [time.perf_counter() async for _ in stream]
        return [later - earlier for earlier, later in zip(times, times[1:], strict=False)]

    found = await asyncio.gather(*(one(number) for number in range(streams)))
    return [pause for each in found for pause in each]


def varied(turn: int) -> dict[str, Constraint | Error]:
    """The hostile constraints, a little different each turn, or why they could not even be made."""
    made: dict[str, Constraint | Error] = {}
    for name, fields in hostile().items():
        if "grammar" in fields:
            fields = {"grammar": f"{fields['grammar']}\n// {turn}"}
        elif "regex" in fields:
            fields = {"regex": f"({turn})?{fields['regex']}"}
        elif isinstance(schema := fields["json_schema"], dict):
            fields = {"json_schema": {**schema, "title": str(turn)}}
        try:
            made[name] = Constraint(**fields)  # type: ignore[arg-type]
        except Error as error:
            made[name] = error
    return made


async def attack(
    engine: InferenceEngine, made: dict[str, Constraint | Error], said: dict[str, tuple[float, str]]
) -> None:
    """Ask for every hostile constraint at once; how long each took and what came of it."""

    async def one(name: str, constraint: Constraint | Error) -> None:
        began = time.perf_counter()
        try:
            if isinstance(constraint, Error):
                raise constraint
            output = await engine.generate(
                engine.tokenize(PROMPT), GenerationParams(constraint=constraint, max_tokens=8)
            )
            outcome = output.error or f"answered, {output.finish_reason}"
        except Error as error:
            outcome = str(error)
        longest, _ = said.get(name, (0.0, ""))
        said[name] = (max(longest, time.perf_counter() - began), outcome)

    await asyncio.gather(*(one(name, constraint) for name, constraint in made.items()))


async def undisturbed(
    engine: InferenceEngine, streams: int, tokens: int, rounds: int
) -> tuple[list[float], list[float], dict[str, tuple[float, str]]]:
    """Pauses without and with hostile constraints, in turns, and what came of those."""
    alone: list[float] = []
    beside: list[float] = []
    said: dict[str, tuple[float, str]] = {}
    await pauses(engine, streams, 16)
    for turn in range(rounds):
        made = varied(turn)
        alone += await pauses(engine, streams, tokens)
        attacking = asyncio.create_task(attack(engine, made, said))
        while not attacking.done():
            beside += await pauses(engine, streams, tokens)
        await attacking
    return alone, beside, said


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(prog="bench constraints", description=__doc__)
    parser.add_argument("--schemas", type=int, default=500, help="how many schemas are answered")
    parser.add_argument("--max-tokens", type=int, default=1500, help="tokens after which an answer is given up")
    parser.add_argument("--batch", type=int, default=32, help="answers at once")
    parser.add_argument("--streams", type=int, default=8, help="streams that run while hostile constraints are sent")
    parser.add_argument("--stream-tokens", type=int, default=200, help="tokens of each stream")
    parser.add_argument("--rounds", type=int, default=3, help="turns with and without hostile constraints")
    args = parser.parse_args(arguments)
    sys.path.append(str(SUPPORT))
    schemas = [importlib.import_module("random_schemas").random_schema(seed) for seed in range(args.schemas)]
    constraints = [Constraint(json_schema=schema, compact=bool(n % 2)) for n, schema in enumerate(schemas)]
    with InferenceEngine(EngineConfig(device="cpu", max_batch_size=args.batch)) as engine:
        outputs, seconds = answers(engine, constraints, args.max_tokens)
        alone, beside, said = asyncio.run(undisturbed(engine, args.streams, args.stream_tokens, args.rounds))
        vocab_size = engine.model_info().vocab_size
    compiler = Compiler(Tokenizer.from_directory(open_source(None).path), vocab_size)
    taken = replay(compiler, constraints, outputs)
    compiler.close()
    verdicts = Counter(verdict(*pair) for pair in zip(schemas, outputs, strict=True))
    table = Table("what", "value", title=f"{len(schemas)} generated schemas, the embedded model")
    for name, count in verdicts.most_common():
        table.add_row(f"answers: {name}", str(count))
    tokens, forced = sum(taken["tokens"]), sum(taken["forced"])
    table.add_row("tokens", f"{tokens:.0f} in {seconds:.1f} s")
    table.add_row("share of them that was forced", f"{forced / tokens:.1%}")
    table.add_row("compile, p50 / p99 / most", percentiles(taken["compile"]))
    table.add_row("mask, p50 / p99 / most", percentiles(taken["mask"]))
    table.add_row("accept a token, p50 / p99 / most", percentiles(taken["accept"]))
    table.add_row(f"pause in {args.streams} streams, p50 / p99 / most", percentiles(alone))
    table.add_row("the same beside hostile constraints", percentiles(beside))
    Console().print(table)
    refusals = Table(
        "hostile constraint", "seconds", "outcome", title="What came of each, and the longest that it took"
    )
    for name, (took, outcome) in said.items():
        refusals.add_row(name, f"{took:.2f}", outcome[:100])
    Console().print(refusals)


if __name__ == "__main__":
    main()
