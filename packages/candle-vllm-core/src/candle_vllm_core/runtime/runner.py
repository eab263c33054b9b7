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
            spec = decoder_spec(source.config)
            max_length = _max_sequence_length(config, spec)
            self.tokenizer = Tokenizer.from_directory(source.path)
            self._model = build_decoder(
                spec, source, device=self.device, dtype=self._dtype, progress=sys.stderr.isatty()
            )
            self.num_blocks = self._num_blocks(config, spec, max_length)
            self._backend = choose_backend(
                self.device, spec, num_blocks=self.num_blocks, block_size=self.block_size, dtype=self._dtype
            )
            self._describe(source, spec, max_length)
        finally:
            source.close()
        self._sampler = Sampler(spec.vocab, self.tokenizer.eos_token_ids)

    def _num_blocks(self, config: EngineConfig, spec: DecoderSpec, max_length: int) -> int:
        block_bytes = self.block_size * self._kv_bytes_per_token(spec)
        if config.kv_cache_memory is not None:
            memory = _there(config.kv_cache_memory, self.device)
        else:
            enough = config.max_batch_size * -(-max_length // self.block_size) * block_bytes
            memory = min(enough, int(config.kv_fraction * free_memory(self.device)))
        if (count := memory // block_bytes) > 0 and count * self.block_size > 1:
            return count
        raise ConfigError(
            f"the KV cache gets {memory} bytes and one block of {self.block_size} tokens takes {block_bytes}; "
            "give it more with kv_cache_memory or kv_fraction",
            "kv_cache_memory",
        )

    def _kv_bytes_per_token(self, spec: DecoderSpec) -> int:
        return spec.kv_numbers_per_token() * self._dtype.itemsize

    def _describe(self, source: Source, spec: DecoderSpec, max_length: int) -> None:
        slots = self.num_blocks * self.block_size
        if slots < max_length:
            logger.warning(
                "the KV cache holds %d tokens, less than one sequence of %d; longer ones end early. "
                "Raise kv_cache_memory or lower max_sequence_length",
                slots,
                max_length,
            )
        self.info = ModelInfo(
            model_id=source.model_id,
            architecture=architecture(source.config),
            max_sequence_length=min(max_length, slots),
            vocab_size=spec.vocab,
            num_parameters=self._model.num_parameters,
            dtype=dtype_name(self._dtype),
            device=str(self.device),
            kv_bytes_per_token=self._kv_bytes_per_token(spec),
        )
        self.limits = Limits(
            vocab_size=spec.vocab,
            max_sequence_length=max_length,
            kv_tokens=slots,
            eos_token_ids=self.tokenizer.eos_token_ids,
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
