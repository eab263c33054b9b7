import json
from typing import Any

import pytest
from chat_templates import (
    ASK,
    FIRST,
    SECOND,
    TOOLS,
    TWO_CALLS,
    call,
    chat_template,
    compiled,
    reference,
    rendered,
    result,
)

from candle_vllm_openai import AdapterConfig, ChatCompletionRequest, ChatTemplate, OpenAIAdapter, ScriptedEngine
from candle_vllm_openai.abilities import Abilities, abilities_of
from candle_vllm_openai.sandbox import CompiledTemplate

CHATML = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
"""Shows every role and content, but neither tools nor calls."""
TOOL = {"type": "function", "function": {"name": "f", "description": "F."}}
DESCRIBED = (
    "You can call tools. Each line describes one of them in JSON:\n\n"
    '{"type": "function", "function": {"name": "f", "description": "F."}}\n\n'
)
AS_JSON = (
    'To call a tool, answer with a JSON object and nothing else: {"name": "NAME", "arguments": {"PARAMETER": VALUE}}. '
    "To call several at once, answer with a JSON list of such objects."
)
AS_TRAINED = "Call them the way you have been trained to."


def shown(source: str, messages: list[dict[str, Any]], **fields: Any) -> str:
    return rendered(ChatTemplate(source=source), messages, **fields)


def test_tools_without_a_place_are_told_of_in_a_system_message() -> None:
    assert shown(CHATML, [ASK], tools=[TOOL]) == f"<system>{DESCRIBED}{AS_JSON}\n<user>Weather?\n"


def test_tools_stand_behind_what_the_system_says() -> None:
    messages = [{"role": "developer", "content": "Rule."}, ASK]
    assert shown(CHATML, messages, tools=[TOOL]) == f"<system>Rule.\n\n{DESCRIBED}{AS_JSON}\n<user>Weather?\n"


def test_a_model_that_is_parsed_otherwise_is_not_asked_for_json() -> None:
    prompt = rendered(chat_template("deepseek-v3"), [ASK], tools=[TOOL])
    assert prompt == f"<s>{DESCRIBED}{AS_TRAINED}<｜User｜>Weather?<｜Assistant｜><think>\n"


def test_calls_and_results_without_a_place_are_said_as_json_and_by_the_user() -> None:
    first, second = FIRST["function"], SECOND["function"]
    assert shown(CHATML, TWO_CALLS) == (
        "<user>Weather?\n"
        f'<assistant>[{{"name": "get_weather", "arguments": {first["arguments"]}}}, '
        f'{{"name": "now", "arguments": {second["arguments"]}}}]\n'
        "<user>Result of the tool get_weather:\nsunny\n\nResult of the tool now:\n12\n"
        "<assistant>Sunny.\n"
        "<user>Thanks\n"
    )


def test_what_the_user_says_behind_results_is_the_same_turn() -> None:
    messages = [
        ASK,
        {"role": "assistant", "content": "I call.", "tool_calls": [call("1", "f", "")]},
        result("1", "r"),
        {"role": "user", "content": "And?"},
        {"role": "user", "content": "Well?"},
    ]
    assert shown(CHATML, messages) == (
        '<user>Weather?\n<assistant>I call.\n\n{"name": "f", "arguments": {}}\n'
        "<user>Result of the tool f:\nr\n\nAnd?\n\nWell?\n"
    )


def test_users_that_nothing_came_between_stay_apart() -> None:
    assert shown(CHATML, [ASK, ASK]) == "<user>Weather?\n<user>Weather?\n"


@pytest.mark.parametrize("name", ["gemma-2"])
def test_a_system_without_a_place_is_said_by_the_user(name: str) -> None:
    messages = [{"role": "system", "content": "Rule."}, ASK]
    template = chat_template(name)
    assert rendered(template, messages) == reference(template, [{"role": "user", "content": "Rule.\n\nWeather?"}])
    asked = rendered(template, messages, tools=[TOOL])
    wanted = f"Rule.\n\n{DESCRIBED}{AS_JSON}\n\nWeather?"
    assert asked == reference(template, [{"role": "user", "content": wanted}])


def test_a_template_that_looks_for_tools_in_the_system_message_finds_them_there() -> None:
    prompt = rendered(chat_template("glm-4"), [ASK], tools=TOOLS)
    holder = {"role": "system", "content": "", "tools": TOOLS}
    assert prompt == reference(chat_template("glm-4"), [holder, ASK])
    assert "## get_weather" in prompt


@pytest.mark.parametrize("name", ["mistral-v3", "mistral-nemo", "gemma-2", "gemma-3", "aya-expanse"])
def test_the_user_speaks_once_where_turns_have_to_change(name: str) -> None:
    template, more = chat_template(name), {"role": "user", "content": "And now?"}
    once = {"role": "user", "content": "Weather?\n\nAnd now?"}
    assert rendered(template, [ASK, more]) == reference(template, [once])
    answer = {"role": "assistant", "content": "Sunny."}
    assert rendered(template, [ASK, more, answer, ASK]) == reference(template, [once, answer, ASK])


PARTS = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
ONLY_LISTS = (
    "{% for m in messages %}{% for p in m.content %}{% if p.type == 'text' %}<{{ p.text }}>{% endif %}{% endfor %}"
    "{% endfor %}"
)


def test_parts_become_one_text_for_a_template_that_takes_texts() -> None:
    assert shown("{{ messages[0].content }}", [{"role": "user", "content": PARTS}]) == "a\nb"


def test_parts_stay_parts_for_a_template_that_takes_lists() -> None:
    messages = [{"role": "system", "content": PARTS}, {"role": "user", "content": PARTS}]
    for name in ("gemma-3", "qwen3.5", "granite-4.0", "glm-4.6", "minimax-m2", "mistral-small-3.2"):
        template = chat_template(name)
        assert rendered(template, messages) == reference(template, messages), name


def test_a_text_becomes_a_part_for_a_template_that_takes_lists_only() -> None:
    assert shown(ONLY_LISTS, [{"role": "user", "content": "x"}]) == "<x>"
    assert shown(ONLY_LISTS, [{"role": "user", "content": PARTS}]) == "<a><b>"


def test_tools_are_told_of_in_a_part_of_a_system_message_that_takes_lists_only() -> None:
    prompt = shown(ONLY_LISTS, [{"role": "system", "content": "s"}, {"role": "user", "content": "x"}], tools=[TOOL])
    assert prompt == f"<s><{DESCRIBED}{AS_JSON}><x>"


def test_content_beside_calls_goes_to_the_reasoning_where_both_are_refused() -> None:
    messages = [
        ASK,
        {"role": "assistant", "content": "I look.", "reasoning_content": "Hm.", "tool_calls": [FIRST]},
        result("abcdefghi", "sunny"),
    ]
    prompt = rendered(chat_template("gpt-oss"), messages, tools=TOOLS)
    assert "<|channel|>analysis<|message|>Hm.\n\nI look.<|end|>" in prompt


def test_what_is_said_with_several_calls_stands_before_the_first_of_them() -> None:
    said = {"role": "assistant", "content": "Let me see.", "tool_calls": [FIRST, SECOND]}
    prompt = rendered(chat_template("gpt-oss"), [ASK, said, *TWO_CALLS[3:1:-1]], tools=TOOLS)
    places = [prompt.find(each) for each in ("Let me see.", "to=functions.now", "12", "to=functions.get_weather")]
    assert -1 not in places and places == sorted(places) and prompt.count("Let me see.") == 1


def test_descriptions_that_a_template_asks_for_are_empty_where_there_are_none() -> None:
    bare = {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {"a": {}}}}}
    for name in ("command-r-plus", "functionary-3.1", "gpt-oss", "hermes-3"):
        assert "g" in rendered(chat_template(name), [ASK], tools=[bare, TOOL]), name


def able(source: str) -> Abilities:
    program = CompiledTemplate(source)
    return abilities_of(lambda data: program.render(data, 1.0))


def test_a_template_that_renders_nothing_is_taken_to_be_able_to_do_everything() -> None:
    assert able("{{ raise_exception('No.') }}") == able("static") == Abilities()


def test_python_around_a_text_is_no_place_for_it() -> None:
    assert able(CHATML).lists == frozenset() and able(CHATML).texts == {"system", "user", "assistant", "tool"}
    assert able(CHATML.replace("m.content", "m.content | tojson")).lists == frozenset()


async def test_a_model_without_a_way_to_call_tools_calls_them_in_json() -> None:
    engine = ScriptedEngine(['{"name": "f", "arguments": {"a": 1}}'], chat_template=CHATML)
    asked = ChatCompletionRequest.model_validate({"messages": [ASK], "tools": [TOOL]})
    response = await OpenAIAdapter(engine).chat_completion(asked)
    calls = response.choices[0].message.tool_calls
    assert calls is not None and [(each.function.name, each.function.arguments) for each in calls] == [
        ("f", '{"a": 1}')
    ]
    assert AS_JSON in engine.detokenize(engine.requests[0].prompt)


async def test_a_parser_that_was_asked_for_is_not_told_to_write_json() -> None:
    engine = ScriptedEngine(['<tool_call>{"name": "f", "arguments": {}}</tool_call>'], chat_template=CHATML)
    asked = ChatCompletionRequest.model_validate({"messages": [ASK], "tools": [TOOL]})
    response = await OpenAIAdapter(engine, AdapterConfig(parser="qwen")).chat_completion(asked)
    assert response.choices[0].finish_reason == "tool_calls"
    assert AS_TRAINED in engine.detokenize(engine.requests[0].prompt)


def test_tools_reach_the_template_as_they_came() -> None:
    asked = compiled(ChatTemplate(source="{{ messages[0].content }}{{ tools | tojson }}"))
    given = [{"type": "function", "function": {"name": "f", "parameters": {"b": 1, "a": None}, "strict": True}}]
    request = ChatCompletionRequest.model_validate({"messages": [ASK], "tools": given})
    assert asked.render(request)[0].text == f"Weather?{json.dumps(given)}"
