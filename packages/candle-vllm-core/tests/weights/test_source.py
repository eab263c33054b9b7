import json
import shutil
from pathlib import Path

import pytest
import torch
from checkpoints import save_model
from safetensors.torch import load_file, save_file

from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.weights import safetensors
from candle_vllm_core.weights import source as sources
from candle_vllm_core.weights.safetensors import INDEX
from candle_vllm_core.weights.source import open_source


@pytest.fixture
def single(tmp_path: Path) -> Path:
    save_model(tmp_path / "acme-tiny", "llama")
    return tmp_path / "acme-tiny"


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    save_model(tmp_path / "acme-shards", "llama", shard_size="60KB")
    return tmp_path / "acme-shards"


def edit_index(path: Path, **change: object) -> None:
    index = json.loads((path / INDEX).read_text())
    index["weight_map"] |= change
    (path / INDEX).write_text(json.dumps(index))


def test_a_directory_gives_config_names_shapes_and_tensors(single: Path) -> None:
    source = open_source(single)
    assert (source.path, source.model_id, source.config["model_type"]) == (single, "acme-tiny", "llama")
    stored = load_file(single / "model.safetensors")
    assert source.names() == stored.keys()
    for name, tensor in stored.items():
        assert source.shape(name) == tensor.shape
        assert torch.equal(source.tensor(name), tensor)
    assert torch.equal(source.weight("lm_head.weight").dense(), stored["lm_head.weight"])
    source.close()


def test_the_name_of_a_directory_is_found_through_links_and_dots(single: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(single)
    assert open_source(".").model_id == "acme-tiny"
    assert open_source(str(single) + "/").model_id == "acme-tiny"


def test_shards_are_one_model(sharded: Path) -> None:
    source = open_source(sharded)
    stored = {name: tensor for file in sharded.glob("*.safetensors") for name, tensor in load_file(file).items()}
    assert source.names() == stored.keys()
    assert all(torch.equal(source.tensor(name), tensor) for name, tensor in stored.items())


def test_one_file_wins_over_an_index(single: Path) -> None:
    (single / INDEX).write_text("{")
    assert "lm_head.weight" in open_source(single).names()


def test_none_is_the_model_inside_the_package(single: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "EMBEDDED", single)
    source = open_source(None)
    assert (source.path, source.model_id) == (single, "candle-vllm-embedded")


def test_a_package_without_its_model_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "EMBEDDED", tmp_path / "embedded")
    with pytest.raises(ModelLoadError, match="the model that ships with the package"):
        open_source(None)


@pytest.mark.parametrize(
    "asked", ["{tmp}/nowhere", "./nowhere", "nowhere", "a/b/c", "../up/there", "/", "~nobody/x", "a/.."]
)
def test_a_path_that_is_no_directory_is_named(asked: str, tmp_path: Path) -> None:
    asked = asked.format(tmp=tmp_path)
    with pytest.raises(ModelLoadError) as raised:
        open_source(asked)
    assert asked in str(raised.value)
    assert asked == "/" or "owner/name" in str(raised.value)


def test_a_file_is_no_directory(single: Path) -> None:
    with pytest.raises(ModelLoadError, match="is a file; give a directory"):
        open_source(single / "model.safetensors")


def test_a_gguf_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="GGUF file; this version loads safetensors"):
        open_source(tmp_path / "Model.Q4_K_M.GGUF")


def test_a_directory_without_config_is_named(single: Path) -> None:
    (single / "config.json").unlink()
    with pytest.raises(ModelLoadError, match=r"acme-tiny has no config\.json"):
        open_source(single)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"', "[" * 100_000, "\x00", '{"a": ' + "9" * 5000 + "}"])
def test_a_config_that_is_no_table_is_named(text: str, single: Path) -> None:
    (single / "config.json").write_text(text)
    with pytest.raises(ModelLoadError, match=r"config\.json is not"):
        open_source(single)


def test_a_config_in_no_known_encoding_is_named(single: Path) -> None:
    (single / "config.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(ModelLoadError, match=r"config\.json is not JSON"):
        open_source(single)


def test_a_huge_config_is_not_read(single: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("candle_vllm_core.weights.safetensors.MAX_JSON_BYTES", 10)
    with pytest.raises(ModelLoadError, match="too large"):
        open_source(single)


def test_a_directory_without_weights_says_what_it_looked_for(single: Path) -> None:
    (single / "model.safetensors").unlink()
    with pytest.raises(ModelLoadError, match=r"neither model\.safetensors nor model\.safetensors\.index\.json$"):
        open_source(single)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_pickled_weights_are_never_opened(name: str, single: Path) -> None:
    (single / "model.safetensors").unlink()
    (single / name).write_bytes(b"cos\nsystem\n(S'touch /tmp/opened'\ntR.")
    with pytest.raises(ModelLoadError, match=f"it has {name}, which .* such files can run code") as raised:
        open_source(single)
    assert raised.value.names == (name,)


def test_other_safetensors_are_named(single: Path) -> None:
    (single / "model.safetensors").rename(single / "consolidated.safetensors")
    with pytest.raises(ModelLoadError, match=r"it has consolidated\.safetensors, which this version does not load$"):
        open_source(single)


def test_a_truncated_file_is_found_before_it_is_mapped(single: Path) -> None:
    whole = (single / "model.safetensors").read_bytes()
    (single / "model.safetensors").write_bytes(whole[:-1000])
    with pytest.raises(ModelLoadError, match="not a whole safetensors file.* are there; fetch it again"):
        open_source(single)


def test_a_missing_shard_is_named(sharded: Path) -> None:
    gone = sorted(sharded.glob("*.safetensors"))[1]
    gone.unlink()
    with pytest.raises(ModelLoadError, match=f"lacks {gone.name}"):
        open_source(sharded)


@pytest.mark.parametrize(
    "file",
    [
        "../acme-tiny/model.safetensors",
        "/etc/x.safetensors",
        "sub/x.safetensors",
        "..",
        "",
        "a\\b.safetensors",
        "x.bin",
        3,
        None,
    ],
)
def test_an_index_names_files_beside_it_only(file: object, sharded: Path, single: Path) -> None:
    edit_index(sharded, **{"lm_head.weight": file})
    with pytest.raises(ModelLoadError, match="which is no safetensors file beside it"):
        open_source(sharded)


def test_an_index_that_promises_what_a_shard_lacks_is_found(sharded: Path) -> None:
    shard = sorted(sharded.glob("*.safetensors"))[0].name
    edit_index(sharded, **{"model.layers.9.mlp.up_proj.weight": shard})
    with pytest.raises(
        ModelLoadError, match=f"says that {shard} has model.layers.9.mlp.up_proj.weight, and it has not"
    ):
        open_source(sharded)


def test_a_tensor_in_two_shards_is_found(sharded: Path) -> None:
    first, second, *_ = sorted(sharded.glob("*.safetensors"))
    tensors = load_file(first)
    name = next(iter(tensors))
    save_file(load_file(second) | {name: tensors[name]}, second)
    with pytest.raises(ModelLoadError, match=f"has {name}, and so has another shard"):
        open_source(sharded)


@pytest.mark.parametrize("index", [{}, {"weight_map": {}}, {"weight_map": []}, {"weight_map": "x"}])
def test_an_index_without_a_map_is_found(index: object, sharded: Path) -> None:
    (sharded / INDEX).write_text(json.dumps(index))
    with pytest.raises(ModelLoadError, match="has no `weight_map`"):
        open_source(sharded)


def test_a_shard_that_vanishes_after_opening_is_an_error_of_its_tensor(single: Path) -> None:
    source = open_source(single)
    shutil.rmtree(single)
    with pytest.raises(ModelLoadError, match="cannot read lm_head.weight from"):
        source.tensor("lm_head.weight")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="what is mapped is known on Linux")
def test_a_file_is_mapped_anew_so_that_what_was_read_is_let_go(single: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MOST_MAPPED", "MAPPED_PER_TENSOR"):
        monkeypatch.setattr(safetensors, name, 0)
    source = open_source(single)
    stored = {name: tensor.clone() for name, tensor in load_file(single / "model.safetensors").items()}
    first = source.tensor("lm_head.weight")
    once = _mappings(single)
    for name, tensor in stored.items():
        assert torch.equal(source.tensor(name), tensor)
    assert torch.equal(first, stored["lm_head.weight"]), "what is held stays there"
    assert 0 < once < _mappings(single) <= 2 * once, "the first one's, which is held, and the last one's"
    del first
    source.close()
    assert _mappings(single) == 0


def _mappings(path: Path) -> int:
    return Path("/proc/self/maps").read_text().count(str(path / "model.safetensors"))
