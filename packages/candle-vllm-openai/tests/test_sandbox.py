import time
from typing import Any

import pytest
from chat_templates import CONVERSATIONS, rendered, request

from candle_vllm_openai import ApiError, ChatTemplate, meter
from candle_vllm_openai.prompt import PromptTemplate
from candle_vllm_openai.sandbox import CompiledTemplate

BIG = "{% set big = 'a' * 10**6 %}"
LONG = "{% set long = range(10**5) | list %}"
DEEP = "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}"

TOO_MUCH = [
    "{{ 'a' * 10**9 }}",
    "{{ 10**9 * 'a' }}",
    "{{ [1] * 10**9 }}",
    "{{ 10 ** (10**8) }}",
    "{% set ns = namespace(x=3) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "{% set ns = namespace(x='ab') %}"
    "{% for i in range(60) %}{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}",
    BIG + "{% for i in range(10**5) %}{{ big }}{% endfor %}",
    BIG + "{% macro m() %}{% for i in range(10**5) %}{{ big }}{% endfor %}{% endmacro %}{{ m() | length }}",
    BIG + "{% for i in range(10**5) %}{% set x = big[1:] %}{% endfor %}",
    "{% for i in range(10**5) %}{% for j in range(10**5) %}{% endfor %}{% endfor %}",
    LONG + "{% for i in long %}{% for j in long %}{% for k in long %}{% endfor %}{% endfor %}{% endfor %}",
    LONG + "{% for i in long %}{{ long | sum }}{% endfor %}",
    LONG + "{% for i in long %}{{ long | sort | length }}{% endfor %}",
    LONG + "{% for i in long %}{% if -1 in long %}{% endif %}{% endfor %}",
    LONG + "{% for i in long %}{% for j in long %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}{% endfor %}",
    "{{ range(10**5) | map('string') | map('center', 10**9) | list }}",
    BIG + "{{ big.replace('a', big) }}",
    BIG + "{{ big | replace('a', big) }}",
    BIG + "{{ big.join(range(10**5) | map('string')) }}",
    BIG + "{{ range(10**5) | join(big) }}",
    BIG + LONG + "{{ ([big] * 10**5) | join }}",
    BIG + "{{ ([big] * 10**5) | tojson }}",
    BIG + "{{ ([big] * 10**5) | string }}",
    BIG + "{{ [big] * 10**5 }}",
    BIG + "{{ ('{0}' * 10**5).format(big) }}",
    BIG + "{{ ('{a}' * 10**5).format_map({'a': big}) }}",
    BIG + "{{ ('%(a)s' * 10**5) % {'a': big} }}",
    BIG + "{{ ('%(a)s' * 10**5) | format(a=big) }}",
    "{{ '{:>999999999}'.format(1) }}",
    "{{ '{:>{}}'.format(1, 10**9) }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '%*d' % (10**9, 1) }}",
    "{{ '%999999999d' | format(1) }}",
    "{{ 'a'.center(10**9) }}",
    "{{ 'a'.ljust(10**9) }}",
    "{{ 'a'.zfill(width=10**9) }}",
    "{{ '\\t'.expandtabs(10**9) }}",
    "{{ 'a'.translate({97: 'b' * 10**6}) }}",
    "{{ 'a'.encode() * 10**9 }}",
    BIG + "{{ (big * 50).rfind('b' + big) }}",
    BIG + "{{ (big * 50).strip('b' * 10**6 + 'a') }}",
    BIG + "{{ (big * 50) | trim('b' * 10**6 + 'a') }}",
    "{{ ('<!---->' * 10**6 | safe).striptags() }}",
    "{{ ('f' * 10**6) | int(base=16) // (('f' * 5 * 10**5) | int(base=16)) }}",
    "{{ strftime_now('%c' * 10**6) }}",
    "{{ range(10**5) | select('in', range(10**5) | list) | list }}",
    LONG + "{% for i in [1] recursive %}{% if loop.depth < 4 %}{{ loop(long) }}{% endif %}{% endfor %}",
    "{{ 'a' | center(10**9) }}",
    "{{ 'a' | indent(10**9, first=true) }}",
    BIG + "{{ ('a\\n' * 10**5) | indent(big) }}",
    "{{ [1] | batch(10**9, 0) | list }}",
    "{{ [1] | slice(10**9) | list }}",
    "{{ [1] | tojson(indent=10**9) }}",
    BIG + "{{ ([1] * 10**5) | tojson(separators=(big, big)) }}",
    "{{ ([[1] * 10**5] * 10**5) | sum(start=[]) | length }}",
    DEEP + "{{ ns.x }}",
    DEEP + "{{ ns.x | tojson }}",
    DEEP + "{{ ns.x | string }}",
    DEEP + "{{ '' ~ ns.x }}",
    DEEP + "{{ '%s' % [ns.x] }}",
    DEEP + "{{ '{}'.format(ns.x) }}",
    DEEP + "{{ [ns.x] | join }}",
    DEEP + "{% set a = ns.x %}{% set ns.x = [1] %}"
    "{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ a == ns.x }}",
    DEEP + "{{ [[1, ns.x], [1, ns.x]] | sort | length }}",
    DEEP + "{{ [[1, ns.x], [1, ns.x]].index([1, ns.x]) }}",
    DEEP + "{{ ns.x is eq ns.x }}",
]


@pytest.mark.parametrize("source", TOO_MUCH)
def test_stops_a_template_in_the_middle_of_an_expression(source: str) -> None:
    template, begun = CompiledTemplate(source), time.monotonic()
    with pytest.raises(ApiError) as caught:
        template.render({}, seconds=0.2)
    assert time.monotonic() - begun < 4.0 and caught.value.status == 400


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages[7].content + 'x' }}",
        "{{ 1 // 0 }}",
        "{{ messages[0].content.no.such }}",
        "{{ [1] | first + 'x' }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''['__class__'].__mro__ }}",
        "{{ '{0.__class__.__mro__}'.format(1) }}",
        "{{ ('' | attr('__class__')).__mro__ }}",
        "{{ raise_exception.__globals__.x }}",
        "{{ self._TemplateReference__context.x }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'a': 1}) }}",
        "{{ messages[0].content.__add__('x') }}",
        "{% include 'x' %}",
        "{{ lipsum() }}",
        "{{ range(10 ** 9) | list }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
        "{{ raise_exception('No.') }}",
    ],
)
def test_a_template_that_fails_is_an_error_of_this_request_alone(source: str) -> None:
    with pytest.raises(ApiError) as caught:
        rendered(ChatTemplate(source=source), CONVERSATIONS["one"])
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "source", ["{% if %}", "{{", "{% nosuchtag %}", "{{ x | nosuchfilter }}", "{{ " + "(" * 9999, "{% if 1 %}" * 99]
)
def test_a_broken_template_is_the_models_error(source: str) -> None:
    with pytest.raises(ApiError, match="not valid Jinja") as caught:
        PromptTemplate(ChatTemplate(source=source))
    assert (caught.value.status, caught.value.code) == (500, "chat_template_invalid")


def test_what_a_template_says_of_an_error_is_cut() -> None:
    with pytest.raises(ApiError, match=r"refuses these messages: x+$") as caught:
        CompiledTemplate("{{ raise_exception('x' * 10**6) }}").render({}, 10.0)
    assert len(str(caught.value)) < 1100


def test_bounds_the_length_and_the_time_of_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ChatTemplate(source="{% for i in range(1000) %}{{ messages[0].content }}{% endfor %}")
    monkeypatch.setattr(meter, "MAX_PROMPT_CHARS", 4999)
    with pytest.raises(ApiError, match="4999 characters"):
        rendered(source, CONVERSATIONS["one"])
    monkeypatch.setattr(meter, "MAX_PROMPT_CHARS", 5000)
    assert len(rendered(source, CONVERSATIONS["one"])) == 5000
    with pytest.raises(ApiError, match="-1 s"):
        PromptTemplate(source).render(request(CONVERSATIONS["one"]), seconds=-1.0)


PLAIN: dict[str, Any] = {
    "{{ 'a' ~ 1 ~ none ~ [1, 'b'] ~ true }}": "a1None[1, 'b']True",
    "{{ x }}{{ x is defined }}{{ none }}": "FalseNone",
    "{{ 'abc'[1:] }}{{ 'abc'[::-1] }}{{ [1, 2][:1] }}": "bccba[1]",
    "{% for a, b in {'x': 1, 'y': 2}.items() %}{{ loop.index }}{{ a }}{{ b }}{{ loop.last }}{% endfor %}": (
        "1x1False2y2True"
    ),
    "{% for a in [1, 2, 3] if a != 2 %}{{ loop.length }}{{ loop.previtem }}{{ a }}{% endfor %}": "21213",
    "{% for a in x %}{% else %}none{% endfor %}": "none",
    "{% for a in [[1, [2]]] recursive %}{{ a if a is number else loop(a) }}{% endfor %}": "12",
    "{% for a in range(9) %}{% if a == 2 %}{% continue %}{% elif a == 4 %}{% break %}{% endif %}{{ a }}{% endfor %}": (
        "013"
    ),
    "{{ [1, 2] | join('-') }}{{ [{'a': 1}, {'a': 2}] | join(', ', attribute='a') }}": "1-21, 2",
    "{{ 'a b' | replace('a', 'c') | title | center(7) | trim }}": "C B",
    "{{ 1 < 2 < 3 }}{{ 'a' in 'abc' }}{{ 2 not in [1] }}{{ {'a': 1} == {'a': 1} }}": "TrueTrueTrueTrue",
    "{{ '%s-%02d' % ('a', 3) }}{{ '%s' % 'b' }}{{ '{}:{x:>3}'.format(1, x='y') }}{{ '%s!' | format(1) }}": (
        "a-03b1:  y1!"
    ),
    "{{ 'x' * 3 + 'y' }}{{ 2 ** 10 }}{{ 7 % 4 }}{{ [0] * 2 + [1] }}": "xxxy10243[0, 0, 1]",
    "{{ ['a', 'b'] | map('upper') | list }}{{ ', '.join(['a', 'b']) }}": "['A', 'B']a, b",
    "{{ ['b', 'a'] | sort | first }}{{ [3, 1] | sum }}{{ 'x' | default('y') }}{{ z | d('w') }}": "a4xw",
    "{{ [1, 2, 3] | select('gt', 1) | list | length }}": "2",
    "{{ 'a\\nb' | indent(2) }}{{ 'abcdef' | truncate(4, true, '', 0) }}": "a\n  babcd",
}


@pytest.mark.parametrize(("source", "text"), PLAIN.items())
def test_what_is_paid_for_does_what_it_always_does(source: str, text: str) -> None:
    assert CompiledTemplate(source).render({}, 10.0) == text


def test_gives_the_names_that_a_template_reads() -> None:
    source = "{{ a }}{% set b = c %}{{ b }}{% for d in e %}{{ d }}{{ loop.index }}{% endfor %}{{ strftime_now(f) }}"
    assert CompiledTemplate(source).reads == {"a", "c", "e", "f"}
