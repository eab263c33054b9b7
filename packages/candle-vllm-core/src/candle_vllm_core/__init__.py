"""The candle-vllm inference engine: paged KV cache, continuous batching and sampling, in your own process.

Importing this is quick and changes nothing: torch is imported when an engine is built.
"""

from .config import DType, EngineBuilder, EngineConfig
from .engine import Engine, InferenceEngine
from .errors import (
    CancelledError,
    CandleVllmError,
    CapacityError,
    ConfigError,
    ContextLengthError,
    DeviceError,
    EngineClosedError,
    GenerationError,
    ModelLoadError,
    ParameterError,
    TokenizationError,
)
from .errors import CandleVllmError as Error
from .testing import ScriptedEngine
from .types import (
    ChatTemplate,
    EngineStats,
    FinishReason,
    GenerationChunk,
    GenerationOutput,
    GenerationParams,
    GenerationStats,
    InferenceRequest,
    ModelInfo,
    RequestHandle,
    RequestUpdate,
    TokenLogprob,
)

__all__ = [
    "CancelledError",
    "CandleVllmError",
    "CapacityError",
    "ChatTemplate",
    "ConfigError",
    "ContextLengthError",
    "DType",
    "DeviceError",
    "Engine",
    "EngineBuilder",
    "EngineClosedError",
    "EngineConfig",
    "EngineStats",
    "Error",
    "FinishReason",
    "GenerationChunk",
    "GenerationError",
    "GenerationOutput",
    "GenerationParams",
    "GenerationStats",
    "InferenceEngine",
    "InferenceRequest",
    "ModelInfo",
    "ModelLoadError",
    "ParameterError",
    "RequestHandle",
    "RequestUpdate",
    "ScriptedEngine",
    "TokenLogprob",
    "TokenizationError",
]
