from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoints import save_model
from paged import CPU, in_chunks
from safetensors.torch import load_file, save_file
from torch import Tensor

from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.model.build import build_decoder
from candle_vllm_core.model.decoder import Decoder
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.weights.source import open_source

IDS = torch.arange(20)


def load(path: Path, progress: bool = False) -> Decoder:
    source = open_source(path)
    return build_decoder(decoder_spec(source.config), source, device=CPU, dtype=torch.float32, progress=progress)


def rewrite(path: Path, **change: Tensor | None) -> None:
    """Put tensors into a checkpoint's file, or for None take them out; `__` stands for a dot."""
    tensors = load_file(path / "model.safetensors")
    for name, tensor in change.items():
        name = name.replace("__", ".")
        tensors.pop(name, None)
        if tensor is not None:
            tensors[name] = tensor
    save_file(tensors, path / "model.safetensors")


def test_missing_and_extra_tensors_and_wrong_shapes_are_one_error(tmp_path: Path) -> None:
    save_model(tmp_path, "llama")
    rewrite(
        tmp_path,
        model__norm__weight=None,
        model__layers__2__mlp__up_proj__weight=None,
        model__layers__1__self_attn__q_norm__weight=torch.ones(8),
        model__layers__0__mlp__down_proj__weight=torch.ones(48, 81),
    )
    with pytest.raises(ModelLoadError) as raised:
        load(tmp_path)
    message = str(raised.value)
    assert "2 missing: model.layers.2.mlp.up_proj.weight, model.norm.weight" in message
    assert "1 not part of this architecture: model.layers.1.self_attn.q_norm.weight" in message
    assert "model.layers.0.mlp.down_proj.weight (is [48, 81], should be [48, 80])" in message
    assert len(raised.value.names) == 4


def test_a_long_list_of_names_is_capped(tmp_path: Path) -> None:
    save_model(tmp_path, "llama")
    rewrite(tmp_path, **{f"extra__{i}": torch.ones(1) for i in range(500)})
    with pytest.raises(ModelLoadError, match="500 not part of this architecture: .* and 492 more") as raised:
        load(tmp_path)
    assert len(str(raised.value)) < 1000


def test_frequencies_that_old_checkpoints_store_are_passed_over(tmp_path: Path) -> None:
    save_model(tmp_path, "llama")
    before = in_chunks(load(tmp_path), IDS, [20])
    rewrite(tmp_path, model__layers__0__self_attn__rotary_emb__inv_freq=torch.ones(4))
    assert torch.equal(in_chunks(load(tmp_path), IDS, [20]), before)


def test_a_tied_head_that_is_stored_all_the_same_is_used(tmp_path: Path) -> None:
    save_model(tmp_path, "qwen2, tied")
    tied = load(tmp_path)
    rewrite(tmp_path, lm_head__weight=load_file(tmp_path / "model.safetensors")["model.embed_tokens.weight"] * 2)
    own = load(tmp_path)
    assert torch.allclose(in_chunks(own, IDS, [20]), in_chunks(tied, IDS, [20]) * 2)
    assert own.num_parameters == tied.num_parameters


def test_tensors_of_other_float_types_are_converted(tmp_path: Path) -> None:
    save_model(tmp_path, "llama")
    before = in_chunks(load(tmp_path), IDS, [20])
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({name: tensor.double() for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    assert torch.equal(in_chunks(load(tmp_path), IDS, [20]), before)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn])
def test_tensors_that_are_no_plain_floats_are_refused(tmp_path: Path, dtype: torch.dtype) -> None:
    save_model(tmp_path, "llama")
    rewrite(tmp_path, model__layers__0__mlp__down_proj__weight=torch.ones(48, 80).to(dtype))
    with pytest.raises(ModelLoadError, match=r"down_proj\.weight is stored as (I8|F8_E4M3)"):
        load(tmp_path)


def test_the_model_does_not_hold_the_files(tmp_path: Path) -> None:
    save_model(tmp_path, "qwen2, tied")
    source = open_source(tmp_path)
    decoder = build_decoder(decoder_spec(source.config), source, device=CPU, dtype=torch.float32)
    before = in_chunks(decoder, IDS, [20])
    assert str(tmp_path) in Path("/proc/self/maps").read_text()
    source.close()
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    assert torch.equal(in_chunks(decoder, IDS, [20]), before)


def test_progress_counts_all_bytes_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(tmp_path, "llama, biases")
    load(tmp_path, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "loading weights: 100%" in shown.err
    load(tmp_path)
    assert capsys.readouterr().err == ""


def test_the_spec_says_what_is_built(tmp_path: Path) -> None:
    save_model(tmp_path, "llama")
    source = open_source(tmp_path)
    spec = decoder_spec(source.config)
    shorter = replace(spec, layers=spec.layers[:2])
    with pytest.raises(ModelLoadError, match="9 not part of this architecture: model.layers.2"):
        build_decoder(shorter, source, device=CPU, dtype=torch.float32)
