"""What released chat templates write for calls of tools."""

from __future__ import annotations

import json
from dataclasses import dataclass

import answers
import chat_templates
from answers import SCHEMAS, Call

from candle_vllm_openai import ChatTemplate
from candle_vllm_openai.detect import choose_format, choose_reasoning

TOOLS = [
    {"type": "function", "function": {"name": name, "description": f"To {name}.", "parameters": {"type": "object"}}}
    for name in SCHEMAS
]
CHATML = ("<|im_start|>assistant", "<|im_end|>")


@dataclass(frozen=True)
class Written:
    """What stands around an answer in a prompt, and what a template can write."""

    header: str
    end: str
    num_calls: int = 3
    plain_keys: bool = False


TEMPLATES = {
    "qwen2.5": Written(*CHATML),
    "qwen3": Written(*CHATML),
    "qwen3-2507": Written(*CHATML),
    "qwq": Written(*CHATML),
    "hermes-3": Written(*CHATML),
    "qwen3-coder": Written(*CHATML),
    "qwen3.5": Written(*CHATML),
    "granite-4.0": Written("<|start_of_role|>assistant<|end_of_role|>", "<|end_of_text|>"),
    "mistral-v3": Written("[/INST]", "</s>"),
    "mistral-nemo": Written("[/INST]", "</s>"),
    "mistral-small-3.2": Written("[/INST]", "</s>"),
    "ministral-3-reasoning": Written("[/INST]", "</s>"),
    "llama-3.1": Written("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>", num_calls=1),
    "llama-3.2": Written("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>", num_calls=1),
    "functionary-3.1": Written("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eom_id|>"),
    "deepseek-v3": Written("<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
    "deepseek-v3.1": Written("<｜Assistant｜><think></think>", "<｜end▁of▁sentence｜>"),
    "deepseek-v3.2": Written("<｜Assistant｜></think>", "<｜end▁of▁sentence｜>"),
    "glm-4-moe": Written("<|assistant|>", "<|observation|>"),
    "glm-4.6": Written("<|assistant|>", "<|observation|>"),
    "gemma-4": Written("<|turn>model\n", "<|tool_response>", plain_keys=True),
    "gpt-oss": Written("<|start|>assistant", "<|start|>functions", num_calls=1),
    "minimax-m2": Written("]~b]ai\n", "[e~["),
    "command-r7b": Written("<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
    "nemotron-nano-2": Written("<SPECIAL_11>Assistant\n", "<SPECIAL_12>"),
}


def written_answer(template: ChatTemplate, written: Written, calls: list[Call]) -> str:
    """What the template writes for a message of calls."""
    made = [
        chat_templates.call(f"abcdefgh{place}", name, json.dumps(arguments, ensure_ascii=False))
        for place, (name, arguments) in enumerate(calls)
    ]
    results = [chat_templates.result(each["id"], "42") for each in made]
    messages = [
        {"role": "user", "content": "Qq?"},
        {"role": "assistant", "content": None, "tool_calls": made},
        *results,
    ]
    prompt = chat_templates.rendered(template, messages, tools=TOOLS)
    return prompt.rpartition("Qq?")[2].partition(written.header)[2].partition(written.end)[0]


def read_back(template: ChatTemplate, text: str) -> tuple[list[Call], str]:
    """The calls in a text that the template wrote, as its own format reads it, and the content beside them."""
    format, style = choose_format("auto", template.source), choose_reasoning("auto", template.source)
    events = answers.read(lambda: answers.parser(format.name, style.name if style else "think"), [text])
    calls = [(name, json.loads(arguments)) for name, arguments in answers.written_calls(events)]
    return calls, answers.content_of(events)
