"""Released checkpoints at their real size: which tensors are asked for, and how many parameters they have.

Names and shapes are those under which transformers saves such a model; each file says where its facts are from.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from real_checkpoints import RealCheckpoint, Shapes, checkpoint_names, expand, real_checkpoint

from candle_vllm_core.model.build import WITHOUT_EFFECT, expected_shapes
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.model.names import NameMap
from candle_vllm_core.spec import Decoder

Record = Callable[[str, object], None]
NAMES = checkpoint_names()


def asked(spec: Decoder, real: RealCheckpoint) -> Shapes:
    """What loading asks of the checkpoint's files: the model of the real size is built, on the meta device."""
    names = NameMap(spec.names, {*real.tensors, *real.ignored, *real.copies})
    return expected_shapes(spec, names, device=torch.device("meta"))


def parameters(shapes: Shapes) -> int:
    return sum(map(math.prod, shapes.values()))


@pytest.mark.parametrize("name", NAMES)
def test_the_tensors_asked_for_are_those_of_the_checkpoint(name: str, record_property: Record) -> None:
    real = real_checkpoint(name)
    found = asked(decoder_spec(real.config), real)
    row = {"family": real.architecture, "checkpoint": real.checkpoint}
    record_property("checkpoint", row | {"parameters": f"{parameters(found):,}", "tensors": f"{len(found):,}"})
    assert sorted(real.tensors.keys() - found.keys())[:9] == [], "not asked for"
    assert sorted(found.keys() - real.tensors.keys())[:9] == [], "not in the checkpoint"
    assert [(name, shape) for name, shape in found.items() if shape != real.tensors[name]][:9] == []
    assert parameters(found) == real.parameters


@pytest.mark.parametrize("name", [name for name in NAMES if real_checkpoint(name).ignored])
def test_what_is_not_the_language_model_is_left_out(name: str) -> None:
    real = real_checkpoint(name)
    spec = decoder_spec(real.config)
    names = NameMap(spec.names)
    left = [name for name in real.ignored if not names.is_ignored(name) and not name.endswith(WITHOUT_EFFECT)]
    assert left[:9] == []
    assert [name for name in real.tensors if names.is_ignored(name)][:9] == []


@pytest.mark.parametrize("name", [name for name in NAMES if real_checkpoint(name).copies])
def test_a_tied_head_that_is_stored_is_the_head_of_an_untied_model(name: str) -> None:
    real = real_checkpoint(name)
    spec = decoder_spec(real.config)
    assert spec.tied
    assert asked(replace(spec, tied=False), real) == {**real.tensors, **real.copies}


def test_a_pattern_stands_for_its_names() -> None:
    shapes = expand({"a.{0-1}.b.{2,7-8}.c": [3, 4], "d": [5]})
    assert list(shapes) == ["a.0.b.2.c", "a.0.b.7.c", "a.0.b.8.c", "a.1.b.2.c", "a.1.b.7.c", "a.1.b.8.c", "d"]
    assert (shapes["a.1.b.8.c"], shapes["d"]) == ((3, 4), (5,))
