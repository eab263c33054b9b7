"""The page of models is true: every family is compared, by models of today, and no word of its table is empty."""

import inspect

import pytest

import families

MEASURE = "`python -m bench parity --write` measures"


@pytest.mark.parametrize("name", families.FAMILIES)
def test_every_family_has_figures(name: str) -> None:
    compared = families.variants(name)
    assert compared, "no small model of this family is compared with transformers"
    assert [each for each in compared if each not in families.figures()] == [], MEASURE
    assert families.rounded(name), MEASURE
    assert all(float(row[families.FP32]) <= 1e-5 for row in families.measured(name))
    assert all(float(own) <= 1.1 * float(theirs) for own, theirs in families.rounded(name))


def test_no_figure_is_of_a_model_that_is_gone() -> None:
    assert families.figures().keys() - families.MODELS.keys() == set(), MEASURE


def test_every_feature_is_that_of_some_family() -> None:
    found = {word for name in families.FAMILIES for word in families.features(name)}
    assert families.FEATURES.keys() - found == set()


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("Gemma2ForCausalLM", {"windows", "capped scores", "capped logits", "norms before and after each part"}),
        ("DeepseekV3ForCausalLM", {"latent attention", "experts in groups", "sigmoid routing", "shared expert"}),
        ("Qwen3NextForCausalLM", {"recurrent layers", "gated attention", "rotated in part"}),
        ("GptOssForCausalLM", {"attention sinks", "windows", "experts"}),
    ],
)
def test_features_are_seen(name: str, known: set[str]) -> None:
    assert known <= set(families.features(name))


def test_the_features_of_others_are_not_seen() -> None:
    strange = {"windows", "experts", "latent attention", "recurrent layers", "capped logits", "scaled logits"}
    assert strange & set(families.features("LlamaForCausalLM")) == set()


def test_every_family_names_checkpoints_and_what_it_is() -> None:
    for family in families.FAMILIES.values():
        assert family.examples
        assert families.title(family)


def test_helpers_of_a_reader_count_beside_it() -> None:
    family = families.FAMILIES["Olmo2ForCausalLM"]
    written = [line for line in inspect.getsource(family.read).splitlines() if line.strip()]
    reader, helpers = families.lines(family)
    assert (reader, helpers > reader) == (len(written), True)
