"""The endpoints of the API by name: how a body is read, and how the adapter is asked."""

from collections.abc import Mapping
from typing import Any

from candle_vllm_openai import ChatCompletionRequest, CompletionRequest, EmbeddingRequest, OpenAIAdapter
from candle_vllm_openai.fields import Endpoint
from candle_vllm_openai.parse import parse_body

Request = ChatCompletionRequest | CompletionRequest | EmbeddingRequest

KINDS: dict[Endpoint, type[Request]] = {
    "chat/completions": ChatCompletionRequest,
    "completions": CompletionRequest,
    "embeddings": EmbeddingRequest,
}


SHOWS_ALL = (
    "{{ messages | tojson }}{{ tools | tojson }}{{ reasoning_effort }}{{ enable_thinking }}"
    "{% if false %}reasoning_content <tool_call> </think>{% endif %}<|im_start|>assistant\n"
)
"""A template that shows all that it is given, and the marks of a model that calls tools and thinks."""


def parsed(endpoint: Endpoint, body: bytes | str | Mapping[str, object]) -> Request:
    return parse_body(body, KINDS[endpoint])


async def said(adapter: OpenAIAdapter, request: Request) -> list[Any]:
    """What the client is told: a response, or the chunks of a stream."""
    match request:
        case ChatCompletionRequest(stream=True):
            return [chunk async for chunk in adapter.chat_completion_stream(request)]
        case ChatCompletionRequest():
            return [await adapter.chat_completion(request)]
        case CompletionRequest(stream=True):
            return [chunk async for chunk in adapter.completion_stream(request)]
        case CompletionRequest():
            return [await adapter.completion(request)]
    return [await adapter.embeddings(request)]
