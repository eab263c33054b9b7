"""Texts that an answer may not contain, as the token sequences that it may not complete. No torch here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ..errors import ParameterError
from ..tokenizer import Tokenizer


def bad_word_ids(words: Sequence[str], tokenizer: Tokenizer, vocab_size: int) -> list[tuple[int, ...]]:
    """The token sequences of `words`, each as it is, without and with one leading space.

    Raises:
        ParameterError: a word has no sequence of ids below `vocab_size`.
    """
    found: dict[tuple[int, ...], None] = {}
    for word in words:
        bare = word.lstrip(" ") or word
        texts = dict.fromkeys((word, bare, f" {bare}"))
        forms = [tuple(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
        known = [form for form in forms if form and max(form) < vocab_size]
        if not known:
            raise ParameterError("bad_words", word, "texts that the model has tokens for")
        found.update(dict.fromkeys(known))
    return list(found)


class BadWords:
    """Which tokens would complete a forbidden sequence, found by the token that stands before."""

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        """`sequences` have at least one token each."""
        self._single = [sequence[0] for sequence in sequences if len(sequence) == 1]
        self._after: defaultdict[int, list[tuple[list[int], int]]] = defaultdict(list)
        for *beginning, last in sequences:
            if beginning:
                self._after[beginning[-1]].append((beginning, last))

    def banned(self, prompt: Sequence[int], generated: Sequence[int]) -> list[int]:
        """The tokens that may not come next."""
        before = generated[-1:] or prompt[-1:]
        possible = self._after.get(before[0], ()) if before else ()
        completed = [last for beginning, last in possible if _ends_with(prompt, generated, beginning)]
        return self._single + completed


def _ends_with(prompt: Sequence[int], generated: Sequence[int], ending: Sequence[int]) -> bool:
    """Whether prompt and answer, taken as one, end with some tokens."""
    missing = len(ending) - len(generated)
    if missing <= 0:
        return list(generated[-len(ending) :]) == list(ending)
    return list(prompt[-missing:]) + list(generated) == list(ending)
