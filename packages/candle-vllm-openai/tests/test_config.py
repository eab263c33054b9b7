from pathlib import Path
from typing import Any

import pytest

from candle_vllm_openai import (
    AdapterConfig,
    ChatCompletionRequest,
    ChatTemplate,
    ConfigError,
    OpenAIAdapter,
    ScriptedEngine,
)
from candle_vllm_openai.config import MAX_TEMPLATE_BYTES


@pytest.mark.parametrize(
    "field", ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty"]
)
def test_a_default_out_of_its_bounds_is_named(field: str) -> None:
    bad: dict[str, Any] = {field: -5}
    with pytest.raises(ConfigError) as caught:
        AdapterConfig(**bad)
    assert caught.value.field == field


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="model_name"):
        AdapterConfig(model_name="")


def test_a_chat_template_is_a_text_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "chat.jinja"
    file.write_text("{{ messages[0].content }}é", encoding="utf-8")
    assert AdapterConfig(chat_template=file).read_chat_template() == "{{ messages[0].content }}é"
    assert AdapterConfig(chat_template="{{ x }}").read_chat_template() == "{{ x }}"
    assert AdapterConfig().read_chat_template() is None


@pytest.mark.parametrize("content", [None, b"\xff", b" " * (MAX_TEMPLATE_BYTES + 1)])
def test_a_chat_template_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "chat.jinja"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"chat\.jinja") as caught:
        AdapterConfig(chat_template=file)
    assert caught.value.field == "chat_template"


async def test_a_chat_template_replaces_both_of_the_models_own() -> None:
    class Both(ScriptedEngine):
        @property
        def chat_template(self) -> ChatTemplate:
            return ChatTemplate(source="own", tool_source="own of tools", bos_token="<s>")

    engine = Both(["a", "b"])
    adapter = OpenAIAdapter(engine, AdapterConfig(chat_template="{{ bos_token }}mine{{ tools | tojson }}"))
    tool = {"type": "function", "function": {"name": "f"}}
    for tools in ([], [tool]):
        asked = {"messages": [{"role": "user", "content": "x"}], "tools": tools, "tool_choice": "auto"}
        await adapter.chat_completion(ChatCompletionRequest.model_validate(asked))
    assert all(engine.detokenize(each.prompt).startswith("<s>mine") for each in engine.requests)


def test_everything_may_be_left_out() -> None:
    assert AdapterConfig() == AdapterConfig(model_name=None, temperature=None)
