"""OpenAI's chat types and an adapter over an engine."""
