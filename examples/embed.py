"""A model inside a program: open it, ask it, print the answer while it is written.

python examples/embed.py
python examples/embed.py --model Qwen/Qwen3-0.6B "Why is the sky blue?"
"""

import argparse
import asyncio

from candle_vllm import EngineConfig, InferenceEngine
from candle_vllm.openai import ChatCompletionRequest, Message, OpenAIAdapter


async def main() -> None:
    """Stream one answer."""
    parser = argparse.ArgumentParser(description="Ask a model inside this program.")
    parser.add_argument("question", nargs="?", default="What is candle-vllm?")
    parser.add_argument("--model", help="a directory or a Hugging Face id; without it, the embedded model")
    arguments = parser.parse_args()

    async with await InferenceEngine.new(EngineConfig(model_path=arguments.model)) as engine:
        adapter = OpenAIAdapter(engine)
        request = ChatCompletionRequest(messages=[Message.user(arguments.question)], temperature=0, max_tokens=256)
        async for chunk in adapter.chat_completion_stream(request):
            for choice in chunk.choices:
                print(choice.delta.content or "", end="", flush=True)
        print()


if __name__ == "__main__":
    asyncio.run(main())
