"""What this version does not have."""

from .topic import Topic

TOPICS = (
    Topic(
        name="tools",
        group="planned",
        answer="Tool calls are planned, but not in this version. The chat template already has places for tools.",
        things="(tool calls|tool calling|function calling|tools|function calls|tool use|tool_choice|the tools field); tool call parsers; agents; parallel tool calls",
        actions="(call|use) (tools|functions|a tool|a function); (give|pass|offer) (tools|functions) to the model; (build|write|make) an agent; use (tool calling|function calling)",
        ask="""(tool calls|tools|function calling|tool calling|tool use|agents|functions); (does|can|do) (@|it|you|the server|the engine|the api) (support|do|have|call|use) (tools|tool calls|function calling|tool calling|functions|function calls|tool use|agents)
        (are|is) (tools|tool calls|function calling|tool calling|agents) (supported|possible|available|there|implemented|working); can the model call (my|a|python) (functions|function|tool|tools)
        I want the model to call my functions; when will tool calling come; do tools work already
        will the server accept tools; tell me about function calling""",
    ),
    Topic(
        name="structured",
        group="planned",
        answer="Structured output is planned, but not in this version: response_format with a JSON schema does not bind the answer yet.",
        things="(structured output|structured outputs|json mode|JSON mode|response_format|json schema|guided decoding|constrained decoding|grammars|json output); a JSON schema; a regex for the answer; json_schema",
        actions="(get|force|have|produce|make it answer in|generate) (json|valid json|JSON|structured output|json answers); (use|set|give) (a |)(json schema|response_format|grammar|json mode); constrain (the output|the answer|decoding); make it answer in json",
        ask="""(structured output|json mode|response_format|json schema|json|guided decoding|grammar|JSON); (does|can) (@|it|the server|the engine|the api) (support|do|have|return|give|guarantee) (json|json mode|structured output|json schemas|response_format|guided decoding|grammars|constrained decoding)
        (is|are) (structured output|json mode|response_format|json schemas|guided decoding|grammars) (supported|possible|available|there|implemented)
        I need answers that follow a schema; when will structured output come; does json mode work already
        must the answer be valid JSON; tell me about response_format""",
    ),
    Topic(
        name="gguf",
        group="planned",
        answer="GGUF files cannot be loaded yet; that is planned. Use a directory with safetensors.",
        things="(gguf|GGUF|gguf files|gguf models|GGUF files|llama.cpp files|llama.cpp models|the gguf format); a gguf file; --f",
        actions="(load|use|run|open|read) (a |)(gguf|GGUF|gguf file|gguf model|GGUF file|gguf files|llama.cpp file|ollama model)",
        ask="""(gguf|GGUF|gguf file|llama.cpp|gguf support|ollama); (does|can) (@|it|the engine) (support|read|load|run|open) (gguf|GGUF|gguf files|gguf models|llama.cpp models|ollama models); (is|are) (gguf|gguf files|GGUF|gguf models) (supported|possible|readable|accepted)
        (my|the) model is a gguf (file|); I (have|got|downloaded) a gguf (file|model)
        will a GGUF work; when will gguf come; do gguf checkpoints work already
        what about models from llama.cpp; tell me about gguf support""",
    ),
    Topic(
        name="quantization",
        group="planned",
        answer="Quantization is planned, but not in this version: weights are used as they are stored, in bf16, fp16 or fp32.",
        things="(quantization|quantisation|quantized models|quantized weights|gptq|awq|int4|int8|fp8|isq|4-bit|8-bit|q4k|GPTQ|AWQ); in-situ quantization; 4 bit weights; 8 bit weights; --isq; the quantization setting",
        actions="(quantize|quantise|compress) (a model|the model|weights|the weights|it); (load|use|run) (a |)(quantized|quantised|gptq|awq|4-bit|8-bit|int8|int4|fp8) (model|weights|models)",
        ask="""(quantization|quantize|gptq|awq|int8|int4|fp8|isq|--isq|4-bit|4 bit|q4k|quantized model); (does|can) (@|it|the engine) (support|do|load|run|use|have) (quantization|quantized models|gptq|awq|int8|int4|fp8|4-bit models|4 bit weights|isq|q4k)
        (is|are) (quantization|gptq|awq|quantized models|int8|int4|fp8) (supported|possible|available|there|implemented)
        I want the weights in four bits; when will quantization come; do quantized checkpoints work already
        can weights be made smaller; tell me about GPTQ and AWQ support""",
    ),
    Topic(
        name="gpu",
        group="planned",
        answer="GPU kernels are planned, but not in this version: it is made and tuned for CPUs.",
        things="(gpu|GPU|gpus|cuda|CUDA|gpu support|cuda support|nvidia gpus|metal|mps|rocm|amd gpus|tpu|apple silicon); graphics cards; cuda graphs; flash attention; triton kernels; my gpu; multi-gpu; several gpus; tensor parallelism",
        actions="(use|run on|run it on|run @ on|run the model on) (a|the|my|an nvidia|several) (gpu|gpus|graphics card|nvidia card|cuda device); use (cuda|metal|mps|rocm|flash attention|the gpu|tensor parallelism)",
        ask="""(gpu|cuda|nvidia|metal|mps|rocm|cuda graphs|flash attention|graphics card|gpu support|multi gpu|h100); (does|can|will) (@|it|the engine|this) (support|use|run on|work on|have|need) (gpus|a gpu|the gpu|cuda|metal|nvidia cards|my graphics card|several gpus|mps|amd gpus|multiple gpus)
        (is|are) (gpus|a gpu|cuda|metal|flash attention|tensor parallelism|multi-gpu) (supported|used|possible|available|there|implemented); does it run on (cuda|a gpu|an nvidia gpu|a mac gpu|my rtx 4090)
        I own a graphics card, will it be used; when will cuda come; does it work with NVIDIA already
        could my GPU compute the model; tell me about gpu support""",
    ),
    Topic(
        name="embeddings",
        group="planned",
        answer="An embeddings endpoint is planned, but not in this version.",
        things="(embeddings|the embeddings endpoint|/v1/embeddings|text embeddings|sentence embeddings|embedding vectors|vector embeddings); an embeddings endpoint; the embeddings route; semantic search; rag",
        actions="(get|compute|make|create|calculate) (embeddings|an embedding|text embeddings|embedding vectors|vectors|sentence embeddings) (of a text|for a text|); use (the embeddings endpoint|/v1/embeddings)",
        ask="""(embeddings|/v1/embeddings|text embeddings|embedding vectors|vectors|rag); (does|can) (@|it|the server|the engine|the api) (support|compute|have|make|return|do) (embeddings|an embeddings endpoint|text embeddings|vectors|embedding vectors)
        (is|are) (embeddings|/v1/embeddings|text embeddings|vector embeddings) (supported|possible|available|there|implemented); is there an embeddings (endpoint|route|api)
        I need vectors for search; when will embeddings come; does /v1/embeddings work already
        turn a sentence into a vector; tell me about embeddings""",
    ),
    Topic(
        name="mcp",
        group="planned",
        answer="MCP is planned, but not in this version. Its place is the candle-vllm-responses package.",
        things="(mcp|MCP|mcp servers|mcp tools|MCP servers|model context protocol|the model context protocol|mcp.json|mcp support); ResponsesSession; an mcp server; --mcp-config",
        actions="(connect|use|add|attach) (an |)(mcp|MCP) (server|servers|tools|tool); use (mcp|MCP|mcp.json|the model context protocol)",
        ask="""(mcp|MCP|mcp server|mcp.json|model context protocol|mcp tools|ResponsesSession|--mcp-config); (does|can) (@|it|the server|the engine) (support|do|have|use|speak|connect to|talk to) (mcp|MCP|mcp servers|mcp tools|the model context protocol|an mcp server)
        (is|are) (mcp|mcp servers|mcp tools|MCP) (supported|possible|available|there|implemented); is there an mcp client
        I have some MCP servers to attach; when will mcp come; does the model context protocol work already
        what can I do with mcp.json; tell me about MCP""",
    ),
    Topic(
        name="other_endpoints",
        group="planned",
        answer="/v1/completions and /v1/responses are planned; this version has chat completions only.",
        things="(/v1/completions|/v1/responses|the completions endpoint|the responses api|the responses endpoint|text completions|the completions route|legacy completions|the Responses API); the responses route; plain completions",
        actions="use (/v1/completions|/v1/responses|the responses api|the completions endpoint|plain completions|text completions)",
        ask="""(/v1/completions|/v1/responses|completions endpoint|responses api|text completion|Responses API|legacy completions); (does|can) (@|it|the server|the api) (support|have|do|offer) (/v1/completions|/v1/responses|the responses api|plain completions|text completions|the completions endpoint|the Responses API)
        (is|are) (/v1/completions|/v1/responses|the responses api|text completions|plain completions|the Responses API) (supported|available|there|implemented)
        I use the Responses API of OpenAI, will that work; when will /v1/responses come; does the completions route work already
        plain completions without chat, are they there; tell me about /v1/completions""",
    ),
    Topic(
        name="vision",
        group="planned",
        answer="Text is all that this version reads and writes. Images come later; audio is refused.",
        things="(images|vision|vision models|pictures|image input|audio|multimodal models|photos|speech|video|image generation|speech recognition); image inputs; vision language models; multimodal input",
        actions="(send|use|give it|upload|show you|show it) (an image|images|a picture|pictures|a photo|audio|a video); (load|run|use) (a |)(vision|multimodal|image|speech|whisper) (model|models); (generate|draw|make) (images|pictures|an image|a picture)",
        ask="""(images|vision|audio|multimodal|pictures|image input|vision models|video|speech); (does|can) (@|it|the server|the engine|you) (support|see|read|understand|take|handle|process|hear|draw) (images|pictures|audio|vision|photos|vision models|video|speech|multimodal models|an image)
        (is|are) (images|vision|audio|vision models|multimodal models|pictures|image inputs) (supported|possible|available|implemented)
        I would like to send a photograph; when will vision come; do multimodal models work already
        is it possible to attach a picture; tell me about image support""",
    ),
    Topic(
        name="fine_tuning",
        group="planned",
        answer="candle-vllm runs models; it does not train or fine-tune them.",
        things="(fine-tuning|fine tuning|finetuning|lora|LoRA|training a model|model training|lora adapters|training of models|qlora); fine-tuning models; training my own model",
        actions="(fine-tune|finetune|fine tune|train) (a model|models|llama|qwen|my own model|my model|a larger model|on my data); (use|load) (lora|LoRA|lora adapters|a lora); train (an llm|a network) (with @|)",
        ask="""(fine-tuning|fine tuning|finetune|lora|LoRA|fine-tune|training models); (does|can) (@|it|the engine|I with @) (support|do|train|fine-tune|finetune) (fine-tuning|lora|models|training|a model|lora adapters|finetuning)
        (is|are) (fine-tuning|lora|lora adapters|training|finetuning) (supported|possible|available)
        I would like to adapt a model to my data; does LoRA work; could candle-vllm train my model
        is training of models part of this; tell me about fine-tuning""",
    ),
    Topic(
        name="web_ui",
        group="planned",
        answer="A web page for chatting is not in this version. Use `make chat`, or any client that speaks OpenAI's API.",
        things="(the web ui|a web ui|the web interface|a web interface|the browser ui|a gui|the chat page|--ui-server|a graphical interface|a user interface|the ui|a web page); --ui-server; open webui; the web chat",
        actions="(chat|talk|use it|use @) in (the|a|my) (browser|web browser); (open|use|start|see) (the|a) (web ui|web interface|ui|gui|chat page|web page|graphical interface)",
        ask="""(web ui|ui|gui|--ui-server|web interface|browser|webui|user interface|frontend); (does|has) (@|it|the server) (have|got) a (web ui|ui|gui|web interface|browser interface|chat page|graphical interface|frontend); is there a (web ui|ui|gui|web interface|browser interface|chat page|graphical interface|website|frontend)
        can I (use|chat in|open it in) (a|the|my) browser
        I would rather chat in Firefox than in a terminal; does a page open in the browser; is some graphical user interface included
        where do I find the web ui; tell me about the web interface""",
    ),
    Topic(
        name="speculative",
        group="planned",
        answer="Speculative decoding is planned, but not in this version.",
        things="(speculative decoding|draft models|a draft model|speculation|speculative sampling|medusa|eagle|multi-token prediction|n-gram speculation); speculative decoding; assisted generation",
        actions="(use|turn on|enable) (speculative decoding|a draft model|speculation|assisted generation|speculative sampling)",
        ask="""(speculative decoding|draft model|speculation|speculative|medusa|eagle|assisted generation); (does|can) (@|it|the engine) (support|do|have|use) (speculative decoding|draft models|a draft model|speculation|medusa|eagle|speculative sampling)
        (is|are) (speculative decoding|draft models|speculation|speculative sampling) (supported|possible|available|there|implemented)
        can a small model draft for a large one; when will speculative decoding come; does speculation work already
        tell me about draft models; will the engine guess tokens ahead""",
    ),
)
