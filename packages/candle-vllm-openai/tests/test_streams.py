"""The law: however an answer's text is cut, its stream adds up to the whole, here and in the official client."""

from __future__ import annotations

from random import Random

import pytest
import streams

from candle_vllm_openai import AdapterConfig

CASES_PER_TEST = 40


@pytest.mark.parametrize("start", range(0, 120, CASES_PER_TEST))
async def test_streams_add_up_to_the_whole(start: int) -> None:
    finished: set[str] = set()
    for number in range(start, start + CASES_PER_TEST):
        body = await streams.check(streams.drawn(number))
        finished |= {choice["finish_reason"] for choice in body["choices"]}
    assert finished == {"stop", "length", "tool_calls"}


@pytest.mark.parametrize("special", [(), ("<think>", "</think>", "<tool_call>", "</tool_call>")])
async def test_every_two_way_cut_of_an_answer_is_the_same(special: tuple[str, ...]) -> None:
    calls = [f'<tool_call>\n{{"name": "now", "arguments": {made}}}\n</tool_call>\n' for made in ('{"é": "\\"}"}', "{}")]
    text = "<think>\nHm. é\n</think>\n\nLet me see:\n" + "".join(calls)
    draw, bodies = Random(0), []
    for cut in range(0, len(text), 5):
        case = streams.Case(
            answers=[text],
            fields={"n": 1, "seed": 0, "stop": None, "tools": streams.TOOLS, "logprobs": True},
            config=AdapterConfig(parser="qwen", reasoning="think"),
            special_tokens=special,
            whole_sizes=streams.sizes(draw),
            stream_sizes=[cut or 1, 1000],
        )
        bodies.append(await streams.check(case))
    assert all(body == bodies[0] for body in bodies)
    choice = bodies[0]["choices"][0]
    assert choice["message"]["content"] == "Let me see:"
    assert choice["message"]["reasoning_content"] == "Hm. é"
    assert [call["function"]["arguments"] for call in choice["message"]["tool_calls"]] == ['{"é": "\\"}"}', "{}"]
    assert "".join(entry["token"] for entry in choice["logprobs"]["content"]) == "Let me see:"
    assert bodies[0]["usage"]["completion_tokens_details"] == {"reasoning_tokens": len("Hm. é")}
