from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_tokenizers import MARKS, written
from transformers import AutoTokenizer

from candle_vllm_core import tokenizer_files
from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.tokenizer import Tokenizer


@pytest.mark.parametrize(
    ("files", "ids"),
    [
        ({"config__json": {"eos_token_id": 3}}, {3}),
        ({"config__json": {"eos_token_id": [3, 4]}}, {3, 4}),
        ({"config__json": {"eos_token_id": 3}, "generation_config__json": {"eos_token_id": [5, 6]}}, {5, 6}),
        ({"config__json": {"eos_token_id": 3}, "generation_config__json": {"eos_token_id": None}}, {3}),
        ({"config__json": {"eos_token_id": 7, "text_config": {"eos_token_id": None}}}, {7}),
        ({"config__json": {"text_config": {"eos_token_id": 8}}}, {8}),
        ({"config__json": {"eos_token_id": 3}, "tokenizer_config__json": {"eos_token": "<|end|>"}}, {1, 3}),
        ({"tokenizer_config__json": {"eos_token": {"content": "<|end|>"}}}, {1}),
        ({"special_tokens_map__json": {"eos_token": {"content": "<|end|>"}}}, {1}),
        ({}, set()),
    ],
)
def test_eos_ids(tmp_path: Path, files: dict[str, Any], ids: set[int]) -> None:
    assert Tokenizer.from_directory(written(tmp_path, **files)).eos_token_ids == ids


def test_eos_ids_that_the_model_cannot_write_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = Tokenizer.from_directory(written(tmp_path, config__json={"eos_token_id": [3, -1, 99999]}))
    assert tokenizer.eos_token_ids == {3}
    assert "[-1, 99999]" in caplog.text


NAMED = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]


@pytest.mark.parametrize(
    ("files", "source"),
    [
        ({"tokenizer_config__json": {"chat_template": "C"}}, "C"),
        ({"tokenizer_config__json": {"chat_template": NAMED}}, "D"),
        ({"tokenizer_config__json": {"chat_template": {"default": "D", "other": "O"}}}, "D"),
        ({"tokenizer_config__json": {"chat_template": "C"}, "chat_template__json": {"chat_template": "J"}}, "J"),
        ({"chat_template__json": {"chat_template": "J"}, "chat_template__jinja": "{{ 'X' }}"}, "{{ 'X' }}"),
        ({"tokenizer_config__json": {"chat_template": None}}, None),
        ({}, None),
    ],
)
def test_chat_template(tmp_path: Path, files: dict[str, Any], source: str | None) -> None:
    template = Tokenizer.from_directory(written(tmp_path, **files)).chat_template
    assert (template and template.source) == source


@pytest.mark.parametrize(
    ("files", "source"),
    [
        ({"tokenizer_config__json": {"chat_template": NAMED}}, "T"),
        ({"tokenizer_config__json": {"chat_template": {"default": "D", "tool_use": "T"}}}, "T"),
        ({"tokenizer_config__json": {"chat_template": {"default": "D", "rag": "R"}}}, None),
        ({"tokenizer_config__json": {"chat_template": NAMED}, "chat_template__jinja": "J"}, None),
        ({"additional_chat_templates/tool_use__jinja": "A", "chat_template__jinja": "J"}, "A"),
    ],
)
def test_the_chat_template_for_tools(tmp_path: Path, files: dict[str, Any], source: str | None) -> None:
    (tmp_path / "additional_chat_templates").mkdir()
    template = Tokenizer.from_directory(written(tmp_path, **files)).chat_template
    assert template is not None and template.tool_source == source


def test_added_tokens_that_the_template_for_tools_writes_are_marks(tmp_path: Path) -> None:
    named = {"default": "", "tool_use": "<quick>"}
    marked = Tokenizer.from_directory(written(tmp_path, tokenizer_config__json={"chat_template": named}))
    assert marked.chat_template is not None
    assert marked.chat_template.special_tokens == (*MARKS, "<quick>")


def test_added_tokens_that_the_template_writes_are_marks(tmp_path: Path) -> None:
    marked = Tokenizer.from_directory(written(tmp_path, chat_template__jinja="<|start|><quick>"))
    assert marked.chat_template is not None
    assert marked.chat_template.special_tokens == (*MARKS, "<quick>")
    assert marked.encode("<quick>") == [335]
    plain = marked.encode("<quick>", control_marks=False)
    assert [marked.token_text(token) for token in plain] == ["<", "qu", "ick", ">"]
    unmarked = Tokenizer.from_directory(written(tmp_path, chat_template__jinja="<|start|>"))
    assert unmarked.encode("<quick>", control_marks=False) == [335]


def test_tokens_that_only_the_config_knows(tmp_path: Path) -> None:
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
    added = {
        "335": {"content": "<quick>", "special": True, **flags},
        "336": {"content": "<more>", "special": False, **flags},
    }
    config = {"added_tokens_decoder": added, "eos_token": "<eot>", "tokenizer_class": "PreTrainedTokenizerFast"}
    path = written(tmp_path, tokenizer_config__json=config)
    tokenizer, reference = Tokenizer.from_directory(path), AutoTokenizer.from_pretrained(path)
    text = "a<more>b<eot><quick>"
    assert tokenizer.encode(text) == reference.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == reference.decode(
        reference.encode(text), skip_special_tokens=True
    )
    assert tokenizer.decode(tokenizer.encode(text)) == "a<more>b"
    assert tokenizer.eos_token_ids == {reference.eos_token_id} == {337}


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("tokenizer.json", "{", "no tokenizer"),
        ("tokenizer.json", "{}", "no tokenizer"),
        ("tokenizer.json", "", "no tokenizer"),
        ("tokenizer_config.json", "{", "no JSON"),
        ("tokenizer_config.json", "[1]", "no JSON object"),
        ("tokenizer_config.json", "[" * 100_000, "no JSON"),
        ("tokenizer_config.json", '{"a": 1' + "0" * 5000 + "}", "no JSON"),
        ("tokenizer_config.json", '{"eos_token": 5}', "eos_token"),
        ("tokenizer_config.json", '{"chat_template": 5}', "chat_template"),
        ("tokenizer_config.json", '{"chat_template": [{"name": "a", "template": "b"}]}', "default"),
        ("tokenizer_config.json", '{"chat_template": [5]}', "default"),
        ("tokenizer_config.json", '{"added_tokens_decoder": [1]}', "added_tokens_decoder"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"x": {}}}', "added_tokens_decoder"),
        (
            "tokenizer_config.json",
            '{"added_tokens_decoder": {"7": {"content": "<new>", "special": true, "lstrip": false,'
            ' "rstrip": false, "single_word": false, "normalized": false}}}',
            "'<new>' is token 7, in tokenizer.json it is 336",
        ),
        ("config.json", '{"vocab_size": -1}', "vocab_size"),
        ("config.json", '{"vocab_size": 1e9}', "vocab_size"),
        ("config.json", '{"vocab_size": 99999999999}', "vocab_size"),
        ("config.json", '{"eos_token_id": "a"}', "eos_token_id"),
        ("config.json", '{"eos_token_id": true}', "eos_token_id"),
        ("generation_config.json", '{"eos_token_id": [1.5]}', "eos_token_id"),
        ("special_tokens_map.json", "nonsense", "no JSON"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, file: str, content: str, reason: str) -> None:
    path = written(tmp_path)
    (path / file).write_text(content)
    with pytest.raises(ModelLoadError, match=reason) as caught:
        Tokenizer.from_directory(path)
    assert str(path / file) in str(caught.value)
    assert caught.value.names == (file,)


def test_a_file_that_is_no_utf8(tmp_path: Path) -> None:
    (written(tmp_path) / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(ModelLoadError, match=r"chat_template\.jinja"):
        Tokenizer.from_directory(tmp_path)


def test_a_directory_in_a_files_place(tmp_path: Path) -> None:
    (written(tmp_path) / "config.json").mkdir()
    with pytest.raises(ModelLoadError, match=r"config\.json"):
        Tokenizer.from_directory(tmp_path)


def test_no_tokenizer(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ModelLoadError, match=r"no tokenizer\.json.*save_pretrained"):
            Tokenizer.from_directory(path)


def test_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    monkeypatch.setattr(tokenizer_files, "MAX_FILE_BYTES", 1000)
    with pytest.raises(ModelLoadError, match=r"tokenizer\.json .* more than 1000"):
        Tokenizer.from_directory(path)
