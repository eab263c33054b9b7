"""The candle-vllm inference engine: paged KV cache, continuous batching and sampling, in your own process.

Importing this is quick and changes nothing: torch is imported when an engine is built.
"""

from .config import DType, EngineBuilder, EngineConfig
from .constraint import Constraint
from .constraints.grammar import constraint_expression
from .engine import InferenceEngine
from .errors import (
    CancelledError,
    CandleVllmError,
    CapacityError,
    ConfigError,
    ConstraintError,
    ContextLengthError,
    DeviceError,
    EngineClosedError,
    GenerationError,
    ModelLoadError,
    OutOfMemoryError,
    ParameterError,
    TokenizationError,
)
from .errors import CandleVllmError as Error
from .events import (
    EngineEvent,
    EventHook,
    FirstToken,
    RequestFinished,
    RequestPreempted,
    RequestQueued,
    RequestStarted,
    StepFinished,
)
from .memory import MemoryPlan
from .planning import plan
from .protocol import Engine
from .stats import EngineStats, Histogram
from .testing import ScriptedEngine
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
    Pooling,
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
    "Constraint",
    "ConstraintError",
    "ContextLengthError",
    "DType",
    "DeviceError",
    "Embedding",
    "EmbeddingParams",
    "Engine",
    "EngineBuilder",
    "EngineClosedError",
    "EngineConfig",
    "EngineEvent",
    "EngineStats",
    "Error",
    "EventHook",
    "FinishReason",
    "FirstToken",
    "GenerationChunk",
    "GenerationError",
    "GenerationOutput",
    "GenerationParams",
    "GenerationStats",
    "Histogram",
    "InferenceEngine",
    "InferenceRequest",
    "MemoryPlan",
    "ModelInfo",
    "ModelLoadError",
    "OutOfMemoryError",
    "ParameterError",
    "Pooling",
    "RequestFinished",
    "RequestHandle",
    "RequestPreempted",
    "RequestQueued",
    "RequestStarted",
    "RequestUpdate",
    "ScriptedEngine",
    "StepFinished",
    "TokenLogprob",
    "TokenizationError",
    "constraint_expression",
    "plan",
]
