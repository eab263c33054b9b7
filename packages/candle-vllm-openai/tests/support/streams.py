"""Answers of models, drawn at random, and the law of streams: however a text is cut, its stream is the whole answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from random import Random
from typing import Any

import answers
from answers import Variant
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion
from openai.types.chat import ChatCompletionChunk as OpenAIChunk

from candle_vllm_openai import (
    AdapterConfig,
    ChatCompletionChunk,
    OpenAIAdapter,
    ScriptedEngine,
    collect,
    parse_request,
)
from candle_vllm_openai.formats import FORMATS
from candle_vllm_openai.reasoning import STYLES

TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content or '' }}"
    "{% for call in message.tool_calls or [] %}<tool_call>\n"
    "{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}\n</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": schema}} for name, schema in answers.SCHEMAS.items()
]
PASSTHROUGH = Variant("passthrough", "calls", lambda calls: "".join(f"{name}({made})" for name, made in calls))
VARIANTS = (*answers.VARIANTS, PASSTHROUGH)
CALLS: tuple[answers.Call, ...] = (answers.ONE, answers.NOW, answers.NESTED, ("unknown", {"a": 1}))
TEXTS = (
    "",
    " ",
    "\n\n",
    "Hi",
    "Let me see.",
    "é👋中",
    "```py\n<tool_call>\n```\n",
    "<",
    "a < b",
    "<tool",
    "STOP",
    "x\n ",
)
STOPS = (None, None, "STOP", ["me", "x\n"], "</tool_call>", '": ', "cats")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A request, what the model answers, and how its text is cut."""

    answers: Sequence[str]
    fields: dict[str, Any]
    config: AdapterConfig
    opening: str = ""
    """The mark with which the prompt opens the reasoning."""
    words: Sequence[str] = ()
    special_tokens: Sequence[str] = ()
    whole_sizes: Sequence[int] = (1,)
    stream_sizes: Sequence[int] = (1,)
    pauses: Sequence[int] = field(default=(0,))

    def adapter(self, sizes: Sequence[int]) -> OpenAIAdapter:
        """An adapter over an engine that gives the answers in chunks of these sizes."""
        turn = 0

        async def pause() -> None:
            nonlocal turn
            turn += 1
            for _ in range(self.pauses[turn % len(self.pauses)]):
                await asyncio.sleep(0)

        engine = ScriptedEngine(
            lambda prompt, params: self.answers[params.seed or 0],
            chat_template=TEMPLATE + self.opening,
            words=self.words,
            special_tokens=self.special_tokens,
            chunk_size=sizes,
            pause=pause,
        )
        return OpenAIAdapter(engine, self.config)


def written(draw: Random, variant: Variant, *, prefilled: bool) -> str:
    """A text as a model writes it: reasoning, text, calls of tools on offer and of others, some of them malformed."""
    style = STYLES[variant.style]
    whole = draw.choice([answer.text for answer in _answers(variant)])
    parts = [style.opening] if draw.random() < 0.4 and not prefilled else []
    if parts or prefilled:
        parts += [*draw.choices(TEXTS, k=draw.randrange(4)), draw.choice([style.closing, f"{style.closing}\n\n", ""])]
    if draw.random() < 0.4:
        parts.append(whole)
    for _ in range(draw.randrange(4)):
        if draw.random() < 0.5:
            parts.append(draw.choice(TEXTS))
        else:
            parts.append(variant.write(draw.choices(CALLS, k=draw.randrange(1, 3) if variant.parallel else 1)))
    text = "".join(parts)
    return text[: draw.randrange(len(text) + 1)] if draw.random() < 0.2 else text


@cache
def _answers(variant: Variant) -> tuple[answers.Answer, ...]:
    return tuple(answers.answers(variant, num_broken=8))


def sizes(draw: Random) -> list[int]:
    """How many tokens stand in each chunk."""
    return [draw.choice([1, 1, 2, 3, 7, 1000]) for _ in range(draw.randrange(1, 6))]


def drawn(number: int) -> Case:
    """The case of that number."""
    draw = Random(number)
    variant = VARIANTS[number % len(VARIANTS)]
    thinks, n = draw.random() < 0.6, draw.choice([1, 1, 2, 3])
    prefilled = thinks and draw.random() < 0.3
    texts = [written(draw, variant, prefilled=prefilled) for _ in range(n)]
    text = draw.choice(texts)
    cuts = sorted(draw.randrange(len(text) + 1) for _ in range(draw.randrange(8)))
    return Case(
        answers=texts,
        fields={"n": n, "seed": 0, "stop": draw.choice(STOPS)} | asked(draw),
        config=AdapterConfig(parser=variant.format, reasoning=variant.style if thinks else "none"),
        opening=STYLES[variant.style].opening if prefilled else "",
        words=[word for start, end in pairwise(cuts) if len(word := text[start:end]) > 1],
        special_tokens=marks(variant) if draw.random() < 0.3 else (),
        whole_sizes=sizes(draw),
        stream_sizes=sizes(draw),
        pauses=[draw.randrange(4) for _ in range(draw.randrange(1, 5))],
    )


def asked(draw: Random) -> dict[str, Any]:
    """Fields of a request, some of those that change what an answer becomes."""
    fields: dict[str, Any] = {}
    if draw.random() < 0.8:
        fields |= {"tools": TOOLS} | draw.choice([{}, {}, {"tool_choice": "auto"}, {"tool_choice": "none"}])
    if draw.random() < 0.3:
        fields["max_tokens"] = draw.randrange(1, 80)
    if draw.random() < 0.5:
        fields |= {"logprobs": True} | draw.choice([{}, {"top_logprobs": 1}])
    return fields


def marks(variant: Variant) -> tuple[str, ...]:
    """The special tokens of a model that writes calls so."""
    style = STYLES[variant.style]
    of_format = FORMATS[variant.format].tokens if variant.format in FORMATS else ()
    return tuple(dict.fromkeys((*of_format, style.opening, style.closing)))


async def check(case: Case) -> dict[str, Any]:
    """Hold a case to the law: its stream, added up by us and by the official client, is the whole; the whole's body."""
    base = {"messages": [{"role": "user", "content": "Hi"}], **case.fields}
    whole = await case.adapter(case.whole_sizes).chat_completion(parse_request(base))
    body = anonymous(json.loads(whole.to_json()))
    ChatCompletion.model_validate(body, strict=True)
    for options in ({}, {"stream_options": {"include_usage": True}}):
        request = parse_request({**base, "stream": True, **options})
        chunks = [chunk async for chunk in case.adapter(case.stream_sizes).chat_completion_stream(request)]
        check_shape(chunks, case.fields["n"])
        if options:
            assert anonymous(json.loads((await collect(again(chunks))).to_json())) == body
        usage = body["usage"] if options else None
        assert official(chunks) == expected(body) | {"usage": expected(body)["usage"] if usage else None}
    check_tokens(case, body)
    return body


async def again(chunks: Sequence[ChatCompletionChunk]) -> Any:
    """The chunks as a stream."""
    for chunk in chunks:
        yield chunk


def official(chunks: Sequence[ChatCompletionChunk]) -> dict[str, Any]:
    """What the official client's own accumulator makes of a stream, in the fields that a response has."""
    state = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(OpenAIChunk.model_validate(json.loads(chunk.to_json()), strict=True))
    made = state.current_completion_snapshot.model_dump()
    for choice in made["choices"]:
        choice["message"].pop("parsed", None)
        for call in choice["message"]["tool_calls"] or ():
            call.pop("index", None)
            call["function"].pop("parsed_arguments", None)
    return expected(anonymous(made))


def expected(body: dict[str, Any]) -> dict[str, Any]:
    """A body with every field that the official client knows."""
    made: dict[str, Any] = ChatCompletion.model_validate(body).model_dump()
    for choice in made["choices"]:
        choice["message"].setdefault("reasoning_content", None)
    return made


def anonymous(body: dict[str, Any]) -> dict[str, Any]:
    """A body without what is another one each time; its tool calls are named by their places."""
    body |= {"id": "", "created": 0}
    calls = [call for choice in body["choices"] for call in choice["message"].get("tool_calls") or ()]
    assert len({call["id"] for call in calls}) == len(calls)
    for place, call in enumerate(calls):
        call["id"] = str(place)
    return body


def check_shape(chunks: Sequence[ChatCompletionChunk], n: int) -> None:
    """The order that every stream keeps."""
    for index in range(n):
        own = [piece for chunk in chunks for piece in chunk.choices if piece.index == index]
        assert own[0].delta.role == "assistant" and not own[0].delta.content
        assert [piece.delta.role for piece in own[1:]] == [None] * (len(own) - 1)
        assert [piece.finish_reason is None for piece in own] == [True] * (len(own) - 1) + [False]
        begun = 0
        for delta in (delta for piece in own for delta in piece.delta.tool_calls or ()):
            assert (delta.id is not None) == (delta.index == begun)
            assert delta.function is not None and (delta.function.name is not None) == (delta.id is not None)
            begun = max(begun, delta.index + 1)


def check_tokens(case: Case, body: dict[str, Any]) -> None:
    """Log probabilities and reasoning tokens are those of the texts; exactly so where every token is a character."""
    by_character = not case.words and not case.special_tokens
    thoughts = 0
    for choice in body["choices"]:
        message, logprobs = choice["message"], choice["logprobs"]
        content, thought = message["content"] or "", message.get("reasoning_content") or ""
        thoughts += len(thought)
        tokens = "".join(bytes(entry["bytes"]).decode() for entry in (logprobs or {"content": ()})["content"])
        if case.fields.get("logprobs") and case.fields["stop"] is None:
            assert tokens == content if by_character else content in tokens or message.get("tool_calls")
    counted = body["usage"]["completion_tokens_details"]["reasoning_tokens"]
    if case.fields["stop"] is None:
        assert counted == thoughts if by_character else (counted > 0) == (thoughts > 0)
