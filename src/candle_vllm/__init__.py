"""Everything candle-vllm offers, under one name.

The engine's own names are here: `from candle_vllm import InferenceEngine`. Above it stand `candle_vllm.openai`,
`candle_vllm.responses` and `candle_vllm.server`; each is there when its extra is installed, and loaded when first used.
"""

from importlib import import_module
from types import ModuleType

from candle_vllm_core import *  # noqa: F403
from candle_vllm_core import __all__ as _core

LAYERS = ("openai", "responses", "server")

__all__ = sorted([*_core, *LAYERS])


def __getattr__(name: str) -> ModuleType:
    if name in LAYERS:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
