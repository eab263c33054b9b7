"""OpenAI's chat completions on top of a candle-vllm engine: types, parsing, prompts, streams.

```python
from candle_vllm_openai import InferenceEngine, OpenAIAdapter, parse_request

with InferenceEngine() as engine:
    request = parse_request(b'{"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20}')
    response = await OpenAIAdapter(engine).chat_completion(request)
```
"""

from candle_vllm_core import (
    CancelledError,
    CandleVllmError,
    CapacityError,
    ChatTemplate,
    ConfigError,
    Constraint,
    ConstraintError,
    ContextLengthError,
    DeviceError,
    DType,
    Embedding,
    EmbeddingParams,
    Engine,
    EngineBuilder,
    EngineClosedError,
    EngineConfig,
    EngineStats,
    Error,
    FinishReason,
    GenerationChunk,
    GenerationError,
    GenerationOutput,
    GenerationParams,
    GenerationStats,
    InferenceEngine,
    ModelInfo,
    ModelLoadError,
    ParameterError,
    ScriptedEngine,
    TokenizationError,
    TokenLogprob,
)

from .adapter import OpenAIAdapter
from .completions import collect_completion
from .config import AdapterConfig
from .errors import ApiError, api_error
from .events import CallArguments, CallEnd, CallStart, Event, Reasoning, Text
from .fields import FIELDS, Field
from .output import OutputParser, ParsedOutput, parse_output
from .params import to_generation_params
from .parse import parse_body, parse_request
from .stream import collect, merge_tool_call_delta, to_chat_response
from .tokenization import parse_tokenize_request
from .types.completions import Completion, CompletionChoice, CompletionLogprobs, CompletionRequest
from .types.embeddings import EmbeddingData, EmbeddingRequest, EmbeddingResponse, EmbeddingUsage
from .types.mcp import McpToolCall
from .types.messages import ContentPart, Message, Role
from .types.requests import ChatCompletionRequest
from .types.responses import (
    ChatChoice,
    ChatCompletionChunk,
    ChatCompletionResponse,
    ChatLogprob,
    ChoiceDelta,
    ChoiceLogprobs,
    ChunkChoice,
    CompletionTokensDetails,
    PromptTokensDetails,
    ResponseMessage,
    TopLogprob,
    Usage,
)
from .types.sampling import StreamOptions
from .types.structured import JsonSchemaFormat, ResponseFormat, StructuredOutputs
from .types.tokenization import (
    DetokenizeRequest,
    DetokenizeResponse,
    TokenizeChatRequest,
    TokenizeResponse,
    TokenizeTextRequest,
)
from .types.tools import (
    AllowedTools,
    AllowedToolsChoice,
    FunctionCall,
    FunctionCallDelta,
    FunctionDefinition,
    NamedToolChoice,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
)

__all__ = [
    "AdapterConfig",
    "AllowedTools",
    "AllowedToolsChoice",
    "ApiError",
    "CallArguments",
    "CallEnd",
    "CallStart",
    "CancelledError",
    "CandleVllmError",
    "CapacityError",
    "ChatChoice",
    "ChatCompletionChunk",
    "ChatCompletionRequest",
    "ChatCompletionResponse",
    "ChatLogprob",
    "ChatTemplate",
    "ChoiceDelta",
    "ChoiceLogprobs",
    "ChunkChoice",
    "Completion",
    "CompletionChoice",
    "CompletionLogprobs",
    "CompletionRequest",
    "CompletionTokensDetails",
    "ConfigError",
    "Constraint",
    "ConstraintError",
    "ContentPart",
    "ContextLengthError",
    "DType",
    "DetokenizeRequest",
    "DetokenizeResponse",
    "DeviceError",
    "Embedding",
    "EmbeddingData",
    "EmbeddingParams",
    "EmbeddingRequest",
    "EmbeddingResponse",
    "EmbeddingUsage",
    "Engine",
    "EngineBuilder",
    "EngineClosedError",
    "EngineConfig",
    "EngineStats",
    "Error",
    "Event",
    "FIELDS",
    "Field",
    "FinishReason",
    "FunctionCall",
    "FunctionCallDelta",
    "FunctionDefinition",
    "GenerationChunk",
    "GenerationError",
    "GenerationOutput",
    "GenerationParams",
    "GenerationStats",
    "InferenceEngine",
    "JsonSchemaFormat",
    "McpToolCall",
    "Message",
    "ModelInfo",
    "ModelLoadError",
    "NamedToolChoice",
    "OpenAIAdapter",
    "OutputParser",
    "ParameterError",
    "ParsedOutput",
    "PromptTokensDetails",
    "Reasoning",
    "ResponseFormat",
    "ResponseMessage",
    "Role",
    "ScriptedEngine",
    "StreamOptions",
    "StructuredOutputs",
    "Text",
    "TokenLogprob",
    "TokenizationError",
    "TokenizeChatRequest",
    "TokenizeResponse",
    "TokenizeTextRequest",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolChoice",
    "TopLogprob",
    "Usage",
    "api_error",
    "collect",
    "collect_completion",
    "merge_tool_call_delta",
    "parse_body",
    "parse_output",
    "parse_request",
    "parse_tokenize_request",
    "to_chat_response",
    "to_generation_params",
]
