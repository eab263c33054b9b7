from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from candle_vllm_core import tokenizer_files
from candle_vllm_core.detokenizer import TextStream
from candle_vllm_core.errors import ModelLoadError, TokenizationError
from candle_vllm_core.tokenizer import Tokenizer
from candle_vllm_core.tokenizer_files import TokenizerFiles

CORPUS = [
    "The quick brown fox jumps over the lazy dog. ",
    "naïve café 中文 😀 tokens, 123 times; ",
    "def f(x):\n    return x\n",
] * 20
MARKS = ["<|start|>", "<|end|>"]
TEXTS = st.text(alphabet=st.sampled_from("abTheq 中é😀\n\t▁Ġ<|>sx1.\u200d\u0301")) | st.text()
TEMPLATE = "{% for m in messages %}<|start|>{{ m.content }}<|end|><quick>{% endfor %}"


def byte_level() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(show_progress=False, vocab_size=400, initial_alphabet=alphabet, special_tokens=MARKS),
    )
    backend.add_tokens([AddedToken("<quick>", special=False, normalized=False)])
    return backend


def metaspace() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", *MARKS, *(f"<0x{byte:02X}>" for byte in range(256))]
    backend.train_from_iterator(
        CORPUS, trainers.BpeTrainer(show_progress=False, vocab_size=450, special_tokens=special, limit_alphabet=60)
    )
    spec = json.loads(backend.to_str())
    spec["added_tokens"] = [token for token in spec["added_tokens"] if not token["content"].startswith("<0x")]
    backend = tokenizers.Tokenizer.from_str(json.dumps(spec))
    start = backend.token_to_id("<|start|>")
    backend.post_processor = processors.TemplateProcessing(single="<|start|> $A", special_tokens=[("<|start|>", start)])
    return backend


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


def written(path: Path, **files: Any) -> Path:
    """A checkpoint's directory; a name's `__` is a dot, and a value that is no text is written as JSON."""
    path.mkdir(exist_ok=True)
    for name, content in {"tokenizer__json": byte_level().to_str(), **files}.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (path / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return path


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


def test_chat_template_as_transformers(tokenizer: Tokenizer, reference: Any) -> None:
    template = tokenizer.chat_template
    assert template is not None
    assert template.source == reference.chat_template
    assert (template.bos_token, template.eos_token) == (reference.bos_token, reference.eos_token)
    assert {*MARKS} <= {*template.special_tokens} <= {*MARKS, "<quick>", "<unk>"}


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
