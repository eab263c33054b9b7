"""Logits beside those of transformers; `python -m bench parity` shows the errors as a table."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoints import save_model
from paged import CPU, Paged, in_chunks
from torch import Tensor
from transformers import PreTrainedModel
from variants import MODELS

from candle_vllm_core.model.build import build_decoder
from candle_vllm_core.model.decoder import Decoder
from candle_vllm_core.model.device_ops import choose_ops
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.weights.source import open_source

Record = Callable[[str, object], None]
LENGTH = 41
WAYS = {"whole": [LENGTH], "in chunks": [7, 1, 16, 2, 15], "token by token": [1] * LENGTH}


def load(path: Path, dtype: torch.dtype = torch.float32, length: int | None = None) -> Decoder:
    source = open_source(path)
    spec = decoder_spec(source.config, length=length)
    decoder = build_decoder(spec, source, device=CPU, dtype=dtype, ops=choose_ops(CPU))
    source.close()
    return decoder


def tokens(seed: int = 1, length: int = LENGTH) -> Tensor:
    return torch.randint(0, 97, (length,), generator=torch.Generator().manual_seed(seed))


def expected(model: PreTrainedModel, ids: Tensor) -> Tensor:
    with torch.inference_mode():
        return model(ids[None]).logits[0].float()


def error(found: Tensor, right: Tensor) -> float:
    assert found.shape == right.shape
    return ((found - right).abs().max() / right.abs().max()).item()


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_transformers(name: str, tmp_path: Path, record_property: Record) -> None:
    model = save_model(tmp_path, name)
    decoder, ids = load(tmp_path, length=MODELS[name].length), tokens()
    right = expected(model, ids)
    errors = {way: error(in_chunks(decoder, ids, sizes), right) for way, sizes in WAYS.items()}
    errors["side by side"] = error(in_chunks(decoder, ids, WAYS["in chunks"], scattered=False, block_size=16), right)
    errors["in a batch"] = error(in_a_batch(decoder, ids), right)
    record_property("parity", {"model": name} | {way: f"{found:.1e}" for way, found in errors.items()})
    assert max(errors.values()) <= 1e-5
    assert decoder.num_parameters == text_parameters(model, MODELS[name].beside)


def text_parameters(model: PreTrainedModel, beside: tuple[str, ...]) -> int:
    """What is stored: the biases that routers correct their choice with are buffers."""
    stored = {each.data_ptr(): each for name, each in model.state_dict().items() if not name.startswith(beside)}
    return sum(each.numel() for each in stored.values())


def in_a_batch(decoder: Decoder, ids: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The sequence in steps that prefill and decode others too."""
    paged = Paged(decoder, {"before": tokens(2, 30), "own": ids, "after": tokens(3, 50)}, block_size=3, dtype=dtype)
    steps: list[dict[str, int]] = [
        {"before": 20},
        {"before": 1, "own": 12},
        {"before": 1, "own": 1, "after": 1},
        {"own": 1, "after": 30, "before": 1},
        *[{"after": 1, "own": 1, "before": 1}] * 6,
        {"after": 3, "own": 21},
    ]
    return torch.cat([logits["own"] for step in steps if "own" in (logits := paged.step(step))])


@pytest.mark.parametrize("name", ["llama", "mistral, window 7", "qwen2", "qwen3", "deepseek-v3"])
def test_a_sharded_checkpoint_is_the_same_model(name: str, tmp_path: Path) -> None:
    model = save_model(tmp_path, name, shard_size="40KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert error(in_chunks(load(tmp_path), tokens(), [LENGTH]), expected(model, tokens())) <= 1e-5


BF16 = ["llama, llama3 rope", "mistral, window 7", "ministral3", "mistral3, vision", "qwen2, tied", "qwen3"]
BF16 += ["qwen3-next, other sizes, every expert", "olmo2", "olmo3", "granite", "smollm3, windows"]
BF16 += ["ministral", "mixtral, every expert, tied", "qwen2-moe, every expert", "qwen3-moe, every expert"]
BF16 += ["phi", "phi3", "phi3, longrope, long"]
BF16 += ["phi3, longrope, short", "stablelm", "cohere", "cohere2", "gpt-oss"]
BF16 += [
    "gemma",
    "gemma2",
    "gemma3",
    "gemma3, vision",
    "glm",
    "glm4",
    "deepseek-v2, every expert",
    "deepseek-v3, every expert",
]
"""Where a rounding may choose other experts, the errors of both are those of the choice: those models use all."""


@pytest.mark.parametrize("name", BF16)
def test_bf16_is_as_near_to_fp32_as_transformers_in_bf16(name: str, tmp_path: Path, record_property: Record) -> None:
    model = save_model(tmp_path, name, initializer_range=0.1)
    sequences = [tokens(seed) for seed in range(32)]
    right = torch.stack([expected(model, ids) for ids in sequences])
    decoder = load(tmp_path, torch.bfloat16, MODELS[name].length)
    found = torch.stack([in_chunks(decoder, ids, [20, 1, 20], dtype=torch.bfloat16) for ids in sequences])
    model.to(torch.bfloat16)
    theirs = torch.stack([expected(model, ids) for ids in sequences])
    own_error, their_error = (((logits - right).norm() / right.norm()).item() for logits in (found, theirs))
    errors = {"own": f"{own_error:.1e}", "transformers": f"{their_error:.1e}"}
    record_property("parity in bf16", {"model": name} | errors)
    assert own_error <= their_error
    assert found.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "name",
    [
        "llama",
        "mistral, window 7",
        "qwen2, tied",
        "qwen3",
        "qwen3-next",
        "deepseek-v2",
        "deepseek-v3",
        "gemma2",
        "gpt-oss",
    ],
)
def test_a_sequence_has_the_same_bits_alone_and_in_a_batch(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    save_model(tmp_path, name)
    decoder, ids = load(tmp_path, dtype), tokens()
    alone = in_chunks(decoder, ids, [12, *[1] * 8, 21], block_size=3, dtype=dtype)
    assert torch.equal(in_a_batch(decoder, ids, dtype), alone)


def test_only_the_rows_asked_for_get_logits(tmp_path: Path) -> None:
    save_model(tmp_path, "llama")
    decoder, ids = load(tmp_path), tokens()
    paged = Paged(decoder, {"only": ids})
    every = in_chunks(decoder, ids, [LENGTH])
    step = paged.caches.layout({0: (0, LENGTH)}, ids)
    some = decoder(ids, paged.caches.backend.plan(step), torch.tensor([3, 40]))
    none = decoder(ids, paged.caches.backend.plan(step), torch.tensor([], dtype=torch.int64))
    assert error(some, every[[3, 40]]) <= 1e-6
    assert none.shape == (0, 97)


def test_a_step_without_tokens_gives_no_logits(tmp_path: Path) -> None:
    save_model(tmp_path, "qwen3, windows")
    assert Paged(load(tmp_path), {"only": tokens()}).step({"only": 0})["only"].shape == (0, 97)
