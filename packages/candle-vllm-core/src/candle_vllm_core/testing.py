"""`ScriptedEngine`: an engine whose answers a test writes, for testing what is built on top of one.

```python
engine = ScriptedEngine(["Hello.", "Goodbye."])
assert engine.generate_sync(engine.tokenize("hi")).text == "Hello."
```
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence

from .detokenizer import TextStream
from .errors import EngineClosedError, GenerationError, TokenizationError
from .events import EventHook, FirstToken, RequestFinished, RequestQueued, RequestStarted, Subscribers
from .runtime.request import Limits, Request, check_request
from .stats import EngineStats
from .types import (
    ChatTemplate,
    FinishReason,
    GenerationChunk,
    GenerationOutput,
    GenerationParams,
    InferenceRequest,
    ModelInfo,
    TokenLogprob,
)

NUM_CODE_POINTS = 0x110000
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
    """An `Engine` that answers with the texts it was given, one token per character; it loads nothing.

    Stop texts, stop ids, limits and errors are the real engine's own; log probabilities are 0 (certainty).
    `requests` and `cancelled` say what it was asked. An answer that is an exception is raised instead.
    """

    def __init__(
        self,
        answers: Iterable[str | Exception] | Script = (),
        *,
        model_id: str = "scripted",
        chat_template: str | None = CHATML,
        max_sequence_length: int = 100_000,
        chunk_size: int = 1,
        pause: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`chunk_size`: tokens per chunk; `pause`: awaited before each chunk, so that a test can hold a stream."""
        self._script = answers if callable(answers) else None
        self._answers: Iterator[str | Exception] = iter(()) if callable(answers) else iter(answers)
        self._model_id, self._chunk_size, self._pause = model_id, chunk_size, pause
        self._limits = Limits(
            vocab_size=NUM_CODE_POINTS + len(MARKS),
            max_sequence_length=max_sequence_length,
            eos_token_ids=frozenset([EOS]),
        )
        self._chat_template = chat_template
        self._subscribers = Subscribers()
        self._closed = False
        self.running = 0
        self.cancelled = 0
        self.requests: list[InferenceRequest] = []

    @property
    def chat_template(self) -> ChatTemplate | None:
        """The template it was made with; ChatML unless said otherwise."""
        if self._chat_template is None:
            return None
        return ChatTemplate(source=self._chat_template, eos_token="<|im_end|>", special_tokens=MARKS)

    def tokenize(self, text: str, *, add_special_tokens: bool = True, control_marks: bool = True) -> list[int]:
        """One id per character; ChatML's marks are one id each unless `control_marks` is false."""
        pieces = re.split("(" + "|".join(map(re.escape, MARKS)) + ")", text) if control_marks else [text]
        return [token for piece in pieces for token in _encode(piece, control_marks)]

    def detokenize(self, tokens: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text that the ids stand for."""
        return "".join(_decode(token, skip_special_tokens) for token in tokens)

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

    def close(self) -> None:
        """Refuse further requests."""
        self._closed = True

    def _request(self, prompt: Sequence[int], params: GenerationParams | None) -> Request:
        if self._closed:
            raise EngineClosedError("the scripted engine was closed; make a new one")
        params = params or GenerationParams()
        tokens = check_request(prompt, params, self._limits)
        self.requests.append(InferenceRequest(prompt=tokens, params=params))
        stream = TextStream(self.detokenize, params.stop_sequences, show_special=params.ignore_eos)
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
        gathered: list[GenerationChunk] = []
        for token in [*self.tokenize(self._answer(request)), EOS]:
            gathered.append(request.accept(token, self._logprob(token, request.params)))
            if len(gathered) == self._chunk_size or request.finish_reason is not None:
                yield _join(gathered)
                gathered = []
            if request.finish_reason is not None:
                return
        if gathered:
            yield _join(gathered)
        yield request.end(FinishReason.STOP)

    def _logprob(self, token: int, params: GenerationParams) -> TokenLogprob | None:
        if not params.logprobs:
            return None
        text = self.detokenize([token], skip_special_tokens=False)
        certain = TokenLogprob(token, text, 0.0, token_bytes=text.encode())
        return TokenLogprob(token, text, 0.0, (certain,) if params.top_logprobs else (), text.encode())


def _encode(piece: str, control_marks: bool) -> list[int]:
    if control_marks and piece in MARKS:
        return [NUM_CODE_POINTS + MARKS.index(piece)]
    return [ord(character) for character in piece]


def _decode(token: int, skip_special_tokens: bool) -> str:
    if not 0 <= token < NUM_CODE_POINTS + len(MARKS):
        raise TokenizationError(f"token id {token} is not in the vocabulary of {NUM_CODE_POINTS + len(MARKS)}")
    if token >= NUM_CODE_POINTS:
        return "" if skip_special_tokens else MARKS[token - NUM_CODE_POINTS]
    return chr(token)


def _join(chunks: Sequence[GenerationChunk]) -> GenerationChunk:
    logprobs = [entry for chunk in chunks for entry in chunk.logprobs or ()]
    return GenerationChunk(
        tokens=tuple(token for chunk in chunks for token in chunk.tokens),
        text="".join(chunk.text for chunk in chunks),
        logprobs=tuple(logprobs) if chunks[0].logprobs is not None else None,
        finish_reason=chunks[-1].finish_reason,
        output=chunks[-1].output,
    )
