"""What happens inside: blocks, batches, memory, layers."""

from .topic import Topic

TOPICS = (
    Topic(
        name="paged_kv",
        group="engine",
        answer="A paged KV cache keeps keys and values in fixed blocks, and a block table says which blocks a sequence holds. So no memory "
        "is reserved for text that never comes.",
        things="(the |a |)(paged kv cache|kv cache|paged cache|paged attention|PagedAttention|KV cache); block tables; a block table; the slot mapping; paging; the key value cache; KV blocks",
        ask="""(kv cache|paged kv cache|paged attention|paging|block table|block tables|slot mapping|PagedAttention); how is the (kv cache|cache) (organised|organized|stored|managed|paged|laid out); does @ (have|use) (paged attention|a paged kv cache|paging|a kv cache)
        what (is|are) (a |the |)(kv cache|block table|block tables|slot mapping|kv blocks|paged kv cache); why (is the cache paged|paging|page the cache|a paged cache); where are keys and values (kept|stored)
        how does the engine store keys and values; what is meant by paged attention; why does candle-vllm page its cache
        tell me about the kv cache; what does a block table do""",
    ),
    Topic(
        name="block_size",
        group="engine",
        answer="block_size is the number of tokens in one KV block: 16 on the CPU.",
        things="block_size; the block size; block size; the size of a block; --block-size; the (default|kv) block size",
        actions="(change|set|choose) the block size; set block_size",
        ask="""(block size|block_size|--block-size|kv block size); (how|what) (big|large|size) is a (block|kv block); how many tokens (are in|does|fit in|has) (a|one|each) (block|kv block) (hold|have|); (which|what) block size (should I use|is the default|is best|is used)
        what does (block_size|block size|--block-size) (do|mean); what is the default block size; why (are there|are) 16 tokens in a block
        tokens per block, how many; how large are the blocks of the cache; may I have other block sizes
        tell me about the block size; what is the number of tokens in a kv block""",
    ),
    Topic(
        name="continuous_batching",
        group="engine",
        answer="With continuous batching a new request joins the running batch at the next step, and a finished one leaves it. Nobody waits "
        "for the whole batch.",
        things="continuous batching; (dynamic|in-flight|iteration level) batching; the running batch; batching in the engine; batching of requests",
        ask="""(continuous batching|dynamic batching|in-flight batching); (what|how) (is|does|are) (continuous batching|requests batched|batching work|batching); does @ (do|have|support|use) (continuous|dynamic) batching
        (how|when) does a new request (join|enter) (the|a) (batch|running batch); why (is batching|continuous batching|batch) (continuous|); how are (many|several|concurrent) requests (batched|handled|served) (together|at once|); is batching (continuous|dynamic|static)
        must a request wait for (the others|the batch|other requests)
        does a new request have to wait until the batch is over; in what way are requests batched; what is continuous about the batching
        tell me about continuous batching; how do requests share the model""",
    ),
    Topic(
        name="chunked_prefill",
        group="engine",
        answer="Chunked prefill cuts a long prompt in pieces, so that running answers go on in between. A step takes at most "
        "prefill_chunk_size tokens, 8192 by default; beside answers on a CPU, 128 tokens of prompts.",
        things="chunked prefill; (the |)(prefill chunk size|prefill_chunk_size|chunk size|prefill); --prefill-chunk-size; prefill chunks; the prefill phase",
        actions="(turn on|turn off|enable|disable|use|switch off) chunked prefill; (set|change) the (prefill |)chunk size; (cut|split) long prompts",
        ask="""(chunked prefill|prefill|prefill_chunk_size|prefill chunk size|--prefill-chunk-size|prefill chunks); does @ (do|have|support|use) chunked prefill; what (is|does) (prefill|chunked prefill|prefill_chunk_size|--prefill-chunk-size) (do|mean|)
        how (are|is) (long prompts|a long prompt|prompts) (processed|handled|computed|cut); does a long prompt (block|stop|stall|delay) (the others|other requests|running answers); what is the default (chunk size|prefill chunk size)
        will one huge prompt hold up everybody; how large are prefill chunks; why is a long prompt cut into pieces
        tell me about chunked prefill; how does the engine treat long prompts""",
    ),
    Topic(
        name="prefix_cache",
        group="engine",
        answer="The prefix cache keeps the blocks of finished prompts while there is room. A prompt that begins alike reuses them instead of "
        "computing them again.",
        things="(the |)(prefix cache|prefix caching|prompt cache|prompt caching); enable_prefix_cache; cached_tokens; cached tokens; --disable-prefix-cache; shared prefixes; prefix sharing",
        actions="(turn off|disable|switch off|turn on|enable|use) the prefix cache; (reuse|cache|share) (a prompt|prompts|a system prompt|the same system prompt|a prefix|prefixes)",
        ask="""(prefix cache|prefix caching|prompt cache|prompt caching|cached_tokens|enable_prefix_cache|--disable-prefix-cache); does @ (cache prompts|have a prefix cache|do prefix caching|reuse prompts|support prefix caching)
        (are|is) (the same|a repeated|equal|common) (system prompt|prompt|prefix|prompts|prefixes) (computed again|computed twice|reused|cached|shared); what (are|is) (cached_tokens|cached tokens|the prefix cache)
        why is the second (request|question|prompt) faster; many requests with the same (system prompt|beginning|prefix)
        all my prompts begin with the same text, is that used; what does cached_tokens count; are prompts remembered between requests
        tell me about the prefix cache; how does prefix caching save work""",
    ),
    Topic(
        name="kv_memory",
        group="engine",
        answer="kv_cache_memory sets the bytes of the KV cache. Left out, it is sized from the free memory, at most kv_fraction of it: 0.6 by "
        "default.",
        things="kv_cache_memory; kv_fraction; (the |)(kv memory|cache memory|memory of the kv cache|kv cache memory|kv cache size|memory limit); the size of the kv cache; --kv-fraction; --mem; memory (use|usage|consumption)",
        actions="(limit|set|reduce|raise|change) (the |)(memory|kv memory|kv cache memory|memory use|size of the kv cache|cache memory); use less memory; give the (cache|kv cache) more memory",
        ask="""(kv_cache_memory|kv_fraction|kv cache memory|memory|kv cache size|memory use|memory usage|--mem|--kv-fraction|out of memory); how much memory does (the kv cache|the cache|@|the engine) (take|use|need)
        how (large|big) is the kv cache; what (is|does) (kv_fraction|kv_cache_memory|--kv-fraction|--mem) (do|mean|); it (uses|takes) too much memory; I (run out of|do not have enough|have little) memory; who decides how (large|big) the cache is
        my memory is small, how do I make the cache smaller; how many bytes go to the kv cache; what decides the size of the cache
        tell me about kv_fraction; can the memory of the cache be limited""",
    ),
    Topic(
        name="max_num_seqs",
        group="engine",
        answer="At most 16 requests run at once; the rest wait their turn. --max-num-seqs changes it on the server, max_batch_size in the "
        "library.",
        things="(max_batch_size|--max-num-seqs|max batch size|max_num_seqs|max-num-seqs); the (largest|maximum) batch (size|); the batch size; the number of (parallel|simultaneous|concurrent) (requests|users|sequences); the limit of running requests",
        actions="(change|set|raise|increase) (the |)(batch size|max_batch_size|max batch size|number of parallel requests|--max-num-seqs); (serve|run|allow|handle) more (requests|users|sequences) at once",
        ask="""how many (requests|users|sequences|clients|people) (can|may) (run|be served|use it|use the server|it serve|it handle|be answered) (at once|at the same time|in parallel|together|simultaneously); (max_batch_size|batch size|--max-num-seqs|max batch size|max_num_seqs)
        what (is|does) (max_batch_size|--max-num-seqs|the batch size) (do|mean|); (which|what) is the (default|largest|maximum) batch size; how many (parallel|concurrent|simultaneous) (requests|users|clients); what happens (to|with) the 17th request
        twenty people ask at the same moment, what happens; how big can the batch get; what is the most requests that run together
        tell me about max_batch_size; can it serve fifty users at once""",
    ),
    Topic(
        name="scheduler",
        group="engine",
        answer="The scheduler plans each step: it mixes decode tokens and prefill chunks under one token budget, and takes blocks back from "
        "a request when memory runs short.",
        things="the scheduler; scheduling; preemption; preemptions; the scheduler of the engine; the token budget; request scheduling; a step of the scheduler",
        ask="""(scheduler|scheduling|preemption|preemptions|token budget); (what|how) does the scheduler (do|work|decide); how (are|does) (requests|the engine|@) (scheduled|schedule|schedule requests|plan its work); who decides (what runs|which request runs|who runs) (next|when|)
        what (happens|if) (when|if) (the |)(kv cache|cache|blocks|kv blocks|kv memory) (is full|are used up|runs out|run out|fills up); what is (preemption|a preemption|the token budget|the scheduler); when is a request preempted
        no free blocks are left, what does the engine do; what plans the steps of the engine; in which order do requests get their turn
        tell me about preemption; what is the job of the scheduler""",
    ),
    Topic(
        name="packages",
        group="engine",
        answer="There are four packages in layers: candle-vllm-core, candle-vllm-openai, candle-vllm-responses and candle-vllm-server. Each "
        "imports only the one directly beneath it.",
        things="the (packages|layers|architecture|structure|layering|modules|code structure|package layout) (of @|); candle-vllm-core; candle-vllm-openai; candle-vllm-responses; the (core|openai|responses|server) package; the four packages; candle_vllm_core; candle_vllm_responses",
        actions="(understand|find my way in|read) the (code|architecture|structure|sources)",
        ask="""(which|what) (packages|layers|modules|parts) (are there|does @ have|is @ made of|make up @); (packages|architecture|layers|structure|layering|modules); how is (@|the code|the project|the repository) (structured|organised|organized|layered|divided|built up)
        what (is|does) (candle-vllm-core|candle-vllm-openai|candle-vllm-responses|candle_vllm_core|the core package|the responses package|the core) (do|for|contain|); which package (imports|depends on|uses) which; where is the code (of the engine|of the server|)
        into what parts is the code divided; tell me how the packages depend on each other; what are the layers called
        what belongs in the core package; how many packages make up candle-vllm""",
    ),
)
