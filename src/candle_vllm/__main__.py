"""`python -m candle_vllm` and `candle-vllm` are the server's command line."""

import sys

try:
    from candle_vllm_server.__main__ import main
except ModuleNotFoundError as error:
    message = f"candle-vllm's command line needs {error.name}: pip install 'candle-vllm[server]'"
    raise ModuleNotFoundError(message, name=error.name) from error

if __name__ == "__main__":
    sys.exit(main())
