"""An HTTP API of one's own, with its own request format, over the adapter.

python examples/gateway.py
curl -s http://127.0.0.1:3000/generate -H 'Content-Type: application/json' -d '{"prompt": "What is candle-vllm?"}'
"""

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from candle_vllm import InferenceEngine
from candle_vllm.openai import ApiError, ChatCompletionRequest, Message, OpenAIAdapter


class Options(BaseModel):
    """How this gateway's clients steer an answer."""

    temperature: float = Field(default=0.0, ge=0, le=2)
    max_length: int = Field(default=256, ge=1, le=4096)


class Prompt(BaseModel):
    """What this gateway's clients send."""

    prompt: str
    options: Options = Options()


class Answer(BaseModel):
    """What they get."""

    text: str
    tokens_used: int


def create_app(adapter: OpenAIAdapter) -> FastAPI:
    """The gateway over an adapter. Requests that come at once are batched by the engine; no lock is needed."""
    app = FastAPI()

    @app.post("/generate")
    async def generate(prompt: Prompt) -> Answer:
        """Convert to OpenAI's form, ask, convert back."""
        request = ChatCompletionRequest(
            messages=[Message.user(prompt.prompt)],
            temperature=prompt.options.temperature,
            max_tokens=prompt.options.max_length,
        )
        response = await adapter.chat_completion(request)
        return Answer(text=response.choices[0].message.content or "", tokens_used=response.usage.total_tokens)

    @app.exception_handler(ApiError)
    async def refuse(request: Request, error: ApiError) -> JSONResponse:
        """The message says what was asked, what was found and what to do."""
        return JSONResponse({"error": str(error)}, status_code=error.status)

    return app


def main() -> None:
    """Serve the embedded model on port 3000."""
    with InferenceEngine() as engine:
        uvicorn.run(create_app(OpenAIAdapter(engine)), port=3000)


if __name__ == "__main__":
    main()
