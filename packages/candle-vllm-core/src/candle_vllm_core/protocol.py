"""`Engine`: what upper layers need of an engine, whatever it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

from .events import EventHook
from .stats import EngineStats
from .types import (
    ChatTemplate,
    Embedding,
    EmbeddingParams,
    GenerationChunk,
    GenerationOutput,
    GenerationParams,
    ModelInfo,
)


class Engine(Protocol):
    """What upper layers need of an engine; `InferenceEngine` is one, `ScriptedEngine` is one for tests."""

    @property
    def chat_template(self) -> ChatTemplate | None:
        """The checkpoint's own chat template, if it has one."""
        ...

    def tokenize(self, text: str, *, add_special_tokens: bool = True, control_marks: bool = True) -> list[int]:
        """Text to token ids."""
        ...

    def detokenize(self, tokens: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Token ids to text."""
        ...

    async def generate(self, prompt: Sequence[int], params: GenerationParams | None = None) -> GenerationOutput:
        """One whole answer."""
        ...

    def generate_stream(
        self, prompt: Sequence[int], params: GenerationParams | None = None
    ) -> AsyncGenerator[GenerationChunk, None]:
        """One answer, piece by piece; closing the generator cancels it."""
        ...

    async def embed(self, prompts: Sequence[Sequence[int]], params: EmbeddingParams | None = None) -> list[Embedding]:
        """The embeddings of prompts, in their order."""
        ...

    def model_info(self) -> ModelInfo:
        """What is loaded, and on what."""
        ...

    def stats(self) -> EngineStats:
        """What the engine is doing now, and what it has done."""
        ...

    def subscribe(self, hook: EventHook) -> Callable[[], None]:
        """Tell a hook of each event as it happens; the function that is given ends that."""
        ...

    def close(self) -> None:
        """End pending requests as cancelled and give all memory back."""
        ...
