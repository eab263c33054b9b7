"""One use of every field in the table: a request that gives it, and one to compare with."""

from dataclasses import dataclass
from dataclasses import field as of
from typing import Any

Body = dict[str, Any]

CHAT: Body = {"messages": [{"role": "user", "content": "Hello"}]}
PROMPT: Body = {"prompt": "Hello"}
INPUT: Body = {"input": "Hello"}
BASES: dict[str, Body] = {"chat/completions": CHAT, "completions": PROMPT, "embeddings": INPUT}

SCHEMA: Body = {"type": "object", "properties": {"x": {"type": "integer"}}}
PART: Body = {"type": "text", "text": "x"}
CALL: Body = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@dataclass(frozen=True)
class Use:
    """Fields beside a base: what gives the field, what is the same without it, and what is refused at its place."""

    given: Body
    without: Body = of(default_factory=dict)
    refused: Body | None = None
    """For a field that takes one value only: a request with another value."""


def message(**fields: Any) -> Body:
    return {"messages": [{"role": "assistant", "content": "x"} | fields]}


def part(**fields: Any) -> Body:
    return {"messages": [{"role": "user", "content": [PART | fields]}]}


def call(id: str = "a", answered: str = "a", **fields: Any) -> Body:
    called = {"role": "assistant", "tool_calls": [CALL | {"id": id} | fields]}
    return {"messages": [called, {"role": "tool", "tool_call_id": answered, "content": "r"}]}


def called(**function: Any) -> Body:
    return call(function={"name": "f", "arguments": "{}"} | function)


def tool(name: str = "f", **function: Any) -> Body:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA} | function}


def tools(*names: str, **fields: Any) -> Body:
    return {"tools": [tool(name) for name in names or ("f",)]} | fields


def some(mode: str, *names: str) -> Body:
    return {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [named(name) for name in names]}}


def named(name: str) -> Body:
    return {"type": "function", "function": {"name": name}}


def form(**fields: Any) -> Body:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "p", "schema": SCHEMA} | fields}}


def outputs(**fields: Any) -> Body:
    return {"structured_outputs": fields}


SAMPLING: dict[str, Use] = {
    "temperature": Use({"temperature": 0.5}),
    "top_p": Use({"top_p": 0.5}),
    "n": Use({"n": 2}),
    "best_of": Use({"best_of": 1}, refused={"best_of": 2}),
    "stop": Use({"stop": "x"}),
    "max_tokens": Use({"max_tokens": 5}),
    "seed": Use({"seed": 1}),
    "stream": Use({"stream": True}),
    "stream_options": Use(
        {"stream": True, "stream_options": {}}, {"stream": True}, refused={"stream_options": {"include_usage": True}}
    ),
    "stream_options.include_usage": Use({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
    "stream_options.include_obfuscation": Use(
        {"stream": True, "stream_options": {"include_obfuscation": False}},
        {"stream": True},
        refused={"stream": True, "stream_options": {"include_obfuscation": True}},
    ),
    "presence_penalty": Use({"presence_penalty": 1}),
    "frequency_penalty": Use({"frequency_penalty": 1}),
    "logit_bias": Use({"logit_bias": {"1": 5}}),
    "top_k": Use({"top_k": 5}),
    "min_p": Use({"min_p": 0.1}),
    "repetition_penalty": Use({"repetition_penalty": 1.1}),
    "min_tokens": Use({"min_tokens": 1}),
    "ignore_eos": Use({"ignore_eos": True}),
    "stop_token_ids": Use({"stop_token_ids": [1]}),
    "bad_words": Use({"bad_words": ["x"]}),
    "priority": Use({"priority": 1}),
    "cache_salt": Use({"cache_salt": "x"}),
    "user": Use({"user": "u"}),
    "structured_outputs": Use(outputs(regex="a")),
    "structured_outputs.json": Use(outputs(json=SCHEMA)),
    "structured_outputs.json_object": Use(outputs(json_object=True)),
    "structured_outputs.regex": Use(outputs(regex="a"), outputs(regex="b")),
    "structured_outputs.choice": Use(outputs(choice=["a"]), outputs(choice=["b"])),
    "structured_outputs.grammar": Use(outputs(grammar='start: "a"'), outputs(grammar='start: "b"')),
    "structured_outputs.disable_any_whitespace": Use(
        outputs(json=SCHEMA, disable_any_whitespace=True), outputs(json=SCHEMA)
    ),
    "structured_outputs.disable_fallback": Use(outputs(regex="a", disable_fallback=True)),
    "structured_outputs.disable_additional_properties": Use(outputs(json={}, disable_additional_properties=True)),
    "structured_outputs.whitespace_pattern": Use(outputs(json={}, whitespace_pattern=" ?")),
    "structured_outputs.structural_tag": Use(outputs(structural_tag="{}")),
    "guided_json": Use({"guided_json": {}}),
    "guided_regex": Use({"guided_regex": "a"}),
    "guided_choice": Use({"guided_choice": ["a"]}),
    "guided_grammar": Use({"guided_grammar": "a"}),
    "guided_decoding_backend": Use({"guided_decoding_backend": "xgrammar"}),
    "guided_whitespace_pattern": Use({"guided_whitespace_pattern": " "}),
    "use_beam_search": Use({"use_beam_search": True}),
    "length_penalty": Use({"length_penalty": 1.5}),
    "allowed_token_ids": Use({"allowed_token_ids": [1]}),
    "include_stop_str_in_output": Use({"include_stop_str_in_output": True}),
    "skip_special_tokens": Use({"skip_special_tokens": False}),
    "spaces_between_special_tokens": Use({"spaces_between_special_tokens": False}),
    "truncate_prompt_tokens": Use({"truncate_prompt_tokens": 5}),
    "return_tokens_as_token_ids": Use({"return_tokens_as_token_ids": True}),
    "return_token_ids": Use({"return_token_ids": True}),
    "request_id": Use({"request_id": "r"}),
    "kv_transfer_params": Use({"kv_transfer_params": {}}),
    "vllm_xargs": Use({"vllm_xargs": {}}),
    "logits_processors": Use({"logits_processors": ["os.system"]}),
}

MESSAGES: dict[str, Use] = {
    "messages": Use(message(content="x")),
    "messages[].role": Use(message(role="user"), message(role="system")),
    "messages[].content": Use(message(content="x"), message(content="y")),
    "messages[].name": Use(message(name="Ann"), message()),
    "messages[].tool_call_id": Use(call(), refused=call(answered="b")),
    "messages[].tool_calls": Use(call(), message()),
    "messages[].tool_calls[].id": Use(call(), call("b", "b")),
    "messages[].tool_calls[].type": Use(call(), refused=call(type="banana")),
    "messages[].tool_calls[].index": Use(call(index=0), call()),
    "messages[].tool_calls[].function": Use(call(), called(name="g")),
    "messages[].tool_calls[].function.name": Use(called(name="f"), called(name="g")),
    "messages[].tool_calls[].function.arguments": Use(called(arguments='{"x":1}'), called()),
    "messages[].tool_calls[].function.parsed_arguments": Use(called(parsed_arguments={"x": 1}), called()),
    "messages[].parsed": Use(message(parsed={"x": 1}), message()),
    "messages[].provider_specific_fields": Use(message(provider_specific_fields={"refusal": None}), message()),
    "messages[].tool_calls[].custom": Use(call(custom={"name": "x", "input": "y"})),
    "messages[].refusal": Use({"messages": [{"role": "assistant", "refusal": "No."}]}),
    "messages[].annotations": Use(message(annotations=[{"type": "url_citation"}]), message()),
    "messages[].audio": Use(message(audio={"id": "x"})),
    "messages[].function_call": Use(message(function_call={"name": "f", "arguments": "{}"})),
    "messages[].reasoning_content": Use(message(reasoning_content="hm"), message()),
    "messages[].reasoning": Use(message(reasoning="hm"), message()),
    "messages[].content[].type": Use(part(), refused=part(type="banana")),
    "messages[].content[].text": Use(part(text="x"), part(text="y")),
    "messages[].content[].refusal": Use(message(content=[{"type": "refusal", "refusal": "No."}]), message()),
    "messages[].content[].image_url": Use(part(type="image_url", image_url={"url": "http://169.254.169.254/"})),
    "messages[].content[].input_audio": Use(part(type="input_audio", input_audio={"data": "", "format": "wav"})),
    "messages[].content[].file": Use(part(type="file", file={"file_id": "x"})),
    "messages[].content[].prompt_cache_breakpoint": Use(part(prompt_cache_breakpoint={"mode": "explicit"})),
    "messages[].content[].video_url": Use(part(type="video_url", video_url={"url": "file:///etc/passwd"})),
    "messages[].content[].audio_url": Use(part(type="audio_url", audio_url={"url": "http://x/y.wav"})),
    "messages[].content[].image_embeds": Use(part(type="image_embeds", image_embeds="gASVAAAA")),
    "messages[].content[].audio_embeds": Use(part(type="audio_embeds", audio_embeds="gASVAAAA")),
}

TOOLS: dict[str, Use] = {
    "tools": Use(tools("f"), tools("g")),
    "tools[].type": Use(tools(), refused={"tools": [tool() | {"type": "banana"}]}),
    "tools[].function": Use(tools("f"), tools("g")),
    "tools[].function.name": Use(tools("f"), tools("g")),
    "tools[].function.description": Use({"tools": [tool(description="d")]}, tools()),
    "tools[].function.parameters": Use({"tools": [tool(parameters={"type": "object"})]}, tools()),
    "tools[].function.strict": Use({"tools": [tool(strict=True)]}, tools()),
    "tools[].custom": Use({"tools": [{"type": "custom", "custom": {"name": "f"}}]}),
    "tool_choice": Use(tools(tool_choice="required"), tools()),
    "tool_choice.type": Use(tools(tool_choice=named("f")), refused=tools(tool_choice={"type": "banana"})),
    "tool_choice.function": Use(tools("f", "g", tool_choice=named("f")), tools("f", "g", tool_choice=named("g"))),
    "tool_choice.function.name": Use(tools("f", "g", tool_choice=named("f")), tools("f", "g", tool_choice=named("g"))),
    "tool_choice.allowed_tools": Use(tools(tool_choice=some("required", "f")), tools()),
    "tool_choice.allowed_tools.mode": Use(
        tools(tool_choice=some("required", "f")), tools(tool_choice=some("auto", "f"))
    ),
    "tool_choice.allowed_tools.tools": Use(
        tools("f", "g", tool_choice=some("required", "f")), tools("f", "g", tool_choice=some("required", "f", "g"))
    ),
    "tool_choice.custom": Use(tools(tool_choice={"type": "custom", "custom": {"name": "f"}})),
    "parallel_tool_calls": Use(
        tools(tool_choice="required", parallel_tool_calls=False),
        tools(tool_choice="required", parallel_tool_calls=True),
    ),
    "functions": Use({"functions": [{"name": "f"}]}),
    "function_call": Use({"function_call": "none"}),
}

CHAT_ALONE: dict[str, Use] = {
    "model": Use({"model": "m"}),
    "max_completion_tokens": Use({"max_completion_tokens": 5}),
    "logprobs": Use({"logprobs": True}),
    "top_logprobs": Use({"logprobs": True, "top_logprobs": 2}, {"logprobs": True}),
    "chat_template_kwargs": Use({"chat_template_kwargs": {"enable_thinking": True}}),
    "reasoning_effort": Use({"reasoning_effort": "low"}, {"reasoning_effort": "high"}),
    "response_format": Use({"response_format": {"type": "json_object"}}),
    "response_format.type": Use({"response_format": {"type": "json_object"}}, {"response_format": {"type": "text"}}),
    "response_format.json_schema": Use(form(), {"response_format": {"type": "json_object"}}),
    "response_format.json_schema.name": Use(form(name="p"), form(name="q")),
    "response_format.json_schema.description": Use(form(description="d"), form()),
    "response_format.json_schema.schema": Use(form(schema={"type": "null"}), form()),
    "response_format.json_schema.strict": Use(form(strict=True), form(strict=False)),
    "modalities": Use({"modalities": ["text"]}, refused={"modalities": ["text", "audio"]}),
    "service_tier": Use({"service_tier": "default"}),
    "metadata": Use({"metadata": {"a": "b"}}),
    "store": Use({"store": True}),
    "safety_identifier": Use({"safety_identifier": "s"}),
    "prompt_cache_key": Use({"prompt_cache_key": "k"}),
    "verbosity": Use({"verbosity": "low"}),
    "prompt_cache_options": Use({"prompt_cache_options": {"mode": "implicit"}}),
    "prompt_cache_retention": Use({"prompt_cache_retention": "24h"}),
    "audio": Use({"audio": {"format": "wav", "voice": "x"}}),
    "prediction": Use({"prediction": {"type": "content", "content": "x"}}),
    "moderation": Use({"moderation": {"model": "x"}}),
    "web_search_options": Use({"web_search_options": {}}),
    "suffix": Use({"suffix": "x"}),
    "chat_template": Use({"chat_template": "{{ 1 }}"}),
    "add_generation_prompt": Use({"add_generation_prompt": False}),
    "add_special_tokens": Use({"add_special_tokens": True}),
    "continue_final_message": Use({"continue_final_message": True}),
    "documents": Use({"documents": [{"title": "t"}]}),
    "media_io_kwargs": Use({"media_io_kwargs": {}}),
    "mm_processor_kwargs": Use({"mm_processor_kwargs": {}}),
    "echo": Use({"echo": True}),
    "prompt_logprobs": Use({"prompt_logprobs": 1}),
    "include_reasoning": Use({"include_reasoning": False}),
}

COMPLETIONS_ALONE: dict[str, Use] = {
    "prompt": Use({"prompt": [[1, 2], [3]]}),
    "model": Use({"model": "m"}),
    "logprobs": Use({"logprobs": 2}),
    "echo": Use({"echo": True}),
    "suffix": Use({"suffix": "x"}),
    "prompt_embeds": Use({"prompt_embeds": "gASVAAAA"}),
    "response_format": Use({"response_format": {"type": "json_object"}}),
    "add_special_tokens": Use({"add_special_tokens": False}),
    "prompt_logprobs": Use({"prompt_logprobs": 1}),
}

EMBEDDINGS: dict[str, Use] = {
    "input": Use({"input": ["Hello", "you"]}),
    "model": Use({"model": "m"}),
    "encoding_format": Use({"encoding_format": "base64"}),
    "dimensions": Use({"dimensions": 4}),
    "pooling": Use({"pooling": "last"}),
    "priority": Use({"priority": 1}),
    "cache_salt": Use({"cache_salt": "x"}),
    "user": Use({"user": "u"}),
    "truncate_prompt_tokens": Use({"truncate_prompt_tokens": 5}),
    "truncation_side": Use({"truncation_side": "left"}),
    "add_special_tokens": Use({"add_special_tokens": False}),
    "messages": Use(CHAT),
    "normalize": Use({"normalize": False}),
    "use_activation": Use({"use_activation": False}),
    "embed_dtype": Use({"embed_dtype": "float16"}),
    "endianness": Use({"endianness": "big"}),
}

USES: dict[str, dict[str, Use]] = {
    "chat/completions": MESSAGES | SAMPLING | TOOLS | CHAT_ALONE,
    "completions": SAMPLING | COMPLETIONS_ALONE,
    "embeddings": EMBEDDINGS,
}
