"""`InferenceEngine`: a model in this process, for any number of callers at once."""

from __future__ import annotations

import asyncio
import itertools
import os
import queue
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from tqdm import tqdm

from .config import EngineBuilder, EngineConfig
from .constraints.compiler import Compiled, Compiler
from .detokenizer import TextStream
from .embedding import check_dimensions, embedding_request
from .errors import CapacityError, ConfigError, EngineClosedError, GenerationError, TokenizationError
from .events import EventHook
from .runtime.bad_words import bad_word_ids
from .runtime.driver import Driver, How
from .runtime.request import Request, Sink, check_embedded, check_request
from .runtime.seeds import seed_of
from .stats import EngineStats
from .types import (
    ChatTemplate,
    Embedding,
    EmbeddingParams,
    FinishReason,
    GenerationChunk,
    GenerationOutput,
    GenerationParams,
    GenerationStats,
    InferenceRequest,
    ModelInfo,
    RequestHandle,
    RequestUpdate,
)

if TYPE_CHECKING:
    from .runtime.loop import EngineLoop
    from .tokenizer import Tokenizer


class InferenceEngine:
    """A language model inside your program: paged KV cache, continuous batching, one thread that owns the model.

    Any number of coroutines and threads may call one engine at once; their requests are batched. Several engines may
    live in one process. Close it when you are done, or use it as a context manager.

    ```python
    with InferenceEngine() as engine:
        print(engine.generate_sync(engine.tokenize("Hello")).text)
    ```
    """

    def __init__(self, config: EngineConfig | None = None) -> None:
        """Load the model that `config` names (the embedded one by default) and wait until it is ready.

        Raises:
            ModelLoadError: there is no model there, or it is broken or of an unknown kind.
            DeviceError: the device is not there.
            ConfigError: the config asks more than the model or the machine has.
        """
        from .runtime.loop import EngineLoop

        self.config = config if config is not None else EngineConfig()
        if not isinstance(self.config, EngineConfig):
            raise ConfigError(f"InferenceEngine takes an EngineConfig, not {type(config).__name__}")
        self._loop: EngineLoop = EngineLoop(self.config)
        self._driver = Driver()
        self._numbers = itertools.count(1)
        self._updates: queue.SimpleQueue[RequestUpdate] = queue.SimpleQueue()
        self._compiler = Compiler(self._loop.tokenizer, self._loop.limits.vocab_size)
        self._closer = weakref.finalize(self, _close, self._loop, self._compiler)

    @classmethod
    async def new(cls, config: EngineConfig | None = None) -> Self:
        """The same as calling the class, without blocking the event loop."""
        opening = asyncio.get_running_loop().run_in_executor(None, cls, config)
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(lambda done: None if done.exception() else done.result().close())
            raise

    @classmethod
    def from_pretrained(cls, model_path: str | os.PathLike[str] | None = None, **settings: Any) -> Self:
        """Open a model by directory or Hugging Face id; `settings` are `EngineConfig`'s other fields."""
        return cls(EngineConfig(model_path=model_path, **settings))

    @classmethod
    def builder(cls) -> EngineBuilder[Self]:
        """Chained calls ending in `build()`, which blocks until the model is ready."""
        return EngineBuilder(cls)

    @property
    def chat_template(self) -> ChatTemplate | None:
        """The checkpoint's own chat template, None if it has none."""
        return self._open_loop().tokenizer.chat_template

    def tokenize(self, text: str, *, add_special_tokens: bool = True, control_marks: bool = True) -> list[int]:
        """Text to token ids.

        `add_special_tokens` puts what the tokenizer wants around a text (a beginning-of-text id, say). With
        `control_marks=False` the text of a control token is read as plain text: what untrusted text needs.
        """
        tokenizer = self._open_loop().tokenizer
        return tokenizer.encode(text, add_special_tokens=add_special_tokens, control_marks=control_marks)

    def detokenize(self, tokens: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Token ids to text.

        Raises:
            TokenizationError: an id is not in the vocabulary.
        """
        return self._open_loop().tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens)

    async def generate(self, prompt: Sequence[int], params: GenerationParams | None = None) -> GenerationOutput:
        """One whole answer; cancelling the call cancels the request.

        Raises:
            TokenizationError: the prompt is empty or has ids out of the vocabulary.
            ContextLengthError: the prompt alone is longer than the engine takes.
            ConstraintError: the constraint cannot be enforced, or takes too much.
            EngineClosedError: the engine was closed.
        """
        stream = self.generate_stream(prompt, params)
        try:
            async for chunk in stream:
                if chunk.output is not None:
                    return chunk.output
        finally:
            await stream.aclose()
        raise GenerationError("the stream ended without an output")

    async def generate_stream(
        self, prompt: Sequence[int], params: GenerationParams | None = None
    ) -> AsyncGenerator[GenerationChunk, None]:
        """One answer, piece by piece; closing the generator cancels the request. Raises as `generate`."""
        loop, chunks = asyncio.get_running_loop(), asyncio.Queue[GenerationChunk]()

        def sink(chunk: GenerationChunk) -> None:
            loop.call_soon_threadsafe(chunks.put_nowait, chunk)

        compiled: Compiled | None = None
        if params is not None and params.constraint is not None:
            compiled = await asyncio.shield(asyncio.wrap_future(self._compiler.compile(params.constraint)))
        number = self._submit(prompt, params, sink, compiled=compiled)
        ended = False
        try:
            while not ended:
                chunk = await chunks.get()
                ended = chunk.output is not None
                yield chunk
        finally:
            if not ended:
                self._loop.cancel(number)

    def generate_sync(self, prompt: Sequence[int], params: GenerationParams | None = None) -> GenerationOutput:
        """One whole answer, for programs without an event loop: it blocks the calling thread. Raises as `generate`."""
        outputs: queue.SimpleQueue[GenerationOutput] = queue.SimpleQueue()
        number = self._submit(prompt, params, _when_whole(outputs.put))
        try:
            return outputs.get()
        except BaseException:
            self._loop.cancel(number)
            raise

    def generate_batch(
        self,
        prompts: Sequence[Sequence[int]],
        params: GenerationParams | Sequence[GenerationParams] | None = None,
        *,
        progress: bool = False,
    ) -> list[GenerationOutput]:
        """The answers to many prompts, in their order, all of them batched; blocks the calling thread.

        `params` are for all prompts, or one for each. A prompt that is refused or fails stands in its place with
        `finish_reason` error. `progress` shows one bar on stderr.
        """
        each = [params or GenerationParams()] * len(prompts) if not isinstance(params, Sequence) else params
        if len(each) != len(prompts):
            raise GenerationError(f"{len(prompts)} prompts came with {len(each)} params; give one, or one for each")
        outputs: dict[int, GenerationOutput] = {}
        finished: queue.SimpleQueue[tuple[int, GenerationOutput]] = queue.SimpleQueue()
        numbers: list[int] = []
        try:
            for index, (prompt, its) in enumerate(zip(prompts, each, strict=True)):
                numbers += self._submit_or_fail(prompt, its, _placed(index, finished.put))
            with tqdm(total=len(prompts), desc="Generating", unit="prompt", disable=not progress) as bar:
                while len(outputs) < len(prompts):
                    index, outputs[index] = finished.get()
                    bar.update()
        except BaseException:
            for number in numbers:
                self._loop.cancel(number)
            raise
        return [outputs[index] for index in range(len(prompts))]

    async def embed(self, prompts: Sequence[Sequence[int]], params: EmbeddingParams | None = None) -> list[Embedding]:
        """The embeddings of prompts, in their order, batched with whatever else runs; cancelling the call cancels them.

        Each is made of the last layer's hidden states after the final norm, and is the same bits whatever it is
        batched with. One prompt that is refused or fails fails the call.

        Raises:
            TokenizationError: a prompt is empty or has ids out of the vocabulary.
            ContextLengthError: a prompt is longer than the engine takes.
            ParameterError: more dimensions are asked for than the model has.
            EngineClosedError: the engine was closed.
        """
        futures = self._submit_embeddings(prompts, params)
        try:
            return list(await asyncio.gather(*map(asyncio.wrap_future, futures.values())))
        finally:
            self._cancel_unfinished(futures)

    def embed_sync(self, prompts: Sequence[Sequence[int]], params: EmbeddingParams | None = None) -> list[Embedding]:
        """As `embed`, for programs without an event loop: it blocks the calling thread."""
        futures = self._submit_embeddings(prompts, params)
        try:
            return [future.result() for future in futures.values()]
        finally:
            self._cancel_unfinished(futures)

    def add_request(self, request: InferenceRequest) -> RequestHandle:
        """Add a request that advances only when you call `step`. Raises as `generate`, and while `generate*` runs."""
        updates, handle = self._updates, RequestHandle(next(self._numbers))

        def sink(chunk: GenerationChunk) -> None:
            updates.put(RequestUpdate(handle=handle, chunk=chunk, output=chunk.output))

        self._submit(request.prompt, request.params, sink, "hand", handle)
        return handle

    def step(self) -> list[RequestUpdate]:
        """Compute one step for the requests of `add_request`; what it did for each. Empty if nothing is to do."""
        loop = self._open_loop()
        self._driver.check("hand")
        loop.step()
        updates = []
        while not self._updates.empty():
            updates.append(self._updates.get())
        return updates

    def cancel_request(self, handle: RequestHandle) -> None:
        """End a request of `add_request`; its last update comes with the next `step`. An ended one is left alone."""
        self._open_loop().cancel(handle)

    def model_info(self) -> ModelInfo:
        """What is loaded, and on what."""
        return self._open_loop().model_info

    def stats(self) -> EngineStats:
        """What the engine is doing now, and what it has done since it was opened."""
        return self._open_loop().stats()

    def subscribe(self, hook: EventHook) -> Callable[[], None]:
        """Tell a hook of each event as it happens, on the engine's thread; the function that is given ends that.

        The hook must not block: the engine waits for it. One that raises is logged and not called again.
        """
        return self._open_loop().subscribe(hook)

    def close(self) -> None:
        """End pending requests as cancelled and give all memory back. May be called more than once."""
        self._closer()

    def __enter__(self) -> Self:
        """The engine itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the engine."""
        self.close()

    async def __aenter__(self) -> Self:
        """The engine itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the engine without blocking the event loop."""
        await asyncio.to_thread(self.close)

    def _open_loop(self) -> EngineLoop:
        if not self._closer.alive:
            raise EngineClosedError("the engine was closed; make a new one")
        return self._loop

    def _submit(
        self,
        prompt: Sequence[int],
        params: GenerationParams | None,
        sink: Sink,
        how: How = "loop",
        number: int | None = None,
        compiled: Compiled | None = None,
    ) -> int:
        """Check a request and hand it to the loop; its number. Waits for the constraint unless it comes `compiled`."""
        loop, driver, params = self._open_loop(), self._driver, params or GenerationParams()
        tokens = check_request(prompt, params, loop.limits)
        if params.constraint is not None and compiled is None:
            compiled = self._compiler.compile(params.constraint).result()
        number = number if number is not None else next(self._numbers)

        def leaving(chunk: GenerationChunk) -> None:
            if chunk.output is not None:
                driver.leave()
            sink(chunk)

        stream = _text_stream(loop.tokenizer, params)
        seed = seed_of(params.seed, self.config.seed, number)
        request = Request(
            id=number, prompt=tokens, params=params, seed=seed, limits=loop.limits, stream=stream, sink=leaving
        )
        request.bad_words = bad_word_ids(params.bad_words, loop.tokenizer, loop.limits.vocab_size)
        if compiled is not None:
            request.constraint = compiled.matcher(forces=not (params.logprobs or params.bad_words))
        with driver.entering(how):
            loop.submit(request, by_hand=how == "hand")
        return number

    def _submit_embeddings(
        self, prompts: Sequence[Sequence[int]], params: EmbeddingParams | None
    ) -> dict[int, Future[Embedding]]:
        """Check the prompts of a call and hand them to the loop; what becomes of them, by their numbers."""
        loop, params = self._open_loop(), params or EmbeddingParams()
        check_dimensions(params, loop.model_info)
        futures: dict[int, Future[Embedding]] = {}
        try:
            for tokens in [check_embedded(prompt, loop.limits) for prompt in prompts]:
                request, future = embedding_request(next(self._numbers), tokens, params, loop, self._driver.leave)
                with self._driver.entering("loop"):
                    loop.submit(request)
                futures[request.id] = future
        except BaseException:
            self._cancel_unfinished(futures)
            raise
        return futures

    def _cancel_unfinished(self, futures: Mapping[int, Future[Embedding]]) -> None:
        for number, future in futures.items():
            if not future.done():
                self._loop.cancel(number)

    def _submit_or_fail(
        self, prompt: Sequence[int], params: GenerationParams, done: Callable[[GenerationOutput], None]
    ) -> list[int]:
        """The number of the request in a list; an empty list if it was refused, which `done` is told."""
        try:
            return [self._submit(prompt, params, _when_whole(done))]
        except (TokenizationError, GenerationError, CapacityError) as error:
            stats = GenerationStats(prompt_tokens=len(prompt))
            done(GenerationOutput(tokens=(), text="", finish_reason=FinishReason.ERROR, error=str(error), stats=stats))
            return []


def _close(loop: EngineLoop, compiler: Compiler) -> None:
    compiler.close()
    loop.close()


def _text_stream(tokenizer: Tokenizer, params: GenerationParams) -> TextStream:
    everything, shown = params.ignore_eos, frozenset(params.shown_special_ids)
    pieces = tokenizer.pieces(skip_special_tokens=not everything, shown=shown)
    decode = partial(tokenizer.decode, shown=shown)
    return TextStream(decode, params.stop_sequences, show_special=everything, pieces=pieces)


def _when_whole(done: Callable[[GenerationOutput], None]) -> Sink:
    """A sink that waits for the whole answer."""

    def sink(chunk: GenerationChunk) -> None:
        if chunk.output is not None:
            done(chunk.output)

    return sink


def _placed(index: int, put: Callable[[tuple[int, GenerationOutput]], None]) -> Callable[[GenerationOutput], None]:
    """A function that puts an output together with its place."""
    return lambda output: put((index, output))
