"""What OpenAI's own client asks, and what it writes back of the answers, is taken."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, pydantic_function_tool
from pydantic import BaseModel

from candle_vllm_openai import ApiError, ChatCompletionRequest, OpenAIAdapter, ScriptedEngine, parse_request

TEMPLATE = "{{ messages | tojson }}{{ tools | tojson }}{% if false %}<tool_call>{% endif %}<|im_start|>assistant\n"
ASK: list[Any] = [{"role": "user", "content": "x"}]


class Point(BaseModel):
    """A point."""

    x: int


class Service:
    """Answers what the client sends with an adapter, and keeps the requests."""

    def __init__(self, answer: str) -> None:
        self.adapter = OpenAIAdapter(ScriptedEngine(lambda prompt, params: answer, chat_template=TEMPLATE))
        self.requests: list[ChatCompletionRequest] = []
        transport = httpx.MockTransport(self._answer)
        http_client = httpx.AsyncClient(transport=transport)
        self.client = AsyncOpenAI(api_key="none", base_url="http://service/v1", http_client=http_client, max_retries=0)

    async def _answer(self, http: httpx.Request) -> httpx.Response:
        try:
            request = parse_request(http.content)
        except ApiError as error:
            return httpx.Response(error.status, json=error.body())
        self.requests.append(request)
        if request.stream:
            return httpx.Response(200, content=self._events(request), headers={"content-type": "text/event-stream"})
        return httpx.Response(200, content=(await self.adapter.chat_completion(request)).to_json())

    async def _events(self, request: ChatCompletionRequest) -> AsyncIterator[bytes]:
        async for chunk in self.adapter.chat_completion_stream(request):
            yield f"data: {chunk.to_json()}\n\n".encode()
        yield b"data: [DONE]\n\n"


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # of the client's own, on what it parsed
async def test_an_answer_that_was_parsed_can_be_sent_back() -> None:
    service = Service('{"x": 1}')
    answer = await service.client.chat.completions.parse(model="m", messages=ASK, response_format=Point)
    assert answer.choices[0].message.parsed == Point(x=1)
    await service.client.chat.completions.create(model="m", messages=[*ASK, answer.choices[0].message])
    first, second = service.requests
    assert first.response_format is not None and first.response_format.json_schema is not None
    assert (second.messages[1].text, second.messages[1].parsed) == ('{"x": 1}', {"x": 1})


@pytest.mark.parametrize("streamed", [False, True])
async def test_calls_that_were_parsed_can_be_sent_back(streamed: bool) -> None:
    service = Service('<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call>')
    asked: dict[str, Any] = {"model": "m", "messages": ASK, "tools": [pydantic_function_tool(Point, name="f")]}
    if streamed:
        async with service.client.chat.completions.stream(**asked) as stream:
            answer = await stream.get_final_completion()
    else:
        answer = await service.client.chat.completions.parse(**asked)
    [call] = answer.choices[0].message.tool_calls or []
    assert call.function.parsed_arguments == Point(x=1)
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "r"}
    await service.client.chat.completions.create(model="m", messages=[*ASK, answer.choices[0].message, result])
    first, second = service.requests
    assert [tool.function.strict for tool in first.tools or ()] == [True]
    [sent] = second.messages[1].tool_calls or []
    assert (sent.id, sent.function.name, sent.function.arguments) == (call.id, "f", '{"x": 1}')
