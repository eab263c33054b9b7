"""Which tokens became content, and how many became reasoning."""

from __future__ import annotations

from candle_vllm_openai import GenerationChunk, TokenLogprob
from candle_vllm_openai.spans import TokenSpans


def tokens(*texts: bytes, ends: tuple[int, ...]) -> GenerationChunk:
    logprobs = tuple(
        TokenLogprob(place, text.decode(errors="replace"), -1.0, (), text) for place, text in enumerate(texts)
    )
    return GenerationChunk(tokens=tuple(range(len(texts))), ends=ends, logprobs=logprobs)


def test_a_token_that_completes_no_character_goes_with_the_one_that_it_begins() -> None:
    spans = TokenSpans()
    spans.add(tokens(b"Hm", b"</think>", b"\xc3", b"\xa9", ends=(2, 10, 10, 11)))
    spans.told("reasoning", "Hm", 2)
    assert spans.settled(2) == []
    spans.told("content", "\u00e9", 11)
    assert b"".join(entry.token_bytes for entry in spans.settled(11)) == b"\xc3\xa9"
    assert spans.num_reasoning == 1


def test_a_token_across_a_border_is_of_both_sides() -> None:
    spans = TokenSpans()
    spans.add(tokens(b"Hm", b".</think>A", b"nd", ends=(2, 12, 14)))
    spans.told("reasoning", "Hm.", 3)
    assert spans.settled(3) == []
    spans.told("content", "And", 14)
    assert [entry.token for entry in spans.settled(14)] == [".</think>A", "nd"]
    assert spans.num_reasoning == 2


def test_what_comes_after_the_texts_end_goes_with_it() -> None:
    for kind, count in (("content", 3), ("reasoning", 0)):
        spans = TokenSpans()
        spans.add(tokens(b"a", b"ST", b"OP", ends=(1, 3, 5)))
        spans.told(kind, "a", 1)  # type: ignore[arg-type]
        assert len(spans.settled(1) + spans.finished(1)) == count
    nothing = TokenSpans()
    nothing.add(tokens(b"ST", b"OP", ends=(2, 4)))
    assert len(nothing.finished(0)) == 2
    dropped = TokenSpans()
    dropped.add(tokens(b"a", b" ", b"ST", ends=(1, 2, 4)))
    dropped.told("content", "a", 1)
    assert len(dropped.settled(1) + dropped.finished(2)) == 1


def test_special_tokens_that_are_left_out_of_the_text_are_left_out() -> None:
    spans = TokenSpans()
    spans.add(tokens(b"a", b"<other>", b"b", ends=(1, 1, 2)))
    spans.told("content", "ab", 2)
    assert [entry.token for entry in spans.settled(2)] == ["a", "b"]
