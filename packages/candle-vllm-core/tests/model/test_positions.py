"""Rotary positions: every way of saying them, beside the frequencies that transformers computes."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from paged import CPU
from torch import Tensor
from transformers import Gemma3TextConfig, LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.glm.modeling_glm import apply_rotary_pos_emb as rotate_neighbours
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb as rotate_halves
from transformers.models.phi.modeling_phi import PhiRotaryEmbedding

from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.model.fields import MAX_POSITION, Fields
from candle_vllm_core.model.positions import longest, rope
from candle_vllm_core.model.rope import Rotary, rotate
from candle_vllm_core.spec import Rope

Table = Mapping[str, Any]
HEAD_DIM = 64
SHORT, LONG = ([1.0 + factor * pair for pair in range(HEAD_DIM // 2)] for factor in (0.02, 0.7))
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}
LONGROPE = {"rope_type": "longrope", "short_factor": SHORT, "long_factor": LONG}
TABLES: Mapping[str, Table] = {
    "default": {"rope_type": "default"},
    "linear": {"rope_type": "linear", "factor": 2.5},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "llama3": LLAMA3 | {"original_max_position_embeddings": 2048},
    "yarn": YARN,
    "yarn, not truncated": YARN | {"truncate": False},
    "yarn, tuned": YARN | {"beta_fast": 20.0, "beta_slow": 0.5},
    "yarn, sharpened as in DeepSeek": YARN | {"mscale": 0.7, "mscale_all_dim": 0.4},
    "yarn, shrunk": YARN | {"factor": 0.5},
    "yarn, half sharpened": YARN | {"mscale": 0.7},
    "yarn, given sharpness": YARN | {"attention_factor": 1.3},
    "longrope": LONGROPE | {"original_max_position_embeddings": 1024},
    "longrope, factor": LONGROPE | {"original_max_position_embeddings": 1024, "factor": 32.0},
    "longrope, given sharpness": LONGROPE | {"original_max_position_embeddings": 1024, "attention_factor": 1.2},
}
BASE = {"hidden_size": 256, "num_attention_heads": 4, "max_position_embeddings": 8192}


def frequencies(found: Rope) -> tuple[Tensor, float]:
    """What `Rotary` turns each pair by at position 1, and the length it gives them."""
    cos, sin = Rotary(found, CPU).angles(torch.tensor([1]))
    pairs = slice(1, None, 2) if found.interleaved else slice(found.dim // 2, None)
    cos, sin = cos[0, 0, pairs], sin[0, 0, pairs]
    return torch.atan2(sin, cos), torch.hypot(cos, sin).mean().item()


def read(table: Table, *, length: int | None = None, **more: Any) -> Rope:
    config = {**BASE, "rope_parameters": {"rope_theta": 500000.0} | table} | more
    return rope(Fields(config, length=length), HEAD_DIM, 2048, partial=1.0)


def theirs(table: Table, *, length: int | None = None, **more: Any) -> tuple[Tensor, float]:
    """What transformers computes of a config for sequences of a length."""
    config = LlamaConfig(**{**BASE, "rope_parameters": {"rope_theta": 500000.0} | table} | more)
    if table["rope_type"] == "default":
        found: tuple[Tensor, float] = PhiRotaryEmbedding.compute_default_rope_parameters(config)
    else:
        found = ROPE_INIT_FUNCTIONS[table["rope_type"]](config, torch.device("cpu"), seq_len=length)
    return found


def assert_same(found: Rope, right: tuple[Tensor, float]) -> None:
    ours, magnitude = frequencies(found)
    torch.testing.assert_close(ours, right[0], rtol=2e-6, atol=0)
    assert magnitude == pytest.approx(right[1], rel=1e-6)


@pytest.mark.parametrize("length", [1000, 1024, 1025, 8192, 20000])
@pytest.mark.parametrize("share", [1.0, 0.75, 0.25])
@pytest.mark.parametrize("name", TABLES)
def test_frequencies_are_those_of_transformers(name: str, share: float, length: int) -> None:
    table = dict(TABLES[name]) | ({} if share == 1.0 else {"partial_rotary_factor": share})
    for factors in ("short_factor", "long_factor"):
        if factors in table:
            table[factors] = table[factors][: int(HEAD_DIM * share) // 2]
    found = read(table, length=length)
    assert found.dim == HEAD_DIM * share
    assert_same(found, theirs(table, length=length))


@given(
    theta=st.floats(10.0, 1e7),
    factor=st.floats(1.0, 64.0),
    original=st.integers(64, 65536),
    betas=st.tuples(st.floats(8.0, 64.0), st.floats(0.5, 4.0)),
    truncate=st.booleans(),
)
def test_yarn_is_that_of_transformers_whatever_its_numbers(
    theta: float, factor: float, original: int, betas: tuple[float, float], truncate: bool
) -> None:
    table = {"rope_type": "yarn", "rope_theta": theta, "factor": factor, "original_max_position_embeddings": original}
    table |= {"beta_fast": betas[0], "beta_slow": betas[1], "truncate": truncate}
    assert_same(read(table), theirs(table))


@given(
    theta=st.floats(10.0, 1e7),
    factor=st.floats(1.0, 64.0),
    original=st.integers(64, 65536),
    low=st.floats(0.5, 4.0),
    width=st.floats(0.5, 16.0),
)
def test_llama3_is_that_of_transformers_whatever_its_numbers(
    theta: float, factor: float, original: int, low: float, width: float
) -> None:
    table = {"rope_type": "llama3", "rope_theta": theta, "factor": factor, "original_max_position_embeddings": original}
    table |= {"low_freq_factor": low, "high_freq_factor": low + width}
    ours, right = frequencies(read(table))[0], theirs(table)[0]
    # Between kept and stretched both blend two near numbers in float32, which costs digits.
    torch.testing.assert_close(ours, right, rtol=2e-5, atol=0)


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("interleaved", [False, True])
def test_rotated_heads_are_those_of_transformers(interleaved: bool, share: float) -> None:
    config = BASE | {"rope_theta": 500.0, "partial_rotary_factor": share}
    found = rope(Fields(config), HEAD_DIM, 2048, partial=1.0, interleaved=interleaved)
    positions, heads = torch.tensor([0, 1, 2, 77, 4095]), torch.randn(5, 3, HEAD_DIM)
    angles = positions[:, None] * (500.0 ** -(torch.arange(0, found.dim, 2) / found.dim))
    cos, sin = torch.cat((angles, angles), -1).cos(), torch.cat((angles, angles), -1).sin()
    turning, rest = heads[..., : found.dim], heads[..., found.dim :]
    turn = rotate_neighbours if interleaved else rotate_halves
    right = torch.cat((turn(turning, turning, cos, sin)[0], rest), -1)
    ours = rotate(heads, *Rotary(found, CPU).angles(positions), interleaved=interleaved)
    torch.testing.assert_close(ours, right, rtol=1e-5, atol=1e-5)


def test_two_ropes_stand_in_one_table_by_the_type_of_layer() -> None:
    kinds = {
        "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
        "sliding_attention": YARN | {"rope_theta": 1e4},
    }
    config = Gemma3TextConfig(
        **BASE, head_dim=HEAD_DIM, layer_types=[*kinds], num_hidden_layers=2, rope_parameters=kinds
    )
    written = config.to_dict()
    for kind, table in kinds.items():
        found = rope(Fields(written), HEAD_DIM, 2048, kind=kind)
        right = ROPE_INIT_FUNCTIONS[str(table["rope_type"])](config, torch.device("cpu"), layer_type=kind)
        assert_same(found, right)
    with pytest.raises(ModelLoadError, match="sliding_attention"):
        rope(Fields(written), HEAD_DIM, 2048)
    with pytest.raises(ModelLoadError, match="stray"):
        rope(Fields(written | {"rope_parameters": kinds | {"stray": 2.0}}), HEAD_DIM, 2048, kind="full_attention")


def test_one_table_is_that_of_every_type_of_layer() -> None:
    config = BASE | {"rope_parameters": {"rope_type": "linear", "factor": 2.0}}
    kinds = [rope(Fields(config), HEAD_DIM, 2048, kind=kind) for kind in ("full_attention", "sliding_attention")]
    assert kinds == [rope(Fields(config), HEAD_DIM, 2048)] * 2


def test_what_a_table_does_not_say_is_as_beside_it_or_as_the_family_has_it() -> None:
    beside = BASE | {"rope_theta": 700.0, "partial_rotary_factor": 0.5}
    found = [rope(Fields(config), HEAD_DIM, 2048, theta=900.0, partial=0.25) for config in (beside, BASE)]
    nested = beside | {"rope_parameters": {"full_attention": {"rope_theta": 800.0}, "sliding_attention": {}}}
    of_kinds = [
        rope(Fields(nested), HEAD_DIM, 9, partial=0.25, kind=f"{kind}_attention") for kind in ("full", "sliding")
    ]
    assert [(each.theta, each.dim) for each in found + of_kinds] == [(700, 32), (900, 16), (800, 32), (700, 32)]


OLD = {"type": "yarn", "factor": 4.0}
NEW = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 300.0, "original_max_position_embeddings": 512}


def test_both_spellings_at_once_are_read_together_where_they_agree() -> None:
    both = BASE | {"rope_scaling": OLD, "rope_parameters": NEW, "rope_theta": 300}
    only = BASE | {"rope_parameters": NEW}
    assert rope(Fields(both), HEAD_DIM, 2048) == rope(Fields(only), HEAD_DIM, 2048)
    assert rope(Fields(only), HEAD_DIM, 2048).theta == 300.0


@pytest.mark.parametrize(
    "config",
    [
        {"rope_scaling": OLD, "rope_parameters": NEW | {"factor": 8.0}},
        {"rope_scaling": OLD, "rope_parameters": NEW | {"rope_type": "default"}},
        {"rope_scaling": OLD, "rope_parameters": NEW | {"beta_fast": 16.0}},
        {"rope_scaling": OLD | {"attention_factor": 1.0}, "rope_parameters": NEW},
        {"rope_scaling": OLD, "rope_parameters": {"rope_theta": 300.0}},
        {"rope_scaling": OLD, "rope_parameters": {"full_attention": OLD}},
    ],
)
def test_spellings_that_contradict_each_other_are_refused(config: Table) -> None:
    for read_one in (lambda c: rope(c, HEAD_DIM, 2048), lambda c: longest(c, 2048)):
        with pytest.raises(ModelLoadError) as raised:
            read_one(Fields(BASE | config))
        assert raised.value.names == ("rope_scaling", "rope_parameters")


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"rope_parameters": {"rope_theta": 300.0}, "rope_theta": 500.0}, "rope_theta"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}, "partial_rotary_factor": 1.0}, "partial_rotary_factor"),
        ({"rope_scaling": OLD | {"rope_type": "linear"}}, "rope_type"),
    ],
)
def test_one_number_said_twice_must_be_the_same(config: Table, field: str) -> None:
    with pytest.raises(ModelLoadError) as raised:
        rope(Fields(BASE | config), HEAD_DIM, 2048, partial=1.0)
    assert raised.value.names == (field,)


def test_su_is_what_longrope_was_called() -> None:
    old = LONGROPE | {"type": "su"}
    del old["rope_type"]
    both = LONGROPE | {"type": "su"}
    tables = [BASE | {"original_max_position_embeddings": 1024, "rope_scaling": t} for t in (old, both, LONGROPE)]
    assert len({rope(Fields(config), HEAD_DIM, 2048) for config in tables}) == 1


IMPOSSIBLE = [
    ({"rope_type": "proportional"}, "rope_type"),
    ({"rope_type": "linear"}, "factor"),
    ({"rope_type": "linear", "factor": float("inf")}, "factor"),
    ({"rope_type": "default", "factor": 4.0}, "factor"),
    ({"rope_type": "default", "mrope_section": [16, 8, 8]}, "mrope_section"),
    ({"rope_theta": 1.0}, "rope_theta"),
    ({"rope_theta": 1e16}, "rope_theta"),
    ({"partial_rotary_factor": 1.5}, "partial_rotary_factor"),
    ({"partial_rotary_factor": 0.0}, "partial_rotary_factor"),
    ({"partial_rotary_factor": 3 / 64}, "partial_rotary_factor"),
    ({"rope_type": "dynamic", "factor": 1e6}, "factor"),
    ({"rope_type": "dynamic", "factor": 2.0, "partial_rotary_factor": 2 / 64}, "rope_type"),
    (LLAMA3 | {"high_freq_factor": 1.0}, "high_freq_factor"),
    (YARN | {"beta_fast": 0.0}, "beta_fast"),
    (YARN | {"beta_slow": 1e-300}, "beta_slow"),
    (YARN | {"mscale": -1.0}, "mscale"),
    (YARN | {"truncate": 1}, "truncate"),
    (YARN | {"original_max_position_embeddings": 0}, "original_max_position_embeddings"),
    (YARN | {"original_max_position_embeddings": 2**40}, "original_max_position_embeddings"),
    (LONGROPE | {"short_factor": SHORT[1:]}, "short_factor"),
    (LONGROPE | {"long_factor": [*LONG[1:], 0.0]}, "long_factor"),
    (LONGROPE | {"long_factor": []}, "long_factor"),
    (LONGROPE | {"attention_factor": -1.0}, "attention_factor"),
]


@pytest.mark.parametrize(("table", "field"), IMPOSSIBLE)
def test_an_impossible_entry_is_refused_by_name(table: Table, field: str) -> None:
    with pytest.raises(ModelLoadError) as raised:
        read({"rope_type": "default"} | dict(table))
    assert raised.value.names == (field,)


def test_a_part_of_the_head_is_refused_where_the_family_rotates_the_whole() -> None:
    for config in ({"partial_rotary_factor": 0.5}, {"rope_parameters": {"partial_rotary_factor": 0.5}}):
        with pytest.raises(ModelLoadError, match="whole heads"):
            rope(Fields(BASE | config), HEAD_DIM, 2048)


NUMBERS = st.floats(1e-3, 1e6) | st.sampled_from(
    [1e-3, 1.0, 1.01, 2.0, 1e6, 1e15, 0, -1.0, 2**70, 1e-300, float("nan")]
)
NEEDED: Mapping[str, tuple[str, ...]] = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor"),
    "yarn": ("factor",),
    "longrope": ("short_factor", "long_factor"),
}
OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "yarn": ("beta_fast", "beta_slow", "mscale", "mscale_all_dim", "attention_factor", "truncate"),
    "longrope": ("factor", "attention_factor"),
}
HELD: Mapping[str, st.SearchStrategy[Any]] = {
    "truncate": st.booleans(),
    **dict.fromkeys(("short_factor", "long_factor"), st.sampled_from([[1e-3, 1e6] * 16, [None], [1.0] * 32])),
}


def tables(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    """Tables of a kind with all that it needs, whose numbers may be extreme or impossible."""
    return st.fixed_dictionaries(
        {"rope_type": st.just(kind)} | {name: HELD.get(name, NUMBERS) for name in NEEDED[kind]},
        optional={name: HELD.get(name, NUMBERS) for name in (*OPTIONAL.get(kind, ()), "rope_theta")}
        | {"original_max_position_embeddings": st.integers(0, MAX_POSITION + 1)},
    )


@given(
    table=st.sampled_from([*NEEDED]).flatmap(tables),
    said=st.integers(1, MAX_POSITION),
    length=st.none() | st.integers(2, 2**24),
)
def test_whatever_a_table_holds_is_refused_or_gives_finite_angles(table: Table, said: int, length: int | None) -> None:
    c = Fields({"max_position_embeddings": said, "rope_parameters": dict(table)}, length=length)
    try:
        found, reach = rope(c, HEAD_DIM, 2048, partial=1.0), longest(c, 2048)
    except ModelLoadError:
        return
    cos, sin = Rotary(found, CPU).angles(torch.tensor([0, 1, 2**24]))
    assert cos.isfinite().all()
    assert sin.isfinite().all()
    assert said <= reach <= MAX_POSITION
