"""Which fields of a chat completion request are honoured, refused by name, or documented no-ops: one table.

`[]` in a path stands for every entry of a list; fields below a refused one or a no-op are not listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["honoured", "refused", "no-op"]


@dataclass(frozen=True, slots=True)
class Field:
    """What becomes of one field of a request."""

    path: str
    status: Status
    note: str = ""
    """For a refused one why, and what else there is; for the others, what a user would not expect."""


def _rows(status: Status, paths: str, note: str = "") -> list[Field]:
    return [Field(path, status, note) for path in paths.split()]


_TOOLS_LATER = "this version does not call tools"
_CACHE = "the prefix cache works by itself and has no settings in a request"

_ROWS = [
    *_rows("honoured", "messages model temperature top_p n stop max_tokens max_completion_tokens seed stream"),
    *_rows("honoured", "presence_penalty frequency_penalty logit_bias logprobs top_logprobs"),
    *_rows("honoured", "top_k min_p repetition_penalty min_tokens ignore_eos stop_token_ids priority"),
    Field(
        "chat_template_kwargs", "honoured", "names that the model's template reads; enable_thinking and thinking always"
    ),
    Field("stream_options", "honoured", "with stream only"),
    Field("stream_options.include_usage", "honoured"),
    Field("stream_options.include_obfuscation", "honoured", "false only: chunks are never padded"),
    Field("response_format", "honoured", "of type text only"),
    Field("response_format.type", "honoured", "text only; this version does not constrain answers"),
    Field("response_format.json_schema", "refused", "this version does not constrain answers; ask in the prompt"),
    Field("modalities", "honoured", '["text"] only'),
    Field("best_of", "honoured", "only if it equals n"),
    Field("tools", "honoured", f"an empty list only; {_TOOLS_LATER}"),
    Field("tool_choice", "honoured", f"none and auto only; {_TOOLS_LATER}"),
    Field("service_tier", "no-op", "auto and default only"),
    *_rows("no-op", "user metadata store safety_identifier prompt_cache_key"),
    Field("parallel_tool_calls", "refused", _TOOLS_LATER),
    *_rows("refused", "functions function_call", f"deprecated by OpenAI; {_TOOLS_LATER}"),
    Field("reasoning_effort", "refused", "this version does not steer reasoning; see chat_template_kwargs"),
    *_rows(
        "refused",
        "structured_outputs guided_json guided_regex guided_choice guided_grammar",
        "answers are not constrained",
    ),
    Field("verbosity", "refused", "ask for a short or a long answer in the prompt"),
    *_rows("refused", "prompt_cache_options prompt_cache_retention cache_salt", _CACHE),
    Field("audio", "refused", "this server writes text only"),
    Field("prediction", "refused", "there is no predicted output"),
    Field("moderation", "refused", "there is no moderation"),
    Field("web_search_options", "refused", "there is no web search"),
    Field("suffix", "refused", "a chat answer has nothing after it"),
    *_rows("honoured", "messages[].role messages[].content messages[].name messages[].tool_call_id"),
    Field("messages[].tool_calls", "honoured", "if the model's template has a place for them"),
    *_rows("honoured", "messages[].tool_calls[].id messages[].tool_calls[].type messages[].tool_calls[].function"),
    *_rows("honoured", "messages[].tool_calls[].function.name messages[].tool_calls[].function.arguments"),
    Field("messages[].tool_calls[].custom", "refused", "calls of custom tools have no place in a model's template"),
    Field("messages[].refusal", "honoured", "is the text of an assistant message without content"),
    Field("messages[].annotations", "no-op", "what the official client writes back"),
    Field("messages[].audio", "refused", "this server reads text only"),
    Field("messages[].function_call", "refused", "deprecated by OpenAI; write it as tool_calls"),
    *_rows("honoured", "messages[].content[].type messages[].content[].text messages[].content[].refusal"),
    *_rows("refused", "messages[].content[].image_url messages[].content[].input_audio", "the model reads text only"),
    Field("messages[].content[].file", "refused", "the model reads text only; put the file's text into the message"),
    Field("messages[].content[].prompt_cache_breakpoint", "refused", _CACHE),
]

FIELDS: dict[str, Field] = {field.path: field for field in _ROWS}
"""Every field that OpenAI's chat completion request has, and vLLM's extensions that are known here, by path."""


def refusal(path: str) -> str | None:
    """Why the field at `path` is refused, or None if it is not."""
    field = FIELDS.get(path)
    return f"is not honoured: {field.note}" if field is not None and field.status == "refused" else None
