"""The engine inside a Python program."""

from .topic import Topic

TOPICS = (
    Topic(
        name="embed",
        group="library",
        answer="Write `from candle_vllm import InferenceEngine`, open it with InferenceEngine.from_pretrained(path), then call "
        "engine.generate_sync(engine.tokenize(text)).",
        things="InferenceEngine; the InferenceEngine class; the (library|python api|library api); embedding @ (in a program|); from_pretrained; generate_sync; the inference engine class",
        actions="""(embed|use|call|put) (@|the engine|the library|a model|the model|it) (in|inside|from|within) (my|a|a python|my own|my python) (program|code|app|application|script|process)
        use (@|it) as a library; generate (text|an answer) (in python|from python|in code|in my program); create an engine; open a model in python; use InferenceEngine; import (@|candle_vllm)""",
        ask="""(can I|how do I|is it possible to) (use|run) (@|it) without (the|a) server; (embed|embedding in a program|library|python api|InferenceEngine|from_pretrained|generate_sync); (show|give) me (python|sample|example) code
        what does (InferenceEngine|from_pretrained|generate_sync) do; how does (the library|the python api|the engine class) (work|look); what is the (import|module name|python module); from candle_vllm import InferenceEngine
        (python|code) example; a (minimal|small|short) (python |)(program|example)
        I write a Python app and want the model in it; what code opens an engine; no server, just the model in my script
        which class do I import; show how the engine is used from Python""",
    ),
    Topic(
        name="async",
        group="library",
        answer="For async code there are generate and generate_stream; generate_sync and generate_batch do the same in plain code.",
        things="async (use|code|support); the async (api|methods); sync and async; asyncio; (asynchronous|synchronous) (calls|use|code|api); await engine.generate",
        actions="use (asyncio|async|await|async code) (with @|with the engine|); (call|use) the engine (asynchronously|synchronously|from async code|without async|in an event loop)",
        ask="""(async|asyncio|await|sync or async|asynchronous); is (@|the engine|the api|the library) (async|asynchronous|synchronous|sync|blocking); does @ (support|work with|have) (async|asyncio|await|an async api)
        do I (need|have to use) (async|asyncio|await); can I (await|use await|use asyncio|use async); is there (a sync|a synchronous|an async|an asynchronous|a blocking) (api|version|method|call); (sync|async) (vs|versus|or) (async|sync)
        my code has an event loop, which methods do I call; I have no event loop, is that fine; can generate be awaited
        which calls are blocking; tell me about asyncio and the engine""",
    ),
    Topic(
        name="stream",
        group="library",
        answer="async for chunk in engine.generate_stream(ids, params): print(chunk.text). Closing the generator cancels the request.",
        things="generate_stream; streaming; streaming in (python|the library|code); the streaming api; GenerationChunk; chunks; token streaming; a stream; chunk.text",
        actions="(stream|show) (an answer|the answer|answers|text|output|tokens|the output) (token by token|as it comes|in python|live|bit by bit|word by word|); stream (tokens|in python|from the engine|in my program); get (tokens|text) as (they come|it is made|they are generated); use (streaming|generate_stream)",
        ask="""(stream|streaming|generate_stream|token streaming|GenerationChunk); can (I|it|@|the engine) stream; does (@|it|the engine|the library) (support|have|do) streaming; (is|are) (streaming|streams) (supported|possible|available)
        what (is|does) (generate_stream|a chunk|GenerationChunk) (do|contain|); how does streaming work; see the answer (token by token|as it is generated|word by word|while it is written)
        I would like to see each token at once; which method of the engine streams; print the answer while it is generated
        how do I iterate over chunks; tell me about streaming""",
    ),
    Topic(
        name="batch",
        group="library",
        answer="engine.generate_batch([ids1, ids2], params, progress=True) runs many prompts together, keeps their order and shows a "
        "progress bar.",
        things="generate_batch; (batch|offline batch) (processing|generation|inference|jobs); batches of prompts; many prompts; a batch; a list of prompts; the batch method",
        actions="(run|process|generate|answer|do) (many|several|multiple|a list of|a batch of|thousands of|100) prompts (at once|together|in one go|in one call|); (use|call) generate_batch; process a (file|list) of prompts; batch (my |)(prompts|requests)",
        ask="""(batch|batching prompts|generate_batch|batch processing|batch inference|offline batch|bulk); what does generate_batch do; is there a (batch|bulk) (mode|api|method|call); can I (give|pass|run) (many|several|multiple|a list of) prompts
        does generate_batch keep (the|their) order; is there a progress bar; (many|multiple|several|lots of) prompts (at once|together); does @ support batch (processing|generation|inference)
        I have a thousand prompts to run; which method takes a list of prompts; are batch results in the same order
        how do I see progress over many prompts; tell me about generate_batch""",
    ),
    Topic(
        name="tokenize",
        group="library",
        answer="engine.tokenize(text) gives token ids, engine.detokenize(ids) gives the text back. The tokenizer is the checkpoint's own.",
        things="(tokenize|detokenize|tokenization|the tokenizer|token ids); engine.tokenize; engine.detokenize; the tokenize method; a tokenizer",
        actions="(tokenize|encode) (text|a text|a prompt|a string); (detokenize|decode) (tokens|ids|token ids); (count|get|see) (the |)(tokens|token ids) (of a text|of a prompt|in a text|); turn (text into tokens|tokens into text|ids into text)",
        ask="""(tokenize|detokenize|tokenizer|tokenization|token ids); what does (tokenize|detokenize|engine.tokenize|engine.detokenize) do; (which|what) tokenizer (is used|does @ use|do you use); how many tokens (has|does|are in) (my|a) (text|prompt) (have|)
        where does the tokenizer come from; what are token ids; is there a tokenizer; (text|string) to (tokens|ids)
        I need the ids of a text; which method decodes ids; how can I find out how many tokens a text has
        whose tokenizer is it; tell me about tokenize""",
    ),
    Topic(
        name="config",
        group="library",
        answer="EngineConfig holds the engine's settings, such as model_path, device, dtype, max_batch_size and kv_cache_memory. "
        "InferenceEngine.builder() sets the same ones by chained calls.",
        things="EngineConfig; the (builder|config|config builder|engine config|engine configuration|engine settings); InferenceEngine.builder; the builder (pattern|api); the EngineConfig class",
        actions="(configure|set up) (the|an) engine; use (the|a) builder; build an engine; (set|change) engine (settings|options); (make|create|write) an EngineConfig",
        ask="""(EngineConfig|builder|engine config|engine settings|engine configuration|InferenceEngine.builder); (which|what) (settings|options) does (the engine|EngineConfig|an engine) (have|take); what is (in|) EngineConfig (for|)
        what does (InferenceEngine.builder|the builder|builder) do; is there a builder; how is (the|an) engine configured; (builder|config) (example|pattern); list the engine (settings|options)
        in which object are the settings of the engine; can I chain calls to configure an engine; which fields has EngineConfig
        how do I give the engine its options; tell me about the builder""",
    ),
    Topic(
        name="step",
        group="library",
        answer="For your own scheduling, add requests with engine.add_request(...) and call engine.step() until all are finished. Each "
        "step returns a list of RequestUpdate.",
        things="step(); engine.step; add_request; RequestUpdate; the step (method|function|call); custom scheduling; InferenceRequest; engine.step(); the step loop",
        actions="(drive|run|step) the engine (by hand|manually|myself|step by step|in my own loop); (use|call) (step|add_request|engine.step); (write|make|use) my own (loop|scheduling|scheduler loop); add a request",
        ask="""(step|add_request|RequestUpdate|custom scheduling|manual stepping|InferenceRequest); what does (step|engine.step|add_request) (do|return); can I (drive|control|step) the engine (myself|by hand|manually)
        what is (a RequestUpdate|an InferenceRequest|add_request|step) (for|); is there a (manual|low level|step) (mode|api); can I mix step and generate
        I want to decide myself when the engine computes; which method runs a single step; how is a request added by hand
        what comes back from a step; tell me about add_request""",
    ),
    Topic(
        name="cancel",
        group="library",
        answer="engine.cancel_request(handle) cancels one request and frees its blocks. Closing a stream early cancels its request too.",
        things="cancel_request; (cancellation|cancelling|canceling) (a request|requests|); cancelling; cancelled requests; engine.cancel_request",
        actions="(cancel|abort|interrupt|stop|kill) (a|one|my|the running|a running) (request|generation|stream); cancel (it|something|requests); (stop|abort) (generating|generation) early",
        ask="""(cancel|cancellation|cancel_request|abort|cancel a request|interrupt); can (requests|a request|I) (be cancelled|cancel|be aborted|abort); what does cancel_request do; what (happens|does it mean) when a request is cancelled
        is there (cancellation|an abort|a cancel method); does cancelling free (memory|the blocks|its blocks); I changed my mind about a request; how do I give up a request
        a request runs too long and I want to end it; which method aborts a request; are blocks freed after a cancel
        how do I get rid of a running request; tell me about cancel_request""",
    ),
    Topic(
        name="stats",
        group="library",
        answer="engine.stats() counts running and waiting requests, KV blocks in use and cached, prefix hits, preemptions and tokens.",
        things="engine.stats; stats(); (stats|statistics); the (engine |)(stats|statistics|counters|metrics); the stats method; EngineStats; engine.stats()",
        actions="(see|get|read|show) (the |)(stats|statistics|counters|engine stats|load|usage of the cache); see how (busy|full|loaded) the engine is; (monitor|watch|observe) the engine; count (running|waiting) requests",
        ask="""(stats|statistics|engine.stats|counters|metrics|monitoring); what (does|is in) (stats|engine.stats) (return|show|tell|); how many requests (are running|are waiting|run|wait) (now|right now|)
        (which|what) (statistics|numbers|metrics|counters|stats) (are there|does the engine have|can I get); how (busy|full) is the (engine|cache); are there (statistics|metrics|counters)
        I want to know how many blocks are in use; which method gives the numbers of the engine; where are prefix hits counted
        how do I look at the load of the engine; tell me about stats""",
    ),
    Topic(
        name="close",
        group="library",
        answer="engine.close() ends pending requests as cancelled and gives all memory back. `with` and `async with` close it for you.",
        things="close(); engine.close; the close method; closing the engine; engine.close(); the with statement; EngineClosedError; the end of an engine's life",
        actions="(close|free|unload|release|dispose of|destroy|shut down) (the|an|my) (engine|model|memory); (free|release|give back|get back) (the |)(memory|ram); use (with|a with statement|a context manager|async with)",
        ask="""(close|engine.close|EngineClosedError|free memory|release memory|unload the model|context manager); what does (close|engine.close|EngineClosedError) (do|mean); do I (have|need) to close (the|an) engine
        is (the|an) engine a context manager; how is memory (freed|released|given back); what happens (after|on|when I call) close; does close (free|release|give back) (memory|the memory|everything); memory leak
        I am done with the engine, what now; is memory returned when an engine is closed; does with work on an engine
        what becomes of pending requests at close; tell me about closing an engine""",
    ),
    Topic(
        name="several_engines",
        group="library",
        answer="Several engines may live in one process, each with its own model, its own thread and its own KV cache.",
        things="several engines; (two|multiple|many|more) engines (in one process|); a second engine; two models (at once|in one process|side by side); more than one engine",
        actions="(run|use|open|have|load) (two|several|multiple|many|more than one|three) (engines|models) (at once|in one process|in one program|at the same time|side by side|); open a second engine",
        ask="""(several engines|two engines|multiple engines|two models|multiple models|second engine); (can|may) (I|one program|one process|a process) (have|open|run|use|hold) (two|several|multiple|many) (engines|models)
        how many (engines|models) can (I|one process|a program) (open|have|run|load); (are|is) (several|two|multiple) (engines|models) (possible|allowed|supported); do two engines share (memory|anything|a cache|a thread)
        is it all right to open a second engine; may two models be loaded side by side; what do two engines in a process share
        I need more than one model in my program; tell me about several engines""",
    ),
    Topic(
        name="threads",
        group="library",
        answer="Any number of threads and coroutines may call one engine at once. No lock is needed: one engine thread does the computing.",
        things="thread safety; threads; (thread|threads) and coroutines; (locks|locking|multithreading); concurrent (calls|use|access); the engine thread; concurrency; calls from many threads",
        actions="(call|use|share) (the|one|an) engine (from|in|between|with) (several|many|multiple|two) (threads|coroutines|tasks); use threads; lock the engine",
        ask="""is (the engine|@|it) thread safe; (thread safety|threads|thread safe|concurrency|locks|multithreading|lock); do I need (a lock|locks|a mutex|to lock); can (several|many|multiple|two) (threads|coroutines|tasks) (call|use|share) (the|one|an) engine
        what is the engine thread; how many threads (does|has) (the engine|@) (use|have|); may I (call|use) (it|the engine) from (several|many|different|other) threads
        my program has many threads, may all of them generate; must I guard the engine with a lock; who does the computing, which thread
        is it safe to call from coroutines and threads; tell me about thread safety""",
    ),
    Topic(
        name="errors",
        group="library",
        answer="All errors derive from CandleVllmError. Each says what was asked, what was found and what to do, and one bad request never "
        "stops the engine.",
        things="(errors|exceptions|error classes|exception classes|error handling|CandleVllmError|ParameterError|ConfigError); the (errors|exceptions|error tree|error classes|base error|exception hierarchy); ModelLoadError; DeviceError; GenerationError; CapacityError",
        actions="(catch|handle) (errors|exceptions|an error|an exception|a bad request) (in python|in the library|of the engine|); (see|know) which errors there are",
        ask="""(errors|exceptions|CandleVllmError|ParameterError|ConfigError|ModelLoadError|error handling|error classes); (which|what) (errors|exceptions) (are there|can (the engine|it) raise|does (the engine|@|it) raise|should I catch|exist)
        what (happens|is) (on|with|after) a (bad|wrong|broken|failed) (request|parameter); what is (CandleVllmError|a ParameterError|a ConfigError|a ModelLoadError|a DeviceError)
        does a bad request (stop|crash|break|kill) the engine; what if (a request|something) (fails|goes wrong)
        which exception do I catch; what is the base class of errors; can one bad request take the engine down
        tell me about the errors of the library; what does a ParameterError say""",
    ),
    Topic(
        name="finish_reason",
        group="library",
        answer="finish_reason is one of stop, length, stop_sequence, cancelled or error, and says why an answer ended.",
        things="finish_reason; the finish reason; FinishReason; finish reasons; the finish_reason field; the reason why an answer ended",
        actions="(see|know|find out|tell) why (an|the) answer (ended|stopped|finished)",
        ask="""(finish_reason|finish reason|FinishReason|finish reasons); what does (finish_reason|the finish reason|finish_reason length|finish_reason stop) (mean|say); (which|what) finish reasons (are there|exist|can I get)
        why did (the|my|an) answer (end|stop|finish); how do I know why (it|the answer|an answer|generation) (ended|stopped); what are the (values|possible values) of finish_reason; finish_reason (is|=) (length|stop|error)
        how can I see why generation ended; which values can finish_reason take; what tells me that an answer was complete
        where is the reason for the end of an answer; tell me about finish_reason""",
    ),
    Topic(
        name="output",
        group="library",
        answer="GenerationOutput carries tokens, text, finish_reason, stop_sequence, error, logprobs and stats, with times and tokens per "
        "second.",
        things="GenerationOutput; the (output|result) (object|class|of generate|of generate_sync); GenerationStats; the return value (of generate|); what generate returns; the time to first token",
        actions="(read|use|get) the (result|output) of (generate|generate_sync|an engine call); (get|see|measure) (tokens per second|the time to first token) of a request",
        ask="""(GenerationOutput|GenerationStats|output object|return value|result object); what does (generate|generate_sync) return; what (is in|is|does) (GenerationOutput|GenerationStats|the output|the result) (contain|hold|)
        where (is|do I find) (the text|the tokens|the answer text|tokens per second|the time to first token) (in the output|of the output|); which fields does (the output|GenerationOutput|the result) have
        what do I get back from generate; which object holds text and tokens; how do I read the tokens per second of one answer
        tell me the fields of the output; what comes out of generate_sync""",
    ),
    Topic(
        name="model_info",
        group="library",
        answer="engine.model_info() tells the model's id, architecture, longest sequence, vocabulary size, parameters, dtype, device and "
        "bytes of KV cache per token.",
        things="model_info; engine.model_info; ModelInfo; the model_info method; model information; model_info(); details of the loaded model",
        actions="(get|see|read|show) (information|details|facts) (about|on|of) the (loaded |)model; (find out|see) (the architecture|the vocabulary size|the number of parameters|the dtype) of (the|a|my) (loaded |)model; call model_info",
        ask="""(model_info|model info|ModelInfo|engine.model_info); what (does|is in) (model_info|engine.model_info|ModelInfo) (return|tell|show|); how do I (see|know) (which|what) (architecture|dtype|vocabulary size|device) (the|my) model (has|uses)
        how many parameters does (my|the loaded) model have; (where|how) (is|do I get) the (vocabulary size|vocab size|architecture) (of the model|)
        which call describes the loaded model; I want to print the architecture of my model; where do I read the vocabulary size
        how do I get facts on the model in code; tell me about model_info""",
    ),
    Topic(
        name="scripted",
        group="library",
        answer="ScriptedEngine is a test double: an engine whose answers your test writes, so no model is loaded.",
        things="ScriptedEngine; the ScriptedEngine class; the scripted engine; a (fake|mock|dummy) engine; the test double; mocking the engine",
        actions="(mock|fake|stub) (the|an) engine; test my (program|code|app|application) without a model; write tests (against|with|for) (@|the engine|a fake engine|code that uses @); use ScriptedEngine",
        ask="""(ScriptedEngine|scripted engine|mock|fake engine|mock engine|test double|dummy engine); what (is|does) (ScriptedEngine|the scripted engine) (do|for|); is there a (mock|fake|dummy|test) (engine|double)
        (can|how do) I (test|unit test) my (code|program|app) (without|with no) (a model|weights|loading a model); how do I write the answers of (the|an) engine in a test
        my unit tests should not load weights; which class pretends to be an engine; I need an engine with answers I write myself
        what is a scripted engine good for; tell me about ScriptedEngine""",
    ),
    Topic(
        name="adapter",
        group="library",
        answer="OpenAIAdapter(engine) speaks OpenAI's chat types in your own program: await adapter.chat_completion(request), or "
        "chat_completion_stream. gateway.py shows it in FastAPI.",
        things="OpenAIAdapter; the (adapter|openai adapter|OpenAI adapter); chat_completion; chat_completion_stream; the OpenAIAdapter class; an own gateway; FastAPI",
        actions="(use|add|put) (the adapter|OpenAIAdapter|@|chat completions) in (my|a|my own) (fastapi|FastAPI|web) (app|application|server); (write|build|make) (my own|an own|a) (gateway|server|web app) (with @|on @|); use the adapter; use fastapi",
        ask="""(OpenAIAdapter|adapter|openai adapter|gateway|fastapi|chat_completion|chat_completion_stream); what (is|does) (OpenAIAdapter|the adapter|chat_completion|the openai adapter) (do|for|); (can|how do) I (use|embed) (@|it|the engine) in (fastapi|flask|a web app|my web app|my server)
        does @ (work with|support|integrate with) fastapi; chat (completions|messages) without the server; is there an adapter; openai types in my program
        I have a FastAPI app and want chat completions in it; which class turns an engine into a chat api; chat messages in my own program
        what is an adapter good for; tell me about OpenAIAdapter""",
    ),
)
