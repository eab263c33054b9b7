"""Which fields of each endpoint's requests are honoured, refused by name, or documented no-ops: one table.

`[]` in a path stands for every entry of a list; fields below a refused one or a no-op are not listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

Status = Literal["honoured", "refused", "no-op"]
Endpoint = Literal["chat/completions", "completions", "embeddings"]


@dataclass(frozen=True, slots=True)
class Field:
    """What becomes of one field of a request."""

    path: str
    status: Status
    note: str = ""
    """For a refused one why, and what else there is; for the others, what a user would not expect."""
    extension: bool = False
    """Whether it is not OpenAI's own but one of vLLM's."""


def _rows(status: Status, paths: str, note: str = "") -> list[Field]:
    return [Field(path, status, note) for path in paths.split()]


def _extensions(*rows: Field) -> list[Field]:
    return [replace(row, extension=True) for row in rows]


_CACHE = "the prefix cache works by itself; cache_salt keeps requests apart"
_TEXT_ONLY = "the model reads text only"
_STRUCTURED = "write it within structured_outputs, or as response_format"

_CLIENT = "what the official client writes back"
_TELL = "the schema is what is enforced; tell the model more in a message"

_SAMPLING = [
    *_rows("honoured", "model temperature top_p n stop seed stream max_tokens presence_penalty frequency_penalty"),
    *_rows("honoured", "logit_bias"),
    Field("stream_options", "honoured", "with stream only"),
    Field("stream_options.include_usage", "honoured"),
    Field("stream_options.include_obfuscation", "honoured", "false only: chunks are never padded"),
    Field("best_of", "honoured", "only if it equals n"),
    Field("user", "no-op"),
    *_extensions(
        *_rows("honoured", "top_k min_p repetition_penalty min_tokens ignore_eos stop_token_ids bad_words priority"),
        Field("cache_salt", "honoured", "the prefix cache is shared with requests of the same salt only"),
        Field("structured_outputs", "honoured", "exactly one of json, json_object, regex, choice and grammar"),
        *_rows("honoured", "structured_outputs.json structured_outputs.json_object"),
        Field("structured_outputs.regex", "honoured", "in the syntax of Rust's regex, without look-around"),
        Field("structured_outputs.choice", "honoured"),
        Field("structured_outputs.grammar", "honoured", "written like Lark's; it begins at the rule start"),
        Field("structured_outputs.disable_any_whitespace", "honoured", "with json and json_object"),
        Field("structured_outputs.disable_fallback", "refused", "there is one engine of grammars, and no fallback"),
        Field(
            "structured_outputs.disable_additional_properties", "refused", "write additionalProperties into the schema"
        ),
        Field("structured_outputs.whitespace_pattern", "refused", "see disable_any_whitespace"),
        Field("structured_outputs.structural_tag", "refused", "write a grammar"),
        *_rows("refused", "guided_json guided_regex guided_choice guided_grammar", _STRUCTURED),
        *_rows("refused", "guided_decoding_backend guided_whitespace_pattern", _STRUCTURED),
        *_rows("refused", "use_beam_search length_penalty", "answers are drawn, not searched for"),
        Field("allowed_token_ids", "refused", "use logit_bias, or structured_outputs"),
        Field("include_stop_str_in_output", "refused", "an answer never shows what ended it"),
        *_rows("refused", "skip_special_tokens spaces_between_special_tokens", "an answer never shows control tokens"),
        Field("truncate_prompt_tokens", "refused", "nothing is cut silently; send a shorter prompt"),
        *_rows("refused", "return_tokens_as_token_ids return_token_ids", "logprobs have the bytes of each token"),
        Field("request_id", "refused", "send it as the header X-Request-Id"),
        *_rows(
            "refused", "kv_transfer_params vllm_xargs logits_processors", "a request does not reach into the engine"
        ),
    ),
]

_CHAT = [
    Field("messages", "honoured"),
    *_SAMPLING,
    *_rows("honoured", "max_completion_tokens top_logprobs"),
    Field("logprobs", "honoured", "of the content's tokens; those of reasoning and of calls are left out"),
    Field("response_format", "honoured"),
    Field("response_format.type", "honoured"),
    Field("response_format.json_schema", "honoured"),
    *_rows("no-op", "response_format.json_schema.name response_format.json_schema.description", _TELL),
    Field("response_format.json_schema.schema", "honoured"),
    Field("response_format.json_schema.strict", "honoured", "true refuses what cannot be enforced of the schema"),
    Field("modalities", "honoured", '`["text"]` only'),
    Field("tools", "honoured", "described in the system message if the model's template has no place for them"),
    *_rows("honoured", "tools[].type tools[].function tools[].function.name tools[].function.description"),
    Field("tools[].function.parameters", "honoured", "a JSON schema whose references stay within it"),
    Field("tools[].function.strict", "honoured", "true holds calls to the schema; a forced call is held to it anyway"),
    Field("tools[].custom", "refused", "tools are functions; describe it as one with a single text argument"),
    Field("tool_choice", "honoured", "enforced: what was asked for cannot be left out"),
    *_rows("honoured", "tool_choice.type tool_choice.function tool_choice.function.name tool_choice.allowed_tools"),
    *_rows("honoured", "tool_choice.allowed_tools.mode tool_choice.allowed_tools.tools"),
    Field("tool_choice.custom", "refused", "tools are functions"),
    Field("parallel_tool_calls", "honoured"),
    Field(
        "reasoning_effort",
        "honoured",
        "if the model's template reads it or has a switch for thinking, which none turns off; else refused",
    ),
    Field("service_tier", "no-op", "auto and default only"),
    *_rows("no-op", "metadata store safety_identifier prompt_cache_key"),
    *_rows("refused", "functions function_call", "deprecated by OpenAI; use tools and tool_choice"),
    Field("verbosity", "refused", "ask for a short or a long answer in a message"),
    *_rows("refused", "prompt_cache_options prompt_cache_retention", _CACHE),
    Field("audio", "refused", "this server writes text only"),
    Field("prediction", "refused", "there is no predicted output"),
    Field("moderation", "refused", "there is no moderation"),
    Field("web_search_options", "refused", "there is no web search"),
    Field("suffix", "refused", "a chat answer has nothing after it"),
    *_extensions(
        Field("chat_template_kwargs", "honoured", "names that the template reads, enable_thinking always; no template"),
        Field("chat_template", "refused", "a request brings no template; the model's own is used"),
        *_rows("refused", "add_generation_prompt add_special_tokens", "the prompt is rendered for an answer"),
        Field("continue_final_message", "refused", "the answer is a message of its own"),
        Field("documents", "refused", "put them into a message"),
        *_rows("refused", "media_io_kwargs mm_processor_kwargs", _TEXT_ONLY),
        Field("echo", "refused", "the answer does not repeat the prompt"),
        Field("prompt_logprobs", "refused", "ask at /v1/completions, with echo and logprobs"),
        Field("include_reasoning", "refused", "reasoning comes in reasoning_content"),
    ),
    *_rows("honoured", "messages[].role messages[].content"),
    Field("messages[].name", "honoured", "the model sees it if its template shows names"),
    Field("messages[].tool_call_id", "honoured", "of a call in the message of calls before; each has one result"),
    Field("messages[].tool_calls", "honoured", "written as JSON if the model's template has no place for them"),
    *_rows("honoured", "messages[].tool_calls[].id messages[].tool_calls[].type messages[].tool_calls[].function"),
    *_rows("honoured", "messages[].tool_calls[].function.name messages[].tool_calls[].function.arguments"),
    Field("messages[].tool_calls[].custom", "refused", "calls of custom tools have no place in a model's template"),
    Field("messages[].refusal", "honoured", "is the text of an assistant message without content"),
    Field("messages[].annotations", "no-op", _CLIENT),
    Field("messages[].audio", "refused", "this server reads text only"),
    Field("messages[].function_call", "refused", "deprecated by OpenAI; write it as tool_calls"),
    *_extensions(
        Field(
            "messages[].reasoning_content", "honoured", "of the assistant; the model sees it if its template shows it"
        ),
        Field("messages[].reasoning", "honoured", "another name of reasoning_content"),
        Field("messages[].tool_calls[].index", "no-op", _CLIENT),
        Field("messages[].tool_calls[].function.parsed_arguments", "no-op", f"{_CLIENT}; arguments is what counts"),
        Field("messages[].parsed", "no-op", f"{_CLIENT}; content is what counts"),
        Field("messages[].provider_specific_fields", "no-op", "what litellm writes back of its own messages"),
    ),
    *_rows("honoured", "messages[].content[].type messages[].content[].text messages[].content[].refusal"),
    *_rows("refused", "messages[].content[].image_url messages[].content[].input_audio", _TEXT_ONLY),
    Field("messages[].content[].file", "refused", f"{_TEXT_ONLY}; put the file's text into the message"),
    Field("messages[].content[].prompt_cache_breakpoint", "refused", _CACHE),
    *_extensions(
        *_rows("refused", "messages[].content[].video_url messages[].content[].audio_url", _TEXT_ONLY),
        *_rows("refused", "messages[].content[].image_embeds messages[].content[].audio_embeds", _TEXT_ONLY),
    ),
]

_COMPLETIONS = [
    Field("prompt", "honoured", "a text, several, token ids, or several lists of them"),
    *_SAMPLING,
    Field("logprobs", "honoured", "how many of the likeliest tokens to give at each position, 0 to 5"),
    Field("echo", "honoured", "with logprobs those of the prompt too; max_tokens may be 0"),
    Field("suffix", "refused", "nothing can be written after the answer"),
    *_extensions(
        *_rows("refused", "prompt_embeds", "a prompt is text or token ids"),
        Field("response_format", "refused", "ask at /v1/chat/completions, or with structured_outputs"),
        Field("add_special_tokens", "refused", "send token ids to have no mark added"),
        Field("prompt_logprobs", "refused", "use echo with logprobs"),
    ),
]

_EMBEDDINGS = [
    Field("input", "honoured", "a text, several, token ids, or several lists of them"),
    *_rows("honoured", "model encoding_format"),
    Field("dimensions", "honoured", "at most the model's; the vector is cut and brought to length 1 again"),
    Field("user", "no-op"),
    *_extensions(
        Field("pooling", "honoured", "mean, last or cls; if left out, as the model's own files say, else mean"),
        Field("priority", "honoured"),
        Field("cache_salt", "honoured", "the prefix cache is shared with requests of the same salt only"),
        *_rows("refused", "truncate_prompt_tokens truncation_side", "nothing is cut silently; send a shorter input"),
        Field("add_special_tokens", "refused", "send token ids to have no mark added"),
        Field("messages", "refused", "an embedding is of a text; send it as input"),
        *_rows("refused", "normalize use_activation", "every embedding has length 1"),
        *_rows("refused", "embed_dtype endianness", "numbers are float32, the low byte first"),
    ),
]

FIELDS: dict[Endpoint, dict[str, Field]] = {
    "chat/completions": {row.path: row for row in _CHAT},
    "completions": {row.path: row for row in _COMPLETIONS},
    "embeddings": {row.path: row for row in _EMBEDDINGS},
}
"""Every field that OpenAI's requests have, and vLLM's extensions that are known here: by endpoint, then by path."""


def num_fields(endpoint: Endpoint, status: Status) -> int:
    """How many fields of an endpoint's requests have a status."""
    return sum(field.status == status for field in FIELDS[endpoint].values())


@cache
def refusals(endpoint: Endpoint, place: str) -> Mapping[str, str]:
    """The fields directly at a place that are refused, and why; a place is a path with a dot at its end, or nothing."""
    return {
        path.removeprefix(place): f"is not honoured: {field.note}"
        for path, field in FIELDS[endpoint].items()
        if path.startswith(place) and field.status == "refused"
    }
