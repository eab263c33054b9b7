"""Released checkpoints at their real size: which tensors are asked for, and how many parameters they have.

Each file says where its facts are from. Most names and shapes are those under which transformers saves such a model.
Where a published index was found, the names asked for are held to it: written down as it is, they have as many
characters as it has, and as many bytes as its `total_size`; where its digest is known, they are the same text.
Where lengths of the published files were found, files of the tensors asked for are as long, with the names in their
headers; where only that of all files together was found, they are as long together. Which architectures have only that,
or nothing, is said below.
"""

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from real_checkpoints import RealCheckpoint, Shapes, checkpoint_names, digest, expand, real_checkpoint

from candle_vllm_core.model.build import WITHOUT_EFFECT, expected_shapes
from candle_vllm_core.model.families import FAMILIES, decoder_spec
from candle_vllm_core.model.names import NameMap
from candle_vllm_core.spec import Decoder

Record = Callable[[str, object], None]
NAMES = checkpoint_names()
WITHOUT_CHECKPOINT = {"MinistralForCausalLM", "Ministral3ForCausalLM"}
"""Architectures that transformers has, of which no released config.json is known here."""
WITHOUT_INDEX = {"DeepseekV2ForCausalLM", "GlmForCausalLM", "SmolLM3ForCausalLM", "StableLmForCausalLM"}
"""Of these nothing of an index was found, but how long published files are."""
WITHOUT_COPY = {"Cohere2ForCausalLM"}
"""Of these neither was found; their names are those under which transformers saves them."""


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


@pytest.mark.parametrize("name", [name for name in NAMES if real_checkpoint(name).index])
def test_the_tensors_asked_for_are_those_of_the_published_index(name: str) -> None:
    real = real_checkpoint(name)
    assert real.index is not None
    found = asked(decoder_spec(real.config), real)
    files = real.files.names({**found, **real.ignored}) if real.files else {}
    text, size = real.index.written({"tensors": found, "ignored": real.ignored, "copies": real.copies}, files)
    assert len(text) == real.index.characters
    assert size == real.index.metadata["total_size"]
    assert {kind: digest(text, kind) for kind in real.index.digest or {}} == (real.index.digest or {})


@pytest.mark.parametrize("name", [name for name in NAMES if real_checkpoint(name).files])
def test_the_published_files_are_as_long_as_files_of_the_tensors_asked_for(name: str) -> None:
    real = real_checkpoint(name)
    assert real.files is not None
    found = asked(decoder_spec(real.config), real)
    shapes = {**found, **real.ignored, **real.copies}
    cut = real.files.cut(shapes)
    assert len(cut) == real.files.count
    assert sorted(found.keys() - set(itertools.chain(*cut)))[:9] == [], "in no file"
    files = ({each: shapes[each] for each in names} for names in cut)
    lengths = {str(number): real.files.length(file) for number, file in enumerate(files, start=1)}
    assert {number: lengths[number] for number in real.files.lengths} == real.files.lengths
    assert real.files.total in (None, sum(lengths.values()))


@pytest.mark.parametrize("name", [name for name in NAMES if real_checkpoint(name).config_digest])
def test_the_config_is_the_published_one_to_the_last_character(name: str) -> None:
    real = real_checkpoint(name)
    text = json.dumps(real.config, indent=2) + "\n"
    assert {kind: digest(text, kind) for kind in real.config_digest or {}} == real.config_digest


def test_every_architecture_has_a_checkpoint_and_most_have_an_index() -> None:
    found = [real_checkpoint(name) for name in NAMES]
    indexed = {real.architecture for real in found if real.index}
    assert FAMILIES.keys() - {real.architecture for real in found} == WITHOUT_CHECKPOINT
    assert FAMILIES.keys() - indexed == WITHOUT_CHECKPOINT | WITHOUT_INDEX | WITHOUT_COPY
    assert {real.architecture for real in found if real.files} - indexed == WITHOUT_INDEX


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
    assert list(expand({"{0-1}.{gate,up}": [1]})) == ["0.gate", "0.up", "1.gate", "1.up"]
