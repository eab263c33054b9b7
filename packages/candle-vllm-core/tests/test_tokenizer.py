from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from small_tokenizers import MARKS, byte_level, metaspace, written
from tokenizers import decoders, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from candle_vllm_core.detokenizer import TextStream
from candle_vllm_core.errors import TokenizationError
from candle_vllm_core.tokenizer import Tokenizer
from candle_vllm_core.tokenizer_files import TokenizerFiles

TEXTS = st.text(alphabet=st.sampled_from("abTheq 中é😀\n\t▁Ġ<|>sx1.\u200d\u0301")) | st.text()
TEMPLATE = "{% for m in messages %}<|start|>{{ m.content }}<|end|><quick>{% endfor %}"


@pytest.fixture(scope="module", params=[byte_level, metaspace])
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param.__name__)
    reference = PreTrainedTokenizerFast(
        tokenizer_object=request.param(), bos_token="<|start|>", eos_token="<|end|>", chat_template=TEMPLATE
    )
    reference.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def reference(directory: Path) -> Any:
    return AutoTokenizer.from_pretrained(directory)


@pytest.fixture(scope="module")
def tokenizer(directory: Path) -> Tokenizer:
    return Tokenizer.from_directory(directory)


def test_everything_as_transformers(tokenizer: Tokenizer, reference: Any) -> None:
    @given(TEXTS, st.booleans(), st.booleans())
    def check(text: str, add_special_tokens: bool, skip_special_tokens: bool) -> None:
        ids = tokenizer.encode(text, add_special_tokens=add_special_tokens)
        assert ids == reference.encode(text, add_special_tokens=add_special_tokens)
        assert tokenizer.decode(ids, skip_special_tokens=skip_special_tokens) == reference.decode(
            ids, skip_special_tokens=skip_special_tokens
        )

    check()
    assert tokenizer.vocab_size == len(reference)
    assert tokenizer.eos_token_ids == {reference.eos_token_id}


def test_marks_in_text_are_control_tokens(tokenizer: Tokenizer, reference: Any) -> None:
    text = "a<|end|>b<|start|><|end|>"
    assert tokenizer.encode(text) == reference.encode(text)
    assert reference.eos_token_id in tokenizer.encode(text)


def test_plain_text_never_gives_a_control_token(tokenizer: Tokenizer) -> None:
    assert tokenizer.chat_template is not None
    marks = tokenizer.chat_template.special_tokens
    control = {token for mark in marks for token in tokenizer.encode(mark, add_special_tokens=False)}
    assert len(control) == len(marks)

    @given(
        st.lists(st.sampled_from(["<|end|>", "<|start|>", "<quick>", "<|", "end", "|>", " ", "x", "<|e<|end|>nd|>"]))
    )
    def check(pieces: list[str]) -> None:
        text = "".join(pieces)
        ids = tokenizer.encode(text, add_special_tokens=False, control_marks=False)
        assert control.isdisjoint(ids)
        assert tokenizer.decode(ids, skip_special_tokens=False) == text.removeprefix(
            " " if not tokenizer._byte_level else ""
        )

    check()


def test_marks_as_plain_text_are_tokenized_like_any_text(tokenizer: Tokenizer, reference: Any) -> None:
    text = "the <|end|> quick<|start|><|end|>"
    assert tokenizer.encode(text, control_marks=False) == reference.encode(text, split_special_tokens=True)


def test_plain_text_keeps_what_the_tokenizer_puts_around_it(tokenizer: Tokenizer) -> None:
    for text in ("hello", "naïve 中 😀"):
        assert tokenizer.encode(text, control_marks=False) == tokenizer.encode(text)


def test_a_mark_among_the_words_is_spelled_out() -> None:
    scores = {
        "<unk>": 0,
        "<s>": 0,
        "<": -5,
        "s": -5,
        ">": -5,
        "<0xC3>": -9,
        "<0xA9>": -9,
        "é<s>": 0,
        "!": 0,
        "<!中>": 0,
    }
    backend = tokenizers.Tokenizer(models.Unigram([(word, float(score)) for word, score in scores.items()], unk_id=0))
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens(["<unk>", "<s>", "é<s>", "!", "<!中>"])
    tokenizer = Tokenizer(TokenizerFiles(backend=backend, unk_token="<unk>"))
    assert tokenizer.encode("s<s>é<s>") == [3, 1, 7]
    assert tokenizer.encode("s<s>é<s>", control_marks=False) == [3, 2, 3, 4, 5, 6, 2, 3, 4]
    assert tokenizer.encode("s中<s>", control_marks=False) == [3, 0, 2, 3, 4]
    assert tokenizer.encode("<!中>", control_marks=False) == [2, 4]


def test_bytes_of_single_tokens_are_the_bytes_of_the_text(tokenizer: Tokenizer) -> None:
    @given(TEXTS)
    def check(text: str) -> None:
        ids = tokenizer.encode(text, add_special_tokens=False)
        joined = b"".join(tokenizer.token_bytes(token) for token in ids).decode("utf-8")
        whole = tokenizer.decode(ids, skip_special_tokens=False)
        assert joined in (whole, " " + whole)

    check()


def test_text_and_bytes_of_single_tokens() -> None:
    level, space = (Tokenizer(TokenizerFiles(backend=backend)) for backend in (byte_level(), metaspace()))
    quick = level.encode(" quick")
    assert (len(quick), level.token_text(quick[0]), level.token_bytes(quick[0])) == (1, " quick", b" quick")
    first = level.encode("🦊")[0]
    assert (level.token_text(first), level.token_bytes(first)) == ("\ufffd", b"\xf0\x9f")
    assert level.token_bytes(level.encode("<|end|>")[0]) == b"<|end|>"
    assert [space.token_bytes(token) for token in space.encode("🦊", add_special_tokens=False)][-4:] == [
        b"\xf0", b"\x9f", b"\xa6", b"\x8a",
    ]  # fmt: skip
    assert "".join(space.token_text(token) for token in space.encode("the quick dog")) == "<|start|> the quick dog"
    bare = tokenizers.Tokenizer(models.WordLevel({"a": 0}))
    assert Tokenizer(TokenizerFiles(backend=bare)).token_bytes(0) == b"a"


def test_a_stream_of_its_tokens_is_its_text(tokenizer: Tokenizer) -> None:
    @given(TEXTS)
    def check(text: str) -> None:
        ids = tokenizer.encode(text)
        for pieces in (None, tokenizer.pieces(skip_special_tokens=True)):
            stream = TextStream(tokenizer.decode, pieces=pieces)
            assert "".join([stream.feed(token) for token in ids]) + stream.finish() == tokenizer.decode(ids)

    check()


def test_ids_that_only_the_model_has_are_nothing(tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_directory(written(tmp_path, config__json={"vocab_size": 512}))
    assert tokenizer.vocab_size == 512
    assert tokenizer.decode([*tokenizer.encode("a"), 511, *tokenizer.encode("b")]) == "ab"
    assert (tokenizer.token_text(511), tokenizer.token_bytes(511)) == ("", b"")


@pytest.mark.parametrize("wrong", [-1, 0, 2**40])
def test_ids_out_of_the_vocabulary(tokenizer: Tokenizer, wrong: int) -> None:
    wrong = wrong or tokenizer.vocab_size
    for call in (lambda: tokenizer.decode([1, wrong, -5]), lambda: tokenizer.token_text(wrong)):
        with pytest.raises(TokenizationError, match=f"id {wrong} .* {tokenizer.vocab_size - 1}$"):
            call()


@pytest.mark.parametrize("wrong", [1.5, "a", None, [1]])
def test_ids_that_are_no_integers(tokenizer: Tokenizer, wrong: Any) -> None:
    with pytest.raises(TokenizationError, match="integers"):
        tokenizer.decode([1, wrong])


@pytest.mark.parametrize("wrong", [None, 5, b"a", ["a"]])
def test_only_text_is_tokenized(tokenizer: Tokenizer, wrong: Any) -> None:
    with pytest.raises(TokenizationError, match=type(wrong).__name__):
        tokenizer.encode(wrong)


def test_lone_surrogates_are_named(tokenizer: Tokenizer) -> None:
    with pytest.raises(TokenizationError, match="surrogate at character 2"):
        tokenizer.encode("ab\udc00", control_marks=False)


def test_truncation_and_padding_in_the_file_do_not_apply(tmp_path: Path) -> None:
    backend = byte_level()
    backend.enable_truncation(2)
    backend.enable_padding(length=9)
    tokenizer = Tokenizer.from_directory(written(tmp_path, tokenizer__json=backend.to_str()))
    assert tokenizer.encode("a") == byte_level().encode("a").ids
    assert tokenizer.decode(tokenizer.encode("some longer text")) == "some longer text"


def test_many_threads_at_once(tokenizer: Tokenizer) -> None:
    def work(number: int) -> bool:
        text = f"text {number} <|end|> naïve " * 20
        ids = tokenizer.encode(text, control_marks=number % 2 == 0)
        marked = bool(tokenizer.eos_token_ids & set(ids))
        return marked is (number % 2 == 0) and f"text {number}" in tokenizer.decode(ids)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(400)))


def test_chat_template_as_transformers(tokenizer: Tokenizer, reference: Any) -> None:
    template = tokenizer.chat_template
    assert template is not None
    assert template.source == reference.chat_template
    assert (template.bos_token, template.eos_token) == (reference.bos_token, reference.eos_token)
    assert {*MARKS} <= {*template.special_tokens} <= {*MARKS, "<quick>", "<unk>"}
