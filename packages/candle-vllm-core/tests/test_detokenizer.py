from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from candle_vllm_core.detokenizer import KEPT_WINDOW, MAX_WINDOW, TextStream
from candle_vllm_core.errors import ParameterError, TokenizationError
from candle_vllm_core.tokenizer import Piece
from candle_vllm_core.tokenizer import Tokenizer as OwnTokenizer
from candle_vllm_core.tokenizer_files import TokenizerFiles

EOS = "<|end|>"
TEXTS = st.text(alphabet="ab 中é😀\ufffd", max_size=30)
STOPS = st.lists(st.text(alphabet="ab 中é😀", min_size=1, max_size=4), max_size=4)
AB_STOPS = st.lists(st.text(alphabet="ab", min_size=1, max_size=6), max_size=4)


class Words:
    """A decode function over words that a test writes: a token is an index."""

    def __init__(self, words: Iterable[bytes]) -> None:
        self.words = list(words)
        self.num_decoded = 0

    def __call__(self, tokens: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        self.num_decoded += len(tokens)
        return b"".join(self.words[token] for token in tokens).decode("utf-8", errors="replace")


def byte_fallback() -> Tokenizer:
    words = ["▁", "a", "b", "▁a", "ab", "中", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, [], byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(EOS, special=True)])
    return tokenizer


def byte_level() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(EOS, special=True)])
    return tokenizer


FALLBACK, LEVEL = byte_fallback(), byte_level()


def run(stream: TextStream, tokens: Iterable[int]) -> str:
    return "".join([stream.feed(token) for token in tokens]) + stream.finish()


def first_stop(text: str, stops: Sequence[str], start: int = 0) -> tuple[str, str | None]:
    """The oracle: looks at every end in turn; a stop text that ends at or before `start` does not count."""
    for end in range(start + 1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            longest = max(found, key=len)
            return text[: end - len(longest)], longest
    return text, None


def cut(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in cuts)})
    return [data[start:stop] for start, stop in zip(edges, edges[1:], strict=False)]


@given(TEXTS, STOPS, st.lists(st.integers(0, 200), max_size=40))
@example("aab", ["aab", "ab"], [1])
@example("ababab", ["abb", "bab"], [1, 2, 3, 4, 5])
@example("中a", ["a", "中a"], [1, 2])
def test_text_and_stop_do_not_depend_on_where_tokens_cut(text: str, stops: list[str], cuts: list[int]) -> None:
    words = Words(cut(text.encode(), cuts))
    stream = TextStream(words, stops)
    assert (run(stream, range(len(words.words))), stream.stop_sequence) == first_stop(text, stops)


@given(TEXTS, STOPS, st.lists(st.integers(0, 200), max_size=40))
def test_how_far_the_tokens_reach_does_not_depend_on_what_is_held_back(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    words = Words(cut(text.encode(), cuts))
    stream, fed = TextStream(words, stops), b""
    for token, word in enumerate(words.words):
        fed += word
        stream.feed(token)
        if stream.stop_sequence is not None:
            return
        assert stream.num_chars == len(fed.decode(errors="replace").rstrip("\ufffd")) or "\ufffd" in text
    stream.finish()
    assert stream.num_chars == len(text) or stream.stop_sequence is not None


@given(st.text(alphabet="ab", max_size=30), AB_STOPS)
def test_overlapping_stops_character_by_character(text: str, stops: list[str]) -> None:
    words = Words(character.encode() for character in text)
    stream = TextStream(words, stops)
    assert (run(stream, range(len(text))), stream.stop_sequence) == first_stop(text, stops)


@given(st.text(alphabet="ab", max_size=20), AB_STOPS, st.integers(0, 20), st.lists(st.integers(0, 20)))
@example("ababa", ["aba"], 3, [])
def test_stops_completed_before_they_count_are_text(text: str, stops: list[str], start: int, cuts: list[int]) -> None:
    words = Words(cut(text.encode(), [start, *cuts]))
    stream = TextStream(words, stops)
    start %= len(text) + 1
    given_out, fed = "", 0
    for token, word in enumerate(words.words):
        fed += len(word)
        given_out += stream.feed(token, stops=fed > start)
    assert (given_out + stream.finish(), stream.stop_sequence) == first_stop(text, stops, start)


@given(st.binary(max_size=80), st.lists(st.integers(0, 200), max_size=80))
@example(b"\x80" * 60, list(range(60)))
@example(b"\xf0\x9f" * 30, list(range(60)))
@example("中".encode() * 30, [1 + 3 * i for i in range(30)])
@example("\ufffd".encode() * 30, [3 * i for i in range(30)])
def test_any_bytes_in_any_cut_are_the_whole_text(data: bytes, cuts: list[int]) -> None:
    words = Words(cut(data, cuts))
    assert run(TextStream(words), range(len(words.words))) == data.decode("utf-8", errors="replace")


@given(st.lists(st.integers(0, LEVEL.get_vocab_size() - 1), max_size=60), st.booleans())
def test_byte_level_tokens_are_the_whole_text(tokens: list[int], show_special: bool) -> None:
    stream = TextStream(LEVEL.decode, show_special=show_special)
    assert run(stream, tokens) == LEVEL.decode(tokens, skip_special_tokens=not show_special)


@given(st.binary(max_size=80), st.lists(st.integers(0, 200), max_size=80), STOPS)
@example(b"\x80" * 60, list(range(60)), [])
@example(b"\xf0\x9f" * 30, list(range(60)), [])
@example(b"\xed\xa0\x80 \xf4\x90\x80\x80 \xc0\xaf \xe2\x82", [], [])
def test_pieces_are_put_together_to_the_same_text(data: bytes, cuts: list[int], stops: list[str]) -> None:
    words = Words(cut(data, cuts))
    text = data.decode("utf-8", errors="replace")
    for pieces in (words.words, [text_if_whole(word) for word in words.words]):
        stream = TextStream(words, stops, pieces=dict(enumerate(pieces)))
        assert (run(stream, range(len(pieces))), stream.stop_sequence) == first_stop(text, stops)
    assert words.num_decoded == 0


def text_if_whole(word: bytes) -> Piece:
    return word.decode() if word.decode(errors="ignore").encode() == word else word


@given(st.lists(st.integers(0, LEVEL.get_vocab_size() - 1) | st.sampled_from(LEVEL.encode("中é😀").ids)), st.booleans())
def test_what_pieces_give_so_far_is_the_text_so_far(ids: list[int], skip: bool) -> None:
    """Without what may be the start of a character."""
    pieces = OwnTokenizer(TokenizerFiles(backend=LEVEL)).pieces(skip_special_tokens=skip)
    stream, given_out = TextStream(LEVEL.decode, pieces=pieces), ""
    for place, token in enumerate(ids):
        given_out += stream.feed(token)
        text = LEVEL.decode(ids[: place + 1], skip_special_tokens=skip)
        assert text.startswith(given_out) and len(text) - len(given_out) <= 1
        assert stream.num_chars == len(given_out) and text[len(given_out) :] in ("", "\ufffd")
    assert given_out + stream.finish() == LEVEL.decode(ids, skip_special_tokens=skip)


@given(st.lists(st.integers(0, LEVEL.get_vocab_size() - 1)), st.booleans())
def test_pieces_of_any_tokens_are_their_text(ids: list[int], skip: bool) -> None:
    pieces = OwnTokenizer(TokenizerFiles(backend=LEVEL)).pieces(skip_special_tokens=skip)
    assert pieces is not None
    data = [piece.encode() if isinstance(piece := pieces[token], str) else piece for token in ids]
    text = b"".join(data).decode("utf-8", errors="replace")
    assert text == LEVEL.decode(ids, skip_special_tokens=skip)
    with pytest.raises(TokenizationError):
        pieces[LEVEL.get_vocab_size()]


def test_tokens_whose_text_depends_on_their_neighbours_have_no_pieces() -> None:
    assert OwnTokenizer(TokenizerFiles(backend=FALLBACK)).pieces(skip_special_tokens=True) is None


@given(
    st.lists(
        st.sampled_from(["▁", "a", "b", "▁a", "ab", "中", EOS, "é", "😀", "<0x20>", "<0x41>", "<0xE4><0xB8><0xAD>"]),
        max_size=60,
    ),
    st.booleans(),
)
@example(["▁", EOS, "▁a"], False)
@example(["▁a", *[EOS] * 40, "▁a"], False)
@example(["<0x20>", "😀"], False)
def test_byte_fallback_tokens_are_the_whole_text(words: list[str], show_special: bool) -> None:
    tokens = [token for word in words for token in fallback_ids(word)]
    stream = TextStream(FALLBACK.decode, show_special=show_special)
    assert run(stream, tokens) == FALLBACK.decode(tokens, skip_special_tokens=not show_special)


def fallback_ids(word: str) -> list[int]:
    pieces = word.replace("><", ">\0<").split("\0") if word.startswith("<0x") else [word]
    if FALLBACK.token_to_id(pieces[0]) is None:
        pieces = [f"<0x{byte:02X}>" for byte in word.encode()]
    ids = [FALLBACK.token_to_id(piece) for piece in pieces]
    assert None not in ids
    return ids


@given(st.lists(st.integers(0, FALLBACK.get_vocab_size() - 1), max_size=80))
def test_byte_fallback_takes_any_tokens(tokens: list[int]) -> None:
    stream = TextStream(FALLBACK.decode)
    text = run(stream, [*tokens, *fallback_ids("ab"), *fallback_ids("中"), *fallback_ids("▁a")])
    assert text.endswith("ab中 a")


@given(st.lists(st.sampled_from([b"\xe4", b"\xb8", b"\xad", b"\xff", "中".encode(), "中".encode() * 6]), max_size=30))
@example([b"\xff", "中".encode() * 6])
@example([b"\xff", *["中".encode()] * 3, b"\xff", *["中".encode()] * 4])
def test_byte_fallback_gives_every_byte_once(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    tokens = [FALLBACK.token_to_id(f"<0x{byte:02X}>") for byte in data]
    text = run(TextStream(FALLBACK.decode), tokens)
    assert sum(1 if character == "\ufffd" else len(character.encode()) for character in text) == len(data)


def test_a_lone_byte_leaves_what_was_given_out() -> None:
    stream = TextStream(FALLBACK.decode)
    given_out = [stream.feed(token) for token in [*fallback_ids("é"), *fallback_ids("<0xFF>"), *fallback_ids("a")]]
    assert "".join(given_out) == "é\ufffda"


def test_text_is_given_as_soon_as_it_is_certain() -> None:
    words = Words([b"Hello", b" \xe4", b"\xb8", b"\xad\xe4", b"\xb8\xad", b" <", b"|e", b"x"])
    stream = TextStream(words, ["<|end"])
    assert [stream.feed(token) for token in range(8)] == ["Hello", " ", "", "中", "中", " ", "", "<|ex"]
    assert stream.finish() == ""


def test_what_was_held_is_text_at_the_end() -> None:
    stream = TextStream(Words([b"so <|e", b"\xe4\xb8"]), ["<|end"])
    assert stream.feed(0) == "so "
    assert stream.feed(1) == ""
    assert stream.finish() == "<|e\ufffd"
    assert stream.finish() == ""


def test_after_a_stop_nothing_more_comes() -> None:
    stream = TextStream(Words([b"one END", b" two"]), ["END", "E", "ND"])
    assert stream.feed(0) == "one "
    assert stream.stop_sequence == "E"
    assert (stream.feed(1), stream.finish()) == ("", "")


def test_special_tokens_are_shown_when_asked_for() -> None:
    tokens = LEVEL.encode("a" + EOS + "b").ids
    assert run(TextStream(LEVEL.decode), tokens) == "ab"
    assert run(TextStream(LEVEL.decode, show_special=True), tokens) == f"a{EOS}b"
    assert run(TextStream(LEVEL.decode, ["b"], show_special=True), tokens) == f"a{EOS}"


def test_only_the_answers_first_space_is_stripped() -> None:
    tokens = [FALLBACK.token_to_id(word) for word in ["▁a", "▁a", "▁", "▁", "▁a"]]
    stream = TextStream(FALLBACK.decode)
    assert [stream.feed(token) for token in tokens] == ["a", " a", " ", " ", " a"]


def test_an_empty_stop_text_is_refused() -> None:
    with pytest.raises(ParameterError, match="stop_sequences"):
        TextStream(Words([]), ["a", ""])


@pytest.mark.parametrize(
    "word",
    [b"word ", b"\x80", b"\xf0", "\ufffd".encode(), b"\xb8\xad\xe4", b""],
    ids=["text", "80", "f0", "fffd", "split", "hidden"],
)
def test_a_tokens_cost_does_not_grow_with_the_answer(word: bytes) -> None:
    words = Words([word])
    text = run(TextStream(words, ["never", "\x80\x80x"]), [0] * 2000)
    assert text == (word * 2000).decode("utf-8", errors="replace")
    assert words.num_decoded <= 2000 * (MAX_WINDOW + 2 + KEPT_WINDOW)


@pytest.mark.parametrize("word", ["<0x80>", "<0xF0>", "<0xFF>", EOS])
def test_runs_of_broken_bytes_stay_within_the_window(word: str) -> None:
    longest = 0

    def decode(tokens: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        nonlocal longest
        longest = max(longest, len(tokens))
        return FALLBACK.decode(list(tokens), skip_special_tokens=skip_special_tokens)

    stream = TextStream(decode)
    text = run(stream, [FALLBACK.token_to_id(word)] * 1000)
    assert text == ("" if word == EOS else "\ufffd" * 1000)
    assert longest <= MAX_WINDOW


@pytest.mark.parametrize("backend", [FALLBACK, LEVEL])
def test_only_the_special_tokens_asked_for_stand_in_the_text(backend: Tokenizer) -> None:
    marked = Tokenizer.from_str(backend.to_str())
    marked.add_special_tokens([AddedToken("<|call|>", special=True)])
    tokenizer = OwnTokenizer(TokenizerFiles(backend=marked))
    end, call = (marked.token_to_id(mark) for mark in (EOS, "<|call|>"))
    shown = frozenset([call])

    @given(st.lists(st.sampled_from([EOS, "<|call|>", "a", "b", "中", "é"]), max_size=40))
    def check(words: list[str]) -> None:
        ids = tokenizer.encode("".join(words))
        wanted = tokenizer.decode([token for token in ids if token != end], skip_special_tokens=False)
        assert tokenizer.decode(ids, shown=shown) == wanted
        for pieces in (None, tokenizer.pieces(skip_special_tokens=True, shown=shown)):
            assert run(TextStream(partial(tokenizer.decode, shown=shown), pieces=pieces), ids) == wanted

    check()
    assert tokenizer.decode([end, call], shown=shown).strip() == "<|call|>"
