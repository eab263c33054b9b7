import asyncio
import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from candle_vllm_core import Constraint, ConstraintError, EngineClosedError, constraint_expression
from candle_vllm_core.constraints.compiler import MAX_CACHED, Compiler
from candle_vllm_core.constraints.grammar import grammar_of
from candle_vllm_core.constraints.matcher import Matcher
from candle_vllm_core.tokenizer import Tokenizer
from candle_vllm_core.weights.source import open_source

PATIENCE = 20
EXPONENTIAL = Constraint(grammar="start: T\nT: " + " & ".join(f"/(.|\\n)*x{number}(.|\\n)*/" for number in range(40)))
SLOW = Constraint(json_schema={"type": "integer", "multipleOf": 400_009})


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_directory(open_source(None).path)


@pytest.fixture(scope="module")
def compiler(tokenizer: Tokenizer) -> Iterator[Compiler]:
    compiler = Compiler(tokenizer, tokenizer.vocab_size, seconds=0.2, patience=PATIENCE)
    yield compiler
    compiler.close()


def matcher(compiler: Compiler, forces: bool = True, **given: Any) -> Matcher:
    return compiler.compile(Constraint(**given)).result().matcher(forces=forces)


def takes(matcher: Matcher, tokenizer: Tokenizer, text: str) -> bool:
    """Whether a text is a whole answer."""
    tokens = tokenizer.encode(text, add_special_tokens=False, control_marks=False)
    automaton = matcher.automaton.deep_copy()
    return automaton.try_consume_tokens(tokens) == len(tokens) and automaton.is_accepting()


def refused(compiler: Compiler, constraint: Constraint) -> ConstraintError:
    with pytest.raises(ConstraintError) as caught:
        compiler.compile(constraint).result()
    assert caught.value.kind == constraint.kind
    return caught.value


def chain(length: int) -> dict[str, Any]:
    links = {f"d{number}": {"$ref": f"#/$defs/d{number + 1}"} for number in range(length)}
    return {"$defs": {**links, f"d{length}": {"type": "null"}}, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize(
    ("schema", "keywords"),
    [
        ({"type": "array", "uniqueItems": True}, ("uniqueItems",)),
        ({"properties": {"a": {"not": {"type": "null"}, "if": {}}}}, ("not", "if")),
        ({"type": "string", "format": "colour"}, ("format",)),
        ({"type": "string", "pattern": "(?=a)b"}, ("pattern",)),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, ("oneOf",)),
        ({"patternProperties": {"^a": {}, "^[a-z]": {}}}, ("patternProperties",)),
        ({"type": "colour"}, ("type",)),
        ({"$ref": "https://example.com/schema"}, ("$ref",)),
        ({"$ref": "#/$defs/none"}, ("$ref",)),
        (False, ()),
        ({"type": "integer", "minimum": 2, "maximum": 1}, ()),
        ({"$ref": "#"}, ()),
    ],
)
def test_what_cannot_be_enforced_is_refused_with_its_keyword(compiler: Compiler, schema: Any, keywords: Any) -> None:
    error = refused(compiler, Constraint(json_schema=schema))
    assert set(error.keywords) == set(keywords)
    assert error.reason


def test_a_schema_cannot_switch_the_checks_off(compiler: Compiler) -> None:
    error = refused(compiler, Constraint(json_schema={"x-guidance": {"lenient": True}, "not": {}}))
    assert error.keywords == ("not",)


@pytest.mark.parametrize(
    "constraint",
    [
        Constraint(regex="(a"),
        Constraint(regex=r"(a)\1"),
        Constraint(regex="a{1000000000}"),
        Constraint(grammar="begin: /a/"),
        Constraint(grammar="start: other"),
    ],
)
def test_what_is_no_grammar_is_refused(compiler: Compiler, constraint: Constraint) -> None:
    assert refused(compiler, constraint).reason


@pytest.mark.parametrize(("constraint", "reason"), [(EXPONENTIAL, "memory|over 0.2 s"), (SLOW, "over 0.2 s")])
def test_a_hostile_constraint_is_refused_in_time_and_the_next_one_is_not(
    compiler: Compiler, constraint: Constraint, reason: str
) -> None:
    matcher(compiler, regex="warm")
    began = time.monotonic()
    error = refused(compiler, constraint)
    assert time.monotonic() - began < PATIENCE
    assert re.search(reason, error.reason)
    assert matcher(compiler, choice=[f"after {constraint.kind}"])


@pytest.mark.parametrize(
    "constraint",
    [
        Constraint(json_schema=chain(3000)),
        Constraint(grammar="start: r0\n" + "\n".join(f"r{n}: r{n + 1}" for n in range(3000)) + '\nr3000: "a"'),
    ],
)
def test_a_constraint_that_would_end_the_process_is_refused(compiler: Compiler, constraint: Constraint) -> None:
    assert refused(compiler, constraint).reason
    assert matcher(compiler, choice=[f"after {constraint.kind}"])


def test_a_constraint_is_compiled_once_and_a_refusal_is_remembered(compiler: Compiler) -> None:
    constraint, bad = Constraint(regex="once"), Constraint(regex="(once")
    first = compiler.compile(constraint)
    assert compiler.compile(Constraint(regex="once")) is first
    refused(compiler, bad)
    assert compiler.compile(bad) is compiler.compile(bad)
    for number in range(MAX_CACHED):
        compiler.compile(Constraint(regex=f"other {number}"))
    assert compiler.compile(constraint) is not first


def test_answers_with_one_constraint_do_not_mix(compiler: Compiler, tokenizer: Tokenizer) -> None:
    compiled = compiler.compile(Constraint(regex="[ab]{2}")).result()
    one, other = compiled.matcher(), compiled.matcher()
    [a] = tokenizer.encode("a", add_special_tokens=False)
    one.accept(a)
    one.accept(a)
    assert (one.done, other.done) == (True, False)
    other.accept(a)
    assert not other.done


@pytest.mark.parametrize(
    "choices", [["red", "green"], ['a"b', "a\\b", "x\ny"], ["é😀", "\t\x01"], ["/re/", "start: x", "a|b"], ["i", "in"]]
)
def test_a_choice_takes_its_texts_and_no_others(compiler: Compiler, tokenizer: Tokenizer, choices: list[str]) -> None:
    found = matcher(compiler, choice=choices)
    assert [choice for choice in choices if not takes(found, tokenizer, choice)] == []
    assert not any(takes(found, tokenizer, choice + "x") or takes(found, tokenizer, choice[1:]) for choice in choices)


@pytest.mark.parametrize(
    ("regex", "whole", "other"),
    [
        ("[0-9]{2}", "12", "1"),
        ("a/b", "a/b", "a"),
        (r"a\/b", "a/b", r"a\/b"),
        ("[/]+", "//", ""),
        ("a\nb", "a\nb", "ab"),
        ("a\\\nb", "a\nb", "ab"),
        ("^abc$", "abc", "abcd"),
        ("(?i)ab", "aB", "b"),
        (r"\\", "\\", "\\\\"),
        ("é|日本", "日本", "日"),
        ("", "", "a"),
    ],
)
def test_a_regex_takes_whole_texts(
    compiler: Compiler, tokenizer: Tokenizer, regex: str, whole: str, other: str
) -> None:
    found = matcher(compiler, regex=regex) if regex else matcher(compiler, regex="()")
    assert takes(found, tokenizer, whole) and not takes(found, tokenizer, other)


@pytest.mark.parametrize(
    ("text", "loose", "compact"),
    [
        ('{"a":1}', True, True),
        ('{"a": 1}', True, False),
        ('{\n  "a": 1\n}', True, False),
        ('{\r\n\t"a" : 1 }', True, False),
        ('{"a":  1}', False, False),
        ('{"b":1}', False, False),
        ('{"a":1.5}', False, False),
        ("[1]", False, False),
    ],
)
def test_json_may_be_printed_prettily_unless_it_is_compact(
    compiler: Compiler, tokenizer: Tokenizer, text: str, loose: bool, compact: bool
) -> None:
    schema = {"properties": {"a": {"type": "integer"}}, "type": "object", "additionalProperties": False}
    assert takes(matcher(compiler, json_schema=schema), tokenizer, text) == loose
    assert takes(matcher(compiler, json_schema=json.dumps(schema), compact=True), tokenizer, text) == compact


def test_any_object_is_an_object(compiler: Compiler, tokenizer: Tokenizer) -> None:
    found = matcher(compiler, json_object=True)
    assert takes(found, tokenizer, '{"a": [1, {"b": null}], "c": "d"}')
    assert not takes(found, tokenizer, "[]")


def test_a_grammar_is_never_taken_for_json() -> None:
    text = grammar_of(Constraint(regex="[a-z]")).replace("\n", "")
    wrapped = json.loads(grammar_of(Constraint(grammar=text)))
    assert wrapped["grammars"][0]["lark_grammar"] == text


def test_a_grammar_may_name_tokens_by_their_ids(compiler: Compiler, tokenizer: Tokenizer) -> None:
    mark = tokenizer.encode("<|im_start|>")[0]
    found = matcher(compiler, grammar=f'start: /[ab]*/ <[{mark}]> "c"')
    tokens = [*tokenizer.encode("ab"), mark, *tokenizer.encode("c")]
    assert found.automaton.try_consume_tokens(tokens) == len(tokens)
    assert found.automaton.is_accepting()
    spelled = tokenizer.encode("<|im_start|>", control_marks=False)
    assert matcher(compiler, grammar=f'start: <[{mark}]> "c"').automaton.try_consume_tokens(spelled) == 0
    assert refused(compiler, Constraint(grammar=f"start: <[{tokenizer.vocab_size + 1000}]>")).line == 1


def test_a_schema_is_enforced_as_part_of_a_grammar(compiler: Compiler, tokenizer: Tokenizer) -> None:
    schema = {"$ref": "#/$defs/digit", "$defs": {"digit": {"type": "integer", "minimum": 0, "maximum": 9}}}
    found = matcher(
        compiler, grammar=f'start: "a" value "b"\nvalue: {constraint_expression(Constraint(json_schema=schema))}'
    )
    assert takes(found, tokenizer, "a7b")
    assert not takes(found, tokenizer, "a10b")


@pytest.mark.parametrize(
    ("part", "good", "bad"),
    [
        (Constraint(json_object=True), '{"a": 1}', "[]"),
        (Constraint(regex="[/a]{2}\n"), "/a\n", "/a"),
        (Constraint(choice=["red", "red|green", 'a"b']), 'a"b', "green"),
        (Constraint(grammar='start: first ")"\nfirst: /[0-9]{2}/ "}"'), "12})", "12)"),
    ],
)
def test_a_constraint_is_enforced_as_part_of_a_grammar(
    compiler: Compiler, tokenizer: Tokenizer, part: Constraint, good: str, bad: str
) -> None:
    found = matcher(compiler, grammar=f'start: "(" part first\npart: {constraint_expression(part)}\nfirst: ")"')
    assert takes(found, tokenizer, f"({good})")
    assert not takes(found, tokenizer, f"({bad})")


@pytest.mark.parametrize(
    ("schema", "keywords", "reason"),
    [
        ({"not": {}}, ("not",), "not cannot be enforced; leave it out"),
        ({"$ref": "https://example.com/schema"}, ("$ref",), "Resource 'https://example.com/schema'"),
        ({"minLength": 3, "maxLength": 2}, (), "Unsatisfiable schema: minLength"),
        ({"$ref": "#/$defs/none"}, ("$ref",), "Pointer"),
    ],
)
def test_what_is_wrong_in_a_grammar_is_said_with_its_line(
    compiler: Compiler, schema: dict[str, object], keywords: tuple[str, ...], reason: str
) -> None:
    whole = {**schema, "type": "string"}
    part = constraint_expression(Constraint(json_schema=whole))
    error = refused(compiler, Constraint(grammar=f'start: one two\none: "a"\n\ntwo: {part}\n'))
    assert (error.line, error.keywords) == (4, keywords)
    assert error.reason.startswith(reason)
    assert "\n" not in error.reason


def test_a_lenient_schema_is_enforced_as_far_as_it_can_be(compiler: Compiler, tokenizer: Tokenizer) -> None:
    schema = {"type": "array", "items": {"type": "null"}, "uniqueItems": True}
    found = matcher(compiler, json_schema=schema, compact=True, lenient=True)
    assert takes(found, tokenizer, "[null,null]")
    assert not takes(found, tokenizer, "[1]")


def test_forced_tokens_come_with_the_one_before_them(compiler: Compiler, tokenizer: Tokenizer) -> None:
    found, drawn = matcher(compiler, grammar='start: /[xy]/ "abc: " /[0-9]/'), tokenizer.encode("x")
    forced = found.accept(drawn[0])
    assert tokenizer.decode(forced) == "abc: "
    assert not found.done
    unforced = matcher(compiler, False, grammar='start: /[xy]/ "abc: " /[0-9]/')
    assert unforced.accept(drawn[0]) == []


def test_a_token_that_is_not_allowed_fails_its_matcher_alone(compiler: Compiler, tokenizer: Tokenizer) -> None:
    compiled = compiler.compile(Constraint(regex="[ab]{2}")).result()
    one, other = compiled.matcher(), compiled.matcher()
    with pytest.raises(ConstraintError):
        one.accept(tokenizer.encode("z")[0])
    with pytest.raises(ConstraintError):
        one.check()
    other.check()


def test_closing_ends_what_is_being_compiled(tokenizer: Tokenizer) -> None:
    compiler = Compiler(tokenizer, tokenizer.vocab_size, seconds=60, patience=60)
    compiler.compile(Constraint(regex="warm")).result()
    pending = [compiler.compile(SLOW), *(compiler.compile(Constraint(regex=f"a{n}")) for n in range(5))]
    compiler.close()
    began = time.monotonic()
    errors = [future.exception() for future in pending]
    assert time.monotonic() - began < 20
    assert isinstance(errors[0], EngineClosedError)
    with pytest.raises(EngineClosedError):
        compiler.compile(Constraint(regex="late"))


def test_what_only_had_to_wait_is_tried_again(tokenizer: Tokenizer) -> None:
    compiler = Compiler(tokenizer, tokenizer.vocab_size, seconds=60, patience=0.5)
    try:
        error = refused(compiler, SLOW)
        assert "not ready after 0.5 s" in error.reason
        assert not compiler.compile(SLOW).done()
    finally:
        compiler.close()


async def test_the_future_can_be_awaited_and_given_up(compiler: Compiler) -> None:
    future = compiler.compile(SLOW)
    waiting = asyncio.ensure_future(asyncio.shield(asyncio.wrap_future(future)))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert isinstance(await asyncio.to_thread(future.exception), ConstraintError)
