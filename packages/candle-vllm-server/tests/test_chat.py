from __future__ import annotations

import asyncio
import io
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rich.console import Console

from candle_vllm_core import GenerationParams, ModelLoadError, ScriptedEngine
from candle_vllm_server import Settings, chat

Talk = Callable[..., tuple[str, str]]


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Talk:
    """What is written to stdout and stderr when lines are read from a pipe."""

    def run(engine: ScriptedEngine, *lines: str, **fields: Any) -> tuple[str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        chat.talk(engine, Settings(**fields), Console(stderr=True))
        return capsys.readouterr()

    return run


def prompts(engine: ScriptedEngine) -> list[str]:
    return [engine.detokenize(request.prompt) for request in engine.requests]


def test_each_line_is_a_turn_and_the_end_of_the_input_is_the_end(talk: Talk) -> None:
    engine = ScriptedEngine(["Hello.", "Fine."])
    out, _ = talk(engine, "Hi", "", "How are you?")
    assert out == "Hello.\nFine.\n"
    assert "Hi" in prompts(engine)[1] and "Hello." in prompts(engine)[1]


def test_reset_forgets(talk: Talk) -> None:
    engine = ScriptedEngine(["Hello.", "Fine."])
    talk(engine, "Hi", "/reset", "How are you?")
    assert "Hi" not in prompts(engine)[1]


def test_quit_ends(talk: Talk) -> None:
    out, _ = talk(ScriptedEngine(["Hello."]), "Hi", "/quit", "never asked")
    assert out == "Hello.\n"


@pytest.fixture
def interruptible() -> Iterator[None]:
    """A shell lets what it starts in the background ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_stops_the_answer_and_the_chat_goes_on(talk: Talk) -> None:
    chunks = 0

    async def interrupt() -> None:
        nonlocal chunks
        chunks += 1
        if chunks == 6:
            signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0)

    engine = ScriptedEngine(["Hello there.", "Fine."], pause=interrupt)
    out, err = talk(engine, "Hi", "How are you?")
    stopped, fine = out.splitlines()
    assert "Hello there.".startswith(stopped) and 0 < len(stopped) < len("Hello there.")
    assert fine == "Fine." and "(stopped)" in err
    assert (engine.running, engine.cancelled) == (0, 1)
    assert stopped in prompts(engine)[1]


def test_an_answer_that_fails_is_told_and_forgotten(talk: Talk) -> None:
    engine = ScriptedEngine(["Fine."], max_sequence_length=100)
    out, err = talk(engine, "too long " * 30, "Hi")
    assert out == "\nFine.\n" and "tokens" in err
    assert "too long" not in prompts(engine)[0]


def test_flags_reach_the_engine(talk: Talk) -> None:
    seen: list[GenerationParams] = []

    def script(prompt: str, params: GenerationParams) -> str:
        seen.append(params)
        return "x"

    talk(ScriptedEngine(script), "Hi", temperature=0.0)
    assert seen[0].temperature == 0.0


def test_main_opens_and_closes_the_engine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    configs: list[Any] = []

    class Opened(ScriptedEngine):
        def __init__(self, config: Any) -> None:
            configs.append(config)
            super().__init__(["Hello."])

        def close(self) -> None:
            configs.append("closed")

    monkeypatch.setattr(chat, "InferenceEngine", Opened)
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi\n"))
    assert chat.main(["--m", "org/name", "--cpu"]) == 0
    assert (configs[0].model_path, configs[0].device, configs[1]) == ("org/name", "cpu", "closed")
    assert capsys.readouterr().out == "Hello.\n"


def test_a_model_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(config: Any) -> ScriptedEngine:
        raise ModelLoadError("there are no weights")

    monkeypatch.setattr(chat, "InferenceEngine", fail)
    assert chat.main(["--m", "nowhere"]) == 1
    err = capsys.readouterr().err
    assert "there are no weights" in err and "Traceback" not in err


def test_flags_of_the_server_are_not_the_chats(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        chat.main(["--p", "2000"])
    assert caught.value.code == 2
