"""Every error that the engine raises, as one tree.

```
CandleVllmError (also exported as Error)
├── ConfigError            a setting is impossible, or two of them contradict each other
├── ModelLoadError         a model cannot be loaded from where it was said to be
├── DeviceError            a device is not there, or does not have what was asked of it
│   └── OutOfMemoryError       a model does not fit into the memory that is free
├── TokenizationError      text or token ids do not fit the model's tokenizer
├── CapacityError          the request can never fit into the memory that the engine was given
├── EngineClosedError      the engine was closed before or during the call
└── GenerationError        a request failed while it ran
    ├── ParameterError         a generation parameter is out of its bounds
    ├── ConstraintError        a constraint cannot be compiled, or not be followed to its end
    ├── ContextLengthError     the prompt alone is longer than the model takes
    └── CancelledError         the request was cancelled by its owner
```

Errors carry what they say as fields, so that a program can act on them without reading the message.
"""

from __future__ import annotations

from collections.abc import Iterable


class CandleVllmError(Exception):
    """Something asked of candle-vllm could not be done; the message says what to do about it."""


class ConfigError(CandleVllmError):
    """A setting is impossible; `field` names it."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class ModelLoadError(CandleVllmError):
    """A model cannot be loaded; `names` lists the tensors or files that the message is about."""

    def __init__(self, message: str, names: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.names = tuple(names)


class DeviceError(CandleVllmError):
    """A device is not there, or it lacks something that was asked of it."""

    def __init__(self, message: str, device: str | None = None) -> None:
        super().__init__(message)
        self.device = device


class OutOfMemoryError(DeviceError):
    """A model does not fit: it needs `bytes_needed` and the device has `bytes_available` free; nothing was loaded."""

    def __init__(self, message: str, device: str, bytes_needed: int, bytes_available: int) -> None:
        super().__init__(message, device)
        self.bytes_needed = bytes_needed
        self.bytes_available = bytes_available


class TokenizationError(CandleVllmError):
    """Text or token ids do not fit the model's tokenizer."""


class CapacityError(CandleVllmError):
    """A request can never fit into the KV cache: it needs `tokens_needed`, there are `tokens_available`.

    `setting` is the field of `EngineConfig` that would give it more.
    """

    def __init__(self, tokens_needed: int, tokens_available: int, setting: str = "kv_cache_memory") -> None:
        super().__init__(
            f"the request needs room for at least {tokens_needed} tokens and the KV cache holds {tokens_available}; "
            f"shorten the prompt, or open the engine with a larger {setting}"
        )
        self.tokens_needed = tokens_needed
        self.tokens_available = tokens_available
        self.setting = setting


class EngineClosedError(CandleVllmError):
    """The engine was closed; make a new one."""


class GenerationError(CandleVllmError):
    """A request failed while it ran; other requests go on."""


class ParameterError(GenerationError):
    """A generation parameter is out of bounds: `field` names it, `value` was given, `bounds` says what is allowed."""

    def __init__(self, field: str, value: object, bounds: str) -> None:
        super().__init__(f"{field} is {value!r}; it must be {bounds}")
        self.field = field
        self.value = value
        self.bounds = bounds


class ConstraintError(GenerationError):
    """A constraint is refused or failed: `kind` is its field, `keywords` those of a schema that are at fault.

    `reason` says why: something in it cannot be enforced, nothing satisfies it, or it takes too much to follow. `line`
    is that of a grammar where the fault lies, from 1; None if it lies nowhere in particular.
    """

    def __init__(self, kind: str, reason: str, keywords: Iterable[str] = (), line: int | None = None) -> None:
        place = "" if line is None else f" (line {line})"
        super().__init__(f"the constraint's {kind}{place} cannot be followed: {reason}")
        self.kind = kind
        self.reason = reason
        self.keywords = tuple(keywords)
        self.line = line


class ContextLengthError(GenerationError):
    """The prompt alone is longer than the model takes: `prompt_tokens` were given, `limit` is the most."""

    def __init__(self, prompt_tokens: int, limit: int, *, answered: bool = True) -> None:
        """`answered`: the limit is of prompt and answer together."""
        most = f"{limit}, one of them for the answer" if answered else str(limit)
        super().__init__(
            f"the prompt has {prompt_tokens} tokens and the engine takes at most {most}; "
            "shorten the prompt, or open a model with a longer context"
        )
        self.prompt_tokens = prompt_tokens
        self.limit = limit


class CancelledError(GenerationError):
    """The request was cancelled by its owner before it ended."""
