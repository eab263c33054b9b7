"""Many prompts at once: by hand, one step after another, and with one call and a progress bar.

python examples/batch.py
"""

from collections.abc import Sequence

from candle_vllm import GenerationParams, InferenceEngine, InferenceRequest

QUESTIONS = [
    "What is candle-vllm?",
    "What is a KV cache?",
    "What is continuous batching?",
    "Which license does it have?",
]


def by_hand(engine: InferenceEngine, prompts: Sequence[Sequence[int]], params: GenerationParams) -> list[str]:
    """Drive the engine oneself: `step` advances every request by what one pass of the model gives."""
    handles = [engine.add_request(InferenceRequest(prompt=prompt, params=params)) for prompt in prompts]
    texts = {}
    while len(texts) < len(handles):
        for update in engine.step():
            if update.output is not None:
                texts[update.handle] = update.output.text
    return [texts[handle] for handle in handles]


def main() -> None:
    """Answer the same prompts in both ways."""
    params = GenerationParams(max_tokens=128, temperature=0)
    with InferenceEngine() as engine:
        # The embedded model was trained on conversations in ChatML; `OpenAIAdapter` does this for every model.
        turns = [f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n" for question in QUESTIONS]
        prompts = [engine.tokenize(turn) for turn in turns]
        for question, text in zip(QUESTIONS, by_hand(engine, prompts, params), strict=True):
            print(f"Q: {question}\nA: {text}\n")

        outputs = engine.generate_batch(prompts, params, progress=True)
        generated = sum(output.stats.generated_tokens for output in outputs)
        print(f"{len(outputs)} answers again, {generated} tokens")


if __name__ == "__main__":
    main()
