"""The files that say what a checkpoint's tokenizer is: read, checked and brought together; none is executed.

| file | what is taken from it |
| --- | --- |
| `tokenizer.json` | the tokenizer itself |
| `tokenizer_config.json` | further control tokens, the beginning and end of text, the chat template |
| `special_tokens_map.json` | beginning and end of text, if the file above does not say |
| `chat_template.jinja`, `chat_template.json` | the chat template; they win over `tokenizer_config.json` |
| `additional_chat_templates/tool_use.jinja` | the chat template for requests with tools |
| `generation_config.json`, else `config.json` | ids that end an answer |
| `config.json` | how many ids the model has |
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from .errors import ModelLoadError

MAX_FILE_BYTES = 256 << 20
MAX_VOCAB_SIZE = 1 << 24
DEFAULT, TOOL_USE = "default", "tool_use"
"""Names of chat templates, where a checkpoint has several."""
NAMED_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFiles:
    """What a checkpoint says about its tokenizer."""

    backend: tokenizers.Tokenizer
    vocab_size: int = 0
    """How many token ids the model has; 0 if nothing says so."""
    eos_token_ids: frozenset[int] = frozenset()
    """Ids that end an answer, beside that of `eos_token`."""
    bos_token: str | None = None
    eos_token: str | None = None
    unk_token: str | None = None
    chat_template: str | None = None
    tool_template: str | None = None
    """The chat template for requests with tools, where it is another one."""


def read_tokenizer_files(path: Path) -> TokenizerFiles:
    """Read the files in a checkpoint's directory.

    Raises:
        ModelLoadError: a file is missing, too large or broken; the message names it and the reason.
    """
    config_file, config = path / "config.json", _read_object(path / "config.json")
    tokenizer_config_file = path / "tokenizer_config.json"
    tokenizer_config = _read_object(tokenizer_config_file)
    map_file = path / "special_tokens_map.json"
    named = _named_tokens(map_file, _read_object(map_file)) | _named_tokens(tokenizer_config_file, tokenizer_config)
    backend = _read_backend(path / "tokenizer.json")
    _add_tokens(backend, named, tokenizer_config_file, tokenizer_config)
    templates = _chat_templates(path, tokenizer_config)
    generation_file = path / "generation_config.json"
    eos = _eos_token_ids(generation_file, _read_object(generation_file))
    return TokenizerFiles(
        backend=backend,
        vocab_size=_vocab_size(config_file, config),
        eos_token_ids=eos if eos is not None else _eos_token_ids(config_file, config) or frozenset(),
        bos_token=named.get("bos_token"),
        eos_token=named.get("eos_token"),
        unk_token=named.get("unk_token"),
        chat_template=templates.get(DEFAULT),
        tool_template=templates.get(TOOL_USE),
    )


def _read_backend(file: Path) -> tokenizers.Tokenizer:
    text = _read_text(file)
    if text is None:
        raise ModelLoadError(
            f"{file.parent} has no {file.name}; fetch it, or write it with "
            "`transformers.AutoTokenizer.from_pretrained(...).save_pretrained(...)`",
            [file.name],
        )
    try:
        return tokenizers.Tokenizer.from_str(text)
    except Exception as error:
        raise _broken(file, f"it is no tokenizer: {error}") from error


def _add_tokens(backend: tokenizers.Tokenizer, named: Mapping[str, str], file: Path, config: Mapping[str, Any]) -> None:
    """Control tokens that only `tokenizer_config.json` knows, at the ids that it gives them."""
    known = backend.get_added_tokens_decoder()
    for token_id, token in sorted(_added_tokens(file, config)):
        if repr(known.get(token_id)) == repr(token):
            continue
        backend.add_tokens([token])
        if (found := backend.token_to_id(token.content)) != token_id:
            raise _broken(file, f"it says that {token.content!r} is token {token_id}, in tokenizer.json it is {found}")
    contents = {token.content for token in backend.get_added_tokens_decoder().values() if token.special}
    backend.add_special_tokens([text for text in named.values() if text not in contents])


def _added_tokens(file: Path, config: Mapping[str, Any]) -> Iterator[tuple[int, AddedToken]]:
    found = config.get("added_tokens_decoder") or {}
    if not isinstance(found, dict):
        raise _broken(file, "added_tokens_decoder is no JSON object")
    for token_id, entry in found.items():
        try:
            flags = {flag: entry[flag] for flag in ("lstrip", "rstrip", "single_word", "normalized", "special")}
            yield int(token_id), AddedToken(entry["content"], **flags)
        except (KeyError, TypeError, ValueError) as error:
            raise _broken(file, f"added_tokens_decoder[{token_id!r}] is no token: {error!r}") from error


def _named_tokens(file: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """`bos_token` and its like: a text, or an object with the text as its `content`."""
    named = {}
    for name in NAMED_TOKENS:
        entry = config.get(name)
        text = entry.get("content") if isinstance(entry, dict) else entry
        if not isinstance(text, str | None):
            raise _broken(file, f"{name} is no text")
        if text:
            named[name] = text
    return named


def _eos_token_ids(file: Path, config: Mapping[str, Any]) -> frozenset[int] | None:
    """`eos_token_id`: an id, a list of ids, or nothing."""
    found = _text_model(config).get("eos_token_id")
    if found is None:
        return None
    ids = found if isinstance(found, list) else [found]
    if not all(isinstance(token, int) and not isinstance(token, bool) for token in ids):
        raise _broken(file, f"eos_token_id is {found!r}, which is neither a token id nor a list of them")
    return frozenset(ids)


def _vocab_size(file: Path, config: Mapping[str, Any]) -> int:
    size = _text_model(config).get("vocab_size", 0)
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= MAX_VOCAB_SIZE:
        raise _broken(file, f"vocab_size is {size!r}; it must be an integer from 0 to {MAX_VOCAB_SIZE}")
    return size


def _text_model(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is said of the text model, without nulls: a model of more than text keeps it under `text_config`."""
    inner = config.get("text_config")
    entries = [*config.items(), *(inner.items() if isinstance(inner, dict) else ())]
    return {name: value for name, value in entries if value is not None}


def _chat_templates(path: Path, tokenizer_config: Mapping[str, Any]) -> Mapping[str, str]:
    """The chat templates by their names, `default` among them; empty if there are none."""
    source = _read_text(path / "chat_template.jinja")
    if source is not None:
        of_tools = _read_text(path / "additional_chat_templates" / f"{TOOL_USE}.jinja")
        return {DEFAULT: source} | ({} if of_tools is None else {TOOL_USE: of_tools})
    for file, config in (
        (path / "chat_template.json", _read_object(path / "chat_template.json")),
        (path / "tokenizer_config.json", tokenizer_config),
    ):
        if (template := config.get("chat_template")) is not None:
            return _named_templates(file, template)
    return {}


def _named_templates(file: Path, template: Any) -> Mapping[str, str]:
    """A template is a text, or one of several by name: as an object, or as a list of objects."""
    if isinstance(template, str):
        return {DEFAULT: template}
    try:
        if isinstance(template, list):
            template = {entry["name"]: entry["template"] for entry in template}
        known = {DEFAULT: template[DEFAULT]} | ({TOOL_USE: template[TOOL_USE]} if TOOL_USE in template else {})
    except (KeyError, TypeError) as error:
        raise _broken(file, "chat_template is no text, and no template in it is named 'default'") from error
    if not all(isinstance(text, str) for text in known.values()):
        raise _broken(file, "chat_template is no text")
    return known


def _read_object(file: Path) -> dict[str, Any]:
    """A JSON object, empty if there is no such file."""
    text = _read_text(file)
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _broken(file, f"it is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise _broken(file, "it is no JSON object")
    return found


def _read_text(file: Path) -> str | None:
    """A file's text, None if there is no such file."""
    try:
        if not file.exists():
            return None
        if (size := file.stat().st_size) > MAX_FILE_BYTES:
            raise _broken(file, f"it has {size} bytes, more than {MAX_FILE_BYTES}")
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _broken(file, str(error)) from error


def _broken(file: Path, reason: str) -> ModelLoadError:
    return ModelLoadError(f"{file} cannot be used: {reason}; fetch or write the file again", [file.name])
