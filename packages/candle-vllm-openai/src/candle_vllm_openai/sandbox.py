"""Chat templates compiled for Jinja's immutable sandbox: all that they do is paid for, and nothing else is in reach.

The helpers are those that Hugging Face gives templates; a template that works there works here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, meta, nodes, pass_context, pass_environment
from jinja2.environment import Environment
from jinja2.ext import Extension, loopcontrols
from jinja2.filters import make_attrgetter
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from . import meter
from .errors import SERVER, ApiError
from .meter import METER, Meter, metered, paid, pay_format, pay_indent, pay_method, pay_operation, spend, text_of, weigh

MAX_INDENT = 16
MAX_LAYOUT = 256
MAX_REASON = 1000
MAX_WIDTH = 100_000

_STEPS, _CONCAT, _PAID, _WEIGHED = "for each", "~", "paid for", "weighed"
_LEFT_OUT = ("pprint", "striptags", "urlize", "wordwrap", "xmlattr")
_LAZY = frozenset("attr count d default first items join last length list map reverse tojson".split()) | frozenset(
    "reject rejectattr select selectattr".split()
)
"""Filters that do not go through all that they are given, or pay for it themselves."""
_COMPARING = frozenset("!= < <= == > >= eq equalto ge greaterthan gt in le lessthan lt ne".split())


class CompiledTemplate:
    """A template's program.

    Raises:
        ApiError: it is not valid Jinja.
    """

    def __init__(self, source: str) -> None:
        try:
            tree = _ENVIRONMENT.parse(source)
            reads = meta.find_undeclared_variables(tree)
            code = _ENVIRONMENT.compile(_Metering().visit(tree))
            known = _ENVIRONMENT.make_globals(None)
            self._program = _ENVIRONMENT.template_class.from_code(_ENVIRONMENT, code, known)
        except (TemplateError, SyntaxError, ValueError, RecursionError) as error:
            message = f"the model's chat template is not valid Jinja: {error}"
            raise ApiError(message, status=500, type=SERVER, code="chat_template_invalid") from error
        self.reads = frozenset(reads - _ENVIRONMENT.globals.keys())
        """Names of the variables that it reads."""

    def render(self, variables: Mapping[str, Any], seconds: float) -> str:
        """What it writes with these variables.

        Raises:
            ApiError: the template refuses them, fails on them, takes longer than this or writes too much.
        """
        pieces: list[str] = []
        length, limit = 0, meter.MAX_PROMPT_CHARS
        with _guarded(seconds):
            for piece in self._program.generate(variables):
                pieces.append(piece)
                length += len(piece)
                if length > limit:
                    raise ApiError(f"the messages make more than {limit} characters; shorten them", param="messages")
        return "".join(pieces)


@contextmanager
def _guarded(seconds: float) -> Iterator[None]:
    token = METER.set(Meter(seconds))
    try:
        yield
    except ApiError:
        raise
    except TemplateError as error:
        reason = str(error)[:MAX_REASON]
        raise ApiError(f"the model's chat template refuses these messages: {reason}", param="messages") from error
    except Exception as error:  # a template is a foreign program: it can fail in any way
        reason = repr(error)[:MAX_REASON]
        raise ApiError(f"the model's chat template fails on these messages: {reason}", param="messages") from error
    finally:
        METER.reset(token)


class _Environment(ImmutableSandboxedEnvironment):
    """The immutable sandbox, with a price on every operation."""

    intercepted_binops = frozenset({"+", "*", "**", "%", "//"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        pay_operation(operator, left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            args = tuple(pay_method(owner, __obj.__name__, args, kwargs))
        elif isinstance(owner, list | tuple):
            weigh(owner, chars=False)
        return paid(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        formatting = super().wrap_str_format(value)
        if formatting is None:
            return None

        def paying(*arguments: Any, **named: Any) -> str:
            pay_format(value.__self__, [*arguments, *named.values()])
            return formatting(*arguments, **named)

        return paying


class _Metering(NodeTransformer):
    """Puts a price on what a program does without asking the environment: loops, `~`, slices, comparisons."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = _filter(node.iter, _STEPS, nodes.Const(_written_by(node)))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        joined, *others = node.nodes
        for other in others:
            joined = _filter(joined, _CONCAT, other)
        return joined

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        return _filter(node, _PAID) if isinstance(node.arg, nodes.Slice) else node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _weighed(node.expr)
        for operand in node.ops:
            operand.expr = _weighed(operand.expr)
        return node


def _filter(operand: nodes.Node, name: str, *arguments: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(operand, name, list(arguments), [], None, None, lineno=operand.lineno)


def _weighed(operand: nodes.Expr) -> nodes.Expr:
    return operand if isinstance(operand, nodes.Const) else _filter(operand, _WEIGHED)


def _written_by(loop: nodes.For) -> int:
    """The characters that one round writes by itself."""
    return sum(len(data.data) for data in loop.find_all(nodes.TemplateData))


class _Steps:
    """What a loop goes through, each round paid for."""

    def __init__(self, items: Any, price: int) -> None:
        self._items, self._price = items, price

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        current, price = METER.get(), self._price
        for item in self._items:
            current.spend(price)
            yield item


class _Generation(Extension):
    """`{% generation %}` marks answers for training; a prompt has just what stands inside."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _price_of(name: str) -> Callable[[Sequence[Any], Mapping[str, Any]], None]:
    """The price of a filter or a test, given its operands."""

    def price(operands: Sequence[Any], named: Mapping[str, Any]) -> None:
        if name not in _LAZY:
            weigh(operands[0])
        match name, [*operands, *named.values()]:
            case "trim", [text, str() as part]:
                spend(len(text_of(text)) * len(part))
            case "replace", [text, old, new, *_]:
                meter.pay_replacing(text_of(text), text_of(old), text_of(new))
            case "indent", [text, width, *_]:
                check_sizes(width)
                pay_indent(text_of(text), width)
            case (("batch" | "center" | "slice" | "truncate"), [_, *sizes]):
                check_sizes(*sizes)
            case "format", [layout, *arguments]:
                pay_operation("%", text_of(layout), tuple(arguments))
            case "sum", [_, *_]:
                if not isinstance(named.get("start", operands[2] if len(operands) > 2 else 0), int | float):
                    raise ValueError("only numbers are summed here")

    return price


def check_sizes(*sizes: Any) -> None:
    """Refuse widths and numbers of places that no template needs."""
    for size in sizes:
        meter.check_width(size, MAX_WIDTH)


def _comparing(operands: Sequence[Any], named: Mapping[str, Any]) -> None:
    for operand in operands:
        weigh(operand, chars=False)


def _environment() -> _Environment:
    made = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation], optimized=False)
    made.finalize = _written
    for name in _LEFT_OUT:
        del made.filters[name]
    filters: dict[str, Any] = {**made.filters}
    tests: dict[str, Any] = {**made.tests}
    made.filters |= {name: metered(each, _price_of(name)) for name, each in filters.items()}
    made.tests |= {name: metered(tests[name], _comparing) for name in _COMPARING}
    made.filters |= {"tojson": _to_json, "join": _join, "string": text_of}
    made.filters |= {_STEPS: _Steps, _CONCAT: _concat, _PAID: paid, _WEIGHED: _weigh}
    del made.globals["lipsum"]
    made.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    return made


@pass_context
def _written(context: Context, value: Any) -> str:
    return text_of(value)


@pass_environment
def _join(environment: Environment, items: Any, d: str = "", attribute: str | int | None = None) -> str:
    """Jinja's own cannot be priced: what it joins may come one by one."""
    read: Callable[[Any], Any] = text_of if attribute is None else make_attrgetter(environment, attribute)
    texts = [text_of(read(item)) for item in items]
    spend(len(d) * len(texts))
    return str(d).join(texts)


def _concat(left: Any, right: Any) -> str:
    return text_of(left) + text_of(right)


def _weigh(value: Any) -> Any:
    weigh(value, chars=False)
    return value


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own escapes HTML; templates expect Hugging Face's, which does not."""
    for size in (indent, *(separators or ())):
        meter.check_width(size, MAX_INDENT)
    weigh(value, indent=0 if indent is None else MAX_INDENT)
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    spend(len(text))
    return text


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(layout: str) -> str:
    meter.check_width(layout, MAX_LAYOUT)
    return datetime.now().strftime(layout)


_ENVIRONMENT = _environment()
