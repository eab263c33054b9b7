"""Whatever a model writes, no word of it is lost, and text that is no call comes back as it was."""

import re

import answers
import pytest
from answers import VARIANTS, Variant
from hypothesis import given, settings
from hypothesis import strategies as st

from candle_vllm_openai.scanner import CallEnd

PUNCTUATION = ("{", "}", "[", "]", '"', ":", ",", " ", "\n", "\\", "<", ">", "/", "=", "(", ")", "```", '"name"', "'")
# What frames an answer, and is no part of it.
FRAMES = {"function_marks": ("✿RETURN✿",), "harmony": ("<|channel|>", "<|start|>")}


def marks_of(variant: Variant) -> list[str]:
    """What the format's calls are made of, but for words."""
    text = variant.write([answers.ONE, answers.NOW, answers.NESTED])
    marks = re.findall(r"<[^<>\s]*>|\[[A-Z_]+\]|✿\w+✿|<[a-z]+(?:=| name=\")|```\w+|call:", text)
    return sorted({*marks, *FRAMES.get(variant.format, ())})


def texts(variant: Variant) -> st.SearchStrategy[str]:
    """Texts of the format's marks, of JSON's and of words that differ."""
    parts = st.lists(st.sampled_from([*marks_of(variant), *PUNCTUATION, "search", "now", "WORD"]), max_size=24)
    return parts.map(numbered)


def numbered(parts: list[str]) -> str:
    return "".join(f"w{place}w" if part == "WORD" else part for place, part in enumerate(parts))


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.label)
@settings(max_examples=40)
@given(data=st.data())
def test_no_word_is_lost_and_what_is_no_call_stays_as_it_is(variant: Variant, data: st.DataObject) -> None:
    text = data.draw(texts(variant))
    parser = answers.parser(variant.format)
    events, last = parser.feed(text), parser.finish()
    calls = answers.written_calls([*events, *last])
    content = answers.content_of([*events, *last])
    if not calls and not any(mark in text for mark in FRAMES.get(variant.format, ())):
        assert content == text
    if CallEnd() not in last:  # not cut short inside a call
        told = [content, *(part for call in calls for part in call)]
        assert [word for word in re.findall(r"w\d+w", text) if not any(word in part for part in told)] == []
