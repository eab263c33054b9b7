from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from candle_vllm_server import Settings
from candle_vllm_server.settings import flags, publish_token, variable


def test_defaults_are_the_contracts() -> None:
    settings = Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 2000)
    assert (settings.max_num_seqs, settings.prefill_chunk_size, settings.max_waiting) == (16, 8192, 1024)
    assert settings.model is None and settings.api_key is None


def test_keyword_before_environment_before_file_before_default(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("CANDLE_VLLM_MODEL=from-file\nCANDLE_VLLM_PORT=3001\nCANDLE_VLLM_HOST=::1\n")
    monkeypatch.setenv("CANDLE_VLLM_MODEL", "from-environment")
    monkeypatch.setenv("CANDLE_VLLM_PORT", "3002")
    settings = Settings(model="from-keyword")
    assert (settings.model, settings.port, settings.host) == ("from-keyword", 3002, "::1")
    assert settings.max_num_seqs == 16


def test_contract_names_of_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "CANDLE_VLLM_API_KEY": "k",
        "CANDLE_VLLM_LOG": "debug",
        "KEEP_ALIVE_INTERVAL": "250",
        "HF_TOKEN": "t",
    }.items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.api_key is not None and settings.api_key.get_secret_value() == "k"
    assert settings.hf_token is not None and settings.hf_token.get_secret_value() == "t"
    assert (settings.log, settings.keep_alive_interval) == ("debug", 250)


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDLE_VLLM_API_KEY", "")
    assert Settings().api_key is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 65536),
        ("port", -1),
        ("max_num_seqs", 0),
        ("max_num_seqs", 4097),
        ("kv_memory", 0),
        ("kv_fraction", 0.0),
        ("kv_fraction", 1.5),
        ("kv_fraction", float("nan")),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", float("inf")),
        ("top_p", 0),
        ("block_size", 0),
        ("prefill_chunk_size", -1),
        ("max_waiting", -1),
        ("max_waiting", 1_000_001),
        ("keep_alive_interval", 0),
        ("max_model_len", 1),
        ("dtype", "int3"),
        ("log", "loud"),
        ("device", "0,1"),
        ("host", ""),
        ("enforce_parser", "qwenn"),
        ("reasoning_parser", "banana"),
        ("chat_template", "/nowhere"),
    ],
)
def test_out_of_bounds_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(**{name: value})
    assert caught.value.errors()[0]["loc"] == (name,)


@pytest.mark.parametrize("name", ["MCP_CONFIG", "MODELS_CONFIG"])
def test_a_variable_for_what_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"CANDLE_VLLM_{name}", "file")
    with pytest.raises(ValidationError, match="this version does not have it"):
        Settings()


def test_secrets_are_not_shown() -> None:
    settings = Settings(api_key="opensesame", hf_token="hf_secret")
    assert "opensesame" not in repr(settings) + str(settings.model_dump())
    assert "hf_secret" not in repr(settings) + str(settings.model_dump())


def test_a_wrong_secret_is_not_shown() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(api_key="opensesame" * 1000)
    assert "opensesame" not in str(caught.value)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1


def test_engine_config() -> None:
    config = Settings(
        model="org/model", device="1", dtype="bf16", kv_memory=2, max_num_seqs=3, block_size=32, max_model_len=100
    ).engine_config()
    assert (config.model_path, config.device, config.dtype) == ("org/model", "cuda:1", "bf16")
    assert (config.kv_cache_memory, config.max_batch_size, config.block_size) == (2 << 20, 3, 32)
    assert (config.max_sequence_length, config.enable_prefix_cache, config.prefill_chunk_size) == (100, True, 8192)


def test_prefill_chunk_size_zero_computes_prompts_whole() -> None:
    assert Settings(prefill_chunk_size=0).engine_config().enable_chunked_prefill is False
    assert Settings(prefill_chunk_size=64).engine_config().prefill_chunk_size == 64


def test_memory_and_chunks_reach_the_engine() -> None:
    config = Settings(kv_swap_memory=7, mixed_chunk_size=33).engine_config()
    assert (config.kv_swap_memory, config.mixed_chunk_size) == (7 << 20, 33)
    assert (Settings().engine_config().kv_swap_memory, Settings().engine_config().mixed_chunk_size) == (4 << 30, None)


def test_weights_dir_is_loaded_and_model_is_the_name() -> None:
    settings = Settings(model="org/name", weights_dir="/weights")
    assert settings.engine_config().model_path == "/weights"


def test_defaults_for_requests_reach_the_adapter() -> None:
    config = Settings(
        temperature=0.3, top_p=0.9, top_k=5, min_p=0.1, frequency_penalty=1, presence_penalty=-1
    ).adapter_config()
    assert (config.temperature, config.top_p, config.top_k) == (0.3, 0.9, 5)
    assert (config.min_p, config.frequency_penalty, config.presence_penalty) == (0.1, 1, -1)


def test_how_answers_are_read_reaches_the_adapter(tmp_path: Path) -> None:
    file = tmp_path / "chat.jinja"
    file.write_text("{{ messages }}", encoding="utf-8")
    config = Settings(enforce_parser="qwen", reasoning_parser="none", chat_template=file).adapter_config()
    assert (config.parser, config.reasoning, config.chat_template) == ("qwen", "none", file)
    config = Settings().adapter_config()
    assert (config.parser, config.reasoning, config.chat_template) == ("auto", "auto", None)


def test_token_reaches_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import get_token

    monkeypatch.setenv("HF_TOKEN", "other")
    publish_token(Settings(hf_token="hf_given"))
    assert get_token() == "hf_given"


def test_verbose_logs_at_info_at_least() -> None:
    assert Settings(verbose=True).log_level == "info"
    assert Settings(verbose=True, log="debug").log_level == "debug"
    assert Settings().log_level == "warning"


def test_every_setting_has_a_flag_a_group_and_a_description() -> None:
    without = set(Settings.model_fields) - set(flags())
    assert without == {"mcp_config", "models_config"}
    for name in flags():
        assert Settings.model_fields[name].description, name
        assert variable(name)
