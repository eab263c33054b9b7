import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save, save_file

from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.weights import header
from candle_vllm_core.weights.header import read_header

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).view(2, 3),
    "b": torch.ones(4, dtype=torch.bfloat16),
    "scalar": torch.tensor(1.0, dtype=torch.float64),
    "none": torch.empty(0, 5, dtype=torch.float16),
    "flags": torch.tensor([True, False]),
    "eighth": torch.ones(3).to(torch.float8_e5m2),
}
ONE: dict[str, Any] = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def write(path: Path, table: object, data: bytes = bytes(8), length: int | None = None) -> Path:
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    file = path / "model.safetensors"
    file.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return file


def test_a_header_says_what_the_library_wrote(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "model.safetensors", metadata={"format": "pt"})
    entries = read_header(tmp_path / "model.safetensors")
    assert {name: entry.shape for name, entry in entries.items()} == {n: tuple(t.shape) for n, t in TENSORS.items()}
    assert {name: entry.stop - entry.start for name, entry in entries.items()} == {
        n: t.nbytes for n, t in TENSORS.items()
    }


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (ONE | {"shape": [3]}, "'a'"),
        (ONE | {"shape": [2, -1]}, "'a'"),
        (ONE | {"shape": [-2]}, "'a'"),
        (ONE | {"shape": [2**40, 2**40]}, "'a'"),
        (ONE | {"shape": [True, 2]}, "'a'"),
        (ONE | {"shape": [2.0]}, "'a'"),
        (ONE | {"shape": "22"}, "'a'"),
        (ONE | {"shape": [1] * 8 + [2]}, "'a'"),
        (ONE | {"dtype": "F31"}, "'a'"),
        (ONE | {"dtype": 32}, "'a'"),
        (ONE | {"data_offsets": [0, 16]}, "'a'"),
        (ONE | {"data_offsets": [8, 0]}, "'a'"),
        (ONE | {"data_offsets": [-8, 0]}, "'a'"),
        (ONE | {"data_offsets": [0]}, "'a'"),
        (ONE | {"data_offsets": [8, 16]}, "begins at byte 8, where 0 should follow"),
        ({"dtype": "F32"}, "'a'"),
        ([1, 2], "'a'"),
        (None, "'a'"),
    ],
)
def test_an_entry_that_lies_is_found(told: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="not a whole safetensors file") as raised:
        read_header(write(tmp_path, {"a": told}))
    assert said in str(raised.value)
    assert raised.value.names == ("model.safetensors",)


def test_tensors_may_neither_overlap_nor_leave_gaps(tmp_path: Path) -> None:
    for second in ([4, 12], [12, 20], [0, 8]):
        with pytest.raises(ModelLoadError, match="'b' begins at byte .*, where 8 should follow"):
            read_header(write(tmp_path, {"a": ONE, "b": ONE | {"data_offsets": second}}, bytes(20)))


@pytest.mark.parametrize("size", [0, 7, 9, 100])
def test_the_tensors_are_exactly_the_rest_of_the_file(size: int, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=f"describes 8 bytes of tensors, and {size} are there"):
        read_header(write(tmp_path, {"a": ONE}, bytes(size)))


@pytest.mark.parametrize("length", [2**64 - 1, 2**63, 10**12, 1000])
def test_a_header_is_no_longer_than_the_file(length: int, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=f"promise a header of {length:,}"):
        read_header(write(tmp_path, {"a": ONE}, length=length))


def test_a_huge_header_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(header, "MAX_HEADER_BYTES", 20)
    with pytest.raises(ModelLoadError, match="promise a header"):
        read_header(write(tmp_path, {"a": ONE}))


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"3", b"null", b"\xff\xfe{}", b'{"a": NaN', b"[" * 100_000, b'{"a":' * 100_000, b"9" * 10_000],
)
def test_a_header_that_is_no_table_is_found(text: bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="not a whole safetensors file: its header is not"):
        read_header(write(tmp_path, text))


def test_a_name_may_occur_once(tmp_path: Path) -> None:
    entry = json.dumps(ONE)
    with pytest.raises(ModelLoadError, match="a name occurs twice"):
        read_header(write(tmp_path, f'{{"a": {entry}, "a": {entry}}}'.encode()))


@pytest.mark.parametrize("size", range(9))
def test_a_file_of_a_few_bytes_is_not_whole(size: int, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(bytes(size))
    with pytest.raises(ModelLoadError, match=r"x\.safetensors is not a whole safetensors file"):
        read_header(tmp_path / "x.safetensors")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"cannot read .*gone\.safetensors"):
        read_header(tmp_path / "gone.safetensors")


WHOLE = save(TENSORS)


@given(st.integers(0, len(WHOLE) - 1))
def test_a_file_cut_short_anywhere_is_found(tmp_path_factory: pytest.TempPathFactory, kept: int) -> None:
    file = tmp_path_factory.mktemp("cut") / "model.safetensors"
    file.write_bytes(WHOLE[:kept])
    with pytest.raises(ModelLoadError):
        read_header(file)


@given(st.integers(0, 500), st.binary(min_size=1, max_size=8))
def test_what_passes_is_what_the_library_opens_too(
    tmp_path_factory: pytest.TempPathFactory, at: int, noise: bytes
) -> None:
    file = tmp_path_factory.mktemp("noise") / "model.safetensors"
    file.write_bytes(WHOLE[:at] + noise + WHOLE[at + len(noise) :])
    try:
        entries = read_header(file)
    except ModelLoadError:
        return
    with safe_open(file, framework="pt") as opened:
        assert {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()} == {
            name: entry.shape for name, entry in entries.items()
        }
