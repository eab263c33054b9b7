"""What else this version has."""

from .topic import Topic

TOPICS = (
    Topic(
        name="tools",
        group="features",
        answer="Tool calls work as in OpenAI's API: give `tools` in the request, and the calls come back as "
        "tool_calls for your program to run. Take a larger model for it, by --m.",
        things="(tool calls|tool calling|function calling|tools|function calls|tool use|tool_choice|the tools field); tool call parsers; agents; parallel tool calls",
        actions="(call|use) (tools|functions|a tool|a function); (give|pass|offer) (tools|functions) to the model; (build|write|make) an agent; use (tool calling|function calling)",
        ask="""(tool calls|tools|function calling|tool calling|tool use|agents|functions); (does|can|do) (@|it|you|the server|the engine|the api) (support|do|have|call|use) (tools|tool calls|function calling|tool calling|functions|function calls|tool use|agents)
        (are|is) (tools|tool calls|function calling|tool calling|agents) (supported|possible|available|there|implemented|working); can the model call (my|a|python) (functions|function|tool|tools)
        I want the model to call my functions; when will tool calling come; do tools work already
        will the server accept tools; tell me about function calling""",
    ),
    Topic(
        name="structured",
        group="features",
        answer="response_format binds the answer to JSON or to a JSON schema. In the library, GenerationParams "
        "takes a constraint: a schema, a choice, a regex or a grammar.",
        things="(structured output|structured outputs|json mode|JSON mode|response_format|json schema|guided decoding|constrained decoding|grammars|json output); a JSON schema; a regex for the answer; json_schema",
        actions="(get|force|have|produce|make it answer in|generate) (json|valid json|JSON|structured output|json answers); (use|set|give) (a |)(json schema|response_format|grammar|json mode); constrain (the output|the answer|decoding); make it answer in json",
        ask="""(structured output|json mode|response_format|json schema|json|guided decoding|grammar|JSON); (does|can) (@|it|the server|the engine|the api) (support|do|have|return|give|guarantee) (json|json mode|structured output|json schemas|response_format|guided decoding|grammars|constrained decoding)
        (is|are) (structured output|json mode|response_format|json schemas|guided decoding|grammars) (supported|possible|available|there|implemented)
        I need answers that follow a schema; when will structured output come; does json mode work already
        must the answer be valid JSON; tell me about response_format""",
    ),
    Topic(
        name="quantization",
        group="features",
        answer='quantization="int8", or --isq int8, computes with 8-bit matrices on a CPU. GPTQ, AWQ and 4 bits are '
        "planned, but not in this version.",
        things="(quantization|quantisation|quantized models|quantized weights|gptq|awq|int4|int8|fp8|isq|4-bit|8-bit|q4k|GPTQ|AWQ); in-situ quantization; 4 bit weights; 8 bit weights; --isq; the quantization setting",
        actions="(quantize|quantise|compress) (a model|the model|weights|the weights|it); (load|use|run) (a |)(quantized|quantised|gptq|awq|4-bit|8-bit|int8|int4|fp8) (model|weights|models)",
        ask="""(quantization|quantize|gptq|awq|int8|int4|fp8|isq|--isq|4-bit|4 bit|q4k|quantized model); (does|can) (@|it|the engine) (support|do|load|run|use|have) (quantization|quantized models|gptq|awq|int8|int4|fp8|4-bit models|4 bit weights|isq|q4k)
        (is|are) (quantization|gptq|awq|quantized models|int8|int4|fp8) (supported|possible|available|there|implemented)
        I want the weights in four bits; when will quantization come; do quantized checkpoints work already
        can weights be made smaller; tell me about GPTQ and AWQ support""",
    ),
    Topic(
        name="gpu",
        group="features",
        answer="Triton kernels for GPUs are in this version, but young: it is tuned for CPUs.",
        things="(gpu|GPU|gpus|cuda|CUDA|gpu support|cuda support|nvidia gpus|metal|mps|rocm|amd gpus|tpu|apple silicon); graphics cards; cuda graphs; flash attention; triton kernels; my gpu; multi-gpu; several gpus; tensor parallelism",
        actions="(use|run on|run it on|run @ on|run the model on) (a|the|my|an nvidia|several) (gpu|gpus|graphics card|nvidia card|cuda device); use (cuda|metal|mps|rocm|flash attention|the gpu|tensor parallelism)",
        ask="""(gpu|cuda|nvidia|metal|mps|rocm|cuda graphs|flash attention|graphics card|gpu support|multi gpu|h100); (does|can|will) (@|it|the engine|this) (support|use|run on|work on|have|need) (gpus|a gpu|the gpu|cuda|metal|nvidia cards|my graphics card|several gpus|mps|amd gpus|multiple gpus)
        (is|are) (gpus|a gpu|cuda|metal|flash attention|tensor parallelism|multi-gpu) (supported|used|possible|available|there|implemented); does it run on (cuda|a gpu|an nvidia gpu|a mac gpu|my rtx 4090)
        I own a graphics card, will it be used; when will cuda come; does it work with NVIDIA already
        could my GPU compute the model; tell me about gpu support""",
    ),
    Topic(
        name="embeddings",
        group="features",
        answer="POST /v1/embeddings gives embeddings from the loaded model. In the library, engine.embed and "
        "embed_sync do.",
        things="(embeddings|the embeddings endpoint|/v1/embeddings|text embeddings|sentence embeddings|embedding vectors|vector embeddings); an embeddings endpoint; the embeddings route; semantic search; rag",
        actions="(get|compute|make|create|calculate) (embeddings|an embedding|text embeddings|embedding vectors|vectors|sentence embeddings) (of a text|for a text|); use (the embeddings endpoint|/v1/embeddings)",
        ask="""(embeddings|/v1/embeddings|text embeddings|embedding vectors|vectors|rag); (does|can) (@|it|the server|the engine|the api) (support|compute|have|make|return|do) (embeddings|an embeddings endpoint|text embeddings|vectors|embedding vectors)
        (is|are) (embeddings|/v1/embeddings|text embeddings|vector embeddings) (supported|possible|available|there|implemented); is there an embeddings (endpoint|route|api)
        I need vectors for search; when will embeddings come; does /v1/embeddings work already
        turn a sentence into a vector; tell me about embeddings""",
    ),
    Topic(
        name="other_endpoints",
        group="features",
        answer="/v1/completions works as in OpenAI's API. /v1/responses is planned, but not in this version.",
        things="(/v1/completions|/v1/responses|the completions endpoint|the responses api|the responses endpoint|text completions|the completions route|legacy completions|the Responses API); the responses route; plain completions",
        actions="use (/v1/completions|/v1/responses|the responses api|the completions endpoint|plain completions|text completions)",
        ask="""(/v1/completions|/v1/responses|completions endpoint|responses api|text completion|Responses API|legacy completions); (does|can) (@|it|the server|the api) (support|have|do|offer) (/v1/completions|/v1/responses|the responses api|plain completions|text completions|the completions endpoint|the Responses API)
        (is|are) (/v1/completions|/v1/responses|the responses api|text completions|plain completions|the Responses API) (supported|available|there|implemented)
        I use the Responses API of OpenAI, will that work; when will /v1/responses come; does the completions route work already
        plain completions without chat, are they there; tell me about /v1/completions""",
    ),
)
