"""The candle-vllm inference engine."""
