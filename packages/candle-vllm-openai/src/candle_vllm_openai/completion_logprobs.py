"""The legacy form of log probabilities: lists side by side, with each token's place in the text."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator, Sequence

from candle_vllm_core import TokenLogprob

from .types.completions import CompletionLogprobs

FARTHEST = 8
"""How many characters of a text may belong to no token before a place is looked for no further."""


def logprobs_of(entries: Iterable[TokenLogprob | None], offsets: Iterable[int], first: str = "") -> CompletionLogprobs:
    """Entries with their places; `first` is the text of the one without log probabilities."""
    found = CompletionLogprobs(tokens=[], token_logprobs=[], top_logprobs=[], text_offset=[])
    for entry, offset in zip(entries, offsets, strict=True):
        found.tokens.append(first if entry is None else token_text(entry))
        found.token_logprobs.append(None if entry is None else entry.logprob)
        found.top_logprobs.append(None if entry is None else _likeliest(entry))
        found.text_offset.append(offset)
    return found


def token_text(entry: TokenLogprob) -> str:
    """A token's text, or its bytes where they are none; those of no two tokens are alike."""
    if entry.token.encode() == entry.token_bytes:
        return entry.token
    return "bytes:" + "".join(f"\\x{byte:02x}" for byte in entry.token_bytes)


def prompt_offsets(text: str, tokens: Sequence[bytes]) -> Iterator[int]:
    """Where each of a prompt's tokens begins in its text; one that the text does not show has the next one's place.

    A tokenizer may put a mark before a text, and begin it with a space that is not there.
    """
    decoder, place, begun = getincrementaldecoder("utf-8")("replace"), 0, False
    for token in tokens:
        shown = decoder.decode(token)
        if not begun and not text.startswith(shown):
            shown = shown.removeprefix(" ")
        found = text.find(shown, place, place + len(shown) + FARTHEST) if begun else text.startswith(shown) - 1
        yield max(found, place)
        if shown and found >= 0:
            place, begun = found + len(shown), True


def _likeliest(entry: TokenLogprob) -> dict[str, float]:
    found: dict[str, float] = {}
    for each in (*entry.top, entry):
        found.setdefault(token_text(each), each.logprob)
    return found
