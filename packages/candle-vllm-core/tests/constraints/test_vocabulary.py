from collections.abc import Callable

import llguidance
import pytest
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers

from candle_vllm_core.constraints.vocabulary import vocabulary
from candle_vllm_core.tokenizer import Tokenizer
from candle_vllm_core.tokenizer_files import TokenizerFiles
from candle_vllm_core.weights.source import open_source

TEXT = '{"name": "the é 日 x"}'
PADDING = 37


def byte_level() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(show_progress=False, vocab_size=300, initial_alphabet=alphabet)
    backend.train_from_iterator([TEXT] * 3, trainer)
    return backend


def byte_fallback() -> tokenizers.Tokenizer:
    words = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *(chr(code) for code in range(33, 127))]
    words += ["th", "▁th", "▁the", "na", "me", "name"]
    merges = [("t", "h"), ("▁", "th"), ("▁th", "e"), ("n", "a"), ("m", "e"), ("na", "me")]
    vocab = {word: token for token, word in enumerate(words)}
    return tokenizers.Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))


def llama() -> tokenizers.Tokenizer:
    backend = byte_fallback()
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return backend


def gemma() -> tokenizers.Tokenizer:
    backend = byte_fallback()
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return backend


def unigram() -> tokenizers.Tokenizer:
    pieces = ["<unk>", "▁", "▁the", *"abcdefghijklmnopqrstuvwxyz{}:\"'é日x"]
    backend = tokenizers.Tokenizer(models.Unigram([(piece, -2.0) for piece in dict.fromkeys(pieces)], unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return backend


def opened(make: Callable[[], tokenizers.Tokenizer]) -> Tokenizer:
    backend = make()
    backend.add_special_tokens(["<|end|>"])
    backend.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    return Tokenizer(TokenizerFiles(backend=backend, eos_token="<|end|>"))


def embedded() -> Tokenizer:
    return Tokenizer.from_directory(open_source(None).path)


KINDS = [byte_level, llama, gemma, unigram]


@pytest.fixture(params=[*KINDS, None], ids=lambda make: make.__name__ if make else "embedded")
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return opened(request.param) if request.param else embedded()


def allowed(words: llguidance.LLTokenizer, lark: str) -> list[int]:
    matcher = llguidance.LLMatcher(words, llguidance.LLMatcher.grammar_from_lark(lark), log_level=0)
    mask = matcher.compute_bitmask()
    assert matcher.get_error() == ""
    return [token for token in range(words.vocab_size) if mask[token // 8] >> (token % 8) & 1]


def test_every_token_has_its_own_bytes(tokenizer: Tokenizer) -> None:
    words = vocabulary(tokenizer, tokenizer.vocab_size)
    marks = tokenizer.added_token_ids | tokenizer.eos_token_ids
    for token in range(tokenizer.vocab_size):
        own = tokenizer.token_bytes(token)
        if token not in marks and own != b"\xff":  # a byte that no text has
            assert words.decode_bytes([token]) == own, token


def test_added_tokens_are_no_text(tokenizer: Tokenizer) -> None:
    words = vocabulary(tokenizer, tokenizer.vocab_size)
    marks = tokenizer.added_token_ids | tokenizer.eos_token_ids
    assert marks
    assert marks.isdisjoint(allowed(words, "start: /<[^a]+/")), "what looks like a mark is spelled"
    assert marks.isdisjoint(allowed(words, "start: /(.|\\n)+/"))


def test_an_eos_may_only_stand_where_the_grammar_ends(tokenizer: Tokenizer) -> None:
    words = vocabulary(tokenizer, tokenizer.vocab_size)
    assert tokenizer.eos_token_ids <= set(allowed(words, "start: /x*/"))
    assert tokenizer.eos_token_ids.isdisjoint(allowed(words, "start: /x+/"))


def test_ids_that_only_the_model_has_are_never_allowed(tokenizer: Tokenizer) -> None:
    words = vocabulary(tokenizer, tokenizer.vocab_size + PADDING)
    assert words.vocab_size == tokenizer.vocab_size + PADDING
    assert max(allowed(words, "start: /(.|\\n)*/")) < tokenizer.vocab_size


def test_forced_text_is_cut_as_the_tokenizer_cuts_it() -> None:
    for make in KINDS[:3]:
        tokenizer = opened(make)
        words = vocabulary(tokenizer, tokenizer.vocab_size)
        grammar = llguidance.LLMatcher.grammar_from_lark('start: "x{" "name" ":" /[a-z]+/')
        forced = llguidance.LLMatcher(words, grammar, log_level=0).compute_ff_tokens()
        whole = tokenizer.encode("x{name:abc", add_special_tokens=False)
        begin = 1 if make is llama else 0  # the space that a text of its own begins with
        assert forced == whole[begin : begin + len(forced)]
        assert tokenizer.decode(forced) == "x{name:"


def test_a_vocabulary_without_an_end_gets_one_that_no_model_draws() -> None:
    tokenizer = Tokenizer(TokenizerFiles(backend=byte_level()))
    words = vocabulary(tokenizer, tokenizer.vocab_size)
    assert tokenizer.vocab_size in allowed(words, "start: /x*/")
    assert allowed(words, "start: /x/ | /y/")
