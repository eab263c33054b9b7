"""What an engine will hold in memory, found out before anything is loaded: weights, KV cache, and the largest step."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import torch

from ..attention import choose_backend
from ..config import EngineConfig
from ..errors import ConfigError, OutOfMemoryError
from ..memory import MemoryPlan, said_bytes
from ..model.build import as_stored
from ..model.families import decoder_spec
from ..model.ledger import Holding, weight_bytes
from ..model.names import NameMap
from ..native import library
from ..quant.panels import has_panels
from ..spec import Decoder as DecoderSpec
from ..weights.source import Source, open_source
from .activations import StepSize, activation_bytes
from .device import (
    check_kv_cache_dtype,
    check_quantization,
    dtype_name,
    free_memory,
    resolve_device,
    resolve_dtype,
    threads_for,
    total_memory,
)
from .graphs import capture_on, held_bytes, refillable, sizes
from .kv import KVSizes
from .kv_memory import KVNeeds, Load, divide, enough, least, sequences_at_once, taken
from .overhead import overhead_bytes

logger = logging.getLogger(__name__)

GPU_BLOCK_SIZE, CPU_BLOCK_SIZE = 64, 16


def plan(config: EngineConfig) -> MemoryPlan:
    """What an engine with this config would hold; see `candle_vllm_core.plan`."""
    device = resolve_device(config.device)
    source = open_source(config.model_path)
    try:
        return Plan.of(config, source, device).memory
    finally:
        source.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that is decided before a model is loaded."""

    dtype: torch.dtype
    spec: DecoderSpec
    needs: KVNeeds
    load: Load
    kv_sizes: KVSizes
    recorded: int
    """The bytes of tensors that steps are recorded on; 0: none is recorded."""
    pool: int
    """What recorded steps compute in, in bytes."""
    memory: MemoryPlan

    @classmethod
    def of(cls, config: EngineConfig, source: Source, device: torch.device) -> Plan:
        """Decide for a config, the model that it names and the device that it means.

        Raises:
            OutOfMemoryError: the device has too little memory.
            ModelLoadError: the model's config.json makes no sense.
            ConfigError: the config asks more than the model or the device has.
        """
        dtype = resolve_dtype(config.dtype, device)
        check_quantization(config.quantization, device, dtype)
        check_kv_cache_dtype(config.kv_cache_dtype, device)
        spec = decoder_spec(source.config, length=config.max_sequence_length, yarn_factor=config.yarn_scaling_factor)
        needs = KVNeeds.of(spec, dtype.itemsize, fp8=config.kv_cache_dtype == "fp8")
        load = _load(config, spec, device)
        fixed = _Fixed.of(config, spec, source, load, Holding(device, dtype, config.quantization))
        fixed = replace(fixed, recorded=_recorded(config, spec, needs, load, fixed, dtype))
        return cls._with(config, fixed, dtype=dtype, spec=spec, needs=needs, load=load)

    def measured(self, config: EngineConfig, device: torch.device, *, left: int, peak: int, pool: int) -> Plan:
        """The same with a KV cache for what there really is, once the weights are loaded: `left` bytes are free beside
        them, the largest step took `peak` bytes, and the largest that is recorded took `pool` beside its tensors.

        Raises:
            OutOfMemoryError, ConfigError: there is too little for any cache, or for the one that was asked for.
        """
        weights = self.memory.weight_bytes
        fixed = _Fixed(
            weights=weights, activations=peak, free=left + weights, device=device, recorded=self.recorded, pool=pool
        )
        return self._with(config, fixed, dtype=self.dtype, spec=self.spec, needs=self.needs, load=self.load)

    @classmethod
    def _with(
        cls, config: EngineConfig, fixed: _Fixed, *, dtype: torch.dtype, spec: DecoderSpec, needs: KVNeeds, load: Load
    ) -> Plan:
        fixed = fixed.beside(least(needs, load) if config.kv_cache_memory is None else config.kv_cache_memory)
        kv_sizes = _divide(config, needs, load, fixed)
        memory = MemoryPlan(
            device=str(fixed.device),
            dtype=dtype_name(dtype),
            weight_bytes=fixed.weights,
            kv_bytes=taken(kv_sizes, needs),
            activation_bytes=fixed.activations,
            overhead_bytes=fixed.overhead,
            graph_bytes=fixed.graphs,
            free_bytes=fixed.free,
            block_size=kv_sizes.block_size,
            kv_blocks=sum(kv_sizes.num_blocks),
            kv_tokens=max(kv_sizes.num_blocks, default=0) * kv_sizes.block_size,
            max_sequence_length=load.length,
            longest_sequences=sequences_at_once(kv_sizes, load),
        )
        return cls(
            dtype=dtype,
            spec=spec,
            needs=needs,
            load=load,
            kv_sizes=kv_sizes,
            recorded=fixed.recorded,
            pool=fixed.pool,
            memory=memory,
        )


@dataclass(frozen=True, slots=True)
class _Fixed:
    """What an engine holds beside its KV cache, and what its device has before any of it is there; in bytes."""

    weights: int
    activations: int
    free: int
    device: torch.device
    overhead: int = 0
    recorded: int = 0
    """The tensors that steps are recorded on."""
    pool: int = 0
    """What recorded steps compute in: one is played at a time, so it is what the largest takes."""

    @classmethod
    def of(cls, config: EngineConfig, spec: DecoderSpec, source: Source, load: Load, holding: Holding) -> _Fixed:
        names = NameMap(spec.names, source.names())
        tokens = load.length
        if config.enable_chunked_prefill:
            tokens = min(config.prefill_chunk_size, load.sequences * load.length)
        native = holding.device.type == "cpu" and holding.dtype == torch.bfloat16 and library() is not None
        multiplies = has_panels(holding.dtype)
        quantized = holding.quantization is not None
        step = StepSize(
            tokens=tokens,
            length=load.length,
            rows=load.sequences,
            itemsize=holding.dtype.itemsize,
            products_are_wide=quantized,
            threads=threads_for(config.num_threads),
            native=native,
        )
        most = sizes(load.sequences)[-1]
        return cls(
            weights=weight_bytes(as_stored(spec, names, source), names, holding),
            activations=activation_bytes(spec, step),
            free=free_memory(holding.device),
            device=holding.device,
            overhead=overhead_bytes(spec, native=multiplies, quantized=quantized)
            if holding.device.type == "cpu"
            else 0,
            pool=activation_bytes(spec, replace(step, tokens=most, rows=most)),
        )

    @property
    def graphs(self) -> int:
        """What recorded steps take, if there are any."""
        return self.recorded + self.pool if self.recorded else 0

    @property
    def left(self) -> int:
        """What the KV cache can have."""
        return self.free - self.weights - self.activations - self.overhead - self.graphs

    def beside(self, kv: int) -> _Fixed:
        """The same with nothing recorded, if that would leave too little for a KV cache of so many bytes."""
        if not self.graphs or kv <= self.left:
            return self
        logger.warning("no steps are recorded: they would take %s, which is not left", said_bytes(self.graphs))
        return replace(self, recorded=0)

    def check(self, kv: int, setting: str) -> None:
        """Refuse a model that does not fit with a KV cache of so many bytes, which a lower `setting` makes smaller."""
        if kv <= self.left:
            return
        needed = self.weights + kv + self.activations + self.overhead
        raise OutOfMemoryError(
            f"the model takes {said_bytes(needed)}, of which its weights {said_bytes(self.weights)}, the KV cache "
            f"{said_bytes(kv)} and a step's activations {said_bytes(self.activations)}{self._said_overhead()}, and "
            f"{self.device} has {said_bytes(self.free)} free; {self._way_out(setting)}",
            str(self.device),
            bytes_needed=needed,
            bytes_available=self.free,
        )

    def _said_overhead(self) -> str:
        return f", with {said_bytes(self.overhead)} once for the process" if self.overhead else ""

    def _way_out(self, setting: str) -> str:
        if self.weights > self.free:
            return "the weights alone do not fit: take a smaller model or a narrower dtype, or free memory"
        return f"lower {setting} or prefill_chunk_size, or free memory"


def _recorded(
    config: EngineConfig, spec: DecoderSpec, needs: KVNeeds, load: Load, fixed: _Fixed, dtype: torch.dtype
) -> int:
    """The bytes of tensors that steps are recorded on, with what belongs to nobody; 0 if none is recorded."""
    if not config.enable_cuda_graph or capture_on(fixed.device) is None:
        return 0
    groups = len(needs.windows)
    empty = choose_backend(
        fixed.device,
        spec,
        num_blocks=[0] * groups,
        block_size=load.block_size,
        dtype=dtype,
        fp8=config.kv_cache_dtype == "fp8",
    )
    backend = refillable(empty)
    if backend is None:
        return 0
    nobodys = KVSizes(block_size=load.block_size, windows=needs.windows, num_blocks=(1,) * groups, num_states=1)
    return taken(nobodys, needs) + held_bytes(
        backend, sequences=load.sequences, longest=load.length, groups=groups, vocab=spec.vocab
    )


def _load(config: EngineConfig, spec: DecoderSpec, device: torch.device) -> Load:
    asked = config.max_sequence_length
    if asked is not None and asked > spec.max_position:
        raise ConfigError(
            f"max_sequence_length is {asked} and the model was made for {spec.max_position}; ask for no more than that",
            "max_sequence_length",
        )
    length = asked or spec.max_position
    return Load(
        sequences=config.max_batch_size,
        length=length,
        chunk=min(config.prefill_chunk_size, length) if config.enable_chunked_prefill else length,
        block_size=config.block_size or (CPU_BLOCK_SIZE if device.type == "cpu" else GPU_BLOCK_SIZE),
    )


def _divide(config: EngineConfig, needs: KVNeeds, load: Load, fixed: _Fixed) -> KVSizes:
    if (asked := config.kv_cache_memory) is not None:
        if asked > (total := total_memory(fixed.device)):
            raise ConfigError(
                f"kv_cache_memory is {asked:,} bytes and {fixed.device} has {total:,} in all; ask for less",
                "kv_cache_memory",
            )
        sizes = divide(asked, needs, load)
        fixed.check(taken(sizes, needs), "kv_cache_memory")
        return sizes
    fixed.check(smallest := least(needs, load), "max_batch_size")
    memory = min(enough(needs, load), max(int(config.kv_fraction * fixed.left), smallest))
    return divide(memory, needs, load)
