"""OpenAI's embeddings: the request, with extensions, and the response."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel
from pydantic import Field as Bounds

from ..fields import Endpoint
from .prompts import Prompt, Prompts, listed
from .sampling import MAX_INT
from .strict import Strict


class EmbeddingRequest(Strict):
    """A request for embeddings; each field is honoured, or a documented no-op (`FIELDS` says which).

    Raises:
        pydantic.ValidationError: names the fields; `api_error` makes an `ApiError` of it.
    """

    endpoint: ClassVar[Endpoint] = "embeddings"
    table_path: ClassVar[str | None] = ""

    input: Prompts
    model: Annotated[str, Bounds(max_length=1024)] | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Bounds(ge=1, le=MAX_INT)] | None = None
    user: str | None = None

    pooling: Literal["mean", "last", "cls"] | None = None
    priority: Annotated[int, Bounds(ge=-(2**31), le=MAX_INT)] = 0
    cache_salt: Annotated[str, Bounds(min_length=1, max_length=256)] | None = None

    @property
    def inputs(self) -> list[Prompt]:
        """The inputs one by one."""
        return listed(self.input)


class EmbeddingData(BaseModel):
    """The embedding of one input."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str
    """Numbers, or the base64 of their float32, the low byte first."""


class EmbeddingUsage(BaseModel):
    """Tokens of all inputs."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingResponse(BaseModel):
    """The embeddings of a request's inputs, in their order."""

    object: Literal["list"]
    data: list[EmbeddingData]
    model: str
    usage: EmbeddingUsage

    def to_json(self) -> str:
        """The response as OpenAI writes it."""
        return self.model_dump_json()
