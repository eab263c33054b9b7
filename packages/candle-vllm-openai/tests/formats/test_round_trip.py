"""Calls that a model's own chat template writes are read back equal, and so are those written by hand."""

import json
from random import Random

import answers
import chat_templates
import pytest
from answers import VARIANTS, Variant
from drawn_calls import drawn_call, drawn_calls
from template_calls import TEMPLATES, read_back, written_answer

NUM_MESSAGES = 25
WRITTEN_IN_JSON = [variant for variant in VARIANTS if variant.arguments_as_written]


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_a_template_writes_is_read_back_equal(name: str) -> None:
    written, template, random = TEMPLATES[name], chat_templates.chat_template(name), Random(name)
    for _ in range(NUM_MESSAGES):
        calls = drawn_calls(random, written.num_calls, plain_keys=written.plain_keys)
        text = written_answer(template, written, calls)
        assert read_back(template, text) == (calls, ""), text


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.label)
def test_drawn_calls_are_read_back_equal(variant: Variant) -> None:
    random = Random(variant.label)
    for _ in range(NUM_MESSAGES):
        calls = drawn_calls(random, 3 if variant.parallel else 1, plain_keys=variant.format == "gemma")
        text = variant.write(calls)
        at = random.randrange(len(text))
        events = answers.read(lambda: answers.parser(variant.format, variant.style), [text[:at], text[at:]])
        assert [(name, json.loads(made)) for name, made in answers.written_calls(events)] == calls, text
        assert answers.content_of(events) == "", text


@pytest.mark.parametrize(
    "variant", [each for each in VARIANTS if each.arguments_as_written], ids=lambda each: each.label
)
def test_arguments_in_json_come_letter_for_letter(variant: Variant) -> None:
    random = Random(variant.label)
    for _ in range(NUM_MESSAGES):
        call = drawn_call(random)
        events = answers.read(lambda: answers.parser(variant.format, variant.style), list(variant.write([call])))
        assert answers.written_calls(events) == [(call[0], json.dumps(call[1], ensure_ascii=False))]
