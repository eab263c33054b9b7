"""Every example runs, as a reader runs it."""

import importlib.util
import subprocess
import sys
from types import ModuleType

import httpx
import pytest

from candle_vllm import InferenceEngine, ScriptedEngine
from candle_vllm.openai import OpenAIAdapter
from workspace import ROOT

EXAMPLES = ROOT / "examples"
TESTED = {"embed", "gateway", "batch"}


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def gateway(adapter: OpenAIAdapter) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(load("gateway").create_app(adapter))
    return httpx.AsyncClient(transport=transport, base_url="http://gateway", timeout=120)


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == TESTED


def test_embed_prints_an_answer() -> None:
    assert "candle-vllm" in run("embed").stdout


def test_embed_answers_another_question() -> None:
    answer = run("embed", "Hello!").stdout
    assert answer.strip()
    assert answer != run("embed").stdout


def test_embed_says_which_model_is_missing() -> None:
    with pytest.raises(subprocess.CalledProcessError) as failed:
        run("embed", "--model", "/nowhere/at/all")
    assert "ModelLoadError" in failed.value.stderr
    assert "/nowhere/at/all" in failed.value.stderr


def test_batch_prints_every_answer_in_order() -> None:
    done = run("batch")
    questions = [line.removeprefix("Q: ") for line in done.stdout.splitlines() if line.startswith("Q: ")]
    assert questions == load("batch").QUESTIONS
    assert done.stdout.count("\nA: ") == len(questions)
    assert f"{len(questions)} answers again" in done.stdout
    assert f"{len(questions)}/{len(questions)}" in done.stderr


async def test_the_gateway_answers_in_its_own_format() -> None:
    async with await InferenceEngine.new() as engine, gateway(OpenAIAdapter(engine)) as client:
        response = await client.post("/generate", json={"prompt": "What is candle-vllm?"})
    assert response.status_code == 200
    answer = response.json()
    assert "candle-vllm" in answer["text"]
    assert answer["tokens_used"] > 10


async def test_the_gateway_hands_the_options_on() -> None:
    engine = ScriptedEngine(["a long answer"])
    async with gateway(OpenAIAdapter(engine)) as client:
        options = {"temperature": 0.5, "max_length": 6}
        response = await client.post("/generate", json={"prompt": "Hi", "options": options})
    assert response.json()["text"] == "a long"
    assert engine.requests[0].params.temperature == 0.5


async def test_the_gateway_says_why_it_refuses() -> None:
    async with gateway(OpenAIAdapter(ScriptedEngine(max_sequence_length=40))) as client:
        response = await client.post("/generate", json={"prompt": "x" * 100})
    assert response.status_code == 400
    assert "shorten the prompt" in response.json()["error"]
