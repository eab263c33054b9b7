from __future__ import annotations

from pathlib import Path

import pytest

from candle_vllm_server import Settings
from candle_vllm_server.flags import UNSUPPORTED, parse


def parsed(*arguments: str) -> Settings:
    return parse("server", "Serve.", arguments)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        parsed(*arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("short", "long", "value", "field", "expected"),
    [
        ("--m", "--model", "org/name", "model", "org/name"),
        ("--w", "--weights-dir", "/weights", "weights_dir", Path("/weights")),
        ("--h", "--host", "0.0.0.0", "host", "0.0.0.0"),
        ("--p", "--port", "8080", "port", 8080),
        ("--d", "--device", "2", "device", "cuda:2"),
        ("--mem", "--kv-memory", "512", "kv_memory", 512),
    ],
)
def test_short_and_long_flags(short: str, long: str, value: str, field: str, expected: object) -> None:
    assert getattr(parsed(short, value), field) == expected
    assert getattr(parsed(long, value), field) == expected
    assert getattr(parsed(f"{long}={value}"), field) == expected


def test_switches() -> None:
    settings = parsed("--cpu", "--disable-prefix-cache", "--verbose", "--log")
    assert (settings.device, settings.disable_prefix_cache, settings.verbose, settings.log) == (
        "cpu",
        True,
        True,
        "info",
    )
    assert parsed("--log", "debug").log == "debug"


def test_negative_numbers() -> None:
    assert parsed("--presence-penalty", "-1.5", "--top-k", "-1").presence_penalty == -1.5


def test_flag_before_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDLE_VLLM_PORT", "3000")
    assert parsed().port == 3000
    assert parsed("--p", "4000").port == 4000


@pytest.mark.parametrize("flag", UNSUPPORTED)
@pytest.mark.parametrize("value", [[], ["value"]])
def test_what_this_version_does_not_have_is_refused_by_name(
    capsys: pytest.CaptureFixture[str], flag: str, value: list[str]
) -> None:
    assert f"this version does not have {flag};" in refusal(capsys, flag, *value)


def test_unknown_flags_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--modle" in refusal(capsys, "--modle", "x")
    assert "--mod" in refusal(capsys, "--mod", "x")


def test_wrong_values_name_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--p/--port: " in refusal(capsys, "--p", "70000")
    assert "--d/--device: '0,1' names several devices" in refusal(capsys, "--d", "0,1")
    assert "--temperature: " in refusal(capsys, "--temperature", "hot")


def test_wrong_values_name_the_variable(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEP_ALIVE_INTERVAL", "often")
    assert "KEEP_ALIVE_INTERVAL: " in refusal(capsys)
    monkeypatch.delenv("KEEP_ALIVE_INTERVAL")
    monkeypatch.setenv("CANDLE_VLLM_PORT", "tcp://10.0.0.1:2000")
    assert "CANDLE_VLLM_PORT: " in refusal(capsys)


def test_a_wrong_secret_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert "aaaa" not in refusal(capsys, "--api-key", "a" * 2000)


def test_two_devices_contradict(capsys: pytest.CaptureFixture[str]) -> None:
    assert "not allowed with" in refusal(capsys, "--cpu", "--d", "cuda")


def test_env_file_that_is_no_text(capsys: pytest.CaptureFixture[str]) -> None:
    Path(".env").write_bytes(b"CANDLE_VLLM_MODEL=\xff\xfe")
    assert ".env" in refusal(capsys)


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for flag, part in (("--help", "--weights-dir"), ("--version", "candle-vllm ")):
        with pytest.raises(SystemExit) as caught:
            parsed(flag)
        assert caught.value.code == 0
        assert part in capsys.readouterr().out


def test_groups_choose_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse("chat", "Chat.", ["--m", "x"], ("model",)).model == "x"
    with pytest.raises(SystemExit):
        parse("chat", "Chat.", ["--p", "1"], ("model",))
