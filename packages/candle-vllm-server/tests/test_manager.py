from __future__ import annotations

import asyncio

import pytest

from candle_vllm_core import ConfigError, Engine, ScriptedEngine
from candle_vllm_server import Settings
from candle_vllm_server.errors import HttpError
from candle_vllm_server.manager import ModelManager, last_part


class Opened:
    """Opens scripted engines and remembers with what."""

    def __init__(self) -> None:
        self.engine = ScriptedEngine(model_id="org/scripted")
        self.configs: list[object] = []

    async def __call__(self, config: object) -> Engine:
        self.configs.append(config)
        return self.engine


async def test_life() -> None:
    opened = Opened()
    announced: list[object] = []

    def on_ready(engine: object) -> None:
        announced.append((engine, manager.status))

    manager = ModelManager(Settings(model="org/scripted"), opened, on_ready)
    assert (manager.status, manager.info, manager.model_id) == ("idle", None, "scripted")
    await manager.open()
    assert (manager.status, manager.model_id) == ("ready", "org/scripted")
    assert announced == [(opened.engine, "ready")]
    assert opened.configs == [Settings(model="org/scripted").engine_config()]
    assert manager.adapter(None).engine is opened.engine
    await manager.close()
    assert manager.status == "idle" and opened.engine._closed
    with pytest.raises(HttpError):
        manager.adapter(None)
    await manager.close()


async def test_a_failed_opening_is_told() -> None:
    async def fail(config: object) -> Engine:
        raise ConfigError("no")

    manager = ModelManager(Settings(), fail)
    await manager.open()
    await manager.close()
    assert manager.status == "error" and isinstance(manager.failure, ConfigError)


async def test_an_opening_that_is_cancelled_is_idle_again() -> None:
    async def forever(config: object) -> Engine:
        await asyncio.Event().wait()
        raise AssertionError

    manager = ModelManager(Settings(), forever)
    task = asyncio.create_task(manager.open())
    while manager.status != "loading":
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await manager.close()
    assert manager.status == "idle"


def test_seats_are_given_back_whatever_happens() -> None:
    manager = ModelManager(Settings(max_num_seqs=2, max_waiting=1), Opened())
    with manager.seats(2):
        with manager.seats(1), pytest.raises(HttpError), manager.seats(1):
            raise AssertionError
        with pytest.raises(ZeroDivisionError), manager.seats(1):
            raise ZeroDivisionError
        with manager.seats(1):
            pass
    with manager.seats(3):
        pass


def test_last_part() -> None:
    assert [last_part(name) for name in ("org/name", "/a/b/", "name", "/")] == ["name", "b", "name", "/"]
