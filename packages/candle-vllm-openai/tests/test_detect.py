import chat_templates
import pytest

from candle_vllm_openai import ConfigError
from candle_vllm_openai.detect import PARSERS, REASONING, choose_format, choose_reasoning
from candle_vllm_openai.formats import FORMATS
from candle_vllm_openai.reasoning import STYLES

# What released templates show: the format of calls, and the style of reasoning.
SHOWN = {
    "aya-expanse": ("passthrough", None),
    "command-r-plus-default": ("passthrough", None),
    "command-r-plus": ("command", None),
    "command-r7b": ("command", "command"),
    "deepseek-r1-distill": ("deepseek", "think"),
    "deepseek-v3.1": ("deepseek", "think"),
    "deepseek-v3.2": ("deepseek", "think"),
    "deepseek-v3": ("deepseek", "think"),
    "functionary-3.1": ("llama", None),
    "gemma-2": ("passthrough", None),
    "gemma-3": ("passthrough", None),
    "gemma-4": ("gemma", "gemma"),
    "glm-4-moe": ("glm4", "think"),
    "glm-4.6": ("glm4", "think"),
    "glm-4": ("passthrough", None),
    "gpt-oss": ("harmony", "harmony"),
    "granite-3.3": ("granite", "think"),
    "granite-4.0": ("qwen", None),
    "hermes-3": ("qwen", None),
    "kimi-k2": ("kimi_k2", None),
    "lfm2": ("pythonic", None),
    "llama-3.1": ("llama", None),
    "llama-3.2": ("llama", None),
    "llama-3": ("passthrough", None),
    "minimax-m2": ("minimax_m2", "think"),
    "ministral-3-reasoning": ("mistral", "mistral"),
    "mistral-nemo": ("mistral", None),
    "mistral-small-3.2": ("mistral", None),
    "mistral-v3": ("mistral", None),
    "mistral-v7": ("passthrough", None),
    "nemotron-nano-2": ("nemotron", "think"),
    "phi-3.5": ("passthrough", None),
    "phi-3": ("passthrough", None),
    "phi-4": ("passthrough", None),
    "qwen2.5": ("qwen", None),
    "qwen3-2507": ("qwen", None),
    "qwen3-coder": ("qwen_coder", None),
    "qwen3.5": ("qwen_coder", "think"),
    "qwen3": ("qwen", "think"),
    "qwq": ("qwen", "think"),
    "smollm3": ("passthrough", "think"),
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_template_shows_how_its_model_calls_and_thinks(name: str) -> None:
    source = chat_templates.chat_template(name).source
    style = choose_reasoning("auto", source)
    assert (choose_format("auto", source).name, style and style.name) == SHOWN[name]


@pytest.mark.parametrize(
    ("family", "format"),
    [
        ("LlamaForCausalLM", "llama"),
        ("Llama4ForConditionalGeneration", "pythonic"),
        ("MistralForCausalLM", "mistral"),
        ("MixtralForCausalLM", "mistral"),
        ("Qwen2MoeForCausalLM", "qwen"),
        ("Qwen3NextForCausalLM", "qwen"),
        ("Qwen3_5ForCausalLM", "qwen_coder"),
        ("Gemma3ForCausalLM", "gemma"),
        ("Glm4ForCausalLM", "glm4"),
        ("ChatGLMModel", "glm4"),
        ("DeepseekV3ForCausalLM", "deepseek"),
        ("GptOssForCausalLM", "harmony"),
        ("gpt_oss", "harmony"),
        ("gpt-oss", "harmony"),
        ("GraniteForCausalLM", "granite"),
        ("GraniteMoeHybridForCausalLM", "qwen"),
        ("Cohere2ForCausalLM", "command"),
        ("SmolLM3ForCausalLM", "qwen"),
        ("Olmo3ForCausalLM", "pythonic"),
        ("PhiForCausalLM", "passthrough"),
        ("", "passthrough"),
        (None, "passthrough"),
    ],
)
def test_a_family_decides_where_the_template_shows_nothing(family: str | None, format: str) -> None:
    assert choose_format("auto", "{{ messages }}", family).name == format
    assert choose_format("auto", None, family).name == format


def test_marks_in_the_template_win_over_the_family_and_a_name_over_both() -> None:
    source = chat_templates.chat_template("qwen3").source
    assert choose_format("auto", source, "LlamaForCausalLM").name == "qwen"
    assert choose_format("mistral", source, "LlamaForCausalLM").name == "mistral"
    assert choose_format("passthrough", source, "LlamaForCausalLM").name == "passthrough"
    assert choose_reasoning("none", source) is None
    assert choose_reasoning("thought", source) is STYLES["thought"]


def test_the_contracts_names_are_there() -> None:
    assert {
        *("auto", "passthrough", "json", "mistral", "llama", "qwen", "qwen_coder"),
        *("deepseek", "glm4", "pythonic", "gemma", "minimax_m2"),
    } <= set(PARSERS)
    assert set(PARSERS) == {"auto", *FORMATS}
    assert set(REASONING) == {"auto", "none", *STYLES}


def test_an_unknown_name_is_an_error_that_lists_those_there_are() -> None:
    with pytest.raises(ConfigError, match="no parser is named 'qwenn'.*qwen_coder"):
        choose_format("qwenn")
    with pytest.raises(ConfigError, match="no reasoning style is named 'x'.*none"):
        choose_reasoning("x")


@pytest.mark.parametrize(
    ("name", "settings", "opened"),
    [
        ("qwen3", {}, False),
        ("qwen3", {"enable_thinking": False}, False),
        ("qwen3.5", {}, True),
        ("qwen3.5", {"enable_thinking": False}, False),
        ("qwq", {"enable_thinking": True}, True),
        ("qwq", {}, False),
        ("deepseek-v3", {}, True),
        ("deepseek-v3.1", {}, False),
        ("deepseek-v3.1", {"thinking": True}, True),
        ("minimax-m2", {}, True),
        ("glm-4.6", {}, False),
        ("gemma-4", {}, False),
        ("command-r7b", {"enable_thinking": False}, False),
    ],
)
def test_the_end_of_a_prompt_shows_whether_reasoning_is_open(
    name: str, settings: dict[str, bool], opened: bool
) -> None:
    template = chat_templates.chat_template(name)
    style = choose_reasoning("auto", template.source)
    prompt = chat_templates.rendered(template, [chat_templates.ASK], chat_template_kwargs=settings)
    assert style is not None and style.opened_by(prompt) is opened
