"""What an engine is opened with: `EngineConfig`, and its builder."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, Self, TypeVar, get_args

from .errors import ConfigError

Built = TypeVar("Built")

DType = Literal["auto", "bf16", "fp16", "fp32"]
Quantization = Literal["int8"]
KVCacheDType = Literal["auto", "fp8"]

MAX_BATCH_SIZE = 4096
MAX_THREADS = 1024
MAX_LENGTH = 2**24
MAX_BYTES = 2**50
MAX_STRETCH = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Everything that an engine is opened with; checked when made, never changed.

    Raises:
        ConfigError: names the field, what was given and what is allowed.
    """

    model_path: str | os.PathLike[str] | None = None
    """A directory in Hugging Face's layout, or a Hugging Face id. None: the model that ships with the package."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:N`, `mps`, or `auto` for the best there is."""
    max_batch_size: int = 16
    """The most requests that run at once; more wait."""
    max_sequence_length: int | None = None
    """The longest sequence in tokens, prompt and answer together. None: the model's own."""
    kv_cache_memory: int | None = None
    """Bytes for the KV cache. None: what a full batch of full-length sequences takes, within `kv_fraction`."""
    kv_fraction: float = 0.6
    """The KV cache's share of what weights and activations leave free, when `kv_cache_memory` is None."""
    kv_swap_memory: int = 4 << 30
    """Bytes of the host's memory for the KV of requests that are preempted on a GPU; what is over is computed again."""
    dtype: DType = "auto"
    """Of weights, activations and KV: `bf16`, `fp16`, `fp32`. `auto` on a CPU: bf16 where the processor has it."""
    kv_cache_dtype: KVCacheDType = "auto"
    """Of keys and values: `auto` is `dtype`; `fp8`, on a GPU, is e4m3 with a scale for each head of each token."""
    quantization: Quantization | None = None
    """`int8`, on a CPU: matrices in 8 bits with a scale for each row; activations are rounded too. None: `dtype`."""
    num_threads: int | None = None
    """Threads of torch, in the whole process. None: as it is set, and at most the physical cores that it may use."""
    enable_cuda_graph: bool = True
    """Replays decode steps as CUDA graphs where there is a GPU backend that can; without effect elsewhere."""
    enable_chunked_prefill: bool = True
    """Cuts long prompts so that running answers go on in between. Off: a prompt is computed in one step."""
    prefill_chunk_size: int = 8192
    """The most tokens that one step computes, those of running answers included."""
    mixed_chunk_size: int | None = None
    """The most tokens of prompts in a step that goes on with answers too. None: 128 on a CPU, no limit on a GPU."""
    block_size: int | None = None
    """Tokens in one block of the KV cache. None: 16 on a CPU, 64 on a GPU."""
    enable_prefix_cache: bool = True
    """Keeps the KV of finished prompts while there is room, and reuses it for prompts that begin alike."""
    yarn_scaling_factor: float | None = None
    """Stretches the model's positions so many times by YaRN, for longer sequences. None: as its config.json says."""
    seed: int | None = None
    """Requests without a seed of their own draw from this and their number, so a run can be repeated."""

    def __post_init__(self) -> None:
        if self.model_path is not None and not os.fspath(self.model_path):
            raise ConfigError(
                "model_path is empty; give a directory or a Hugging Face id, or leave it out", "model_path"
            )
        _bounded("max_batch_size", self.max_batch_size, 1, MAX_BATCH_SIZE)
        _bounded("max_sequence_length", self.max_sequence_length, 2, MAX_LENGTH)
        _bounded("kv_cache_memory", self.kv_cache_memory, 1, MAX_BYTES)
        _bounded("kv_swap_memory", self.kv_swap_memory, 0, MAX_BYTES)
        _bounded("prefill_chunk_size", self.prefill_chunk_size, 1, MAX_LENGTH)
        _bounded("mixed_chunk_size", self.mixed_chunk_size, 1, MAX_LENGTH)
        _bounded("num_threads", self.num_threads, 1, MAX_THREADS)
        _bounded("block_size", self.block_size, 1, 4096)
        _bounded("seed", self.seed, -(2**63), 2**64 - 1)
        if isinstance(self.kv_fraction, bool) or not 0.0 < self.kv_fraction <= 1.0:
            raise ConfigError(f"kv_fraction is {self.kv_fraction!r}; it must be over 0 and at most 1", "kv_fraction")
        factor = self.yarn_scaling_factor
        if factor is not None and not (isinstance(factor, int | float) and 1.0 < factor <= MAX_STRETCH):
            raise ConfigError(
                f"yarn_scaling_factor is {factor!r}; it must be over 1 and at most {MAX_STRETCH:g}",
                "yarn_scaling_factor",
            )
        _known("dtype", self.dtype, get_args(DType))
        _known("kv_cache_dtype", self.kv_cache_dtype, get_args(KVCacheDType))
        if self.quantization is not None and self.quantization not in get_args(Quantization):
            known = ", ".join(get_args(Quantization))
            raise ConfigError(f"quantization is {self.quantization!r}; it must be None or {known}", "quantization")
        _check_device(self.device)

    @classmethod
    def from_model_path(cls, model_path: str | os.PathLike[str], **settings: Any) -> Self:
        """The config for a model, with every other setting at its default or as given."""
        return cls(model_path=model_path, **settings)

    @staticmethod
    def builder() -> EngineBuilder[EngineConfig]:
        """A builder, for those who prefer chained calls to keywords."""
        return EngineBuilder(lambda config: config)


def _bounded(name: str, value: int | None, low: int, high: int) -> None:
    if value is None and name not in ("max_batch_size", "prefill_chunk_size", "kv_swap_memory"):
        return
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{name} is {value!r}; it must be an integer from {low} to {high}", name)


def _known(name: str, value: str, words: tuple[str, ...]) -> None:
    if value not in words:
        raise ConfigError(f"{name} is {value!r}; it must be one of {', '.join(words)}", name)


def _check_device(device: str) -> None:
    kind, _, index = device.partition(":")
    indexed = kind == "cuda" and (":" not in device or index.isdigit())
    if not indexed and device not in ("auto", "cpu", "mps"):
        raise ConfigError(f"device is {device!r}; it must be cpu, cuda, cuda:N, mps or auto", "device")


class EngineBuilder(Generic[Built]):
    """Chained calls, one per field of `EngineConfig`; `build()` returns what `finish` makes of the config."""

    def __init__(self, finish: Callable[[EngineConfig], Built]) -> None:
        self._finish = finish
        self._config = EngineConfig()

    def _with(self, **change: Any) -> Self:
        self._config = replace(self._config, **change)
        return self

    def model_path(self, path: str | os.PathLike[str]) -> Self:
        """See `EngineConfig.model_path`."""
        return self._with(model_path=path)

    def device(self, device: str) -> Self:
        """See `EngineConfig.device`."""
        return self._with(device=device)

    def max_batch_size(self, requests: int) -> Self:
        """See `EngineConfig.max_batch_size`."""
        return self._with(max_batch_size=requests)

    def max_sequence_length(self, tokens: int) -> Self:
        """See `EngineConfig.max_sequence_length`."""
        return self._with(max_sequence_length=tokens)

    def kv_cache_memory(self, num_bytes: int) -> Self:
        """See `EngineConfig.kv_cache_memory`."""
        return self._with(kv_cache_memory=num_bytes)

    def kv_fraction(self, fraction: float) -> Self:
        """See `EngineConfig.kv_fraction`."""
        return self._with(kv_fraction=fraction)

    def kv_swap_memory(self, num_bytes: int) -> Self:
        """See `EngineConfig.kv_swap_memory`."""
        return self._with(kv_swap_memory=num_bytes)

    def dtype(self, dtype: DType) -> Self:
        """See `EngineConfig.dtype`."""
        return self._with(dtype=dtype)

    def kv_cache_dtype(self, dtype: KVCacheDType) -> Self:
        """See `EngineConfig.kv_cache_dtype`."""
        return self._with(kv_cache_dtype=dtype)

    def quantization(self, quantization: Quantization | None) -> Self:
        """See `EngineConfig.quantization`."""
        return self._with(quantization=quantization)

    def num_threads(self, threads: int) -> Self:
        """See `EngineConfig.num_threads`."""
        return self._with(num_threads=threads)

    def enable_cuda_graph(self, enabled: bool) -> Self:
        """See `EngineConfig.enable_cuda_graph`."""
        return self._with(enable_cuda_graph=enabled)

    def enable_chunked_prefill(self, enabled: bool) -> Self:
        """See `EngineConfig.enable_chunked_prefill`."""
        return self._with(enable_chunked_prefill=enabled)

    def prefill_chunk_size(self, tokens: int) -> Self:
        """See `EngineConfig.prefill_chunk_size`."""
        return self._with(prefill_chunk_size=tokens)

    def mixed_chunk_size(self, tokens: int) -> Self:
        """See `EngineConfig.mixed_chunk_size`."""
        return self._with(mixed_chunk_size=tokens)

    def block_size(self, tokens: int) -> Self:
        """See `EngineConfig.block_size`."""
        return self._with(block_size=tokens)

    def enable_prefix_cache(self, enabled: bool) -> Self:
        """See `EngineConfig.enable_prefix_cache`."""
        return self._with(enable_prefix_cache=enabled)

    def yarn_scaling_factor(self, factor: float) -> Self:
        """See `EngineConfig.yarn_scaling_factor`."""
        return self._with(yarn_scaling_factor=factor)

    def seed(self, seed: int) -> Self:
        """See `EngineConfig.seed`."""
        return self._with(seed=seed)

    def build(self) -> Built:
        """Make what was asked for."""
        return self._finish(self._config)
