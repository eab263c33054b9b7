"""The experts of a checkpoint, stored one by one or as one interleaved stack, in the stack that computes."""

import math
from collections.abc import Callable
from typing import TypeVar

import pytest
import torch
from tensors import Tensors, checkpoint
from torch import Tensor
from torch.profiler import profile

from candle_vllm_core.model import loader
from candle_vllm_core.model.loader import Blueprint
from candle_vllm_core.model.names import NameMap
from candle_vllm_core.quant import packed
from candle_vllm_core.quant.experts import ExpertStack
from candle_vllm_core.spec import Names

T = TypeVar("T")
COUNT, ROWS, COLUMNS = 5, 12, 20
GATE_UP = ("gate_proj", "up_proj")
EACH = Names(renames=(("up_proj", "w3"),))
INTERLEAVED = Names(fused=((GATE_UP, "gate_up"), (("down_proj",), "down")), experts="interleaved")
FORMS = [("each", GATE_UP), ("each", ("down_proj",)), ("interleaved", GATE_UP), ("interleaved", ("down_proj",))]
forms = pytest.mark.parametrize(("form", "names"), FORMS, ids=str)
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def stored(form: str, stack: Tensor, biases: Tensor, names: tuple[str, ...]) -> tuple[Names, Tensors]:
    """A checkpoint of matrices [experts, parts, rows, columns] and biases [experts, parts, rows]."""
    if form == "each":
        called = {"gate_proj": "gate_proj", "up_proj": "w3", "down_proj": "down_proj"}
        places = [(e, part, f"{e}.{called[name]}") for e in range(len(stack)) for part, name in enumerate(names)]
        tensors = {f"{name}.weight": stack[expert, part] for expert, part, name in places}
        return EACH, Tensors(tensors | {f"{name}.bias": biases[expert, part] for expert, part, name in places})
    name = "gate_up" if len(names) == 2 else "down"
    # Column r * parts + p of what is stored is row r of part p.
    matrices = stack.permute(0, 3, 2, 1).flatten(2)
    return INTERLEAVED, Tensors({name: matrices, f"{name}_bias": biases.transpose(1, 2).flatten(1)})


def random(parts: int, rows: int = ROWS, columns: int = COLUMNS) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = (COUNT, parts, rows, columns), (COUNT, parts, rows)
    return torch.randn(shapes[0], generator=generator), torch.randn(shapes[1], generator=generator)


def blueprint(names: tuple[str, ...], spec: Names, bias: bool) -> Blueprint:
    plan = Blueprint(NameMap(spec))
    plan.experts(names, ROWS, COLUMNS, count=COUNT, bias=bias)
    return plan


def measured(load: Callable[[], T]) -> tuple[T, Tensor]:
    """What is loaded, and the bytes that torch's allocator has given out after each change."""
    with profile(profile_memory=True) as profiled:
        found = load()
    results = profiled.profiler
    if results is None:
        raise RuntimeError("nothing was profiled")
    events = [event for event in results.kineto_results.events() if event.name() == "[memory]"]
    return found, torch.tensor([e.nbytes() for e in sorted(events, key=lambda event: event.start_ns())]).cumsum(0)


def matrices(experts: ExpertStack) -> Tensor:
    """[experts, rows, columns]: what each gives for each unit vector."""
    x = torch.eye(COLUMNS).repeat(COUNT, 1)
    return experts.multiply(x, [COLUMNS] * COUNT).view(COUNT, COLUMNS, -1).mT


@forms
@pytest.mark.parametrize("bias", [False, True])
def test_experts_are_what_is_stored(form: str, names: tuple[str, ...], bias: bool) -> None:
    stack, biases = random(len(names))
    spec, source = stored(form, stack, biases, names)
    experts = checkpoint(source, names=spec).experts(names, ROWS, COLUMNS, count=COUNT, bias=bias)
    assert (experts.count, experts.rows) == (COUNT, ROWS * len(names))
    right = stack.flatten(1, 2) + (biases.flatten(1)[..., None] if bias else 0)
    assert torch.equal(matrices(experts), right)


@forms
def test_both_forms_are_converted_alike(form: str, names: tuple[str, ...]) -> None:
    stack, biases = random(len(names))
    spec, source = stored(form, stack, biases, names)
    experts = checkpoint(source, torch.bfloat16, spec).experts(names, ROWS, COLUMNS, count=COUNT, bias=True)
    none = experts.multiply(torch.zeros(COUNT, COLUMNS, dtype=torch.bfloat16), [1] * COUNT)
    assert torch.equal(none, biases.flatten(1).bfloat16())


@forms
@dtypes
@pytest.mark.parametrize("bias", [False, True])
def test_what_is_asked_and_reported_is_what_was_planned(
    form: str, names: tuple[str, ...], dtype: torch.dtype, bias: bool
) -> None:
    """Each tensor once, of the shape that it has; and the bytes of a progress bar add up."""
    spec, source = stored(form, *random(len(names)), names)
    plan = blueprint(names, spec, bias)
    assert plan.shapes == {name: source.shape(name) for name in plan.shapes}
    reported: list[int] = []
    checkpoint(source, dtype, spec, reported).experts(names, ROWS, COLUMNS, count=COUNT, bias=bias)
    assert sorted(source.asked) == sorted(plan.shapes)
    assert sum(reported) == sum(map(math.prod, plan.shapes.values())) * dtype.itemsize


@forms
@dtypes
def test_loading_experts_takes_the_memory_of_one_more_at_most(
    form: str, names: tuple[str, ...], dtype: torch.dtype
) -> None:
    rows, columns = 64, 256  # of which no layout of a packed matrix makes more
    spec, source = stored(form, *random(len(names), rows, columns), names)
    load = checkpoint(source, dtype, spec)
    load.experts(names, rows, columns, count=COUNT, bias=False)  # the first matrix of a type is tried out
    experts, held = measured(lambda: load.experts(names, rows, columns, count=COUNT, bias=False))
    stack = COUNT * experts.rows * columns * dtype.itemsize
    assert held[-1] == stack
    assert held.max() <= stack + 1.1 * stack / COUNT


@pytest.mark.parametrize("can", [True, False])
def test_a_matrix_is_stored_from_where_it_stands_and_is_never_the_files_own(
    can: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can:
        for module in (loader, packed):
            monkeypatch.setattr(module, "can_pack", lambda dtype: False)
    rows, columns = 64, 256
    plain = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    source = Tensors({"x.weight": plain.clone()})
    load = checkpoint(source, torch.bfloat16)
    load.matrix(["x"], [rows], columns)
    weight, held = measured(lambda: load.matrix(["x"], [rows], columns))
    assert held.max() == held[-1] == rows * columns * 2
    source.tensor("x.weight").zero_()
    assert torch.equal(weight.dense(), plain)
