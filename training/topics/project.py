"""What candle-vllm is, where it comes from, whom it is for."""

from .topic import Topic

TOPICS = (
    Topic(
        name="what_is",
        group="project",
        answer="candle-vllm is an LLM inference engine in Python that programs embed. It loads a language model, generates text "
        "for many requests at once, and comes with an OpenAI-compatible HTTP server.",
        things="@; candle-vllm; candle vllm; this project; this (software|library|package|tool|engine); the candle-vllm project",
        ask="""(what|what exactly) is @; what's @; what @ is; (tell me|talk) about @; (can|could) you (explain|describe) @
        what (kind|sort) of (software|program|project|thing) is (@|this); what does @ do; what is this (project|thing|repo|repository|program)
        what is @ all about; describe @ (in one sentence|briefly|in short|); give me a (short |)(summary|description) of @
        what did I just install; what am I running; what is @ in a nutshell; explain @ to me; introduce @
        is @ an (inference engine|llm engine|server or a library); what is the purpose of @; candle-vllm?; what is candle vllm
        could you tell me what candle-vllm is; I just found candle-vllm, what is it; so what is this candle-vllm thing
        in one sentence, what is candle-vllm; what would you say candle-vllm is; candle-vllm: what is it""",
    ),
    Topic(
        name="use_case",
        group="project",
        answer="Use candle-vllm when a program needs a language model inside its own process, or when you want an "
        "OpenAI-compatible server on your own machine.",
        things="the use cases (of @|); the target audience; use cases for @",
        ask="""why (should|would) (I|we|anyone|one) use @; when (should|would) (I|we) (use|choose|pick) @; what (can|could) I (use|build with) @ for
        who (is|uses) @ (for|); who should use @; what is @ (good|useful|used|meant) for; what are the use cases of @
        what is the (benefit|advantage|point) of @; why does @ exist; what (problem|need) does @ solve; is @ (right|useful) for me
        what (are|is) @ useful for; reasons to use @; what would I use @ for
        for whom was candle-vllm made; what are good reasons to use candle-vllm; what do people use candle-vllm for
        in which cases should I use candle-vllm; why use candle-vllm at all""",
    ),
    Topic(
        name="licence",
        group="project",
        answer="The licence is MIT. You may use, change and share candle-vllm free of charge, also in commercial products.",
        things="the (licence|license); the (licence|license) of @; the MIT (licence|license); the copyright",
        actions="use @ (commercially|in a commercial product|at work|in my company); (sell|share|fork|redistribute) @",
        ask="""what (licence|license) (does|is) @ (have|use|under); which (licence|license) (applies|is it|does @ use); is @ (open source|free|free software|foss)
        (licence|license); how much does @ cost; what does @ cost; do I have to pay (for @|); is it free (to use|of charge|)
        may I use @ (commercially|in my product|for business); is @ MIT licensed; (price|pricing|cost)
        under what licence is candle-vllm published; is commercial use of candle-vllm allowed; is there a fee for using candle-vllm
        tell me the license please; may my company use candle-vllm for free""",
    ),
    Topic(
        name="rust",
        group="project",
        answer="Before this there was a Rust system of the same name, built on the Candle framework. This candle-vllm brings its "
        "design and names to Python and PyTorch.",
        things="the (Rust|rust) (version|system|ancestor|original); the (history|origin|origins) of @; the rust crates; Candle in @",
        ask="""is @ (written|made|built|implemented) in rust; is there a rust (version|edition|port) (of @|); where does @ come from; what is the (history|origin) of @
        what (about|happened to) (the rust version|rust|the rust crates); is this the rust candle-vllm; is @ a (port|rewrite) (of a rust project|from rust|)
        does @ (use|need) (rust|cargo|the candle framework); (what does|why) the name (candle-vllm mean|candle-vllm|candle); why is it called (candle|candle-vllm)
        was @ (once|originally|first) (written in|a) rust (project|); rust
        did candle-vllm start as a rust project; how is this related to the rust candle-vllm; where does the name candle-vllm come from
        was there an older version in rust; do I need to know rust""",
    ),
    Topic(
        name="vs_vllm",
        group="project",
        answer="vLLM is a separate project. candle-vllm shares its ideas of a paged KV cache and continuous batching, but it is a "
        "library first: the engine runs inside your own Python program.",
        things="the (difference|differences) (between @ and vllm|to vllm|from vllm); the relation to vLLM; vLLM; vllm",
        ask="""(how is|is) @ (different from|better than|the same as|related to|based on|like|a fork of) vllm; @ (vs|versus|or|compared to) vllm; what is vllm
        why not (just |)(use|take) vllm; does @ use vllm; is this vllm; how does @ compare (to|with) vllm (and ollama|or llama.cpp|)
        compare @ (with|to|and) vllm; what (distinguishes|separates) @ from vllm; does @ need vllm; vllm or @
        what sets candle-vllm apart from vllm; is candle-vllm part of vllm; in what way does candle-vllm differ from vllm
        should I take vllm or candle-vllm; are vllm and candle-vllm the same""",
    ),
    Topic(
        name="features",
        group="project",
        answer="This first version runs Llama, Mistral, Qwen, Gemma and many other models on the CPU. It batches requests continuously, pages "
        "the KV cache, streams, calls tools, and serves OpenAI's API.",
        things="the features (of @|); the (feature list|capabilities) of @; the feature set; the (main|key) features",
        ask="""what (can|could) @ do; what (features|capabilities) does @ (have|offer); (list|show|name) (the|all|me the) features (of @|); what does @ (support|offer)
        what is (supported|implemented|included|working) (in this version|so far|now|); features; what works (now|today|already|in this version)
        what is @ able to do; what is in (this|the first) version; what are the features of @; key features
        which features are there in candle-vllm; what is candle-vllm capable of; what do I get with candle-vllm
        what has been implemented so far; give me the list of features""",
    ),
    Topic(
        name="language",
        group="project",
        answer="Python is the language of candle-vllm, and PyTorch does its arithmetic.",
        things="the programming language of @; the tech stack; PyTorch in @; the implementation language",
        ask="""(what|which) (programming |)language is @ (written|made|implemented|built) in; is @ (written|made|built) in (python|c++|go|java|javascript)
        does @ use (pytorch|torch|tensorflow|numpy|jax); what is @ (written|built) (in|with|on); what (framework|library) does @ (use|run on)
        is @ a python (library|package|program|project); (pytorch|torch); why (python|pytorch); is there c++ in @; python or c++
        which language did they write candle-vllm in; is torch used by candle-vllm; what technology is candle-vllm built on
        is candle-vllm pure python; what is the programming language""",
    ),
    Topic(
        name="authors",
        group="project",
        answer="The candle-vllm contributors make it, in the open, under the MIT licence.",
        things="the (authors|developers|creators|maintainers|contributors) (of @|); the team behind @; the company behind @",
        ask="""who (made|makes|wrote|writes|built|created|develops|developed|maintains|invented|programmed|owns) (@|candle-vllm|this project|this software)
        who (is|are) (behind|the author of|the authors of|the creator of|the maintainer of) @; (authors|maintainers|developers); which company (makes|made|owns) @
        who (works|worked) on @; whose project is (this|@); who is responsible for @
        who are the people behind candle-vllm; by whom was candle-vllm written; who is the developer of candle-vllm
        does a company stand behind candle-vllm; who created candle-vllm""",
    ),
    Topic(
        name="version",
        group="project",
        answer="You talk with the first version, 0.1.0. GET /version tells the version of a running server.",
        things="the version (number|); the version of @; the current (version|release); the /version route; the latest (version|release)",
        actions="(find out|see|check|print|get) (the|which|my) version",
        ask="""(what|which) version (is this|of @ is this|is @|am I running|do I have|is installed|is running); version; version number; --version
        is this the (latest|newest|first) version; what does (/version|GET /version|the version route|the version endpoint) (do|return|answer|show)
        how (old|new|mature|stable) is @; is @ (stable|mature|in beta|production ready); current version; what release is this
        tell me the version number; which release of candle-vllm is running; what is the newest version of candle-vllm
        where can I see the version of the server; what version do you have""",
    ),
    Topic(
        name="docs",
        group="project",
        answer="Read README.md first, then the docs folder. The examples folder has programs that run: embed.py, batch.py and "
        "gateway.py.",
        things="the (documentation|docs|manual|tutorial|examples|guide|readme|handbook); the docs folder; the examples folder; example (programs|code); embed.py; gateway.py; batch.py",
        actions="(learn|read|find out|know) more (about @|); (find|read|see|get) the (docs|documentation|manual|examples|tutorial); learn @",
        ask="""where (is|are) the (docs|documentation|manual|examples|readme|tutorial|guide); (docs|documentation|manual|examples|readme|tutorial)
        is there (a|any) (documentation|manual|tutorial|guide|example|examples); are there (examples|sample programs|docs|tutorials); do you have (an example|docs|examples)
        where (can|do) I (learn|read|find out) more; what (should|can) I read (first|next|); show me (an example|examples|the docs|the documentation)
        which examples are there; (where|how) (should|do|can) I (begin|start) reading
        where would I find documentation; is there anything to read about candle-vllm; which example programs come with it
        what should I read to learn more; point me to the docs""",
    ),
    Topic(
        name="contribute",
        group="project",
        answer="To report a bug, open an issue with what you did, what you got and what you expected. To change the code, make sure "
        "that `make check` and `make test` pass.",
        things="bug reports; contributions; pull requests; the contribution rules; a bug report",
        actions="(report|file|submit) (a bug|a problem|an issue|bugs); contribute (to @|code|a patch|); (send|open|make) a (pull request|patch|pr|issue); (suggest|request|ask for) a feature; help (develop|improve) @",
        ask="""I (found|have found|discovered|see) a bug; where (can|do|should) I report (bugs|a bug|issues|problems|an error); how (can|do) I contribute (to @|)
        (contributing|contribute|bug report|pull request); do you (accept|take) (pull requests|contributions|patches); @ (has a bug|crashes|does not work|is broken), what now
        something is (broken|wrong) (in @|), what (should|can) I do; who fixes bugs; (where is the|is there an) issue tracker
        I would like to improve the code of candle-vllm; there is a bug, whom do I tell; what must a pull request pass
        where do bug reports go; can I send you a patch""",
    ),
    Topic(
        name="privacy",
        group="project",
        answer="Your prompts stay on your machine: candle-vllm computes everything locally. It uses the network only to fetch a "
        "model from Hugging Face when you name one.",
        things="privacy; data privacy; telemetry; my data; the privacy of my prompts; tracking",
        actions="keep my (data|prompts) private; disable (telemetry|tracking)",
        ask="""is my data (safe|private|sent anywhere|stored|shared); do you (send|upload|store|share|collect|save) my (data|prompts|messages|questions|chats)
        does @ (phone home|send data|collect data|track me|have telemetry|log my prompts|use the cloud|call the cloud); (privacy|telemetry|tracking)
        who (can see|sees|reads|gets) my (prompts|data|messages|questions); is this (private|local|in the cloud); does @ run (locally|in the cloud)
        where (does|do) my (data|prompts|messages) go; (is|are) my (questions|prompts|conversations) (private|recorded|confidential)
        does anything I type leave my computer; will my prompts be uploaded somewhere; is there tracking in candle-vllm
        are my messages kept private; is candle-vllm a cloud service""",
    ),
)
