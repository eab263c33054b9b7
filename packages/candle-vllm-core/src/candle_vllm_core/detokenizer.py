"""Token ids in, text out, while an answer is still being written.

Two things are held back: bytes that may be the start of a character, and text that may be the start of a stop text.
Both are independent of how tokens cut the text, and both cost the same at an answer's end as at its start.
"""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Mapping, Sequence
from typing import Protocol

from .errors import ParameterError
from .tokenizer import Piece

REPLACEMENT = "\ufffd"
MAX_HELD_BYTES = 3  # the longest incomplete UTF-8 character
MAX_WINDOW = 16
KEPT_WINDOW = 8


class Decode(Protocol):
    """Turns token ids into text; `Tokenizer.decode` is one."""

    def __call__(self, tokens: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of `tokens`, decoded as if nothing stood before them."""
        ...


class TextStream:
    """Token ids in, text out: incomplete UTF-8 and possible starts of stop texts are held back.

    What `feed` and `finish` give adds up to the answer's text, without any part of the stop text that ended it.
    Of several stop texts the one completed first wins; of two completed by the same character, the longer one.
    """

    def __init__(
        self,
        decode: Decode,
        stop_sequences: Sequence[str] = (),
        *,
        show_special: bool = False,
        pieces: Mapping[int, Piece] | None = None,
    ) -> None:
        """`show_special` keeps control tokens (EOS among them) in the text.

        `pieces`: what each token stands for, if it always stands for the same bytes (`Tokenizer.pieces`). Then they are
        put together instead of calling `decode`, which costs ten times as much.

        Raises:
            ParameterError: a stop text is empty.
        """
        self._window: _Pieces | _Window
        self._window = _Pieces(pieces) if pieces is not None else _Window(decode, skip_special_tokens=not show_special)
        self._stops = [_StopText(stop) for stop in stop_sequences]
        self._held = ""
        self._stopping = True
        self.stop_sequence: str | None = None
        """The stop text that was completed, or None; after one, `feed` and `finish` give nothing more."""
        self.num_chars = 0
        """How many characters the tokens so far stand for, with those held back and those of a stop text."""

    def feed(self, token: int, *, stops: bool = True) -> str:
        """Take one token and give the text that is now certain.

        With `stops` false, a stop text completed by this token does not end the answer; one that ends later does,
        wherever it began.
        """
        if self.stop_sequence is not None:
            return ""
        self._stopping = stops
        text = self._window.feed(token)
        self.num_chars += len(text)
        return self._scan(text) if self._stops else text

    def finish(self) -> str:
        """Give what was held back and is text after all; an unfinished character is U+FFFD."""
        if self.stop_sequence is not None:
            return ""
        last = self._window.finish()
        self.num_chars += len(last)
        text = self._scan(last) + self._held if self._stops else last
        self._held = ""
        return text

    def _scan(self, text: str) -> str:
        buffer = self._held + text
        for end in range(len(self._held) + 1, len(buffer) + 1):
            completed = [stop for stop in self._stops if stop.feed(buffer[end - 1])]
            if completed and self._stopping:
                longest = max(completed, key=lambda stop: len(stop.text))
                self.stop_sequence, self._held = longest.text, ""
                return buffer[: end - len(longest.text)]
        certain = len(buffer) - max(stop.num_matched for stop in self._stops)
        self._held = buffer[certain:]
        return buffer[:certain]


class _StopText:
    """How much of one stop text the text so far ends with (Knuth, Morris and Pratt 1977)."""

    def __init__(self, text: str) -> None:
        if not text:
            raise ParameterError("stop_sequences", text, "texts of at least one character")
        self.text = text
        self.num_matched = 0
        # _shorter[n]: the longest true beginning of the text that its first n characters end with.
        self._shorter = [0, 0]
        for character in text[1:]:
            self._shorter.append(self._extend(self._shorter[-1], character))

    def feed(self, character: str) -> bool:
        """Whether `character` completes the stop text."""
        self.num_matched = self._extend(self.num_matched, character)
        completed = self.num_matched == len(self.text)
        if completed:
            self.num_matched = self._shorter[-1]
        return completed

    def _extend(self, num_matched: int, character: str) -> int:
        while num_matched and self.text[num_matched] != character:
            num_matched = self._shorter[num_matched]
        return num_matched + (self.text[num_matched] == character)


class _Pieces:
    """Puts tokens together that always stand for the same bytes."""

    def __init__(self, pieces: Mapping[int, Piece]) -> None:
        self._pieces = pieces
        self._begun = b""  # the start of a character

    def feed(self, token: int) -> str:
        piece = self._pieces[token]
        if isinstance(piece, str):
            if not self._begun:
                return piece
            piece = piece.encode()
        data = self._begun + piece
        text, length = utf_8_decode(data, "replace", False)
        self._begun = data[length:]
        return text

    def finish(self) -> str:
        text, self._begun = self._begun.decode("utf-8", "replace"), b""
        return text


class _Window:
    """Decodes the most recent tokens together, because a token's text depends on its neighbours.

    Exact for byte-level vocabularies. With byte fallback, bytes that form no character are U+FFFD each; where decoding
    the whole answer at once would turn valid bytes next to them into U+FFFD too, those already given out stay.
    """

    def __init__(self, decode: Decode, *, skip_special_tokens: bool) -> None:
        self._decode_tokens = decode
        self._skip_special_tokens = skip_special_tokens
        self._tokens: list[int] = []
        self._text = ""
        self._num_shown = 0  # characters of `_text` that are out
        self._num_clean = 0  # tokens of the window whose text is out wholly

    def feed(self, token: int) -> str:
        shown, before = self._text[: self._num_shown], self._text
        self._tokens.append(token)
        self._text = self._decode(self._tokens)
        if self._text == before and not self._decode([token, token]):
            # Hidden tokens would push the text out of the window. Alone, a space may be stripped; two are not.
            self._tokens.pop()
            return ""
        if not self._text.startswith(shown):
            # With byte fallback, a lone byte spoils the characters before it: go on from what is not out.
            del self._tokens[: self._num_clean]
            self._text, self._num_shown, self._num_clean = self._decode(self._tokens), 0, 0
        return self._show(len(self._text.rstrip(REPLACEMENT))) + self._trim()

    def finish(self) -> str:
        return self._show(len(self._text))

    def _show(self, certain: int) -> str:
        text = self._text[self._num_shown : certain]
        self._num_shown = max(self._num_shown, certain)
        if self._num_shown == len(self._text):
            self._num_clean = len(self._tokens)
        return text

    def _trim(self) -> str:
        if len(self._tokens) < MAX_WINDOW:
            return ""
        text = self._show(len(self._text) - MAX_HELD_BYTES)
        held = self._text[self._num_shown :]
        self._tokens = self._tokens[-KEPT_WINDOW:]
        self._text = self._decode(self._tokens)
        if not self._text.endswith(held):
            text, held = text + held, ""
        self._num_shown = len(self._text) - len(held)
        self._num_clean = KEPT_WINDOW - (MAX_HELD_BYTES if held else 0)
        return text

    def _decode(self, tokens: Sequence[int]) -> str:
        return self._decode_tokens(tokens, skip_special_tokens=self._skip_special_tokens)
