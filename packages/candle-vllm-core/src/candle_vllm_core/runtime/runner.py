"""`ModelRunner`: owns the model, its KV cache and the sampler, and computes steps."""

from __future__ import annotations

import logging
import sys

import torch

from ..attention import choose_backend
from ..config import EngineConfig
from ..errors import ConfigError
from ..model.build import build_decoder
from ..model.families import architecture, decoder_spec
from ..spec import Decoder as DecoderSpec
from ..tokenizer import Tokenizer
from ..types import ModelInfo, TokenLogprob
from ..weights.source import Source, open_source
from .batch import layout_of, sampling_rows
from .device import dtype_name, free_memory, resolve_device, resolve_dtype, total_memory
from .kv import KVSizes
from .kv_memory import KVNeeds, Load, divide, enough
from .request import Drawn, Limits
from .sampling import RowLogprobs, Sampler
from .scheduler import Step

logger = logging.getLogger(__name__)

GPU_BLOCK_SIZE, CPU_BLOCK_SIZE = 64, 16


class ModelRunner:
    """A loaded model and everything that computing with it takes. Only one thread may use it."""

    def __init__(self, config: EngineConfig) -> None:
        """Load the model that the config names.

        Raises:
            DeviceError: before anything is loaded, if the device is not there.
            ModelLoadError: the model cannot be loaded.
            ConfigError: the config asks more than the model has.
        """
        self.device = resolve_device(config.device)
        self._dtype = resolve_dtype(config.dtype, self.device)
        self.block_size = config.block_size or (CPU_BLOCK_SIZE if self.device.type == "cpu" else GPU_BLOCK_SIZE)
        source = open_source(config.model_path)
        try:
            spec = decoder_spec(
                source.config, length=config.max_sequence_length, yarn_factor=config.yarn_scaling_factor
            )
            max_length = _max_sequence_length(config, spec)
            self.tokenizer = Tokenizer.from_directory(source.path)
            self._model = build_decoder(
                spec, source, device=self.device, dtype=self._dtype, progress=sys.stderr.isatty()
            )
            needs = KVNeeds.of(spec, self._dtype.itemsize)
            load = self._load(config, max_length)
            self.kv_sizes = self._divide(config, needs, load)
            self._backend = choose_backend(
                self.device,
                spec,
                num_blocks=self.kv_sizes.num_blocks,
                block_size=self.block_size,
                dtype=self._dtype,
                num_states=self.kv_sizes.num_states,
            )
            self._describe(source, spec, needs, load)
        finally:
            source.close()
        self._sampler = Sampler(spec.vocab, self.tokenizer.eos_token_ids)

    def _load(self, config: EngineConfig, max_length: int) -> Load:
        chunk = min(config.prefill_chunk_size, max_length) if config.enable_chunked_prefill else max_length
        return Load(sequences=config.max_batch_size, length=max_length, chunk=chunk, block_size=self.block_size)

    def _divide(self, config: EngineConfig, needs: KVNeeds, load: Load) -> KVSizes:
        if needs.state_bytes and config.enable_prefix_cache:
            logger.info(
                "this model has recurrent layers, whose state belongs to a whole sequence; there is no prefix cache"
            )
        if config.kv_cache_memory is not None:
            memory = _there(config.kv_cache_memory, self.device)
        else:
            memory = min(enough(needs, load), int(config.kv_fraction * free_memory(self.device)))
        return divide(memory, needs, load)

    def _describe(self, source: Source, spec: DecoderSpec, needs: KVNeeds, load: Load) -> None:
        fits = self.kv_sizes.longest(load.chunk)
        if fits is not None and fits < load.length:
            logger.warning(
                "the KV cache holds %d tokens, less than one sequence of %d; longer ones end early. "
                "Raise kv_cache_memory or lower max_sequence_length",
                fits,
                load.length,
            )
        self.limits = Limits(
            vocab_size=spec.vocab,
            max_sequence_length=load.length,
            kv_tokens=fits,
            eos_token_ids=self.tokenizer.eos_token_ids,
        )
        self.info = ModelInfo(
            model_id=source.model_id,
            architecture=architecture(source.config),
            max_sequence_length=self.limits.longest,
            vocab_size=spec.vocab,
            num_parameters=self._model.num_parameters,
            dtype=dtype_name(self._dtype),
            device=str(self.device),
            kv_cache_tokens=max(self.kv_sizes.num_blocks, default=0) * self.block_size,
            kv_bytes_per_token=needs.bytes_per_token,
            kv_bytes_per_token_beyond_window=needs.bytes_per_token_beyond_window,
            state_bytes_per_sequence=needs.state_bytes,
        )

    @torch.inference_mode()
    def run(self, step: Step) -> list[Drawn]:
        """Compute a step and draw a token for each of its slices that `samples`, in their order."""
        layout = layout_of(step, self.block_size, self.device)
        rows = sampling_rows(step, self.device)
        logits = self._model(layout.tokens, self._backend.plan(layout), rows)
        sampled = self._sampler.sample(logits, [part.request for part in step if part.samples])
        return [
            Drawn(token, self._named(logprobs), error)
            for token, logprobs, error in zip(sampled.tokens, sampled.logprobs, sampled.errors, strict=True)
        ]

    def _named(self, logprobs: RowLogprobs | None) -> TokenLogprob | None:
        """A row's log probabilities with the texts of their tokens."""
        if logprobs is None:
            return None
        top = tuple(self._named_one(token, logprob) for token, logprob in logprobs.top)
        return self._named_one(logprobs.token, logprobs.logprob, top)

    def _named_one(self, token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        text = self.tokenizer.token_text(token)
        return TokenLogprob(token, text, logprob, top, self.tokenizer.token_bytes(token))

    def forget(self, request_id: int) -> None:
        """Drop what is kept for a request that ended."""
        self._sampler.forget(request_id)


def _there(memory: int, device: torch.device) -> int:
    """The memory asked for, if the device has so much at all: a CPU would promise it, and fail when it is used."""
    if memory > (total := total_memory(device)):
        raise ConfigError(
            f"kv_cache_memory is {memory:,} bytes and {device} has {total:,} in all; ask for less", "kv_cache_memory"
        )
    return memory


def _max_sequence_length(config: EngineConfig, spec: DecoderSpec) -> int:
    asked = config.max_sequence_length
    if asked is not None and asked > spec.max_position:
        raise ConfigError(
            f"max_sequence_length is {asked} and the model was made for {spec.max_position}; ask for no more than that",
            "max_sequence_length",
        )
    return asked or spec.max_position
