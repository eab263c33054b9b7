"""The server as a process: its port, its signals, how it ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from candle_vllm_core import ScriptedEngine
from candle_vllm_server.serving import PortError, bind

Start = Callable[..., subprocess.Popen[str]]
Live = Callable[..., Any]

STREAM = json.dumps({"stream": True, "messages": [{"role": "user", "content": "Hi"}]})
WHOLE = json.dumps({"messages": [{"role": "user", "content": "Hi"}]})
JSON = {"content-type": "application/json"}

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are sent as POSIX has them")


def port_of(server: subprocess.Popen[str]) -> int:
    """The port that a starting server says it is ready on."""
    assert server.stderr is not None
    seen = []
    for line in server.stderr:
        seen.append(line)
        found = re.search(r"Ready +http://127\.0\.0\.1:(\d+)", line)
        if found:
            return int(found[1])
    raise AssertionError(f"it never was ready: {seen}")


@contextmanager
def asking(port: int, body: str) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("POST", "/v1/chat/completions", body, JSON)
        yield connection


def ended(server: subprocess.Popen[str]) -> tuple[int, str, str]:
    assert server.stdout is not None and server.stderr is not None
    # Not `communicate`: it would lose what was read ahead of the lines looked at so far.
    out, err = server.stdout.read(), server.stderr.read()
    return server.wait(timeout=20), out, err


def test_it_answers_and_says_how_to_ask(process: Start) -> None:
    server = process("answers", "--p", "0")
    port = port_of(server)
    with asking(port, WHOLE) as connection:
        answer = json.loads(connection.getresponse().read())
    assert answer["choices"][0]["message"]["content"] == "Hello there."
    server.send_signal(signal.SIGINT)
    code, out, err = ended(server)
    assert (code, out) == (0, "loading\nclosed\n")
    assert f"curl -N http://127.0.0.1:{port}/v1/chat/completions" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_running_stream_and_then_the_process(process: Start, number: int) -> None:
    server = process("endless", "--p", "0")
    with asking(port_of(server), STREAM) as connection:
        response = connection.getresponse()
        begun = response.readline() + response.readline()
        server.send_signal(number)
        rest = response.read()
    assert begun.startswith(b"data: {")
    assert rest.endswith(b"data: [DONE]\n\n")
    assert b'"server_shutdown"' in rest
    code, out, err = ended(server)
    assert (code, out) == (0, "loading\nclosed\n")
    assert "Traceback" not in err


def test_a_signal_ends_a_stream_before_its_first_chunk_and_a_whole_answer(process: Start) -> None:
    server = process("stuck", "--p", "0", "--keep-alive-interval", "10")
    port = port_of(server)
    with asking(port, WHOLE) as asked, asking(port, STREAM) as connection:
        stream = connection.getresponse()
        assert stream.readline() == b": keep-alive\n"
        server.send_signal(signal.SIGINT)
        assert stream.read().endswith(b"data: [DONE]\n\n")
        answer = asked.getresponse()
        assert (answer.status, json.loads(answer.read())["error"]["code"]) == (503, "server_shutdown")
    assert ended(server)[0] == 0


def test_a_client_that_never_sends_its_body_cannot_hold_up_the_end(process: Start) -> None:
    server = process("stuck", "--p", "0")
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=20) as silent:
        silent.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n")
        silent.sendall(b"Expect: 100-continue\r\n\r\n")
        assert silent.recv(1000).startswith(b"HTTP/1.1 100")
        server.send_signal(signal.SIGINT)
        assert silent.recv(1000).startswith(b"HTTP/1.1 503")
    assert ended(server)[0] == 0


def test_a_second_signal_ends_it_at_once(process: Start) -> None:
    server = process("deaf", "--p", "0", "--log")
    with asking(port_of(server), STREAM) as connection:
        connection.getresponse().readline()
        server.send_signal(signal.SIGINT)
        assert server.stderr is not None
        assert any("ending running answers" in line for line in server.stderr)
        server.send_signal(signal.SIGINT)
        code, out, _ = ended(server)
    assert (code, out) == (128 + signal.SIGINT, "loading\n")


def test_a_signal_while_the_model_is_loaded(process: Start) -> None:
    server = process("slow", "--p", "0")
    assert server.stdout is not None and server.stdout.readline() == "loading\n"
    server.send_signal(signal.SIGINT)
    code, _, err = ended(server)
    assert code == 0 and "Traceback" not in err


def test_a_port_in_use_is_told_before_the_model_is_loaded(process: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, err = ended(process("answers", "--p", str(port)))
    assert (code, out) == (1, "")
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in err
    assert len(err.strip().splitlines()) == 1


def test_two_servers_cannot_both_have_a_port() -> None:
    with bind("127.0.0.1", 0) as first:
        with pytest.raises(PortError, match="choose another port with --p"):
            bind("127.0.0.1", first.getsockname()[1])


def test_a_host_that_is_not_this_machine() -> None:
    with pytest.raises(PortError, match="no.such.host.invalid"):
        bind("no.such.host.invalid", 0)


def test_a_model_that_cannot_be_loaded(process: Start) -> None:
    code, _, err = ended(process("broken", "--p", "0"))
    assert code == 1
    assert "there are no weights in /nowhere" in err
    assert "Traceback" not in err


def test_verbose_shows_where_loading_failed(process: Start) -> None:
    code, _, err = ended(process("broken", "--p", "0", "--verbose"))
    assert code == 1
    assert "Traceback" in err and "open_engine" in err


def test_a_flood_of_headers_on_the_wire(live: Live) -> None:
    with live(ScriptedEngine()) as server:
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
            wire.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
            answer = flood(wire, b"x-flood: " + b"a" * 4000 + b"\r\n", 10_000)
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431")) or answer == b""
        assert http_status(port, "GET", "/health") == 200


def test_fifty_megabytes_on_the_wire(live: Live) -> None:
    with live(ScriptedEngine()) as server:
        port = int(server.url.rpartition(":")[2])
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
            wire.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
            answer = flood(wire, b"10000\r\n" + b" " * 65536 + b"\r\n", 800)
        assert answer.startswith(b"HTTP/1.1 413")
        assert b'"request_too_large"' in answer
        assert http_status(port, "GET", "/health") == 200


def flood(wire: socket.socket, piece: bytes, times: int) -> bytes:
    """What comes back while a piece is sent again and again."""
    answer = []

    def listen() -> None:
        try:
            while data := wire.recv(65536):
                answer.append(data)
                if b"}}" in data:
                    return
        except OSError:
            return

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        for _ in range(times):
            if not listener.is_alive():
                break
            wire.sendall(piece)
    except OSError:
        pass
    listener.join(20)
    return b"".join(answer)


def http_status(port: int, method: str, path: str) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request(method, path)
        return connection.getresponse().status


@pytest.mark.parametrize(
    "raw", [b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"POST / HTTP/9.9\r\nHost: a\r\n\r\n"]
)
def test_what_is_no_http(live: Live, raw: bytes) -> None:
    with live(ScriptedEngine()) as server:
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
            wire.sendall(raw)
            assert wire.recv(100).startswith(b"HTTP/1.1 4")
        assert http_status(port, "GET", "/health") == 200
