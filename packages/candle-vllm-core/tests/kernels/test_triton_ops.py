"""Whole models whose layers compute with the kernels, beside the same in torch."""

from pathlib import Path

import pytest
import torch
from checkpoints import save_model
from kernel_errors import close
from paged import Caches, Paged
from torch import Tensor

from candle_vllm_core import spec as s
from candle_vllm_core.attention.reference import ReferencePass
from candle_vllm_core.attention.triton import TritonBackend, TritonPass
from candle_vllm_core.model import delta
from candle_vllm_core.model.build import build_decoder
from candle_vllm_core.model.decoder import Decoder
from candle_vllm_core.model.delta import recurrent
from candle_vllm_core.model.device_ops import choose_ops
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.model.ops import TORCH_OPS, Ops
from candle_vllm_core.model.triton_ops import TritonOps
from candle_vllm_core.weights.source import open_source

CPU = torch.device("cpu")
LENGTH = 9
STEPS = [{"own": 5}, {"other": 4, "own": 1}, {"own": 3, "other": 1}]
FAMILIES = {
    "llama": "rotates in halves",
    "qwen3": "normalises heads",
    "gemma2": "normalises what the parts give, caps scores",
    "gemma3": "normalises heads with an offset, has two rotations",
    "deepseek-v3": "a latent, interleaved",
    "olmo2": "normalises all heads as one",
    "qwen3-next": "gates heads, rotates a part of them",
    "ministral3": "queries grow",
    "phi": "LayerNorm with a bias, both parts at once, no gate",
    "cohere": "LayerNorm without a bias, interleaved",
    "gpt-oss": "sinks, biases, a clamped activation",
    "granite": "scales what the parts give",
}


def load(path: Path, ops: Ops, dtype: torch.dtype = torch.float32) -> Decoder:
    source = open_source(path)
    decoder = build_decoder(decoder_spec(source.config), source, device=CPU, dtype=dtype, ops=ops)
    source.close()
    return decoder


def tokens(seed: int = 1, length: int = LENGTH) -> Tensor:
    return torch.randint(0, 97, (length,), generator=torch.Generator().manual_seed(seed))


def logits(decoder: Decoder, dtype: torch.dtype = torch.float32) -> Tensor:
    """Of a sequence in steps that compute another one too."""
    paged = Paged(decoder, {"own": tokens(), "other": tokens(2)}, dtype=dtype)
    return torch.cat([paged.step(step)["own"] for step in STEPS])


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")
@pytest.mark.parametrize("name", FAMILIES, ids=lambda name: f"{name}: {FAMILIES[name]}")
def test_a_model_with_kernels_is_the_model(name: str, tmp_path: Path) -> None:
    save_model(tmp_path, name)
    found, right = logits(load(tmp_path, TritonOps())), logits(load(tmp_path, TORCH_OPS))
    close(found, right, atol=2e-5 * float(right.abs().max()), rtol=0)


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")
@pytest.mark.parametrize("name", ["llama", "qwen3", "gemma2", "deepseek-v3", "qwen3-next"])
def test_a_model_that_attends_with_kernels_too_is_the_model(name: str, tmp_path: Path) -> None:
    save_model(tmp_path, name)
    decoder, right = load(tmp_path, TritonOps()), logits(load(tmp_path, TORCH_OPS))
    paged = Paged(decoder, {"own": tokens(), "other": tokens(2)})
    paged.caches.backend = TritonBackend(decoder.spec, paged.caches.cache)
    found = torch.cat([paged.step(step)["own"] for step in STEPS])
    close(found, right, atol=2e-5 * float(right.abs().max()), rtol=0)


def test_all_that_goes_on_in_delta_nets_goes_on_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(tmp_path, "qwen3-next")
    singly: list[int] = []

    def counted(memory: Tensor, *given: Tensor) -> Tensor:
        singly.append(len(given[0]))
        return recurrent(memory, *given)

    monkeypatch.setattr(delta, "recurrent", counted)
    steps, found, calls = [{"own": 1}, {"other": 4, "own": 1}, {"own": 1, "other": 1}, {"other": 1, "own": 3}], [], []
    for ops in (TritonOps(), TORCH_OPS):
        decoder = load(tmp_path, ops)
        paged = Paged(decoder, {"own": tokens(), "other": tokens(2)})
        paged.caches.backend = TritonBackend(decoder.spec, paged.caches.cache)
        done = [paged.step(step) for step in steps]
        found.append(torch.cat([step[name] for name in ("own", "other") for step in done if name in step]))
        calls.append(len(singly))
        singly.clear()
    close(*found, atol=2e-5 * float(found[1].abs().max()), rtol=0)
    nets = sum(isinstance(layer.attention, s.DeltaNet) for layer in decoder.spec.layers)
    assert calls == [nets, 5 * nets], "only a prompt of one token is for torch"


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")
@pytest.mark.parametrize(("name", "dtype"), [("qwen3", torch.float16), ("deepseek-v3", torch.bfloat16)])
def test_in_short_types_it_is_as_far_from_float32_as_torch(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    save_model(tmp_path, name, initializer_range=0.1)
    right = logits(load(tmp_path, TORCH_OPS))
    own, theirs = (
        (logits(load(tmp_path, ops, dtype), dtype) - right).norm() / right.norm() for ops in (TritonOps(), TORCH_OPS)
    )
    # The interpreter cuts off where a GPU rounds to the nearest bfloat16.
    assert own <= theirs * (4 if dtype == torch.bfloat16 else 1.5)


class Reluctant(ReferencePass):
    """A pass that writes keys and values itself."""

    def destination(self, layer: int) -> None:  # type: ignore[override]
        return None


@pytest.mark.parametrize("name", ["llama", "deepseek-v3"])
def test_keys_and_values_are_given_to_a_pass_that_writes_them(name: str, tmp_path: Path) -> None:
    save_model(tmp_path, name)
    decoder = load(tmp_path, TritonOps())
    found = []
    for kind in (ReferencePass, Reluctant):
        paged = Paged(decoder, {"own": tokens()})
        layout = paged.caches.layout({0: (0, LENGTH)}, tokens())
        found.append(decoder(layout.tokens, kind(paged.caches.backend.cache, layout, decoder.spec.groups())))
    assert torch.equal(*found)


class ReluctantOverFp8(TritonPass):
    """A pass that writes keys and values itself."""

    def destination(self, layer: int) -> None:  # type: ignore[override]
        return None


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")
@pytest.mark.parametrize("name", ["qwen3", "deepseek-v3"])
def test_what_is_written_in_fp8_as_heads_are_made_is_what_is_written_after(name: str, tmp_path: Path) -> None:
    save_model(tmp_path, name)
    decoder, found = load(tmp_path, TritonOps()), []
    for kind in (TritonPass, ReluctantOverFp8):
        over = Caches(decoder.spec, [LENGTH], 4, dtype=torch.float32, scattered=True, make=TritonBackend, fp8=True)
        backend = over.backend
        assert isinstance(backend, TritonBackend)
        for start, stop in ((0, 5), (5, LENGTH - 1), (LENGTH - 1, LENGTH)):
            layout = over.layout({0: (start, stop)}, tokens()[start:stop])
            found.append(decoder(layout.tokens, kind(backend, layout, None)))
        found += [*over.cache.scales.values(), *(layer.float() for layer in over.cache.layers.values())]
    mine, theirs = found[: len(found) // 2], found[len(found) // 2 :]
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)
    assert not mine[0].isnan().any()


@pytest.mark.parametrize("name", ["llama", "olmo2"])
def test_only_the_rows_asked_for_get_logits(name: str, tmp_path: Path) -> None:
    save_model(tmp_path, name)
    decoder = load(tmp_path, TritonOps())
    paged = Paged(decoder, {"own": tokens()})
    layout = paged.caches.layout({0: (0, LENGTH)}, tokens())
    every = decoder(layout.tokens, paged.caches.backend.plan(layout))
    rows = torch.tensor([LENGTH - 1, 2])
    some = decoder(layout.tokens, paged.caches.backend.plan(layout), rows)
    close(some, every[rows], atol=1e-5 * float(every.abs().max()), rtol=0)
    assert decoder(layout.tokens, paged.caches.backend.plan(layout), rows[:0]).shape == (0, 97)


def test_each_head_is_multiplied_with_its_own_matrix() -> None:
    x, matrices = torch.randn(3, 5, 8), torch.randn(5, 8, 6)
    close(TritonOps().each_head(x, matrices), torch.einsum("tha,hab->thb", x, matrices), atol=1e-5, rtol=1e-5)


def test_an_activation_without_a_gate(tmp_path: Path) -> None:
    for act in ("silu", "gelu", "gelu_tanh"):
        kind: s.Activation = act  # type: ignore[assignment]
        x = torch.randn(3, 8)
        close(TritonOps().activated(kind, x), TORCH_OPS.activated(kind, x), atol=1e-6, rtol=1e-6)


def test_a_gpu_computes_with_kernels_and_a_cpu_does_not() -> None:
    assert isinstance(choose_ops(torch.device("cuda", 1)), TritonOps)
    assert not isinstance(choose_ops(CPU), TritonOps)
