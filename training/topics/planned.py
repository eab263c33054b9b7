"""What this version does not have."""

from .topic import Topic

TOPICS = (
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
