"""The official client against the server over the model inside the package."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from candle_vllm_core import EngineConfig, GenerationParams, InferenceEngine

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


def test_completions_are_the_engines_own_answers(client: openai.OpenAI, engine: InferenceEngine) -> None:
    prompts = ["The engine", "What is candle-vllm? It is"]
    params = GenerationParams(temperature=0, max_tokens=12, logprobs=True, top_logprobs=2, prompt_logprobs=2)
    outputs = engine.generate_batch([engine.tokenize(prompt) for prompt in prompts], params)
    fields: Any = {"model": "default", "temperature": 0, "max_tokens": 12, "logprobs": 2, "echo": True}
    whole = client.completions.create(**fields, prompt=prompts)
    ids = client.completions.create(**fields, prompt=[engine.tokenize(prompt) for prompt in prompts])
    for prompt, output, choice, same in zip(prompts, outputs, whole.choices, ids.choices, strict=True):
        assert choice.text == same.text == prompt + output.text
        assert choice.finish_reason == ("length" if output.finish_reason == "length" else "stop")
        assert choice.logprobs is not None and output.logprobs is not None and output.prompt_logprobs is not None
        entries = [*output.prompt_logprobs, *output.logprobs]
        its = choice.logprobs
        assert its.token_logprobs is not None and its.tokens is not None and its.text_offset is not None
        assert len(its.tokens) == len(engine.tokenize(prompt)) + len(output.tokens) - (choice.finish_reason == "stop")
        for entry, logprob in zip(entries, its.token_logprobs, strict=False):
            assert logprob == (None if entry is None else pytest.approx(entry.logprob))
        for token, offset in zip(its.tokens, its.text_offset, strict=True):
            assert choice.text[offset : offset + len(token)] == token
    chunks = list(client.completions.create(**fields, prompt=prompts, stream=True))
    texts = ["", ""]
    for piece in (piece for chunk in chunks for piece in chunk.choices):
        texts[piece.index] += piece.text
    assert texts == [choice.text for choice in whole.choices]


def test_a_completion_in_a_form_has_it(client: openai.OpenAI) -> None:
    form = {"structured_outputs": {"regex": "[0-9]{3}-[0-9]{2}"}}
    answer = client.completions.create(model="default", prompt="A number:", max_tokens=30, extra_body=form)
    assert re.fullmatch("[0-9]{3}-[0-9]{2}", answer.choices[0].text)
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(
            model="default", prompt="x", extra_body={"structured_outputs": {"regex": "(?=a)"}}, stream=True
        )
    assert caught.value.param == "structured_outputs"


def test_embeddings_are_the_engines_own(client: openai.OpenAI, engine: InferenceEngine) -> None:
    texts = ["What is a KV cache?", "What does a KV cache hold?", "The weather in Lisbon"]
    right = [list(each.values) for each in engine.embed_sync([engine.tokenize(text) for text in texts])]
    found = [each.embedding for each in client.embeddings.create(model="default", input=texts).data]
    plain = client.embeddings.create(model="default", input=texts, encoding_format="float")
    assert found == [each.embedding for each in plain.data] == right

    near, far = (sum(x * y for x, y in zip(found[0], found[other], strict=True)) for other in (1, 2))
    assert near > far


def test_an_input_that_is_too_long(client: openai.OpenAI, engine: InferenceEngine) -> None:
    limit = engine.model_info().max_sequence_length
    with pytest.raises(openai.BadRequestError, match=f"{limit + 1} tokens.*{limit}") as caught:
        client.embeddings.create(model="default", input=[5] * (limit + 1))
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")
