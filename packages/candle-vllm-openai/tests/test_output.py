import json
import re

import pytest

from candle_vllm_openai import (
    CallArguments,
    CallEnd,
    CallStart,
    ConfigError,
    FunctionDefinition,
    OutputParser,
    Reasoning,
    Text,
    Tool,
    parse_output,
)

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
SCHEMA = {"type": "object", "properties": {"code": {"type": "string"}, "n": {"type": "integer"}}}


def functions(*names: str) -> list[Tool]:
    return [Tool.function(FunctionDefinition(name).with_parameters(SCHEMA)) for name in names]


def test_events_come_as_soon_as_they_are_known() -> None:
    parser = OutputParser("qwen")
    assert parser.feed("Hi") == [Text("Hi")]
    assert parser.feed(" ") == []
    assert parser.feed('<tool_call>\n{"name": "add", "arg') == []
    assert parser.feed('uments": {"a"') == [CallStart("add"), CallArguments("{"), CallArguments('"a"')]
    assert parser.feed(": 1}") == [CallArguments(": 1}")]
    assert parser.feed("}") == [CallEnd()]
    assert parser.feed("\n</tool_call>") == parser.finish() == []


def test_a_whole_text_is_content_reasoning_and_calls() -> None:
    parsed = parse_output("qwen", f"<think>\nhm\n</think>\n\nI add.\n{CALL}\n{CALL}")
    assert (parsed.content, parsed.reasoning_content) == ("I add.", "hm")
    assert [(call.function.name, call.function.arguments) for call in parsed.tool_calls] == [("add", '{"a": 1}')] * 2
    ids = [call.id for call in parsed.tool_calls]
    assert len(set(ids)) == 2 and all(re.fullmatch(r"call_\w{24}", each) for each in ids)


@pytest.mark.parametrize(
    ("text", "content", "reasoning"),
    [
        ("Hi", "Hi", None),
        ("", "", None),
        (" Hi \n", " Hi \n", None),
        (CALL, None, None),
        ("<think>\n\n</think>\n\nHi", "Hi", None),
        ("<think>cut", "", "cut"),
        ("Hi <think>no</think>", "Hi <think>no</think>", None),
    ],
)
def test_what_is_not_there_is_none(text: str, content: str | None, reasoning: str | None) -> None:
    parsed = parse_output("qwen", text)
    assert (parsed.content, parsed.reasoning_content) == (content, reasoning)


def test_only_tools_on_offer_are_called() -> None:
    assert parse_output("qwen", CALL, functions("add")).tool_calls
    for tools in (functions("sub"), []):
        parsed = parse_output("qwen", CALL, tools)
        assert (parsed.content, parsed.tool_calls) == (CALL, [])


def test_tools_are_given_as_objects_or_as_openai_writes_them() -> None:
    written = [{"type": "function", "function": {"name": "add"}}]
    for tools in (
        functions("add"),
        written,
        [{"name": "add"}],
        [FunctionDefinition("add")],
        json.loads(json.dumps(written)),
    ):
        assert len(parse_output("qwen", CALL, tools).tool_calls) == 1


def test_the_tools_schema_says_what_an_element_is() -> None:
    text = "<tool_call>\n<function=run>\n<parameter={}>\n3\n</parameter>\n</function>\n</tool_call>"
    for name, arguments in (("code", '{"code": "3"}'), ("n", '{"n": 3}'), ("unknown", '{"unknown": 3}')):
        parsed = parse_output("qwen_coder", text.format(name), functions("run"))
        assert [call.function.arguments for call in parsed.tool_calls] == [arguments]


def test_a_text_that_looks_like_a_json_string_keeps_its_quotes() -> None:
    text = '<tool_call>\n<function=run>\n<parameter=unknown>\n"3"\n</parameter>\n</function>\n</tool_call>'
    (call,) = parse_output("qwen_coder", text).tool_calls
    assert call.function.arguments == '{"unknown": "\\"3\\""}'


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ('"""a "b"\n"""', 'a "b"\n'),
        ("'''it's'''", "it's"),
        ('""', ""),
        (r"'\x41\u00e9\N{BULLET}\q'", "A\xe9\u2022\\q"),
        ("0x10", 16),
    ],
)
def test_python_values_are_read_as_python_reads_them(written: str, value: object) -> None:
    (call,) = parse_output("pythonic", f"[run(a={written})]").tool_calls
    assert json.loads(call.function.arguments) == {"a": value}


def test_text_of_an_element_streams_while_it_is_written() -> None:
    parser = OutputParser("qwen_coder", functions("run"))
    parser.feed("<tool_call>\n<function=run>\n<parameter=code>\nprint(")
    assert parser.feed('"hi"') == [CallArguments('\\"hi\\"')]
    assert parser.feed("\n") == []
    assert parser.feed("x") == [CallArguments("\\nx")]


def test_reasoning_is_read_by_every_parser_unless_it_is_turned_off() -> None:
    text = "[THINK]hm[/THINK]Hi"
    for name in ("passthrough", "json", "mistral", "auto"):
        assert parse_output(name, text).reasoning_content == "hm"
        assert parse_output(name, text, reasoning="mistral").content == "Hi"
        assert parse_output(name, text, reasoning="none").content == text
        assert parse_output(name, text, reasoning="think").content == text


def test_a_prompt_that_ends_inside_reasoning_opens_it() -> None:
    parsed = parse_output("qwen", "hm\n</think>\n\nHi", prompt="<|im_start|>assistant\n<think>\n")
    assert (parsed.content, parsed.reasoning_content) == ("Hi", "hm")
    again = parse_output("qwen", "<think>hm</think>Hi", prompt="<think>\n")
    assert (again.content, again.reasoning_content) == ("Hi", "hm")


def test_auto_chooses_by_template_and_family_and_reads_anything_without_them() -> None:
    for text in (CALL, '[TOOL_CALLS]add[ARGS]{"a": 1}', '<|python_tag|>{"name": "add", "parameters": {"a": 1}}'):
        assert [call.function.name for call in parse_output("auto", text).tool_calls] == ["add"]
    parser = OutputParser("auto", family="MistralForCausalLM")
    assert [*parser.feed(CALL), *parser.finish()] == [Text(CALL)]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="no parser"):
        OutputParser("nothing")
    with pytest.raises(ConfigError, match="no reasoning"):
        OutputParser("qwen", reasoning="nothing")


def test_an_answer_that_merely_is_json_stays_an_answer() -> None:
    for text in ('{"name": "Bob"}', '{"name": "Bob", "age": 3}', "[1, 2]", '{"a": {"name": "add", "arguments": {}}}'):
        for name in ("json", "llama", "auto", "pythonic"):
            parsed = parse_output(name, text)
            assert (parsed.content, parsed.tool_calls) == (text, [])


def test_an_answer_in_json_streams_as_soon_as_it_is_seen_to_be_no_call() -> None:
    for name in ("json", "llama", "auto"):
        parser = OutputParser(name)
        told = parser.feed('{"results": [') + parser.feed("1, 2")
        assert "".join(event.text for event in told if isinstance(event, Text)) == '{"results": [1, 2'


@pytest.mark.parametrize("order", [("name", "arguments"), ("arguments", "name")])
def test_the_keys_of_a_call_come_in_any_order(order: tuple[str, str]) -> None:
    written = {"name": '"add"', "arguments": '{"a":  1}'}
    members = ", ".join(f'"{key}": {written[key]}' for key in order)
    for name, text in (("json", f"{{{members}}}"), ("qwen", f'<tool_call>{{"id": 1, {members}}}</tool_call>')):
        (call,) = parse_output(name, text).tool_calls
        assert (call.function.name, call.function.arguments) == ("add", '{"a":  1}')


@pytest.mark.parametrize(
    ("written", "arguments"),
    [('"{\\"a\\": 1}"', '{"a": 1}'), ("null", "{}"), ("{}", "{}"), ('{\n "a": 1 }', '{\n "a": 1 }')],
)
def test_arguments_may_be_a_text_that_holds_them_or_null(written: str, arguments: str) -> None:
    (call,) = parse_output("qwen", f'<tool_call>{{"name": "add", "arguments": {written}}}</tool_call>').tool_calls
    assert call.function.arguments == arguments


@pytest.mark.parametrize("written", ["[1]", "3", "{a: 1}", '"x"', '"[1]"', "{1", "nope"])
def test_arguments_that_are_no_object_make_no_call(written: str) -> None:
    text = f'<tool_call>{{"name": "add", "arguments": {written}}}</tool_call>'
    parsed = parse_output("qwen", text)
    assert (parsed.content, parsed.tool_calls) == (text, [])


def test_a_call_behind_a_malformed_one_is_read() -> None:
    parsed = parse_output("qwen", f"<tool_call>\nadd(1)\n</tool_call>\n{CALL}")
    assert parsed.content == "<tool_call>\nadd(1)\n</tool_call>"
    assert len(parsed.tool_calls) == 1


def test_a_call_whose_last_brace_is_missing_is_whole() -> None:
    parsed = parse_output("qwen", '<tool_call>{"name": "add", "arguments": {"a": 1}</tool_call>Done.')
    assert (parsed.content, parsed.tool_calls[0].function.arguments) == ("Done.", '{"a": 1}')


def test_a_call_without_arguments_has_none_unless_nothing_else_shows_that_it_is_one() -> None:
    (call,) = parse_output("qwen", '<tool_call>{"name": "now"}</tool_call>').tool_calls
    assert call.function.arguments == "{}"
    assert parse_output("json", '{"name": "now"}').tool_calls == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("qwen", "<tool_call>" + '{"function": ' * 5000),
        ("json", '{"tool_calls": [' * 5000),
        ("json", '{"arguments": {"a": ' + "[" * 5000 + "]" * 5000 + '}, "name": "add"} '),
        ("qwen", '<tool_call>{"name": "add", "arguments": {"a": ' + "[" * 5000),
        ("pythonic", "[add(a=" + "[" * 5000),
        ("gemma", "<|tool_call>call:add{a:" + "{a:" * 5000),
    ],
)
def test_however_deep_a_text_nests_it_is_read_to_its_end(name: str, text: str) -> None:
    parsed = parse_output(name, text)
    assert (parsed.content == text) is not bool(parsed.tool_calls)


def test_reasoning_and_code_fences_never_call() -> None:
    fenced = f"Example:\n```xml\n{CALL}\n```\nor\n~~~~\n```\n{CALL}\n~~~~\n"
    parsed = parse_output("qwen", f"<think>{CALL}</think>{fenced}{CALL}")
    assert (parsed.reasoning_content, parsed.content) == (CALL, fenced.rstrip())
    assert len(parsed.tool_calls) == 1


def test_events_are_told_apart_by_type() -> None:
    parser = OutputParser("harmony")
    events = parser.feed("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Hi")
    assert events == [Reasoning("hm"), Text("Hi")]
