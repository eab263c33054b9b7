"""Models: which, from where, on what device, how fast."""

from .topic import Topic

TOPICS = (
    Topic(
        name="families",
        group="models",
        answer="Llama, Mistral, Qwen, Gemma, Phi, GLM, DeepSeek and more: docs/models.md lists every family. Other architectures are refused by name.",
        things="the (supported|possible) (models|model families|families|architectures); supported (models|families|architectures); (llama|mistral|qwen|qwen2|qwen3|gemma|phi|deepseek) (support|models); model families; the model architectures",
        actions="(run|use|load) (llama|mistral|qwen|qwen2|qwen3|gemma|phi|deepseek|a llama model|a qwen model|a mistral model|mixtral|llama 3|qwen 2.5)",
        ask="""(which|what) (models|model families|families|architectures|llms) (are|does @|can @|can I|can it|work) (supported|support|run|use|load|work|); (supported models|models|families|llama|mistral|qwen|qwen2|qwen3|gemma|deepseek|phi)
        (does|can) (@|it|the engine) (run|support|load|work with|do) (llama|mistral|qwen|qwen2|qwen3|gemma|phi|deepseek|mixtral|gpt-oss|llama 3|other models|any model); is (llama|mistral|qwen|gemma|phi|deepseek|mixtral) supported
        list (of |the |)(supported |)(models|families|architectures); unknown architecture
        what models would run with candle-vllm; could I run gemma; which kinds of models does the engine know
        tell me which model families work; is a Llama model fine""",
    ),
    Topic(
        name="load_model",
        group="models",
        answer="Name it with --m, a directory or a Hugging Face id: candle-vllm-server --m Qwen/Qwen3-0.6B. In the library use model_path.",
        things="the --m flag; --m; model_path; the model_path (setting|parameter); --model; a larger model; a (better|bigger|different|custom) model; CANDLE_VLLM_MODEL and --m; my own model",
        actions="(load|use|run|choose|select|start with|serve|open) (a larger|another|a different|a bigger|a real|a better|my own|a|the) model; (change|switch|replace) (the|your) model; (use|load) a model from (a directory|a folder|disk); (replace|exchange) you; (get|have) better answers",
        ask="""(load model|load a model|larger model|bigger model|another model|--m|model_path|change model|switch model); what (is|does) (--m|model_path|the --m flag) (do|mean|); (which|what) (larger |bigger |other |)model should I (use|load|take|try)
        how is (a|another|a larger|the) model (loaded|chosen|selected|given); where do I (give|name|set|write) the model; can I (use|load) (another|a larger|my own|a better|a bigger) model; recommend a model; give me a (larger|bigger|better) model
        I want a model that knows more than you; which flag names the model; what do I type to serve Qwen
        put another model in; how would I start the server with my own model""",
    ),
    Topic(
        name="hugging_face",
        group="models",
        answer="Give a Hugging Face id such as Qwen/Qwen3-0.6B. The files are downloaded once, with progress bars, and kept in the Hugging "
        "Face cache.",
        things="(Hugging Face|huggingface|hugging face|hf) (ids|models|hub|downloads|id|model id|cache); Hugging Face; the Hugging Face hub; model downloads; HF_HOME; downloading (a model|models); the download folder",
        actions="(download|fetch|get) (a model|models|weights|the weights|a checkpoint) (from (hugging face|huggingface|the hub|the internet)|); use (a|an) (hugging face|huggingface|hf) (id|model); change the download folder",
        ask="""(hugging face|huggingface|download|model download|hf id|HF_HOME|hugging face id); does @ (download|fetch|work with) (models|huggingface|hugging face|models from hugging face) (itself|); (can I|how do I) (give|use) a (hugging face|huggingface|hf) (id|name)
        where (are|is|does it store|do) (downloaded |the downloaded |)(models|weights|files) (stored|kept|saved|go|cached|downloaded to); is (a|the) model downloaded (twice|each time|every time|again); where do models come from; how are models downloaded
        can it get the weights from the hub by itself; in which folder do downloads land; what is a Hugging Face id
        tell me about downloads from hugging face; will it download the model again each time""",
    ),
    Topic(
        name="hf_token",
        group="models",
        answer="Set HF_TOKEN to your Hugging Face token for gated or private models. It is read from the environment.",
        things="HF_TOKEN; the HF_TOKEN variable; (the |a |)(hugging face|huggingface|hf) token; gated (models|repositories); private (models|repositories); the access token; access to gated models",
        actions="(download|load|use|get|access) (a |)(gated|private) (model|models|repository); (set|give|use|pass|put) (the |my |a |)(HF_TOKEN|hugging face token|huggingface token|hf token)",
        ask="""(HF_TOKEN|hf token|hugging face token|gated model|private model|huggingface token); do I need a (token|hugging face token|huggingface account|huggingface token|hf token); what is HF_TOKEN (for|); where do I (put|set|write) (my|the) (hugging face |hf |huggingface |)token
        (the|this|my) model is (gated|private|restricted); (401|403) from hugging face; access to the model (is denied|is restricted|was refused); how do I log in to hugging face
        the model is gated, how do I get it; what is the variable for my Hugging Face token; I have a private repository with weights
        tell me about HF_TOKEN; how are restricted models downloaded""",
    ),
    Topic(
        name="offline",
        group="models",
        answer="Yes, it works offline: the embedded model and local directories need no network. HF_HUB_OFFLINE=1 forbids all hub access.",
        things="offline (use|mode|work); HF_HUB_OFFLINE; working offline; no (network|internet|internet connection); use without (internet|a network); the HF_HUB_OFFLINE variable",
        actions="(work|run|use @|use it|run @|run a model) (offline|without internet|without a network|without the internet|with no network|without network access|on a plane); (forbid|disable|prevent|turn off) (hub access|network access|downloads)",
        ask="""(offline|HF_HUB_OFFLINE|offline mode|no internet|no network|airgapped|without internet); does (@|it|this) (work|run) (offline|without internet|without a network|without the internet|on a plane|without a connection); is (internet|a network|an internet connection|a connection|network access) (needed|required|necessary)
        do I need (internet|a network|an internet connection|to be online); what (is|does) HF_HUB_OFFLINE (do|for|)
        my machine has no internet, will it work; must I be online; is it usable in an air-gapped room
        how do I make sure nothing is downloaded; tell me about offline use""",
    ),
    Topic(
        name="safetensors",
        group="models",
        answer="Weights are read from safetensors files, single or sharded, in a normal Hugging Face directory with config.json and "
        "tokenizer.json.",
        things="(safetensors|the weight format|the file format|sharded safetensors|weight files|model files|the model directory); the (weights|model) (format|files|file format); the layout of a model directory; a checkpoint directory; sharded weights",
        actions="(load|read|use) (safetensors|safetensors files|sharded weights|sharded safetensors|pytorch bin files|weights from a folder); prepare a model directory",
        ask="""(safetensors|weight format|file format|model format|sharded weights|weight files|checkpoint format|model directory); (which|what) (format|file format|files|formats) (do|does|must|are|should) (the weights|weights|a model|models|@|it) (have|read|be in|need|)
        what (must be|is|belongs|files are) in (a|the) model (directory|folder); does (@|it) (read|load|support) (safetensors|sharded safetensors|bin files|pytorch files|pickle files); can weights be (sharded|split); what is safetensors
        in what format are weights read; which files belong to a model; are sharded checkpoints fine
        tell me about safetensors; what should a model folder hold""",
    ),
    Topic(
        name="dtype",
        group="models",
        answer="dtype is auto, bf16, fp16 or fp32. On a CPU, auto takes bf16 where the processor has it, else fp32.",
        things="dtype; the dtype (setting|flag|parameter|of the weights|); --dtype; (bf16|bfloat16|fp16|float16|fp32|float32); the (data type|precision|number format); half precision; the --dtype flag",
        actions="(set|change|choose|select|use) (the |)(dtype|data type|precision|bf16|fp32|fp16|bfloat16|float32); run in (bf16|fp32|fp16|float32|bfloat16|full precision|half precision)",
        ask="""(dtype|--dtype|bf16|fp32|fp16|bfloat16|float16|float32|precision|data type); (which|what) (dtype|dtypes|data type|precision|data types) (is used|are there|does @ use|should I use|is the default|can I use|are supported)
        what (is|does) (--dtype|dtype|dtype auto|bf16) (do|mean|); does (@|it) (use|support|run in) (bf16|fp32|fp16|bfloat16|float32|half precision); is (bf16|fp32|fp16) (supported|used|faster)
        in which precision does it compute; I would like float32; what numbers are used for the weights on a CPU
        tell me about dtype; how do I get full precision""",
    ),
    Topic(
        name="device",
        group="models",
        answer="device names where the model runs: cpu, cuda, cuda:N, mps, or auto for the best there is. --cpu asks for the CPU by name. This version is made for CPUs.",
        things="(device|the device|devices|the device setting|the device parameter|--cpu|the --cpu flag|device auto); the supported devices; the cpu; the processor",
        actions="(choose|set|select|change|pick) (the|a) device; (force|use|run on|choose) the cpu; run (it|@|a model|the model) on (the|a|my) cpu",
        ask="""(device|devices|--cpu|device auto|cpu|device cpu); (which|what) (device|devices|hardware) (does it|can it|does @|can @|is|are) (run on|use|supported|used); what (is|does) (--cpu|device|device auto|the device setting) (do|mean|); (does|can|will) (it|@|this) (run|work) on (a|the|my) cpu
        is (it|@) cpu only; where does the model run; is the cpu (enough|used|supported); missing device; how do I run on (the |)cpu
        on what hardware is the model computed; I want to be sure that the CPU is used; which devices may I name
        tell me about the device setting; does a plain CPU work""",
    ),
    Topic(
        name="speed",
        group="models",
        answer="On a CPU the weights are packed once for oneDNN, and bf16 halves what is read per token. Requests that run together share "
        "each pass over the weights.",
        things="(the |)(speed|cpu speed|performance|oneDNN|oneDNN packing|throughput); oneDNN; onednn; weight packing; packed weights; the speed (of @|on a cpu|on the cpu); the performance of @; prepacking",
        actions="(make|get) (it|@|the engine|generation) faster; (speed up|accelerate) (it|@|the engine|generation|the model); (improve|increase) (the |)(speed|performance|throughput); pack the weights",
        ask="""how fast is (@|it|the engine|this|@ on a cpu|it on the cpu); is (@|it) (fast|quick|slow|efficient); why is (it|@|the model|this) (so |)(slow|fast); (speed|performance|onednn|oneDNN|throughput|faster|slow); what is (oneDNN|onednn|weight packing|packing) (for|)
        what makes (@|it) fast; why are (the |)weights packed; (what|how many) tokens per second (can I expect|does it do|do I get); it is (too |very |)slow; how is the cpu (used|used well)
        what is done for speed on processors; why does it pack weights; generation is slow, what helps
        tell me about the speed; does candle-vllm use oneDNN""",
    ),
    Topic(
        name="chat_template",
        group="models",
        answer="The chat template comes from the checkpoint. It is a Jinja text that turns messages into a prompt, and it is rendered in a "
        "sandbox.",
        things="(the |a |)(chat template|prompt template|jinja template|chat format|prompt format|template); chat templates; Jinja; the template of a model; chatml; the roles; (system|user|assistant) (roles|messages)",
        actions="(change|use|set|see|write) (the|a) (chat template|prompt template|template|prompt format); (format|build|render) (a|the) (prompt|chat|chat prompt|messages)",
        ask="""(chat template|template|jinja|prompt format|prompt template|chatml|chat format); (which|what) (chat template|prompt format|template|prompt template) (is used|does @ use|do you use|do I need); how (are|do) messages (turned into|become|made) (a prompt|prompts|into a prompt|a text)
        where does the (chat |prompt |)template come from; what is (a|the) (chat|prompt|jinja) template; is the template (safe|sandboxed); can templates run code; which roles (are there|can messages have); how do I give a system (message|prompt)
        what turns chat messages into text for the model; is Jinja used; whose prompt format is applied
        tell me about the chat template; how does a conversation become one prompt""",
    ),
    Topic(
        name="context_length",
        group="models",
        answer="The context length is the model's own; max_sequence_length can make it shorter. A prompt that is too long gets a "
        "ContextLengthError.",
        things="(the |)(context length|context window|context size|maximum context|max_sequence_length|longest prompt|max sequence length); ContextLengthError; a too long prompt; a prompt that is too long; the sequence length; the length of the context",
        actions="(set|change|limit|shorten|raise) the (context length|context window|context|sequence length|context size); (send|use|give) a (long|very long|huge|longer) (prompt|text|context)",
        ask="""(context length|context window|context size|context|max_sequence_length|ContextLengthError|context_length_exceeded|prompt too long|max context); how long (can|may) (a|the|my) (prompt|context|conversation|chat) (be|get); how (large|big|long) is the context (window|length|)
        what (is|does|if|happens if) (max_sequence_length|ContextLengthError|my prompt is too long|the prompt is too long|a prompt is too long|a ContextLengthError) (do|mean|); (my|the|a) prompt is too long; how many tokens (fit|can a prompt have|does the context hold|may a prompt have|fit in the context)
        I have a very long text, does it fit; what limits the size of a prompt; which error comes with too long a prompt
        tell me about the context length; what is the longest prompt""",
    ),
)
