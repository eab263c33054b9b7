import json
import random
import sys
from pathlib import Path

import pytest
from jinja2 import Template
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer
from transformers import AutoTokenizer

sys.path.insert(0, str(Path(__file__).parents[1]))

from training import tokenizer as bpe
from training.corpus import Corpus, held_out
from training.disjoint import drawable, plain
from training.grammar import expand
from training.rows import Packer, document, prompt
from training.topics import OUTSIDE, TOPICS
from training.topics.outside import pattern as outside_pattern

EMBEDDED = Path(__file__).parents[1] / "packages/candle-vllm-core/src/candle_vllm_core/embedded"
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(EMBEDDED / "tokenizer.json"))


@pytest.fixture(scope="module")
def template() -> Template:
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string((EMBEDDED / "chat_template.jinja").read_text(encoding="utf-8"))


def test_at_least_sixty_topics_with_different_names_and_answers() -> None:
    assert len(TOPICS) >= 60
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)
    assert len({topic.answer for topic in TOPICS}) == len(TOPICS)


def test_held_out_questions_cover_every_topic_and_no_training_question_is_among_them() -> None:
    questions = held_out()
    asked = {plain(question.text) for question in questions}
    assert {question.topic for question in questions} == {*TOPICS, OUTSIDE}
    assert not [question.text for question in questions if drawable(question.text, question.topic)]
    corpus = Corpus(123)
    assert not asked & {plain(corpus.question().text) for _ in range(5_000)}


def test_whatever_training_draws_is_seen_as_drawable() -> None:
    corpus = Corpus(7)
    for _ in range(1_000):
        topic = corpus.rng.choice(TOPICS)
        text = expand(corpus.pattern(topic), corpus.rng)
        assert drawable(text, topic), text


def test_held_out_outside_questions_use_words_that_training_does_not() -> None:
    rng = random.Random(0)
    trained = {plain(expand(outside_pattern(rng, held=False), rng)) for _ in range(3_000)}
    held = {plain(expand(outside_pattern(rng, held=True), rng)) for _ in range(300)}
    assert len(held - trained) >= len(held) - 2


def test_the_same_seed_draws_the_same_text_and_another_seed_another() -> None:
    def texts(seed: int) -> list[str]:
        corpus = Corpus(seed)
        return [corpus.question().text for _ in range(200)]

    assert texts(3) == texts(3)
    assert texts(3) != texts(4)


def test_the_recipe_fits_the_tokenizer_that_is_shipped(tokenizer: Tokenizer) -> None:
    assert json.loads(bpe.fit(bpe.sample(0)).to_str()) == json.loads(tokenizer.to_str())


@pytest.mark.parametrize(
    "text",
    [
        "What is candle-vllm?",
        "  two  spaces, a\ttab\r\nand lines\n\n",
        "naïve Grüße, 日本語 🙂🏽 \u0000\u007f",
        "".join(map(chr, range(1, 700))),
        '<tool_call>\n{"name": "f", "arguments": {"x": -1.5e3}}\n</tool_call>',
    ],
)
def test_text_survives_the_tokenizer(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


def test_words_digits_and_marks_are_cut_alike_wherever_they_stand(tokenizer: Tokenizer) -> None:
    alone = tokenizer.encode("scheduler").ids
    for around in ("a {} b", '"{}":', "x_{}(", "1{}2", "\n{}\n"):
        ids = tokenizer.encode(around.format("scheduler")).ids
        assert any(ids[at : at + len(alone)] == alone for at in range(len(ids)))
    assert len(tokenizer.encode("2048").ids) == 4
    assert len(tokenizer.encode("   ").ids) == 3


def test_the_vocabulary_has_the_marks_where_config_says(tokenizer: Tokenizer) -> None:
    config = json.loads((EMBEDDED / "config.json").read_text(encoding="utf-8"))
    assert config["vocab_size"] == tokenizer.get_vocab_size() == 640
    assert config["eos_token_id"] == tokenizer.token_to_id("<|im_end|>")
    special = {token.content: token.special for token in tokenizer.get_added_tokens_decoder().values()}
    assert {mark for mark, is_special in special.items() if is_special} == set(bpe.SPECIAL)
    assert {mark for mark, is_special in special.items() if not is_special} == set(bpe.MARKS)
    assert config["max_position_embeddings"] >= 1024


def test_the_template_renders_what_training_saw(template: Template) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "port?"},
    ]
    assert template.render(messages=messages, add_generation_prompt=True) == prompt(
        "Be brief.", [("hi", "Hello!")], "port?"
    )
    assert template.render(messages=messages[1:2], add_generation_prompt=True) == prompt(None, [], "hi")


def test_training_documents_are_rendered_conversations(template: Template, tokenizer: Tokenizer) -> None:
    corpus = Corpus(11)
    for _ in range(20):
        conversation = corpus.conversation(whole=1.0, turns=4)
        messages = [{"role": "system", "content": conversation.system}] if conversation.system else []
        for question in conversation.questions:
            messages += [
                {"role": "user", "content": question.text},
                {"role": "assistant", "content": question.topic.answer},
            ]
        made = document(conversation, tokenizer)
        assert tokenizer.decode(made.tokens, skip_special_tokens=False) + "\n" == template.render(messages=messages)


def test_the_template_has_places_for_tools_calls_and_results(template: Template) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Bern"}}},
                {"type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Rome"}'}},
            ],
        },
        {"role": "tool", "content": "cold"},
        {"role": "tool", "content": "warm"},
    ]
    text = template.render(messages=messages, tools=[TOOL], add_generation_prompt=True)
    assert text.startswith("<|im_start|>system\nBe brief.\n\n# Tools\n")
    assert f"<tools>\n{json.dumps(TOOL)}\n</tools>" in text
    assert (
        "<|im_start|>assistant\n"
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bern"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\ncold\n</tool_response>\n<tool_response>\nwarm\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n"
    ) in text


def test_transformers_renders_the_same(template: Template) -> None:
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED)
    messages = [{"role": "user", "content": "What is candle-vllm?"}]
    for tools in (None, [TOOL]):
        ours = template.render(messages=messages, tools=tools, add_generation_prompt=True)
        theirs = tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=True, tokenize=False)
        assert ours == theirs
        assert tokenizer(ours)["input_ids"] == Tokenizer.from_file(str(EMBEDDED / "tokenizer.json")).encode(ours).ids


def test_rows_show_each_token_only_its_own_conversation(tokenizer: Tokenizer) -> None:
    rows = Packer(0, tokenizer).batch(rows=4, length=256, whole=0.5, turns=3)
    starts = (rows.positions == 0).nonzero().tolist()
    assert len(starts) > 4
    for row, at in starts:
        assert rows.mask[row, 0, at, :at].sum() == 0
    assert not rows.mask[:, 0].triu(1).any()
    assert 0.2 < rows.learned.float().mean() < 0.8


def test_the_directory_is_a_small_hugging_face_directory() -> None:
    files = {path.name: path.stat().st_size for path in EMBEDDED.iterdir() if path.is_file()}
    assert sum(files.values()) <= 12_000_000
    assert {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"} <= files.keys()
    assert {"model.safetensors", "chat_template.jinja", "README.md"} <= files.keys()
