"""What grammars are written with; the formats' own tests hold them to all cuts."""

import time
from collections.abc import Callable
from random import Random

import answers
import pytest
from answers import merged
from hypothesis import given
from hypothesis import strategies as st

from candle_vllm_openai.scanner import (
    CallArguments,
    CallEnd,
    CallStart,
    Event,
    Grammar,
    Malformed,
    Parser,
    Scanner,
    Steps,
    Text,
)
from candle_vllm_openai.search import marks_of


def prose(*marks: str) -> Grammar:
    """Text; each mark is told of as a call."""

    def grammar(scan: Scanner) -> Steps[None]:
        while (mark := (yield from scan.prose(*marks))) is not None:
            yield CallStart(mark)
            yield CallEnd()

    return grammar


def one_value(stop: str = "") -> Grammar:
    def grammar(scan: Scanner) -> Steps[None]:
        yield CallStart("f")
        yield from scan.attempt(scan.value(CallArguments, stop=stop))
        yield CallEnd()
        yield from scan.plain()

    return grammar


def every_cut(grammar: Grammar, text: str) -> list[Event]:
    """The events of a text, the same for every cut in two and for single characters."""
    whole = answers.read(lambda: Parser(grammar), [text])
    for at in range(len(text) + 1):
        assert answers.read(lambda: Parser(grammar), [text[:at], text[at:]]) == whole
    assert answers.read(lambda: Parser(grammar), list(text)) == whole
    return whole


@given(st.text("ab<|>", max_size=12), st.lists(st.text("ab<|>", min_size=1, max_size=4), min_size=1, max_size=4))
def test_the_leftmost_mark_is_found_and_of_those_the_longest(text: str, marks: list[str]) -> None:
    place, mark = marks_of(tuple(marks)).find(text, 0, closed=True)
    found = [(text.find(each), -len(each), each) for each in marks if each in text]
    assert (place, mark) == ((min(found)[0], min(found)[2]) if found else (len(text), None))


@given(st.text("ab<|>", max_size=12), st.lists(st.text("ab<|>", min_size=1, max_size=4), min_size=1, max_size=4))
def test_no_more_is_held_back_than_may_become_a_mark(text: str, marks: list[str]) -> None:
    place, mark = marks_of(tuple(marks)).find(text, 0, closed=False)
    if mark is None:
        held = text[place:]
        assert not held or any(each.startswith(held) for each in marks)
        assert not any(each in text[:place] for each in marks)


@pytest.mark.parametrize(
    ("text", "content", "num_calls"),
    [
        ("a <X> b", "ab", 1),
        ("a\n```\n<X>\n```\nb <X>", "a\n```\n<X>\n```\nb", 1),
        ("```py\n<X>\n```<X>\n```\n<X>", "```py\n<X>\n```<X>\n```", 1),
        ("  ```\n<X>", "  ```\n<X>", 0),
        ("a ``` <X>", "a ```", 1),
        ("```x``` <X>", "```x```", 1),
        ("````\n```\n<X>\n````\n<X>", "````\n```\n<X>\n````", 1),
        ("~~~\n```\n<X>\n~~~\n<X>", "~~~\n```\n<X>\n~~~", 1),
        ("~~~a`b\n<X>\n~~~\n<X>", "~~~a`b\n<X>\n~~~", 1),
        ("```\n<X>\n``` \t\n<X>", "```\n<X>\n```", 1),
        ("```\na ```\n<X>\n```\n<X>", "```\na ```\n<X>\n```", 1),
        ("```\n<X>\n```x\n<X>", "```\n<X>\n```x\n<X>", 0),
        ("<X>```\n<X>\n```", "```\n<X>\n```", 1),
        ("<X> \n ", "", 1),
        (" \n ", " \n ", 0),
        ("", "", 0),
        ("<", "<", 0),
        ("<X", "<X", 0),
    ],
)
def test_text_between_marks_and_fences_that_hide_them(text: str, content: str, num_calls: int) -> None:
    events = every_cut(prose("<X>"), text)
    assert answers.content_of(events) == content
    assert len(answers.written_calls(events)) == num_calls


@pytest.mark.parametrize(
    ("text", "value", "rest"),
    [
        ('{"a": [1, "}"]} tail', '{"a": [1, "}"]}', " tail"),
        ('"a\\"b\\\\" tail', '"a\\"b\\\\"', " tail"),
        ('  [[], {"\\\\": "]"}]x', '[[], {"\\\\": "]"}]', "x"),
        ("-1.5e3, x", "-1.5e3", ", x"),
        ("null}", "null", "}"),
        ('{"a": "</s>"}</s>', '{"a": "</s>"}', "</s>"),
        ('{"a": 1</s> b', '{"a": 1', "</s> b"),
        ('{"a": <b', '{"a": <b', ""),
        ('{"a": "cut', '{"a": "cut', ""),
        ('{"a": "cut\\', '{"a": "cut\\', ""),
    ],
)
def test_a_value_is_passed_on_as_it_is_written_and_ends_where_its_brackets_do(text: str, value: str, rest: str) -> None:
    events = every_cut(one_value("</s>"), text)
    assert "".join(event.fragment for event in events if isinstance(event, CallArguments)) == value
    assert answers.content_of(events).strip() == rest.strip()


def test_events_come_with_the_text_that_makes_them_known() -> None:
    parser = Parser(prose("<X>"))
    assert parser.feed("Hello <") == [Text("Hello")]
    assert parser.feed("b") == [Text(" <b")]
    assert parser.feed("<X>") == [CallStart("<X>"), CallEnd()]
    assert (parser.feed("c"), parser.finish()) == ([Text("c")], [])


def test_the_position_is_where_the_text_of_an_event_ends() -> None:
    text = "Some words <X> and more."
    for pieces in ([text], list(text)):
        parser, read = Parser(prose("<X>")), []
        for piece in pieces:
            read += [(event, parser.position) for event in parser.read(piece)]
        read += [(event, parser.position) for event in parser.read_end()]
        for event, position in read:
            assert not isinstance(event, Text) or text[:position].endswith(event.text)
        assert parser.position == len(text)


def test_what_a_grammar_leaves_unread_is_text() -> None:
    def grammar(scan: Scanner) -> Steps[None]:
        yield from scan.expect("!")

    assert every_cut(grammar, "!rest") == [Text("!rest")]
    assert every_cut(grammar, " ?") == [Text(" ?")]


def test_a_word_and_a_text_that_are_too_long_are_malformed_at_the_same_place_however_they_are_cut() -> None:
    def grammar(scan: Scanner) -> Steps[None]:
        try:
            yield from scan.text(">", limit=5)
        except Malformed:
            yield Text("!")
        yield from scan.plain()

    for text in ("abcde>", "abcdef>", "abcdefghij", "abc"):
        every_cut(grammar, text)
    assert every_cut(grammar, "abcdef>")[0] == Text("!f>")


@given(
    st.lists(st.sampled_from(["<X>", "<X", "a", " ", "\n", "```", "``", "~~~", "x\n", "\n```\n"]), max_size=12),
    st.randoms(),
)
def test_no_text_is_lost_or_changed_by_fences(parts: list[str], random: Random) -> None:
    text = "".join(parts)
    events = answers.read(lambda: Parser(prose("<X>")), [text])
    told = "".join(
        event.text if isinstance(event, Text) else event.name for event in events if not isinstance(event, CallEnd)
    )  # type: ignore[union-attr]
    assert "".join(told.split()) == "".join(text.split())
    for pieces in answers.cuts(text, 3, random):
        assert answers.read(lambda: Parser(prose("<X>")), pieces) == events


def seconds(format: str, text: str) -> float:
    """The processor's time that reading a text takes."""
    begun = time.process_time()
    parser = answers.parser(format)
    merged([*parser.feed(text), *parser.finish()])
    return time.process_time() - begun


@pytest.mark.parametrize(
    ("format", "make"),
    [
        ("qwen", lambda n: "<tool_call>" * n),
        ("qwen", lambda n: '<tool_call>{"name": "search", "arguments": {"query": ' + "[" * 8 * n),
        ("qwen", lambda n: '<tool_call>{"function": ' * n),
        ("deepseek", lambda n: "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>" * n),
        ("auto", lambda n: "<" * 8 * n),
        ("harmony", lambda n: "<|channel|>" * n),
        ("pythonic", lambda n: "[search(tags=[" + "1, " * n),
        ("gemma", lambda n: "<|tool_call>call:search{a:" + "{b:" * n),
        ("qwen", lambda n: "```\n" * n),
        ("qwen", lambda n: "a" + " " * 16 * n),
    ],
)
def test_the_time_grows_with_the_text_and_no_faster(format: str, make: Callable[[int], str]) -> None:
    seconds(format, make(10))
    short = min(seconds(format, make(500)) for _ in range(3))
    long = min(seconds(format, make(8000)) for _ in range(2))
    assert long < 16 * 5 * max(short, 1e-4)
