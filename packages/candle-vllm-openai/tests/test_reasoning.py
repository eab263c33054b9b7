"""Reasoning, in every style, before an answer of any format."""

from random import Random

import answers
import pytest

from candle_vllm_openai.formats import FORMATS, Offered
from candle_vllm_openai.output import answer_grammar
from candle_vllm_openai.reasoning import STYLES, ReasoningStyle
from candle_vllm_openai.scanner import Parser

CALL = '<tool_call>\n{"name": "search", "arguments": {"query": "cats"}}\n</tool_call>'


def every_cut(text: str, style: ReasoningStyle | None, *, started: bool = False) -> tuple[str, str, int]:
    """Reasoning, content and the number of calls, the same however the text is cut."""
    chosen = () if style is None else (style,)
    grammar = answer_grammar(FORMATS["qwen"], Offered(answers.SCHEMAS), chosen, style if started else None)
    whole = answers.read(lambda: Parser(grammar), [text])
    for pieces in answers.cuts(text, 5, Random(text)):
        assert answers.read(lambda: Parser(grammar), pieces) == whole
    return answers.reasoning_of(whole), answers.content_of(whole), len(answers.written_calls(whole))


styles = pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)


@styles
def test_reasoning_goes_before_the_answer(style: ReasoningStyle) -> None:
    text = f"\n{style.opening}\nFirst {{\n\n  then }}.\n{style.closing}\n\nHi.\n"
    assert every_cut(text, style) == ("First {\n\n  then }.", "Hi.\n", 0)


@styles
def test_reasoning_that_the_prompt_began_is_marked_at_its_end_only(style: ReasoningStyle) -> None:
    assert every_cut(f"hm\n{style.closing}Hi", style, started=True) == ("hm", "Hi", 0)
    assert every_cut(f"{style.opening}\nhm{style.closing}Hi", style, started=True) == ("hm", "Hi", 0)
    assert every_cut("hm, still", style, started=True) == ("hm, still", "", 0)


@styles
def test_a_call_in_reasoning_is_none_and_one_behind_it_is_one(style: ReasoningStyle) -> None:
    text = f"{style.opening}I call {CALL}{style.closing}\n{CALL}"
    assert every_cut(text, style) == (f"I call {CALL}", "", 1)


@styles
def test_empty_reasoning_is_none(style: ReasoningStyle) -> None:
    assert every_cut(f"{style.opening}\n\n{style.closing}\n\nHi", style) == ("", "Hi", 0)


@styles
def test_marks_that_stand_elsewhere_are_text(style: ReasoningStyle) -> None:
    for text in (f"Hi {style.opening}no{style.closing}", style.opening[:-1], f"{style.closing}Hi"):
        assert every_cut(text, style) == ("", text, 0)


@styles
def test_without_a_style_marks_are_text(style: ReasoningStyle) -> None:
    text = f"{style.opening}hm{style.closing}Hi"
    assert every_cut(text, None) == ("", text, 0)


@styles
def test_reasoning_that_is_cut_short_is_reasoning(style: ReasoningStyle) -> None:
    for end in range(len(style.closing)):
        reasoning, content, _ = every_cut(f"{style.opening}hm {style.closing[:end]}", style)
        assert (reasoning, content) == (f"hm {style.closing[:end]}".rstrip(), "")


@styles
def test_a_prompts_end_opens_it(style: ReasoningStyle) -> None:
    assert style.opened_by(f"User: hi\n{style.opening}\n")
    assert not style.opened_by(f"User: {style.opening} hi\nAssistant:")
    assert not style.opened_by(f"{style.opening}\n\n{style.closing}\n\n")
