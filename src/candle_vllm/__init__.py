"""Everything candle-vllm offers, under one name."""
