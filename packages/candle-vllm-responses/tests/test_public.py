from __future__ import annotations

import candle_vllm_openai
import candle_vllm_responses
from candle_vllm_responses import OpenAIAdapter, ScriptedEngine, parse_request


def test_names_are_the_openai_packages_own() -> None:
    for name in candle_vllm_responses.__all__:
        assert getattr(candle_vllm_responses, name) is getattr(candle_vllm_openai, name)


async def test_the_names_are_enough_for_a_conversation() -> None:
    adapter = OpenAIAdapter(ScriptedEngine(["Hello."]))
    response = await adapter.chat_completion(parse_request({"messages": [{"role": "user", "content": "Hi"}]}))
    assert response.choices[0].message.content == "Hello."
