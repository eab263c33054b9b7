from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from starlette.datastructures import Headers

from candle_vllm_core import ScriptedEngine
from candle_vllm_server.logs import LineFormatter, configure, printable, request_id_of

ClientOf = Callable[..., Any]


async def test_every_response_has_an_id(client_of: ClientOf) -> None:
    async with client_of(ScriptedEngine()) as client:
        first, second = await client.get("/health"), await client.get("/nothing")
        refused = await client.get("/health", headers={"host": "evil.example"})
    ids = [response.headers["x-request-id"] for response in (first, second, refused)]
    assert len(set(ids)) == 3


async def test_the_clients_id_is_kept_if_it_is_plain(client_of: ClientOf) -> None:
    async with client_of(ScriptedEngine()) as client:
        assert (await client.get("/health", headers={"x-request-id": "mine-1"})).headers["x-request-id"] == "mine-1"
        other = (await client.get("/health", headers={"x-request-id": "a b"})).headers["x-request-id"]
    assert other != "a b"


def test_ids_that_are_not_plain_are_replaced() -> None:
    for given in ("", "a" * 65, "a\nb", "a=b", "ü"):
        assert request_id_of(Headers({"x-request-id": given})) != given


async def test_neither_prompts_nor_answers_nor_keys_are_logged(
    client_of: ClientOf, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    headers = {"authorization": "Bearer opensesame", "x-request-id": "req-7"}
    body = {"messages": [{"role": "user", "content": "my prompt"}]}
    engine = ScriptedEngine(["my answer", ZeroDivisionError("the inside")])
    async with client_of(engine, api_key="opensesame") as client:
        await client.post("/v1/chat/completions?secret=opensesame", json=body, headers=headers)
        await client.post("/v1/chat/completions", json=body, headers=headers)
    own = [record for record in caplog.records if record.name.startswith("candle_vllm")]
    lines = "\n".join(LineFormatter().format(record) for record in own)
    assert "method=POST path=/v1/chat/completions status=200 ms=" in lines
    assert "ZeroDivisionError" in lines and "status=500" in lines
    for secret in ("my prompt", "my answer", "opensesame"):
        assert secret not in lines


def test_a_path_cannot_forge_a_line() -> None:
    assert "\n" not in printable("/a\nforged") and "\x1b" not in printable("/\x1b[2J")
    assert len(printable("/" + "a" * 100_000)) < 300


def test_configure_sends_lines_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        configure("info")
        logging.getLogger("candle_vllm_server").info("said")
        logging.getLogger("candle_vllm_server").debug("not said")
        assert "INFO candle_vllm_server said" in capfd.readouterr().err
    finally:
        root.handlers, root.level = handlers, level
