"""The official client against the server on a socket, over a scripted engine."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from candle_vllm_core import GenerationError, ScriptedEngine

Live = Callable[..., Any]
ASK: Any = {"model": "default", "messages": [{"role": "user", "content": "Hi"}]}


def sync_client(url: str, key: str = "unused") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def async_client(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0)


def test_whole_and_streamed(live: Live) -> None:
    with live(ScriptedEngine(["Hello.", "Hello."])) as server, sync_client(server.url) as client:
        whole = client.chat.completions.create(**ASK)
        assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == ("Hello.", "stop")
        assert whole.usage is not None and whole.usage.completion_tokens == len("Hello.") + 1
        chunks = list(client.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True}))
    assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == "Hello."
    assert chunks[-1].usage == whole.usage


async def test_async_whole_and_streamed(live: Live) -> None:
    with live(ScriptedEngine(["Hello.", "Hello."])) as server:
        async with async_client(server.url) as client:
            whole = await client.chat.completions.create(**ASK)
            assert whole.choices[0].message.content == "Hello."
            stream = await client.chat.completions.create(**ASK, stream=True)
            text = "".join([choice.delta.content or "" async for chunk in stream for choice in chunk.choices])
    assert text == "Hello."


def test_completions_whole_and_streamed(live: Live) -> None:
    ask: Any = {"model": "default", "prompt": ["Hi", "you"], "n": 2, "logprobs": 1, "echo": True}
    with live(ScriptedEngine(["Hello."] * 8, chunk_size=4)) as server, sync_client(server.url) as client:
        whole = client.completions.create(**ask)
        assert [choice.text for choice in whole.choices] == ["HiHello."] * 2 + ["youHello."] * 2
        logprobs = whole.choices[2].logprobs
        assert logprobs is not None and logprobs.tokens == list("youHello.")
        assert logprobs.token_logprobs == [None, *[0.0] * 8]
        assert logprobs.text_offset == list(range(9))
        chunks = list(client.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    found = dict.fromkeys(range(4), "")
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        found[choice.index] += choice.text
    assert list(found.values()) == [choice.text for choice in whole.choices]
    assert chunks[-1].usage == whole.usage


async def test_async_completions_and_embeddings(live: Live) -> None:
    with live(ScriptedEngine(["Hello.", "Hello."])) as server:
        async with async_client(server.url) as client:
            whole = await client.completions.create(model="default", prompt=[72, 105])
            stream = await client.completions.create(model="default", prompt="Hi", stream=True)
            text = "".join([choice.text async for chunk in stream for choice in chunk.choices])
            embedded = await client.embeddings.create(model="default", input="ab")
    assert whole.choices[0].text == text == "Hello."
    assert embedded.data[0].embedding[:3] == pytest.approx([0, 0.5**0.5, 0.5**0.5])


@pytest.mark.parametrize("encoding", [openai.NOT_GIVEN, "float", "base64"])
def test_embeddings(live: Live, encoding: Any) -> None:
    with live(ScriptedEngine(model_id="org/scripted")) as server, sync_client(server.url) as client:
        found = client.embeddings.create(
            model="default",
            input=["a", "b", "ab"],
            dimensions=3,
            encoding_format=encoding,
            extra_body={"pooling": "last"},
        )
        with pytest.raises(openai.BadRequestError) as caught:
            client.embeddings.create(model="default", input="a", dimensions=17)
    right: Any = [[0, 1, 0], [0, 0, 1], [0, 0, 1]]
    if encoding == "base64":
        right = [base64.b64encode(struct.pack("<3f", *vector)).decode() for vector in right]
    assert [each.embedding for each in found.data] == right
    assert (found.model, found.usage.prompt_tokens, found.usage.total_tokens) == ("org/scripted", 4, 4)
    assert caught.value.param == "dimensions"


def test_models(live: Live) -> None:
    with live(ScriptedEngine(model_id="org/scripted")) as server, sync_client(server.url) as client:
        assert [model.id for model in client.models.list()] == ["org/scripted"]
        assert client.models.retrieve("org/scripted").id == "org/scripted"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("other")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"model": "other"}, openai.NotFoundError),
        ({"temperature": -1}, openai.BadRequestError),
        ({"extra_body": {"unheard_of": 1}}, openai.BadRequestError),
        ({"messages": [{"role": "user", "content": "x" * 200}]}, openai.BadRequestError),
    ],
)
def test_refusals(live: Live, change: dict[str, Any], error: type[Exception], stream: bool) -> None:
    engine = ScriptedEngine(["fine"], max_sequence_length=100)
    with live(engine) as server, sync_client(server.url) as client:
        with pytest.raises(error):
            client.chat.completions.create(**{**ASK, **change}, stream=stream)
        assert client.chat.completions.create(**ASK).choices[0].message.content == "fine"


def test_failures(live: Live) -> None:
    engine = ScriptedEngine([GenerationError("the device is gone"), "fine"])
    with live(engine) as server, sync_client(server.url) as client:
        with pytest.raises(openai.InternalServerError):
            client.chat.completions.create(**ASK)
        assert client.chat.completions.create(**ASK).choices[0].message.content == "fine"


def test_a_failure_in_mid_stream(live: Live) -> None:
    def answers() -> Iterator[str]:
        yield "fine"

    class Breaks(ScriptedEngine):
        async def generate_stream(self, prompt: Any, params: Any = None) -> Any:
            async for chunk in super().generate_stream(prompt, params):
                yield chunk
                raise GenerationError("the device is gone")

    with live(Breaks(answers())) as server, sync_client(server.url) as client:
        stream = client.chat.completions.create(**ASK, stream=True)
        with pytest.raises(openai.APIError, match="the device is gone"):
            list(stream)


def test_key(live: Live) -> None:
    with live(ScriptedEngine(["fine"]), api_key="opensesame") as server:
        with sync_client(server.url, "wrong") as client, pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(**ASK)
        with sync_client(server.url, "opensesame") as client:
            assert client.chat.completions.create(**ASK).choices[0].message.content == "fine"


def test_a_busy_server_says_when_to_come_back(live: Live) -> None:
    with live(ScriptedEngine(), max_num_seqs=1, max_waiting=0) as server, sync_client(server.url) as client:
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(**ASK, n=2)
    assert caught.value.status_code == 503
    assert caught.value.response.headers["retry-after"] == "1"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_frees_its_sequence(
    live: Live, until: Callable[..., None], gate: Callable[[int], Any], stream: bool
) -> None:
    engine = ScriptedEngine(["first answer", "second"], pause=gate(3))
    with live(engine) as server:
        client = sync_client(server.url)
        if stream:
            answer = client.chat.completions.create(**ASK, stream=True)
            next(iter(answer))
            answer.close()
        else:
            with pytest.raises(openai.APITimeoutError):
                client.with_options(timeout=0.2).chat.completions.create(**ASK)
        until(lambda: engine.running == 0 and engine.cancelled == 1)
        until(lambda: server.context.manager._seated == 0)
        client.close()


def test_a_client_that_goes_frees_every_choice(
    live: Live, until: Callable[..., None], gate: Callable[[int], Any]
) -> None:
    engine = ScriptedEngine(["a long answer"] * 3, pause=gate(3))
    with live(engine) as server, sync_client(server.url) as client:
        answer = client.chat.completions.create(**ASK, stream=True, n=3)
        next(iter(answer))
        assert engine.running == 3
        answer.close()
        until(lambda: engine.running == 0 and engine.cancelled == 3)


def test_others_go_on_when_a_client_goes(live: Live, until: Callable[..., None], gate: Callable[[int], Any]) -> None:
    hold = gate(4)
    engine = ScriptedEngine(["first", "second"], pause=hold)
    with live(engine) as server, sync_client(server.url) as client:
        gone = client.chat.completions.create(**ASK, stream=True)
        next(iter(gone))
        until(lambda: engine.running == 1 and hold.free < 0)
        hold.free = 1000
        stays = client.chat.completions.create(**ASK, stream=True)
        gone.close()
        assert "".join(choice.delta.content or "" for chunk in stays for choice in chunk.choices) == "second"
        until(lambda: engine.running == 0)
    assert engine.cancelled == 1
