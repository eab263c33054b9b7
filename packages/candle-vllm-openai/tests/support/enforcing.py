"""Requests whose answers are enforced, a model that would write noise, and what came of them."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import torch
from random_schemas import random_schema
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from candle_vllm_core import Constraint
from candle_vllm_core.constraints.compiler import Compiler
from candle_vllm_core.tokenizer import Tokenizer
from candle_vllm_openai import ChatCompletionRequest
from candle_vllm_openai.enforce import writer_with
from candle_vllm_openai.formats import FORMATS, Format
from candle_vllm_openai.formats.enforced import Calls, MarkWriter, Rules
from candle_vllm_openai.output import answer_grammar, offered, parsed
from candle_vllm_openai.reasoning import ReasoningStyle
from candle_vllm_openai.scanner import Parser

EOS, EOS_ID = "<|im_end|>", 1
NAMES = ("get", "get_weather", "a.b-c_d", "search2")
NO_JSON = frozenset({"deepseek", "minimax_m2", "glm4", "qwen_coder", "gemma", "pythonic"})
"""Formats that write arguments one by one, whose names cannot be any text."""
KINDS = ("required", "named", "strict")
ENFORCED = [name for name, format in FORMATS.items() if format.enforced or format.framed]


def tokenizer_backend(marks: Sequence[str]) -> Backend:
    """A small byte-level BPE vocabulary in which the marks are special tokens."""
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300 + len(marks),
        special_tokens=["<|im_start|>", EOS, *marks],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(["the engine answers what the prompt asks"] * 3, trainer)
    return backend


def save_noise(path: Path, marks: Sequence[str], template: str) -> Path:
    """Write a two-layer Llama of random weights with that vocabulary."""
    path.mkdir(parents=True, exist_ok=True)
    backend = tokenizer_backend(marks)
    backend.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"eos_token": EOS, "chat_template": template}))
    config = LlamaConfig(
        vocab_size=backend.get_vocab_size(),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=8192,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=None,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(path)
    return path


def tools_of(format: Format, seed: int, *, strict: bool) -> list[dict[str, Any]]:
    """One to three tools with schemas of their own."""
    draw = Random(seed)
    schemas = [random_schema(seed * 4 + place) for place in range(1 + seed % 3)]
    return [
        {
            "type": "function",
            "function": {
                "name": f"{draw.choice(NAMES)}{place}",
                "strict": strict,
                "parameters": _writable(schema) if format.name in NO_JSON else schema,
            },
        }
        for place, schema in enumerate(schemas)
    ]


def _writable(schema: dict[str, Any]) -> dict[str, Any]:
    names = {name: re.sub(r"\W", "_", name) for name in schema["properties"]}
    properties = {names[name]: each for name, each in schema["properties"].items()}
    return {**schema, "properties": properties, "required": [names[name] for name in schema["required"]]}


def request_of(format: Format, kind: str, seed: int) -> ChatCompletionRequest:
    """A request that requires a call, names one, or offers strict tools."""
    tools = tools_of(format, seed, strict=kind == "strict")
    chosen = {"type": "function", "function": {"name": tools[-1]["function"]["name"]}}
    choice = {"required": "required", "named": chosen, "strict": "auto"}[kind]
    body = {"messages": [{"role": "user", "content": "x"}], "tools": tools, "tool_choice": choice}
    return ChatCompletionRequest.model_validate(body)


def beginning(format: Format, template: str = "") -> str:
    """Text in which a call begins, as far as the format's first mark."""
    if format.enforced is None:
        return "<|channel|>commentary to=functions."
    opening = next(each for each in format.enforced(Calls((), True, Rules(writer_with({})), template)) if each.mark)
    return opening.mark if opening.first else f"Let me see. {opening.mark}"


@dataclass(frozen=True, slots=True)
class Noise:
    """Draws each token from all that a constraint allows, as a model that has learnt nothing does."""

    tokenizer: Tokenizer
    compiler: Compiler

    @classmethod
    def of(cls, marks: Sequence[str]) -> Noise:
        """With a vocabulary in which the marks are special tokens."""
        from candle_vllm_core.tokenizer_files import TokenizerFiles

        backend = tokenizer_backend(marks)
        tokenizer = Tokenizer(TokenizerFiles(backend=backend, eos_token=EOS, chat_template="{}"))
        return cls(tokenizer, Compiler(tokenizer, tokenizer.vocab_size))

    @property
    def marks(self) -> MarkWriter:
        """Writes marks as the vocabulary has them."""
        return writer_with({token: self.tokenizer.encode(token)[0] for token in self.tokenizer.special_tokens})

    def answer(self, constraint: Constraint, seed: int, *, start: str = "", max_tokens: int = 2000) -> str | None:
        """The text of an answer that goes on from `start`; None if it does not end in time."""
        matcher = self.compiler.compile(constraint).result().matcher(forces=False)
        draw, eos = Random(seed), self.tokenizer.encode(EOS)[0]
        tokens = self.tokenizer.encode(start)
        for token in tokens:
            matcher.accept(token)
        while not matcher.done:
            if len(tokens) >= max_tokens:
                return None
            mask = int.from_bytes(matcher.automaton.compute_bitmask(), "little")
            allowed = [token for token in range(self.tokenizer.vocab_size) if mask >> token & 1]
            ends = eos in allowed and draw.random() < 0.3
            tokens.append(eos if ends else draw.choice(allowed))
            matcher.accept(tokens[-1])
        return self.tokenizer.decode([token for token in tokens if token != eos], skip_special_tokens=False)

    def close(self) -> None:
        """End what compiles."""
        self.compiler.close()


def verdict(
    request: ChatCompletionRequest,
    format: Format,
    text: str | None,
    style: ReasoningStyle | None = None,
    *,
    started: bool = False,
) -> str:
    """What came of a request: `valid` if there are calls and each is what its tool's schema says."""
    if text is None:
        return "cut"
    styles = () if style is None else (style,)
    parser = Parser(answer_grammar(format, offered(request.callable_tools), styles, style if started else None))
    found = parsed([*parser.feed(text), *parser.finish()])
    if not found.tool_calls:
        return "no call"
    if request.must_call and found.content:
        return "text beside the calls"
    schemas: Mapping[str, Any] = {tool.function.name: tool.function.parameters for tool in request.callable_tools}
    for call in found.tool_calls:
        try:
            jsonschema.Draft202012Validator(schemas[call.function.name]).validate(json.loads(call.function.arguments))
        except (ValueError, jsonschema.ValidationError):
            return "invalid"
    return "valid"


def tally(verdicts: Sequence[str]) -> str:
    """How many there are of each."""
    return ", ".join(f"{count} {name}" for name, count in Counter(verdicts).most_common())
