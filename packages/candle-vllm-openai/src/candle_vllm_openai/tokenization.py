"""Token ids of texts and back, as vLLM's servers give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from candle_vllm_core import CandleVllmError, Engine

from .errors import api_error
from .offload import converted
from .parse import parse_body, read_body
from .types.tokenization import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeChatRequest,
    TokenizeResponse,
    TokenizeTextRequest,
)


def parse_tokenize_request(body: bytes | str | Mapping[str, object]) -> TokenizeTextRequest | TokenizeChatRequest:
    """The request in a body: of a conversation if it has `messages`, else of a text.

    Raises:
        ApiError: as `parse_request` does.
    """
    data = read_body(body) if isinstance(body, bytes | str) else body
    if not isinstance(data, Mapping):
        return parse_body(body, TokenizeTextRequest)  # says that it is no object
    if data.get("messages") is None:
        return parse_body(data, TokenizeTextRequest)
    return parse_body(data, TokenizeChatRequest)


async def tokenize_text(engine: Engine, request: TokenizeTextRequest) -> TokenizeResponse:
    """The token ids of a text."""

    def convert() -> TokenizeResponse:
        tokens = engine.tokenize(request.prompt, add_special_tokens=request.add_special_tokens)
        return tokenized(engine, tokens, request.return_token_strs)

    return await converted(len(request.prompt), convert)


def tokenized(engine: Engine, tokens: Sequence[int], with_texts: bool) -> TokenizeResponse:
    """Token ids as a response."""
    texts = [engine.detokenize([token], skip_special_tokens=False) for token in tokens] if with_texts else None
    length = engine.model_info().max_sequence_length
    return TokenizeResponse(count=len(tokens), max_model_len=length, tokens=list(tokens), token_strs=texts)


async def detokenize(engine: Engine, request: DetokenizeRequest) -> DetokenizeResponse:
    """The text of token ids.

    Raises:
        ApiError: an id is not in the vocabulary.
    """

    def convert() -> DetokenizeResponse:
        return DetokenizeResponse(prompt=engine.detokenize(request.tokens, skip_special_tokens=False))

    try:
        return await converted(len(request.tokens), convert)
    except CandleVllmError as error:
        raise api_error(error, prompt="tokens") from error
