"""Token ids of texts and of conversations, and back: requests and responses in vLLM's words."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel
from pydantic import Field as Bounds

from .requests import ChatCompletionRequest
from .sampling import TokenId
from .strict import Strict


class TokenizeTextRequest(Strict):
    """A text whose token ids are asked for."""

    prompt: str
    model: Annotated[str, Bounds(max_length=1024)] | None = None
    add_special_tokens: bool = True
    """Whether the tokenizer puts around the text what it puts around a prompt."""
    return_token_strs: bool = False


class TokenizeChatRequest(ChatCompletionRequest):
    """A chat completion request whose prompt's token ids are asked for: what an answer to it would begin from."""

    table_path: ClassVar[str | None] = None

    add_generation_prompt: Literal[True] = True
    continue_final_message: Literal[False] = False
    add_special_tokens: Literal[False] = False
    return_token_strs: bool = False


class TokenizeResponse(BaseModel):
    """The token ids of a text or of a conversation."""

    count: int
    max_model_len: int
    """The longest sequence that the model takes, prompt and answer together."""
    tokens: list[int]
    token_strs: list[str] | None
    """The text of each token, if asked for."""

    def to_json(self) -> str:
        """The response as JSON."""
        return self.model_dump_json()


class DetokenizeRequest(Strict):
    """Token ids whose text is asked for."""

    tokens: list[TokenId]
    model: Annotated[str, Bounds(max_length=1024)] | None = None


class DetokenizeResponse(BaseModel):
    """The text of token ids, with the marks of control tokens."""

    prompt: str

    def to_json(self) -> str:
        """The response as JSON."""
        return self.model_dump_json()
