"""Conversations over the adapter: the names of `candle_vllm_responses`."""

try:
    from candle_vllm_responses import *  # noqa: F403
    from candle_vllm_responses import __all__ as __all__
except ModuleNotFoundError as error:
    message = f"candle_vllm.responses needs {error.name}: pip install 'candle-vllm[responses]'"
    raise ModuleNotFoundError(message, name=error.name) from error
