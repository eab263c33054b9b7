"""Fetching from a server that speaks the routes of Hugging Face's hub, in a process with an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "additional_chat_templates/tool_use.jinja": b"{{ tools }}",
    "merges.txt": b"a b",
    "tokenizer.model": b"spm",
    "model.safetensors": b"weights",
    "pytorch_model.bin": b"pickle",
    "README.md": b"# tiny",
    "onnx/config.json": b"{}",
    "consolidated.safetensors": b"the same again",
}
WANTED = {
    "config.json",
    "tokenizer.json",
    "chat_template.jinja",
    "merges.txt",
    "tokenizer.model",
    "model.safetensors",
    "additional_chat_templates/tool_use.jinja",
}
PROGRAM = """
import sys
from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.weights.hub import fetch
try:
    print(fetch(sys.argv[1]))
except ModelLoadError as error:
    print(error)
    sys.exit(3)
"""


@dataclass
class Hub:
    """A hub with one public, one private and one gated model."""

    address: str = ""
    asked: list[str] = field(default_factory=list)
    failing: bool = False

    def answer(self, method: str, path: str, token: str | None) -> tuple[int, dict[str, str], bytes]:
        self.asked.append(f"{method} {path}")
        if self.failing:
            return 500, {}, b"{}"
        for model, needed in (
            ("acme/tiny", None),
            ("acme/private", "Bearer hf_right"),
            ("acme/gated", "Bearer hf_member"),
        ):
            if path.startswith(f"/api/models/{model}"):
                if needed and token != needed and model == "acme/private":
                    break
                return self._about(path, model)
            if path.startswith(f"/{model}/resolve/{COMMIT}/"):
                if needed and token != needed:
                    return 403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "access is restricted"}, b""
                return self._file(path.split(f"{COMMIT}/")[1])
        return 401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}, b"{}"

    def _about(self, path: str, model: str) -> tuple[int, dict[str, str], bytes]:
        if "/tree/" in path:
            entries = [
                {"type": "file", "path": name, "size": len(text), "oid": sha1(text).hexdigest()}
                for name, text in FILES.items()
            ]
            return 200, {}, json.dumps(entries).encode()
        return 200, {}, json.dumps({"id": model, "modelId": model, "sha": COMMIT, "siblings": []}).encode()

    def _file(self, name: str) -> tuple[int, dict[str, str], bytes]:
        text = FILES[name]
        return 200, {"ETag": f'"{sha1(text).hexdigest()}"', "X-Repo-Commit": COMMIT}, text


@pytest.fixture
def hub() -> Iterator[Hub]:
    served = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = served.answer(self.command, self.path, self.headers.get("Authorization"))
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield served
        server.shutdown()
        thread.join()


def fetch(model: str, home: Path, address: str, **environment: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a program that fetches a model."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    mine = {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, model],
        env=clean | mine | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return found.returncode, found.stdout.strip(), found.stderr


def test_a_model_is_fetched_once_then_found_offline(hub: Hub, tmp_path: Path) -> None:
    status, path, shown = fetch("acme/tiny", tmp_path, hub.address)
    assert (status, Path(path).is_relative_to(tmp_path)) == (0, True)
    assert {str(file.relative_to(path)) for file in Path(path).rglob("*.*")} == WANTED
    assert {(Path(path) / name).read_bytes() for name in WANTED} == {FILES[name] for name in WANTED}
    assert "Fetching 7 files" in shown
    hub.asked.clear()
    assert fetch("acme/tiny", tmp_path, hub.address, HF_HUB_OFFLINE="1")[:2] == (0, path)
    assert not hub.asked


def test_an_unknown_model_is_named_with_what_to_do(hub: Hub, tmp_path: Path) -> None:
    status, said, _ = fetch("acme/tinny", tmp_path, hub.address)
    assert (status, said.startswith("cannot fetch acme/tinny: Hugging Face has no such model")) == (3, True)
    assert "HF_TOKEN" in said


def test_a_private_model_needs_the_token(hub: Hub, tmp_path: Path) -> None:
    assert fetch("acme/private", tmp_path, hub.address)[0] == 3
    assert fetch("acme/private", tmp_path, hub.address, HF_TOKEN="hf_right")[0] == 0


def test_a_gated_model_says_how_to_get_in(hub: Hub, tmp_path: Path) -> None:
    status, said, _ = fetch("acme/gated", tmp_path, hub.address, HF_TOKEN="hf_stranger")
    assert (status, "ask for access on its page, then set HF_TOKEN" in said) == (3, True)
    assert "hf_stranger" not in said


def test_offline_and_not_cached_says_so(hub: Hub, tmp_path: Path) -> None:
    status, said, _ = fetch("acme/tiny", tmp_path, hub.address, HF_HUB_OFFLINE="1")
    assert (status, "unset HF_HUB_OFFLINE" in said) == (3, True)
    assert not hub.asked


def test_a_hub_that_cannot_be_reached_or_fails_says_so(hub: Hub, tmp_path: Path) -> None:
    status, said, _ = fetch("acme/tiny", tmp_path, "http://127.0.0.1:9")
    assert (status, "Hugging Face cannot be reached" in said) == (3, True)
    hub.failing = True
    status, said, _ = fetch("acme/tiny", tmp_path, hub.address)
    assert (status, said.startswith("cannot fetch acme/tiny")) == (3, True)
