"""The law: however an answer is cut, its stream is the whole answer."""

import json
from random import Random

import answers
import pytest
from answers import VARIANTS, Answer

from candle_vllm_openai.formats import FORMATS

WELL_FORMED = [answer for variant in VARIANTS for answer in answers.answers(variant, num_broken=0)]


def named(answer: Answer) -> str:
    return f"{answer.variant.label}, {answer.kind}"


def test_every_format_is_here() -> None:
    assert {variant.format for variant in VARIANTS} == {*FORMATS, "auto"} - {"passthrough"}


@pytest.mark.parametrize("answer", WELL_FORMED, ids=named)
def test_an_answer_says_what_its_model_meant(answer: Answer) -> None:
    events = answers.read(answer.parser, [answer.text])
    calls = [(name, json.loads(arguments)) for name, arguments in answers.written_calls(events)]
    assert (answers.content_of(events), answers.reasoning_of(events)) == (answer.content, answer.reasoning)
    assert calls == list(answer.calls or ())


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.label)
def test_cuts_give_the_same_events(variant: answers.Variant) -> None:
    random = Random(variant.label)
    for answer in answers.answers(variant, num_broken=2):
        whole = answers.read(answer.parser, [answer.text])
        for pieces in answers.cuts(answer.text, 5, random, step=4):
            assert answers.read(answer.parser, pieces) == whole, (answer.kind, pieces)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.label)
def test_a_call_that_is_cut_short_keeps_what_came_and_gives_no_text(variant: answers.Variant) -> None:
    one = variant.write([answers.NESTED])
    for end in range(len(one)):
        events = answers.read(lambda: answers.parser(variant.format, variant.style), [one[:end]])
        calls = answers.written_calls(events)
        assert (answers.content_of(events) == "") is bool(calls) or not one[:end].strip()
        assert len(calls) <= 1
