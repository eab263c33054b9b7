"""Conversations over the candle-vllm OpenAI adapter: for now the adapter itself and what a server needs beside it.

```python
from candle_vllm_responses import OpenAIAdapter, ScriptedEngine, parse_request

adapter = OpenAIAdapter(ScriptedEngine(["Hello."]))
response = await adapter.chat_completion(parse_request({"messages": [{"role": "user", "content": "Hi"}]}))
```
"""

from candle_vllm_openai import (
    AdapterConfig,
    ApiError,
    CandleVllmError,
    ChatCompletionChunk,
    ChatCompletionRequest,
    ChatCompletionResponse,
    Completion,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    EmbeddingResponse,
    Engine,
    EngineConfig,
    EngineStats,
    InferenceEngine,
    Message,
    ModelInfo,
    OpenAIAdapter,
    ScriptedEngine,
    api_error,
    parse_body,
    parse_request,
    parse_tokenize_request,
)

__all__ = [
    "AdapterConfig",
    "ApiError",
    "CandleVllmError",
    "ChatCompletionChunk",
    "ChatCompletionRequest",
    "ChatCompletionResponse",
    "Completion",
    "CompletionRequest",
    "DetokenizeRequest",
    "EmbeddingRequest",
    "EmbeddingResponse",
    "Engine",
    "EngineConfig",
    "EngineStats",
    "InferenceEngine",
    "Message",
    "ModelInfo",
    "OpenAIAdapter",
    "ScriptedEngine",
    "api_error",
    "parse_body",
    "parse_request",
    "parse_tokenize_request",
]
