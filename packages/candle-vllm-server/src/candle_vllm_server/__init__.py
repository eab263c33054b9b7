"""The candle-vllm HTTP server: OpenAI's API over the engine. `create_app` makes it, `Settings` says how."""

from .app import create_app
from .settings import Settings

__all__ = ["Settings", "create_app"]
