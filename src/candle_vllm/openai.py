"""OpenAI's chat types and `OpenAIAdapter`: the names of `candle_vllm_openai`."""

try:
    from candle_vllm_openai import *  # noqa: F403
    from candle_vllm_openai import __all__ as __all__
except ModuleNotFoundError as error:
    message = f"candle_vllm.openai needs {error.name}: pip install 'candle-vllm[openai]'"
    raise ModuleNotFoundError(message, name=error.name) from error
