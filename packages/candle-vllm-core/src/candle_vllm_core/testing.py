"""`ScriptedEngine`: an engine whose answers a test writes, for testing what is built on top of one.

```python
engine = ScriptedEngine(["Hello.", "Goodbye."])
assert engine.generate_sync(engine.tokenize("hi")).text == "Hello."
```
"""

from __future__ import annotations

import itertools
import math
import re
from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from .detokenizer import TextStream
from .embedding import check_dimensions
from .errors import EngineClosedError, GenerationError, TokenizationError
from .events import EventHook, FirstToken, RequestFinished, RequestQueued, RequestStarted, Subscribers
from .runtime.pool import Pool
from .runtime.request import Limits, Request, check_embedded, check_request
from .stats import EngineStats
from .types import (
    ChatTemplate,
    Embedding,
    EmbeddingParams,
    FinishReason,
    GenerationChunk,
    GenerationOutput,
    GenerationParams,
    InferenceRequest,
    ModelInfo,
    TokenLogprob,
)

NUM_CODE_POINTS = 0x110000
HIDDEN_SIZE = 16
MARKS = ("<|im_start|>", "<|im_end|>")
EOS = NUM_CODE_POINTS + MARKS.index("<|im_end|>")

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + (message['content'] or '') + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

Script = Callable[[str, GenerationParams], str]
"""Given the prompt's text and the parameters, the answer."""


class ScriptedEngine:
    """An `Engine` that answers with the texts it was given, one token per character or word; it loads nothing.

    Stop texts, stop ids, limits and errors are the real engine's own; log probabilities are 0 (certainty).
    `requests`, `embedded` and `cancelled` say what it was asked. An answer that is an exception is raised instead.
    """

    def __init__(
        self,
        answers: Iterable[str | Exception] | Script = (),
        *,
        model_id: str = "scripted",
        chat_template: str | None = CHATML,
        max_sequence_length: int = 100_000,
        special_tokens: Sequence[str] = (),
        words: Sequence[str] = (),
        chunk_size: int | Sequence[int] = 1,
        pause: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`chunk_size`: tokens per chunk, of several numbers each in turn; `pause`: awaited before each chunk, so that
        a test can hold a stream. `words` are one token each, and so are `special_tokens`, which ChatML's stand before.
        """
        self._script = answers if callable(answers) else None
        self._answers: Iterator[str | Exception] = iter(()) if callable(answers) else iter(answers)
        self._model_id, self._pause = model_id, pause
        self._chunk_sizes = [chunk_size] if isinstance(chunk_size, int) else list(chunk_size)
        self._special_tokens = (*MARKS, *special_tokens)
        self._words = (*self._special_tokens, *words)
        self._limits = Limits(
            vocab_size=NUM_CODE_POINTS + len(self._words),
            max_sequence_length=max_sequence_length,
            eos_token_ids=frozenset([EOS]),
        )
        self._chat_template = chat_template
        self._subscribers = Subscribers()
        self._closed = False
        self.running = 0
        self.cancelled = 0
        self.requests: list[InferenceRequest] = []
        self.embedded: list[tuple[list[int], EmbeddingParams]] = []

    @property
    def chat_template(self) -> ChatTemplate | None:
        """The template it was made with; ChatML unless said otherwise."""
        if self._chat_template is None:
            return None
        return ChatTemplate(source=self._chat_template, eos_token="<|im_end|>", special_tokens=self._special_tokens)

    def tokenize(self, text: str, *, add_special_tokens: bool = True, control_marks: bool = True) -> list[int]:
        """One id per word or character; special tokens are one id each unless `control_marks` is false."""
        words = self._words if control_marks else self._words[len(self._special_tokens) :]
        longest_first = sorted(words, key=len, reverse=True)
        pieces = re.split("(" + "|".join(map(re.escape, longest_first)) + ")", text) if words else [text]
        return [token for piece in pieces for token in self._encode(piece, words)]

    def detokenize(
        self, tokens: Sequence[int], *, skip_special_tokens: bool = True, shown: Collection[int] = frozenset()
    ) -> str:
        """The text that the ids stand for; special tokens that are `shown` are not skipped."""
        return "".join(self._decode(token, skip_special_tokens and token not in shown) for token in tokens)

    def model_info(self) -> ModelInfo:
        """A model of no parameters."""
        return ModelInfo(
            model_id=self._model_id,
            architecture="Scripted",
            max_sequence_length=self._limits.max_sequence_length,
            vocab_size=self._limits.vocab_size,
            num_parameters=0,
            dtype="fp32",
            device="cpu",
            special_tokens=self._special_tokens,
            hidden_size=HIDDEN_SIZE,
        )

    def stats(self) -> EngineStats:
        """Only `running` is counted."""
        return EngineStats(running=self.running)

    def subscribe(self, hook: EventHook) -> Callable[[], None]:
        """Tell a hook of requests that are queued, start, have their first token and finish; there are no steps."""
        return self._subscribers.add(hook)

    async def generate(self, prompt: Sequence[int], params: GenerationParams | None = None) -> GenerationOutput:
        """The next answer, whole."""
        async for chunk in self.generate_stream(prompt, params):
            if chunk.output is not None:
                return chunk.output
        raise GenerationError("the stream ended without an output")

    async def generate_stream(
        self, prompt: Sequence[int], params: GenerationParams | None = None
    ) -> AsyncGenerator[GenerationChunk, None]:
        """The next answer, `chunk_size` characters at a time."""
        request = self._request(prompt, params)
        self.running += 1
        try:
            for chunk in self._chunks(request):
                if self._pause is not None:
                    await self._pause()
                yield chunk
        finally:
            self.running -= 1
            self.cancelled += request.finish_reason is None

    def generate_sync(self, prompt: Sequence[int], params: GenerationParams | None = None) -> GenerationOutput:
        """The next answer, whole, without an event loop."""
        for chunk in self._chunks(self._request(prompt, params)):
            if chunk.output is not None:
                return chunk.output
        raise GenerationError("the stream ended without an output")

    async def embed(self, prompts: Sequence[Sequence[int]], params: EmbeddingParams | None = None) -> list[Embedding]:
        """As of a model whose hidden state of token t is 1 at place t % 16 and 0 elsewhere."""
        return self.embed_sync(prompts, params)

    def embed_sync(self, prompts: Sequence[Sequence[int]], params: EmbeddingParams | None = None) -> list[Embedding]:
        """As `embed`, without an event loop."""
        self._check_open()
        params = params or EmbeddingParams()
        check_dimensions(params, self.model_info())
        checked = [check_embedded(prompt, self._limits) for prompt in prompts]
        self.embedded += [(tokens, params) for tokens in checked]
        return [_embedding(tokens, params) for tokens in checked]

    def close(self) -> None:
        """Refuse further requests."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise EngineClosedError("the scripted engine was closed; make a new one")

    def _request(self, prompt: Sequence[int], params: GenerationParams | None) -> Request:
        self._check_open()
        params = params or GenerationParams()
        tokens = check_request(prompt, params, self._limits)
        self.requests.append(InferenceRequest(prompt=tokens, params=params))
        decode = partial(self.detokenize, shown=frozenset(params.shown_special_ids))
        stream = TextStream(decode, params.stop_sequences, show_special=params.ignore_eos)
        return Request(
            id=len(self.requests),
            prompt=tokens,
            params=params,
            seed=params.seed or 0,
            limits=self._limits,
            stream=stream,
            sink=lambda chunk: None,
        )

    def _answer(self, request: Request) -> str:
        if self._script is not None:
            return self._script(self.detokenize(request.prompt, skip_special_tokens=False), request.params)
        answer = next(self._answers, None)
        if answer is None:
            raise GenerationError(f"the script has no answer left for request {request.id}; give the engine more")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _chunks(self, request: Request) -> Iterator[GenerationChunk]:
        """An answer's chunks, and the events that an engine would tell."""
        tell, number = self._subscribers.tell, request.id
        tell(RequestQueued(request_id=number, prompt_tokens=len(request.prompt), priority=request.params.priority))
        tell(RequestStarted(request_id=number, cached_tokens=0, queue_seconds=0.0))
        first = True
        for chunk in self._answer_chunks(request):
            if first and chunk.tokens:
                first = False
                tell(FirstToken(request_id=number, seconds=0.0))
            if chunk.output is not None:
                reason, error, stats = chunk.output.finish_reason, chunk.output.error, chunk.output.stats
                tell(RequestFinished(request_id=number, finish_reason=reason, error=error, stats=stats))
            yield chunk

    def _answer_chunks(self, request: Request) -> Iterator[GenerationChunk]:
        if request.params.prompt_logprobs is not None:
            request.prompt_logprobs = [self._certain(t, request.params.prompt_logprobs) for t in request.prompt[1:]]
        gathered: list[GenerationChunk] = []
        sizes = itertools.cycle(self._chunk_sizes)
        size = next(sizes)
        for token in [*self.tokenize(self._answer(request)), EOS]:
            gathered.append(request.accept(token, self._logprob(token, request.params)))
            if len(gathered) == size or request.finish_reason is not None:
                yield _join(gathered)
                gathered, size = [], next(sizes)
            if request.finish_reason is not None:
                return
        if gathered:
            yield _join(gathered)
        yield request.end(FinishReason.STOP)

    def _logprob(self, token: int, params: GenerationParams) -> TokenLogprob | None:
        return self._certain(token, params.top_logprobs) if params.logprobs else None

    def _certain(self, token: int, num_top: int) -> TokenLogprob:
        text = self.detokenize([token], skip_special_tokens=False)
        certain = TokenLogprob(token, text, 0.0, token_bytes=text.encode())
        return replace(certain, top=(certain,)) if num_top else certain

    def _encode(self, piece: str, words: Sequence[str]) -> list[int]:
        if piece in words:
            return [NUM_CODE_POINTS + self._words.index(piece)]
        return [ord(character) for character in piece]

    def _decode(self, token: int, skip_special_tokens: bool) -> str:
        vocab_size = self._limits.vocab_size
        if not 0 <= token < vocab_size:
            raise TokenizationError(f"token id {token} is not in the vocabulary of {vocab_size}")
        if token < NUM_CODE_POINTS:
            return chr(token)
        place = token - NUM_CODE_POINTS
        return "" if skip_special_tokens and place < len(self._special_tokens) else self._words[place]


def _join(chunks: Sequence[GenerationChunk]) -> GenerationChunk:
    logprobs = [entry for chunk in chunks for entry in chunk.logprobs or ()]
    return GenerationChunk(
        tokens=tuple(token for chunk in chunks for token in chunk.tokens),
        text="".join(chunk.text for chunk in chunks),
        logprobs=tuple(logprobs) if chunks[0].logprobs is not None else None,
        ends=tuple(end for chunk in chunks for end in chunk.ends),
        prompt_logprobs=chunks[0].prompt_logprobs,
        finish_reason=chunks[-1].finish_reason,
        output=chunks[-1].output,
    )


def _embedding(tokens: Sequence[int], params: EmbeddingParams) -> Embedding:
    values = [0.0] * HIDDEN_SIZE
    for position in Pool.of(params.pooling or "mean", len(tokens)).positions:
        values[tokens[position] % HIDDEN_SIZE] += 1.0
    values = values[: params.dimensions]
    length = math.hypot(*values) or 1.0
    return Embedding(values=array("f", [value / length for value in values]), prompt_tokens=len(tokens))
