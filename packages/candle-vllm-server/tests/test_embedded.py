"""The official client against the server over the model inside the package."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from candle_vllm_core import EngineConfig, InferenceEngine

ASK: Any = {"model": "default", "messages": [{"role": "user", "content": "What is candle-vllm?"}], "temperature": 0}
LONG: Any = {**ASK, "max_tokens": 1500, "extra_body": {"ignore_eos": True}}


@pytest.fixture(scope="module")
def engine() -> Iterator[InferenceEngine]:
    with InferenceEngine(EngineConfig(device="cpu", kv_cache_memory=64 << 20)) as opened:
        yield opened


@pytest.fixture
def server(live: Callable[..., Any], engine: InferenceEngine) -> Iterator[Any]:
    class Kept:
        """The engine of all tests in this file: a server that ends leaves it open."""

        def __getattr__(self, name: str) -> Any:
            return getattr(engine, name)

        def close(self) -> None:
            pass

    with live(Kept()) as running:
        yield running


@pytest.fixture
def client(server: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as opened:
        yield opened


def text_of(chunks: Any) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


def test_the_stream_is_the_whole_answer(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(**ASK, max_tokens=40)
    streamed = text_of(client.chat.completions.create(**ASK, max_tokens=40, stream=True))
    assert whole.choices[0].message.content == streamed != ""
    assert whole.model == "candle-vllm-embedded"


def test_answers_at_once_are_the_answers_alone(client: openai.OpenAI) -> None:
    def ask(question: str) -> str:
        messages: Any = [{"role": "user", "content": question}]
        return text_of(client.chat.completions.create(**{**ASK, "messages": messages}, max_tokens=24, stream=True))

    questions = [f"What is {number} and {number}?" for number in range(6)]
    alone = [ask(question) for question in questions]
    together: dict[str, str] = {}
    threads = [threading.Thread(target=lambda q=q: together.update({q: ask(q)})) for q in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[question] for question in questions] == alone


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_frees_its_sequence(
    client: openai.OpenAI, engine: InferenceEngine, until: Callable[..., None], stream: bool
) -> None:
    generated = engine.stats().generated_tokens
    if stream:
        answer = client.chat.completions.create(**LONG, stream=True)
        next(iter(answer))
        until(lambda: engine.stats().running == 1)
        answer.close()
    else:
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.3).chat.completions.create(**LONG)
    until(lambda: (engine.stats().running, engine.stats().waiting, engine.stats().kv_blocks_used) == (0, 0, 0))
    assert engine.stats().generated_tokens - generated < LONG["max_tokens"]
    assert client.chat.completions.create(**ASK, max_tokens=4).choices[0].finish_reason == "length"


def test_a_prompt_that_is_too_long(client: openai.OpenAI, engine: InferenceEngine) -> None:
    messages: Any = [{"role": "user", "content": "word " * engine.model_info().max_sequence_length}]
    for stream in (True, False):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**{**ASK, "messages": messages}, stream=stream)
        assert caught.value.code == "context_length_exceeded"


def test_a_server_that_stops_ends_a_running_stream(server: Any, client: openai.OpenAI, engine: InferenceEngine) -> None:
    answer = iter(client.chat.completions.create(**LONG, stream=True))
    next(answer)
    server.serving.should_exit = True
    with pytest.raises(openai.APIError, match="shutting down"):
        list(answer)
