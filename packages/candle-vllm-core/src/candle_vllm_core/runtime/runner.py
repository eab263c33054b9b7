"""`ModelRunner`: owns the model, its KV cache and the sampler, and computes steps."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..attention import choose_backend
from ..attention.backend import Layout, Pass
from ..config import EngineConfig
from ..memory import return_freed_memory
from ..model.build import build_decoder
from ..model.device_ops import choose_ops
from ..model.families import architecture
from ..spec import Decoder
from ..tokenizer import Tokenizer
from ..types import ModelInfo, TokenLogprob
from ..weights.fingerprint import fingerprint
from ..weights.source import Source, open_source
from .batch import layout_of, sampling_rows
from .device import (
    computes_beside,
    dtype_name,
    lack_of_memory_as_memory_error,
    resolve_device,
    set_threads,
)
from .graphs import DecodeGraphs, capture_on, refillable
from .kv import KVSizes
from .kv_memory import Load, host_room
from .logits import Rows
from .logprobs import PromptTarget, RowLogprobs, prompt_targets, raw_logprobs
from .masks import Masks
from .overlap import Drawing, PreparedStep, Ready
from .plan import Plan
from .pool import declared_pooling
from .pooling import pool_rows, take
from .profile import DeviceMemory, counted_memory, largest_step
from .request import Drawn, Limits, Request
from .sampling import Sampled, Sampler
from .scheduler import Step
from .swap import Move
from .swap_memory import SwapMemory

if TYPE_CHECKING:
    from .graphs import Backend

logger = logging.getLogger(__name__)

PROMPT_PIECE = 32  # logits of a prompt that are there at once: [32, vocabulary], however long it is


class ModelRunner:
    """A loaded model and everything that computing with it takes. Only one thread may use it."""

    def __init__(self, config: EngineConfig) -> None:
        """Load the model that the config names.

        Raises:
            DeviceError: before anything is loaded, if the device is not there or has too little memory.
            ModelLoadError: the model cannot be loaded.
            ConfigError: the config asks more than the model has.
        """
        self.device = resolve_device(config.device)
        set_threads(config.num_threads)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)  # kernels are launched on the thread's own device
        source = open_source(config.model_path)
        try:
            plan = Plan.of(config, source, self.device)
            logger.info("%s", plan.memory)
            spec = plan.spec
            self._dtype, self.block_size, self.kv_sizes = plan.dtype, plan.load.block_size, plan.kv_sizes
            self.tokenizer = Tokenizer.from_directory(source.path)
            self._model = build_decoder(
                spec,
                source,
                device=self.device,
                dtype=self._dtype,
                quantization=config.quantization,
                progress=sys.stderr.isatty(),
                ops=choose_ops(self.device),
            )
            return_freed_memory()  # that of matrices before they were packed
            self._sampler = Sampler(spec.vocab, self.tokenizer.eos_token_ids)
            if (counted := counted_memory(self.device)) is not None:
                plan = self._measured(config, plan, counted)
                logger.info("measured: %s", plan.memory)
                self.kv_sizes = plan.kv_sizes
            self._backend = self._cached(config, plan, self.kv_sizes)
            swap = config.kv_swap_memory if computes_beside(self.device) else 0
            self.host = host_room(swap, plan.needs, self.kv_sizes)
            self._swap = SwapMemory(self._backend.cache, spec.groups(), self.host)
            self._describe(config, source, plan)
        finally:
            source.close()
        self._graphs = (
            self._recording(self._backend, plan.load, self.kv_sizes, self.limits.longest) if plan.recorded else None
        )
        self._masks = Masks(spec.vocab)

    def _describe(self, config: EngineConfig, source: Source, plan: Plan) -> None:
        spec, needs, load = plan.spec, plan.needs, plan.load
        if needs.state_bytes and config.enable_prefix_cache:
            logger.info(
                "this model has recurrent layers, whose state belongs to a whole sequence; there is no prefix cache"
            )
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
            kv_setting="kv_fraction" if config.kv_cache_memory is None else "kv_cache_memory",
            eos_token_ids=self.tokenizer.eos_token_ids,
        )
        self.fingerprint = _fingerprint(source, spec, self._dtype, config)
        self.info = ModelInfo(
            model_id=source.model_id,
            architecture=architecture(source.config),
            max_sequence_length=self.limits.longest,
            vocab_size=spec.vocab,
            num_parameters=self._model.num_parameters,
            dtype=dtype_name(self._dtype),
            device=str(self.device),
            quantization=config.quantization,
            kv_cache_tokens=max(self.kv_sizes.num_blocks, default=0) * self.block_size,
            kv_bytes_per_token=needs.bytes_per_token,
            kv_bytes_per_token_beyond_window=needs.bytes_per_token_beyond_window,
            state_bytes_per_sequence=needs.state_bytes,
            memory=plan.memory,
            hidden_size=spec.dim,
            pooling=declared_pooling(source.path),
            special_tokens=self.tokenizer.special_tokens,
            fingerprint=hashlib.sha256(self.fingerprint).hexdigest(),
        )

    def _cached(self, config: EngineConfig, plan: Plan, sizes: KVSizes) -> Backend:
        """Attention over a KV cache; where steps are recorded, one block of each group and one state are nobody's."""
        more = plan.recorded > 0
        return choose_backend(
            self.device,
            plan.spec,
            num_blocks=[count + more for count in sizes.num_blocks],
            block_size=sizes.block_size,
            dtype=self._dtype,
            num_states=sizes.num_states + more,
            fp8=config.kv_cache_dtype == "fp8",
        )

    def _measured(self, config: EngineConfig, plan: Plan, counted: DeviceMemory) -> Plan:
        """The plan for what the weights really leave, and the largest steps really take."""
        step = partial(largest_step, self._model, self._sampler, plan.spec, plan.load, self._dtype, self.device)
        peak = _peak(counted, lambda: step, plan.memory.activation_bytes)
        pool = _peak(counted, lambda: self._largest_recorded(config, plan), plan.pool) if plan.recorded else 0
        return plan.measured(config, self.device, left=counted.free(), peak=peak, pool=pool)

    def _largest_recorded(self, config: EngineConfig, plan: Plan) -> Callable[[], None]:
        """Computes the largest of the steps that are recorded, on a cache in which there is only what is nobody's."""
        sizes = replace(plan.kv_sizes, num_blocks=(0,) * len(plan.kv_sizes.num_blocks), num_states=0)
        graphs = self._recording(self._cached(config, plan, sizes), plan.load, sizes, plan.load.length)
        return graphs.largest() if graphs is not None else lambda: None

    def _recording(self, backend: Backend, load: Load, sizes: KVSizes, longest: int) -> DecodeGraphs | None:
        """What records steps, if the backend's can be."""
        capture, filled = capture_on(self.device), refillable(backend)
        if capture is None or filled is None:
            return None
        backend.cache.clear_state(sizes.num_states)
        return DecodeGraphs(
            self._model,
            filled,
            capture,
            kv_sizes=sizes,
            has_states=bool(backend.cache.states),
            sequences=load.sequences,
            longest=longest,
            vocab=self._model.spec.vocab,
            device=self.device,
        )

    @torch.inference_mode()
    @lack_of_memory_as_memory_error
    def run(self, step: Step) -> list[Drawn]:
        """Compute a step and draw a token for each of its slices that `samples`, in their order."""
        drawing = [part.request for part in step if part.samples]
        masks = self._masks.begin(drawing)
        layout = layout_of(step, self.block_size, self.device)
        logits = self.ready(step, layout).logits(sampling_rows(step, self.device))
        failed = masks.join()
        return self._drawn(drawing, self._sampler.sample(logits, drawing), failed)

    def prepare(self, step: Step, drawing: Sequence[Request]) -> PreparedStep:
        """Ready a step that is computed in parts; see `ahead.AheadRunner.prepare`."""
        return PreparedStep(self, step, drawing)

    def ready(self, step: Step, layout: Layout) -> Ready:
        """A step whose tensors are where they are to be: in a recorded one, or by themselves."""
        filled = self._graphs.fill(step, layout) if self._graphs is not None else None
        return filled or Single(layout.tokens, self, step, self._backend.plan(layout))

    def record_next(self) -> bool:
        """Record one more kind of step, if any is to be; whether more are left. To be called between steps."""
        return self._graphs is not None and self._graphs.record_next()

    @lack_of_memory_as_memory_error
    def draw(self, logits: Tensor, drawing: Sequence[Request]) -> Drawing:
        """Begin to draw for these requests from logits [requests, vocabulary]."""
        failed = self._masks.begin(drawing).join()
        begun = self._sampler.begin(logits, drawing)
        return Drawing(begun.tokens, lambda: self._drawn(drawing, begun.finish(), failed))

    def _drawn(self, drawing: Sequence[Request], sampled: Sampled, failed: Mapping[int, str]) -> list[Drawn]:
        """What was drawn, with the texts of tokens; `failed`: whose masks failed, by id."""
        return [
            Drawn(token, self._with_texts(logprobs) if logprobs is not None else None, failed.get(request.id, error))
            for request, token, logprobs, error in zip(
                drawing, sampled.tokens, sampled.logprobs, sampled.errors, strict=True
            )
        ]

    def logits(self, step: Step, tokens: Tensor, rows: Tensor, plan: Pass) -> Tensor:
        """The logits [rows, vocabulary] of the tokens at `rows`; what prompts are to give is taken on the way."""
        targets, pools = list(prompt_targets(step)), list(pool_rows(step))
        if not targets and not pools:
            found: Tensor = self._model.head(self._model.hidden(tokens, plan, rows))
            return found
        wanted = [*(target.row for target in targets), *(row for _, part in pools for row in part)]
        hidden = self._model.hidden(tokens, plan, torch.cat([rows, torch.tensor(wanted, device=self.device)]))
        first = len(rows) + len(targets)
        for pool, part in pools:
            take(pool, hidden[first : first + len(part)])
            first += len(part)
        for start in range(0, len(targets), PROMPT_PIECE):
            first = len(rows) + start
            self._note(targets[start : start + PROMPT_PIECE], self._model.head(hidden[first : first + PROMPT_PIECE]))
        found = self._model.head(hidden[: len(rows)])
        return found

    def _note(self, targets: Sequence[PromptTarget], logits: Tensor) -> None:
        """Give requests the log probabilities of some tokens of their prompts, from the logits before each."""
        tokens, counts = [t.token for t in targets], [t.request.params.prompt_logprobs or 0 for t in targets]
        found = raw_logprobs(Rows.of(logits.float()), self.limits.vocab_size, tokens, counts)
        for target, logprobs in zip(targets, found, strict=True):
            target.request.prompt_logprobs.append(self._with_texts(logprobs))

    def _with_texts(self, logprobs: RowLogprobs) -> TokenLogprob:
        """A row's log probabilities with the texts of their tokens."""
        top = tuple(self._with_text(token, logprob) for token, logprob in logprobs.top)
        return self._with_text(logprobs.token, logprobs.logprob, top)

    def _with_text(self, token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
        own = self.tokenizer.token_bytes(token)
        return TokenLogprob(token, own.decode("utf-8", errors="replace"), logprob, top, own)

    @lack_of_memory_as_memory_error
    def move(self, moves: Sequence[Move]) -> None:
        """Copy blocks and recurrent states between the cache and the host's memory."""
        self._swap.move(moves)

    def forget(self, request_id: int) -> None:
        """Drop what is kept for a request that ended."""
        self._sampler.forget(request_id)


@dataclass(frozen=True, slots=True)
class Single:
    """A step whose kernels are launched one after the other; see `overlap.Ready`."""

    tokens: Tensor
    _runner: ModelRunner
    _step: Step
    _plan: Pass

    def logits(self, rows: Tensor) -> Tensor:
        """See `overlap.Ready.logits`."""
        return self._runner.logits(self._step, self.tokens, rows, self._plan)


def _peak(counted: DeviceMemory, ready: Callable[[], Callable[[], None]], predicted: int) -> int:
    """The most that a step takes, beyond what it takes to be ready; what was predicted, where it finds too little."""
    try:
        return counted.peak_of(ready())
    except torch.OutOfMemoryError as error:
        logger.warning("the largest step cannot be computed at once, and will be in parts: %s", error)
        return predicted


def _fingerprint(source: Source, spec: Decoder, dtype: torch.dtype, config: EngineConfig) -> bytes:
    """Tells a model from every other: what is in its files, how they are read, and in what type it computes."""
    return repr((fingerprint(source.path), spec, dtype, config.quantization, config.kv_cache_dtype)).encode()
