from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from candle_vllm_core import ScriptedEngine
from candle_vllm_server.guards import MAX_HEADER_BYTES, MAX_HEADERS, host_name, is_loopback

ClientOf = Callable[..., Any]

ROUTES = (
    "/ready",
    "/version",
    "/v1/models",
    "/v1/models/default",
    "/v1/chat/completions",
    "/nothing",
    "//health",
    "/health/",
)


async def test_without_a_key_all_are_welcome(client_of: ClientOf) -> None:
    async with client_of(ScriptedEngine()) as client:
        assert (await client.get("/v1/models")).status_code == 200


@pytest.mark.parametrize(
    "header",
    [None, "Bearer wrong", "Bearer", "Bearer ", "Basic opensesame", "opensesame", "Bearer opensesame2", "Bearer öpen"],
)
async def test_without_the_key_every_route_but_health_is_closed(client_of: ClientOf, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header.encode("latin-1")}
    async with client_of(ScriptedEngine(), api_key="opensesame") as client:
        assert (await client.get("/health", headers=headers)).status_code == 200
        for path in ROUTES:
            for method in ("GET", "POST", "OPTIONS"):
                response = await client.request(method, path, headers=headers)
                assert response.status_code == 401, (method, path)
                assert response.json()["error"]["type"] == "authentication_error"
                assert response.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("header", ["Bearer opensesame", "bearer opensesame", "Bearer  opensesame"])
async def test_with_the_key(client_of: ClientOf, header: str) -> None:
    async with client_of(ScriptedEngine(), api_key="opensesame") as client:
        assert (await client.get("/v1/models", headers={"authorization": header})).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:2000", "127.0.0.1.evil.example", "localhost.evil", "", "[::2]"]
)
async def test_a_name_from_elsewhere_is_refused_on_loopback(client_of: ClientOf, host: str) -> None:
    async with client_of(ScriptedEngine()) as client:
        for path in ("/health", "/v1/models"):
            response = await client.get(path, headers={"host": host})
            assert response.status_code == 403
            assert response.json()["error"]["code"] == "invalid_host"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:2000", "127.0.0.1:9", "[::1]:2000", "127.0.0.5"])
async def test_names_of_this_machine(client_of: ClientOf, host: str) -> None:
    async with client_of(ScriptedEngine(), host="127.0.0.5") as client:
        assert (await client.get("/health", headers={"host": host})).status_code == 200


async def test_an_open_bind_takes_any_name(client_of: ClientOf) -> None:
    async with client_of(ScriptedEngine(), host="0.0.0.0") as client:
        assert (await client.get("/health", headers={"host": "my.machine"})).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"x-a": "a" * (MAX_HEADER_BYTES + 1)}, {f"x-{number}": "a" for number in range(MAX_HEADERS)}]
)
async def test_a_flood_of_headers_is_refused(client_of: ClientOf, headers: dict[str, str]) -> None:
    async with client_of(ScriptedEngine()) as client:
        response = await client.get("/health", headers=headers)
    assert response.status_code == 431
    assert response.json()["error"]["code"] == "headers_too_large"


async def test_no_other_origin_is_let_in(client_of: ClientOf) -> None:
    async with client_of(ScriptedEngine()) as client:
        response = await client.get("/v1/models", headers={"origin": "https://evil.example"})
        assert not [name for name in response.headers if name.startswith("access-control")]
        asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        assert (await client.options("/v1/chat/completions", headers=asked)).status_code == 405


def test_host_name() -> None:
    assert [host_name(host) for host in ("A.b:1", "[::1]:2", "[::1]", "x", "")] == ["a.b", "::1", "::1", "x", ""]


def test_is_loopback() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.com")] == [False] * 4
