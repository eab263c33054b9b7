"""`python -m candle_vllm` and `candle-vllm` are the server's command line."""

from .server import main

if __name__ == "__main__":
    main()
