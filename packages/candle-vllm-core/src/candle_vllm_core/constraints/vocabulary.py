"""The tokens of a model as llguidance reads them: their bytes, and which are no text. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llguidance import LLTokenizer

    from ..tokenizer import Tokenizer


def vocabulary(tokenizer: Tokenizer, vocab_size: int) -> LLTokenizer:
    """The vocabulary of a model with `vocab_size` token ids; those that the tokenizer does not know are never allowed.

    llguidance reads byte-level vocabularies and those with byte fallback itself; of other kinds it is told what bytes
    each token stands for. A vocabulary without an EOS gets one past its end, which no model can draw.
    """
    import llguidance

    size = max(vocab_size, tokenizer.vocab_size)
    eos = sorted(tokenizer.eos_token_ids) or [size]
    size = max(size, eos[-1] + 1)
    try:
        return llguidance.LLTokenizer(tokenizer.to_json(), n_vocab=size, eos_token=eos)
    except ValueError:
        words = llguidance.TokenizerWrapper(_Words(tokenizer, size, eos[0]))
        return llguidance.LLTokenizer(words, n_vocab=size, eos_token=eos)


class _Words:
    """A tokenizer as `llguidance.TokenizerWrapper` takes it."""

    def __init__(self, tokenizer: Tokenizer, size: int, eos: int) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id, self.bos_token_id = eos, None
        self.special_token_ids = sorted({*tokenizer.added_token_ids, eos})
        self.tokens = [tokenizer.token_bytes(token) for token in range(tokenizer.vocab_size)]
        self.tokens += [b""] * (size - len(self.tokens))

    def __call__(self, text: str) -> Sequence[int]:
        return self._tokenizer.encode(text, add_special_tokens=False, control_marks=False)
