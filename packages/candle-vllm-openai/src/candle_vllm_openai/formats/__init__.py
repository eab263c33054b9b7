"""The ways in which chat models write calls of tools: one small file each, and the table of them."""

from __future__ import annotations

from collections.abc import Mapping

from .deepseek import DEEPSEEK
from .format import Format, Offered, Schema
from .function_marks import FUNCTION_MARKS
from .gemma import GEMMA
from .generic import JSON
from .glm import GLM
from .harmony import HARMONY
from .listed import COMMAND, GRANITE, KIMI, NEMOTRON
from .llama import LLAMA
from .minimax import MINIMAX
from .mistral import MISTRAL
from .plain import PASSTHROUGH
from .pythonic import PYTHONIC
from .qwen import QWEN
from .qwen_coder import QWEN_CODER

FORMATS: Mapping[str, Format] = {
    format.name: format
    for format in (
        *(PASSTHROUGH, JSON, HARMONY, DEEPSEEK, MISTRAL, MINIMAX, KIMI, GLM, QWEN_CODER, QWEN, COMMAND, NEMOTRON),
        *(GRANITE, GEMMA, PYTHONIC, LLAMA, FUNCTION_MARKS),
    )
}
"""By name; of two whose marks stand in one chat template, or whose families fit, the first is meant."""

__all__ = ["FORMATS", "Format", "Offered", "Schema"]
