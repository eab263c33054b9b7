"""The HTTP server: the names of `candle_vllm_server`."""

try:
    from candle_vllm_server import *  # noqa: F403
    from candle_vllm_server import __all__ as __all__
except ModuleNotFoundError as error:
    message = f"candle_vllm.server needs {error.name}: pip install 'candle-vllm[server]'"
    raise ModuleNotFoundError(message, name=error.name) from error
