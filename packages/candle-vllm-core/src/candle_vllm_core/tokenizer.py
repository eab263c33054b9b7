"""`Tokenizer`: text to token ids and back, as a checkpoint's own files say."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from operator import index
from pathlib import Path

import tokenizers

from .errors import TokenizationError
from .tokenizer_files import TokenizerFiles, read_tokenizer_files
from .types import ChatTemplate

logger = logging.getLogger(__name__)

Piece = str | bytes
"""What a token stands for: text, or bytes that are not whole characters."""


def _byte_level_alphabet() -> dict[str, int]:
    """Character to byte, as GPT-2's byte-level vocabularies write bytes: printable ones as themselves."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


BYTE_LEVEL = _byte_level_alphabet()
BYTE_FALLBACK = {f"<0x{byte:02X}>": byte for byte in range(256)}


class Tokenizer:
    """Turns text into token ids and ids into text. Any number of threads may use one at once."""

    vocab_size: int
    """Token ids are the integers below it; a model often has more of them than its tokenizer has texts."""
    eos_token_ids: frozenset[int]
    """Ids that end an answer."""
    chat_template: ChatTemplate | None
    """The checkpoint's own chat template; None if it has none."""

    def __init__(self, files: TokenizerFiles) -> None:
        """Make a tokenizer of what a checkpoint's files say; it owns `files.backend` from now on."""
        self._backend = files.backend
        self._backend.no_truncation()
        self._backend.no_padding()
        self._unk_token = files.unk_token
        self._marks = _control_marks(files.backend, (files.chat_template or "") + (files.tool_template or ""))
        known_size = max(files.backend.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        self.vocab_size = max(files.vocab_size, known_size)
        self.eos_token_ids = self._known_eos(files.eos_token_ids, files.eos_token)
        self.chat_template = None
        if files.chat_template is not None:
            self.chat_template = ChatTemplate(
                source=files.chat_template,
                tool_source=files.tool_template,
                bos_token=files.bos_token,
                eos_token=files.eos_token,
                special_tokens=self.special_tokens,
            )

    @classmethod
    def from_directory(cls, path: Path) -> Tokenizer:
        """Open the tokenizer in a checkpoint's directory; nothing in it is executed.

        Raises:
            ModelLoadError: a file is missing, too large or broken; the message names it and the reason.
        """
        return cls(read_tokenizer_files(path))

    def encode(self, text: str, *, add_special_tokens: bool = True, control_marks: bool = True) -> list[int]:
        """Text to token ids.

        `add_special_tokens` adds what the tokenizer puts around a text. With `control_marks` false the text of a
        control token is plain text like any other: no text can then give a control token.

        Raises:
            TokenizationError: `text` is no text, or has a lone surrogate.
        """
        if not isinstance(text, str):
            raise TokenizationError(f"only text can be tokenized, not {type(text).__name__}; give a str")
        encoding = _encoded(self._backend, text, add_special_tokens)
        if control_marks or not self._marks_in(encoding):
            return encoding.ids
        return self._spell_marks(_encoded(self._plain_backend, text, add_special_tokens), text)

    def decode(
        self, tokens: Sequence[int], *, skip_special_tokens: bool = True, shown: Collection[int] = frozenset()
    ) -> str:
        """Token ids to text; ids that the model has beyond the tokenizer's texts are nothing.

        Special tokens that are `shown` are not skipped.

        Raises:
            TokenizationError: an id is not in the vocabulary.
        """
        ids = self._checked(tokens)
        if skip_special_tokens and shown:
            ids = [token for token in ids if token in shown or token not in self._special_ids]
            skip_special_tokens = False
        text: str = self._backend.decode(ids, skip_special_tokens=skip_special_tokens)
        return text

    def token_text(self, token: int) -> str:
        """One token's own text, its leading space included; a part of a character is U+FFFD.

        Raises:
            TokenizationError: the id is not in the vocabulary.
        """
        return self.token_bytes(token).decode("utf-8", errors="replace")

    def token_bytes(self, token: int) -> bytes:
        """The exact bytes of UTF-8 that one token stands for; they may be a part of a character.

        Raises:
            TokenizationError: the id is not in the vocabulary.
        """
        word = self._backend.id_to_token(*self._checked([token])) or ""
        if self._byte_level and all(character in BYTE_LEVEL for character in word):
            return bytes(BYTE_LEVEL[character] for character in word)
        if self._byte_fallback and word in BYTE_FALLBACK:
            return bytes([BYTE_FALLBACK[word]])
        return self._in_mid_text(word).encode()

    def pieces(self, *, skip_special_tokens: bool, shown: Collection[int] = frozenset()) -> Mapping[int, Piece] | None:
        """What each token stands for, by its id, if that is the same whatever stands beside it; else None.

        So it is with byte-level vocabularies: their texts are the bytes of all tokens, read as UTF-8. Special tokens
        that are `shown` are not skipped.
        """
        if not isinstance(self._backend.decoder, tokenizers.decoders.ByteLevel):
            return None
        if not skip_special_tokens:
            return self._all_pieces
        return _Pieces(lambda token: self._piece(token, token in shown)) if shown else self._shown_pieces

    def _piece(self, token: int, shown: bool) -> Piece:
        return self._all_pieces[token] if shown else self._shown_pieces[token]

    @cached_property
    def _all_pieces(self) -> Mapping[int, Piece]:
        return _Pieces(lambda token: _piece(self.token_bytes(token)))

    @cached_property
    def _shown_pieces(self) -> Mapping[int, Piece]:
        hidden = self._special_ids
        return _Pieces(lambda token: "" if token in hidden else self._all_pieces[token])

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        return frozenset(token for token, mark in self._backend.get_added_tokens_decoder().items() if mark.special)

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """Texts that are read as control tokens."""
        return tuple(self._marks.values())

    @property
    def added_token_ids(self) -> frozenset[int]:
        """Ids that stand for no text of an answer but for marks that were added to the vocabulary."""
        return frozenset(self._backend.get_added_tokens_decoder())

    def to_json(self) -> str:
        """The tokenizer as the text of a `tokenizer.json`."""
        text: str = self._backend.to_str()
        return text

    def _checked(self, tokens: Iterable[int]) -> list[int]:
        try:
            ids = [index(token) for token in tokens]
        except TypeError as error:
            raise TokenizationError(f"token ids must be integers: {error}") from error
        unknown = next((token for token in ids if not 0 <= token < self.vocab_size), None)
        if unknown is not None:
            raise TokenizationError(
                f"token id {unknown} is not in the vocabulary; ids are the integers from 0 to {self.vocab_size - 1}"
            )
        return ids

    def _in_mid_text(self, word: str) -> str:
        """A token's text where its leading space is not the text's first character."""
        if self._backend.decoder is None:
            return word
        text: str = self._backend.decoder.decode(["a", word])
        return text.removeprefix(self._backend.decoder.decode(["a"]))

    @cached_property
    def _byte_level(self) -> bool:
        return self._backend.decoder is not None and self._backend.decoder.decode(["Ġ"]) == " "

    @cached_property
    def _byte_fallback(self) -> bool:
        return self._backend.decoder is not None and self._backend.decoder.decode(["<0x41>"]) == "A"

    @cached_property
    def _plain_backend(self) -> tokenizers.Tokenizer:
        plain = tokenizers.Tokenizer.from_str(self._backend.to_str())
        plain.add_special_tokens(list(self._marks.values()))
        plain.encode_special_tokens = True
        return plain

    def _marks_in(self, encoding: tokenizers.Encoding) -> bool:
        """Whether the text itself gave a control token."""
        if self._marks.keys().isdisjoint(encoding.ids):
            return False
        own = zip(encoding.ids, encoding.special_tokens_mask, strict=True)
        return any(not added and token in self._marks for token, added in own)

    def _spell_marks(self, encoding: tokenizers.Encoding, text: str) -> list[int]:
        """Some vocabularies have a control token's text among their words too: spell it out instead."""
        unknown = self._unk_token if self._unk_token and self._unk_token not in text else None
        ids: list[int] = []
        for token, added in zip(encoding.ids, encoding.special_tokens_mask, strict=True):
            mark = self._marks.get(token)
            ids.extend([token] if added or mark in (None, unknown) else self._spell(mark))
        return ids

    def _spell(self, text: str) -> list[int]:
        return [token for character in text for token in self._spell_character(character) if token not in self._marks]

    def _spell_character(self, character: str) -> list[int]:
        whole = self._backend.token_to_id(character)
        parts = [self._backend.token_to_id(f"<0x{byte:02X}>") for byte in character.encode()]
        return [token for token in ([whole] if whole is not None else parts) if token is not None]

    def _known_eos(self, ids: Iterable[int], eos_token: str | None) -> frozenset[int]:
        named = self._backend.token_to_id(eos_token) if eos_token else None
        eos = frozenset(ids) | ({named} if named is not None else set())
        if unknown := sorted(token for token in eos if not 0 <= token < self.vocab_size):
            logger.warning("EOS ids %s are not in the vocabulary of %d and are left out", unknown, self.vocab_size)
        return eos - frozenset(unknown)


class _Pieces(dict[int, Piece]):
    """Tokens and what they stand for, each found out when it is first asked for."""

    def __init__(self, find: Callable[[int], Piece]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, token: int) -> Piece:
        self[token] = piece = self._find(token)
        return piece


def _piece(data: bytes) -> Piece:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _encoded(backend: tokenizers.Tokenizer, text: str, add_special_tokens: bool) -> tokenizers.Encoding:
    try:
        return backend.encode(text, add_special_tokens=add_special_tokens)
    except TypeError as error:
        raise TokenizationError(f"the text is not Unicode: {_lone_surrogate(text)}; remove it") from error
    except Exception as error:
        raise TokenizationError(f"the tokenizer refused a text of {len(text)} characters: {error}") from error


def _control_marks(backend: tokenizers.Tokenizer, template: str) -> dict[int, str]:
    """Special tokens, and the added tokens that a chat template writes: some checkpoints do not call those special."""
    added = backend.get_added_tokens_decoder()
    return {
        token: mark.content
        for token, mark in sorted(added.items())
        if mark.special or (mark.content.strip() and mark.content in template)
    }


def _lone_surrogate(text: str) -> str:
    place = next((place for place, character in enumerate(text) if "\ud800" <= character <= "\udfff"), None)
    return f"a lone surrogate at character {place}" if place is not None else "it cannot be written as UTF-8"
