import pytest
from pydantic import ValidationError

from candle_vllm_openai import ContentPart, FunctionCall, Message, ToolCall

CALL = ToolCall(id="a", type="function", function=FunctionCall(name="f", arguments="{}"))


def test_the_usual_messages() -> None:
    assert [(made.role, made.text) for made in (Message.system("s"), Message.user("u"), Message.assistant("a"))] == [
        ("system", "s"),
        ("user", "u"),
        ("assistant", "a"),
    ]


def test_messages_of_tools() -> None:
    called = Message.assistant_with_tool_calls([CALL])
    assert (called.role, called.text, called.tool_calls) == ("assistant", None, [CALL])
    assert Message.assistant_with_tool_calls([CALL], "First").text == "First"
    assert Message.tool("a", "r") == Message(role="tool", tool_call_id="a", content="r")
    assert Message.tool_with_name("a", "r", "f").name == "f"


def test_a_message_is_dumped_as_it_was_written() -> None:
    for message in (
        Message.user("x"),
        Message.assistant_with_tool_calls([CALL]),
        Message.tool_with_name("a", "r", "f"),
    ):
        assert Message.model_validate(message.model_dump()) == message
        assert Message.model_validate_json(message.model_dump_json()) == message


def test_a_message_is_never_changed() -> None:
    with pytest.raises(ValidationError):
        Message.user("x").content = "y"


def test_parts_are_joined_by_line_breaks() -> None:
    parts = [ContentPart(type="text", text="a"), ContentPart(type="text", text="")]
    assert Message(role="user", content=parts).text == "a\n"


def test_a_part_holds_the_text_of_its_type() -> None:
    for fields in (
        {"type": "text", "refusal": "x"},
        {"type": "refusal", "text": "x"},
        {"type": "text", "text": "x", "refusal": "y"},
    ):
        with pytest.raises(ValidationError):
            ContentPart.model_validate(fields)


def test_the_length_of_a_message_counts_its_calls() -> None:
    assert Message.user("abc").num_chars == 3
    assert Message.assistant_with_tool_calls([CALL], "abc").num_chars == 5


def test_reasoning_has_two_names() -> None:
    for fields in ({"reasoning": "hm"}, {"reasoning_content": "hm"}, {"reasoning": "hm", "reasoning_content": "hm"}):
        message = Message.model_validate({"role": "assistant", "content": "abc"} | fields)
        assert (message.thoughts, message.num_chars) == ("hm", 5)
    assert Message.assistant("abc").thoughts is None


def test_the_index_of_a_call_is_taken_and_not_written_out() -> None:
    assert ToolCall.model_validate(CALL.model_dump() | {"index": 3}).model_dump() == CALL.model_dump()


def test_what_the_client_parsed_is_taken_and_not_written_out() -> None:
    message = Message.model_validate({"role": "assistant", "content": "5", "parsed": 5})
    assert message.model_dump() == Message.assistant("5").model_dump()
    with pytest.raises(ValidationError):
        Message.model_validate({"role": "user", "content": "5", "parsed": 5})
