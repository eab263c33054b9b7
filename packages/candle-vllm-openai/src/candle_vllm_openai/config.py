"""`AdapterConfig`: what an adapter adds to a request that leaves it out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from candle_vllm_core import ConfigError, GenerationParams, ParameterError

from .detect import AUTO, choose_format, choose_reasoning

MAX_TEMPLATE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """How an adapter names its model, and the sampling parameters of requests that leave them out; checked when made.

    Raises:
        ConfigError: names the field and its bounds.
    """

    model_name: str | None = None
    """The model's name in responses. None: its id."""
    parser: str = AUTO
    """The format in which the model calls tools: one of `PARSERS`; auto: as its chat template or its family shows."""
    reasoning: str = AUTO
    """How the model marks its reasoning: one of `REASONING`; auto: as its chat template shows; none: it is content."""
    chat_template: str | Path | None = None
    """A chat template (Jinja) instead of the model's own: its text, or a path to the file with it."""
    temperature: float | None = None
    """None, here and below: OpenAI's default."""
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None

    def __post_init__(self) -> None:
        for field in ("model_name", "chat_template"):
            if getattr(self, field) == "":
                raise ConfigError(f"{field} is empty; give one, or leave it out", field)
        self.read_chat_template()
        choose_format(self.parser)
        choose_reasoning(self.reasoning)
        try:
            GenerationParams(
                temperature=1.0 if self.temperature is None else self.temperature,
                top_p=1.0 if self.top_p is None else self.top_p,
                top_k=self.top_k,
                min_p=0.0 if self.min_p is None else self.min_p,
                repetition_penalty=1.0 if self.repetition_penalty is None else self.repetition_penalty,
                frequency_penalty=0.0 if self.frequency_penalty is None else self.frequency_penalty,
                presence_penalty=0.0 if self.presence_penalty is None else self.presence_penalty,
            )
        except ParameterError as error:
            raise ConfigError(str(error), error.field) from error

    def read_chat_template(self) -> str | None:
        """The text of the chat template that replaces the model's own, if there is one.

        Raises:
            ConfigError: the file cannot be read.
        """
        if not isinstance(self.chat_template, Path):
            return self.chat_template
        try:
            with self.chat_template.open("rb") as file:
                text = file.read(MAX_TEMPLATE_BYTES + 1)
            if len(text) > MAX_TEMPLATE_BYTES:
                raise ValueError(f"it has more than {MAX_TEMPLATE_BYTES} bytes")
            return text.decode()
        except (OSError, ValueError) as error:
            reason = f"the chat template {self.chat_template} cannot be read: {error}; give a file with Jinja in UTF-8"
            raise ConfigError(reason, "chat_template") from error
