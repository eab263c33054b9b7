"""What the server is started with: flag > environment > `.env` > default. The only place that reads the environment."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AliasChoices, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from candle_vllm_responses import AdapterConfig, CandleVllmError, EngineConfig

PREFIX = "CANDLE_VLLM_"
ENV_FILE = ".env"

LogLevel = Literal["debug", "info", "warning", "error"]
Group = Literal["model", "sampling", "server", "output"]

MEBIBYTE = 1 << 20
MAX_TOKENS = 1 << 24
DEFAULT_CHUNK = 8192

T = TypeVar("T")


@dataclass(frozen=True)
class Flag:
    """How a setting is written on the command line."""

    names: tuple[str, ...]
    group: Group
    metavar: str | None = None
    const: str | None = None
    """What the flag means when it stands without a value."""


def _flag(*names: str, group: Group, metavar: str | None = None, const: str | None = None) -> Flag:
    return Flag(names, group, metavar, const)


class Settings(BaseSettings):
    """Everything that the server and the terminal chat are started with; checked when made, never changed.

    Keywords come before the environment (`CANDLE_VLLM_` and the field's name in capitals), that before a file `.env` in
    the working directory.

    Raises:
        pydantic.ValidationError: names each field that is out of its bounds.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        validate_by_name=True,
        validate_by_alias=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    model: Annotated[str | None, _flag("--m", "--model", group="model", metavar="ID")] = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="directory or Hugging Face id; without it, the embedded model",
    )
    weights_dir: Annotated[Path | None, _flag("--w", "--weights-dir", group="model", metavar="DIR")] = Field(
        default=None, description="directory to load from; --m then only names the model"
    )
    device: Annotated[str, _flag("--d", "--device", group="model", metavar="DEVICE")] = Field(
        default="auto", max_length=32, description="cpu, cuda, cuda:N or N, mps, auto"
    )
    dtype: Annotated[Literal["auto", "bf16", "fp16", "fp32"], _flag("--dtype", group="model")] = Field(
        default="auto", description="of weights, activations and KV cache: auto, bf16, fp16, fp32"
    )
    kv_cache_dtype: Annotated[Literal["auto", "fp8"], _flag("--kv-cache-dtype", group="model")] = Field(
        default="auto", description="of the KV cache alone: auto is the dtype; fp8, on a GPU"
    )
    quantization: Annotated[Literal["int8"] | None, _flag("--isq", "--quantization", group="model")] = Field(
        default=None, description="how matrices are stored: int8, on a CPU; without it, in the dtype"
    )
    num_threads: Annotated[int | None, _flag("--num-threads", group="model", metavar="N")] = Field(
        default=None,
        ge=1,
        le=1024,
        description="threads to compute with on a CPU; without it, one for each physical core that may be used",
    )
    kv_memory: Annotated[int | None, _flag("--mem", "--kv-memory", group="model", metavar="MB")] = Field(
        default=None, ge=1, le=1 << 30, description="memory for the KV cache in MB; without it, from what is free"
    )
    kv_fraction: Annotated[float, _flag("--kv-fraction", group="model", metavar="X")] = Field(
        default=0.6,
        gt=0,
        le=1,
        allow_inf_nan=False,
        description="share of the free memory for the KV cache, without --mem",
    )
    max_num_seqs: Annotated[int, _flag("--max-num-seqs", group="model", metavar="N")] = Field(
        default=16, ge=1, le=4096, description="sequences that run at once"
    )
    block_size: Annotated[int | None, _flag("--block-size", group="model", metavar="N")] = Field(
        default=None,
        ge=1,
        le=4096,
        description="tokens in one block of the KV cache; without it, 16 on a CPU, 64 on a GPU",
    )
    prefill_chunk_size: Annotated[int, _flag("--prefill-chunk-size", group="model", metavar="N")] = Field(
        default=DEFAULT_CHUNK,
        ge=0,
        le=MAX_TOKENS,
        description="the most tokens computed in one step; 0 computes each prompt in one",
    )
    mixed_chunk_size: Annotated[int | None, _flag("--mixed-chunk-size", group="model", metavar="N")] = Field(
        default=None,
        ge=1,
        le=MAX_TOKENS,
        description="the most tokens of prompts in a step that goes on with answers; without it, 128 on a CPU",
    )
    kv_swap_memory: Annotated[int, _flag("--kv-swap-memory", group="model", metavar="MB")] = Field(
        default=4096,
        ge=0,
        le=1 << 30,
        description="the host's memory in MB for the KV of requests that are preempted on a GPU",
    )
    disable_prefix_cache: Annotated[bool, _flag("--disable-prefix-cache", group="model")] = Field(
        default=False, description="compute prompts that begin alike again each time"
    )
    max_model_len: Annotated[int | None, _flag("--max-model-len", group="model", metavar="N")] = Field(
        default=None, ge=2, le=MAX_TOKENS, description="the longest sequence in tokens; without it, the model's own"
    )
    yarn_scaling_factor: Annotated[float | None, _flag("--yarn-scaling-factor", group="model", metavar="X")] = Field(
        default=None,
        gt=1,
        le=1000,
        allow_inf_nan=False,
        description="stretches the model's positions so many times by YaRN, for sequences longer than it was made for",
    )
    enforce_parser: Annotated[str, _flag("--enforce-parser", "--tool-parser", group="model")] = Field(
        default="auto",
        max_length=64,
        description="how the model writes calls of tools; auto: as its chat template shows",
    )
    reasoning_parser: Annotated[str, _flag("--reasoning-parser", group="model")] = Field(
        default="auto", max_length=64, description="how the model marks its reasoning; auto: as its chat template shows"
    )
    chat_template: Annotated[Path | None, _flag("--chat-template", group="model", metavar="FILE")] = Field(
        default=None, description="file with a chat template (Jinja); without it, the model's own"
    )
    hf_token: Annotated[SecretStr | None, _flag("--hf-token", group="model", metavar="TOKEN")] = Field(
        default=None,
        max_length=1000,
        validation_alias=AliasChoices("HF_TOKEN"),
        description="for gated models on the Hugging Face hub",
    )

    temperature: Annotated[float | None, _flag("--temperature", group="sampling", metavar="X")] = Field(
        default=None,
        ge=0,
        le=2,
        allow_inf_nan=False,
        description="for requests without one; 0 takes the likeliest token",
    )
    top_p: Annotated[float | None, _flag("--top-p", group="sampling", metavar="X")] = Field(
        default=None, gt=0, le=1, allow_inf_nan=False, description="for requests without one"
    )
    top_k: Annotated[int | None, _flag("--top-k", group="sampling", metavar="N")] = Field(
        default=None, ge=-1, le=2**31 - 1, description="for requests without one; 0 and -1 are off"
    )
    min_p: Annotated[float | None, _flag("--min-p", group="sampling", metavar="X")] = Field(
        default=None, ge=0, le=1, allow_inf_nan=False, description="for requests without one"
    )
    frequency_penalty: Annotated[float | None, _flag("--frequency-penalty", group="sampling", metavar="X")] = Field(
        default=None, ge=-2, le=2, allow_inf_nan=False, description="for requests without one"
    )
    presence_penalty: Annotated[float | None, _flag("--presence-penalty", group="sampling", metavar="X")] = Field(
        default=None, ge=-2, le=2, allow_inf_nan=False, description="for requests without one"
    )

    host: Annotated[str, _flag("--h", "--host", group="server", metavar="HOST")] = Field(
        default="127.0.0.1", min_length=1, max_length=253, description="address to listen on"
    )
    port: Annotated[int, _flag("--p", "--port", group="server", metavar="PORT")] = Field(
        default=2000, ge=0, le=65535, description="port to listen on; 0 takes a free one"
    )
    api_key: Annotated[SecretStr | None, _flag("--api-key", group="server", metavar="KEY")] = Field(
        default=None, max_length=1000, description="asked for on every route but /health; better set by the environment"
    )
    max_waiting: Annotated[int, _flag("--max-waiting", group="server", metavar="N")] = Field(
        default=1024,
        ge=0,
        le=1_000_000,
        description="sequences that may wait for their turn; more are refused with 503",
    )
    keep_alive_interval: Annotated[int, _flag("--keep-alive-interval", group="server", metavar="MS")] = Field(
        default=15_000,
        ge=10,
        le=3_600_000,
        validation_alias=AliasChoices("KEEP_ALIVE_INTERVAL"),
        description="a quiet stream gets an SSE comment this often, in ms",
    )

    log: Annotated[LogLevel, _flag("--log", group="output", metavar="LEVEL", const="info")] = Field(
        default="warning", description="log level: debug, info (also --log alone), warning, error"
    )
    verbose: Annotated[bool, _flag("--verbose", group="output")] = Field(
        default=False, description="log at info at least, and show the traceback of a failed start"
    )

    mcp_config: str | None = None
    models_config: str | None = None

    @field_validator("mcp_config", "models_config")
    @classmethod
    def _not_yet(cls, value: str | None) -> str | None:
        if value is not None:
            raise ValueError("this version does not have it; leave it out")
        return value

    @field_validator("enforce_parser")
    @classmethod
    def _known_parser(cls, name: str) -> str:
        return _checked(name, lambda: AdapterConfig(parser=name))

    @field_validator("reasoning_parser")
    @classmethod
    def _known_reasoning(cls, name: str) -> str:
        return _checked(name, lambda: AdapterConfig(reasoning=name))

    @field_validator("chat_template")
    @classmethod
    def _readable(cls, file: Path | None) -> Path | None:
        return _checked(file, lambda: AdapterConfig(chat_template=file))

    @field_validator("device")
    @classmethod
    def _one_device(cls, device: str) -> str:
        if "," in device:
            raise ValueError(f"{device!r} names several devices; this version runs on one")
        return f"cuda:{device}" if device.isdecimal() else device

    @property
    def log_level(self) -> LogLevel:
        """The level to log at, `verbose` considered."""
        return "info" if self.verbose and self.log in ("warning", "error") else self.log

    @property
    def model_path(self) -> str | None:
        """Where the model is loaded from; None is the embedded one."""
        return str(self.weights_dir) if self.weights_dir is not None else self.model

    @property
    def served_name(self) -> str | None:
        """The name that `--m` gives to what `--w` loads; None leaves the name to the engine."""
        return self.model if self.weights_dir is not None else None

    def adapter_config(self) -> AdapterConfig:
        """What requests are answered with when they leave it out."""
        return AdapterConfig(
            model_name=self.served_name,
            parser=self.enforce_parser,
            reasoning=self.reasoning_parser,
            chat_template=self.chat_template,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
        )

    def engine_config(self) -> EngineConfig:
        """What the engine is opened with.

        Raises:
            ConfigError: two settings contradict each other.
        """
        return EngineConfig(
            model_path=self.model_path,
            device=self.device,
            dtype=self.dtype,
            kv_cache_dtype=self.kv_cache_dtype,
            quantization=self.quantization,
            num_threads=self.num_threads,
            max_batch_size=self.max_num_seqs,
            max_sequence_length=self.max_model_len,
            kv_cache_memory=None if self.kv_memory is None else self.kv_memory * MEBIBYTE,
            kv_fraction=self.kv_fraction,
            block_size=self.block_size,
            enable_chunked_prefill=self.prefill_chunk_size > 0,
            prefill_chunk_size=self.prefill_chunk_size or DEFAULT_CHUNK,
            mixed_chunk_size=self.mixed_chunk_size,
            kv_swap_memory=self.kv_swap_memory * MEBIBYTE,
            enable_prefix_cache=not self.disable_prefix_cache,
            yarn_scaling_factor=self.yarn_scaling_factor,
        )


def _checked(value: T, check: Callable[[], object]) -> T:
    try:
        check()
    except CandleVllmError as error:
        raise ValueError(str(error)) from error
    return value


def flags() -> dict[str, Flag]:
    """Each field's flag, by the field's name."""
    return {
        name: mark for name, field in Settings.model_fields.items() for mark in field.metadata if isinstance(mark, Flag)
    }


def variable(name: str) -> str:
    """The environment variable that sets a field."""
    alias = Settings.model_fields[name].validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else PREFIX + name.upper()


def publish_token(settings: Settings) -> None:
    """Hand the hub's token to `huggingface_hub`, which reads it from the environment of the process."""
    if settings.hf_token is not None:
        os.environ["HF_TOKEN"] = settings.hf_token.get_secret_value()  # noqa: TID251
