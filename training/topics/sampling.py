"""The parameters of a request."""

from .topic import Topic

TOPICS = (
    Topic(
        name="temperature",
        group="sampling",
        answer="temperature says how random the draw is. The default is 1.0; lower is safer, and 0 always takes the most likely token.",
        things="temperature; the temperature (parameter|setting|option|value|); greedy (decoding|sampling|search); temperature 0; the default temperature; a high temperature; a low temperature; the randomness",
        actions="(set|change|lower|raise|use) the temperature; (decode|sample) greedily; make answers (less|more) (random|creative); get the most likely token",
        ask="""(which|what) temperature (should I use|is best|is the default|do you use); temperature; greedy; what (does|is) (a |)temperature (of |)(0|1|0.7|2) (do|mean|); default temperature
        how (creative|random) are the answers; what makes (the answers|it|the output) (more|less) (random|creative); is there greedy (decoding|sampling)
        I would like less random answers; which value of temperature is greedy; how does the temperature change the answer
        what is a good temperature; tell me what temperature does""",
    ),
    Topic(
        name="top_p",
        group="sampling",
        answer="top_p keeps the smallest set of tokens whose probabilities reach p: nucleus sampling. The default 1.0 keeps all.",
        things="top_p; top p; top-p; the top_p (parameter|setting|value|); nucleus sampling; the nucleus; --top-p",
        actions="(set|use|change|turn off) (top_p|top p|top-p|nucleus sampling)",
        ask="""(top_p|top p|top-p|nucleus sampling|nucleus); what does (top_p|top p|top-p) (do|mean|stand for); (which|what) (value of |)(top_p|top p|top-p) (should I use|is the default|is best|is allowed)
        default top_p; is (top_p|nucleus sampling) supported; what does (top_p|top p|top-p) (0.9|1.0|0.5|0.95) (do|mean)
        I have read about nucleus sampling, is it there; which tokens does top_p keep; how does top_p choose tokens
        what is a good top_p; tell me what top p does""",
    ),
    Topic(
        name="top_k",
        group="sampling",
        answer="top_k keeps only the k most likely tokens. It is off by default; None, 0 and -1 all mean off.",
        things="top_k; top k; top-k; the top_k (parameter|setting|value|); top k sampling; --top-k",
        actions="(set|use|change|turn off|switch off) (top_k|top k|top-k|top k sampling)",
        ask="""(top_k|top k|top-k|top k sampling); what does (top_k|top k|top-k) (do|mean|stand for); (which|what) (value of |)(top_k|top k|top-k) (should I use|is the default|is best|is allowed)
        default top_k; is (top_k|top-k sampling) supported; what does (top_k|top k|top-k) (40|50|-1|0|20) (do|mean)
        which tokens does top_k keep; how is top k switched off; how does top_k choose tokens
        what is a good top_k; tell me what top k does""",
    ),
    Topic(
        name="min_p",
        group="sampling",
        answer="min_p drops tokens that are less likely than min_p times the most likely one. The default 0.0 drops none.",
        things="min_p; min p; min-p; the min_p (parameter|setting|value|); min p sampling; --min-p",
        actions="(set|use|change|turn off) (min_p|min p|min-p)",
        ask="""(min_p|min p|min-p|min p sampling); what does (min_p|min p|min-p) (do|mean|stand for); (which|what) (value of |)(min_p|min p|min-p) (should I use|is the default|is best|is allowed)
        default min_p; is (min_p|min p) supported; what does (min_p|min p|min-p) (0.1|0.05|0) (do|mean)
        which tokens does min_p drop; how is min p switched off; how does min_p choose tokens
        what is a good min_p; tell me what min p does""",
    ),
    Topic(
        name="repetition_penalty",
        group="sampling",
        answer="repetition_penalty above 1.0 makes every token of the prompt and the answer less likely to come again. 1.0 is off.",
        things="repetition_penalty; the repetition penalty; repetition penalty; a repetition penalty of (1.1|1.2)",
        actions="(set|use|change) (the|a) repetition penalty; (stop|avoid|prevent|reduce) (repetition|repetitions|loops|repeated text); keep the model from repeating itself",
        ask="""(repetition_penalty|repetition penalty|repetition); what does (repetition_penalty|repetition penalty) (do|mean|1.1 do|1.2 mean); the (model|answer|output) (repeats itself|repeats|loops|is repetitive|says the same again and again)
        (which|what) repetition penalty (should I use|is the default|is best); how do I stop the model from repeating (itself|words|things); (why does it repeat|it keeps repeating)
        the same words come over and over; what works against repetition; I get repeated text, which parameter helps
        tell me what repetition_penalty does; how does the repetition penalty change tokens""",
    ),
    Topic(
        name="penalties",
        group="sampling",
        answer="frequency_penalty counts how often a token came in the answer, presence_penalty only that it came. Both are 0.0 by "
        "default.",
        things="(frequency_penalty|frequency penalty|presence_penalty|presence penalty); the (frequency|presence) penalty; frequency and presence (penalty|penalties); the penalties",
        actions="(set|use|change) (the|a) (frequency|presence) penalty; use penalties",
        ask="""(frequency_penalty|frequency penalty|presence_penalty|presence penalty|penalties); what does (frequency_penalty|frequency penalty|presence_penalty|presence penalty) (do|mean)
        (which|what) penalties (are there|exist|can I set); (difference between|compare) (frequency|presence) (penalty |)and (presence|frequency) penalty; (which|what) (frequency|presence) penalty (should I use|is the default|is best)
        how does the presence penalty differ from the frequency penalty; what would a frequency penalty change
        tell me what presence_penalty does; what other penalties can I use; when would I use a presence penalty""",
    ),
    Topic(
        name="stop_strings",
        group="sampling",
        answer="stop_sequences end an answer at one of your texts, stop_token_ids at a token. The stop text itself is never shown. In a "
        "request the field is `stop`.",
        things="(stop sequences|stop_sequences|stop strings|stop words|stop tokens|stop_token_ids|stop token ids); the stop (parameter|field|option|string); a stop (string|sequence|word)",
        actions="(set|use|give|add) (a stop string|stop sequences|stop strings|stop words|a stop sequence); (stop|end|cut) (the answer|generation|output|an answer) (at|on|after) (a word|a text|a string|a newline|some text|a token)",
        ask="""(stop|stop sequences|stop strings|stop words|stop_sequences|stop_token_ids); what (are|do) (stop sequences|stop strings|stop words|stop tokens) (do|); is the stop (text|string|sequence) (shown|included|part of the answer|returned)
        can I (stop|end) (the answer|generation) at a (word|string|newline|text|phrase); how many stop (strings|sequences|words) (can I give|are allowed); are stop strings supported
        I want the answer to end when a certain word comes; will I see the stop string in the text; which parameter ends at a given text
        how do stop sequences behave; tell me what stop strings do""",
    ),
    Topic(
        name="seed",
        group="sampling",
        answer="A request with a seed gives the same tokens every time, whatever else runs beside it. With temperature 0 the answer is "
        "the same without a seed.",
        things="seed; the seed (parameter|value|setting|); reproducibility; determinism; reproducible (answers|results|output); deterministic (answers|output); a random seed; seeds",
        actions="(set|use|give|fix) (a|the) (seed|random seed); (get|have) (the same answer|the same output|the same result|identical answers) (twice|again|every time|each time); (reproduce|repeat) an answer; make (answers|output|it|results) (reproducible|deterministic)",
        ask="""(seed|reproducible|reproducibility|deterministic|determinism|random seed); what does (seed|the seed) (do|mean); (are|is) (the |)(answers|output|results|sampling|generation) (reproducible|deterministic|repeatable)
        why (is|are) the (answer|answers|output) (different|not the same) (each time|every time); does the same seed give the same (answer|tokens|text); (which|what) seed should I use; is a seed supported
        I need the very same tokens on each run; does a batch change a seeded answer; how can results be repeated exactly
        what is a seed good for; tell me what the seed does""",
    ),
    Topic(
        name="logprobs",
        group="sampling",
        answer="logprobs=True gives each token's log probability in the raw distribution, before any transform. top_logprobs adds up to "
        "20 alternatives.",
        things="(logprobs|log probs|log probabilities|token probabilities|top_logprobs|top logprobs); the logprobs (parameter|option|field); TokenLogprob; the probability of a token; logprob",
        actions="(get|see|return|request|show|have) (logprobs|log probabilities|token probabilities|the probability of each token|probabilities|top logprobs); see (alternatives|alternative tokens)",
        ask="""(logprobs|log probabilities|top_logprobs|token probabilities|logprob); what (does|do|are|is) (logprobs|top_logprobs|log probabilities) (do|mean|); are (logprobs|log probabilities|token probabilities) (supported|available|returned)
        how (likely|probable) was (a|each|every) token; can I (see|get) (the|) (logprobs|probabilities); how many (top logprobs|top_logprobs|alternatives) (can I get|are there|are possible)
        I want to know how sure the model was of each token; does it return probabilities; which parameter gives log probabilities
        how do I see the other likely tokens; tell me what logprobs are""",
    ),
    Topic(
        name="max_tokens",
        group="sampling",
        answer="max_tokens limits the length of an answer; the library's default is 256. The server without a limit goes on to the end of "
        "the context.",
        things="max_tokens; max tokens; the max_tokens (parameter|setting|limit|); the (answer|output) length; max_completion_tokens; the length limit; the length of (an answer|answers); the token limit of an answer",
        actions="(limit|set|change|control|raise) the (length|answer length|output length|length of an answer|number of tokens); (get|make) (longer|shorter) answers; (set|use|change|raise) max_tokens; make the answer (longer|shorter)",
        ask="""(max_tokens|max tokens|max_completion_tokens|answer length|output length); what does (max_tokens|max tokens|max_completion_tokens) (do|mean); (which|what) (is the |)(default |)max_tokens (should I use|is the default|)
        how long (can|may|is) (an answer|the answer|answers|the output) (be|get|); (the|my) answer (is|was|gets) (cut off|cut|too short|too long|truncated|incomplete); how many tokens (can|does) (it|an answer|the answer) (generate|have)
        why (is|was) the answer cut (off|short|)
        my output ends in the middle of a sentence; which parameter bounds the answer; how much text will be generated at most
        how do I get a long answer; tell me what max_tokens does""",
    ),
    Topic(
        name="logit_bias",
        group="sampling",
        answer="logit_bias adds a number from -100 to 100 to the logits of the token ids you name, before anything else.",
        things="logit_bias; logit bias; the logit_bias (parameter|field|option); a logit bias; biasing tokens",
        actions="(ban|forbid|favour|favor|suppress|boost|forbid the use of|bias) (a token|some tokens|tokens|certain tokens|single tokens|a word|certain words); (set|use) (a|the|) logit bias",
        ask="""(logit_bias|logit bias); what does (logit_bias|logit bias) (do|mean); is (logit_bias|logit bias) supported; can I (ban|forbid|suppress|boost) (a token|tokens|certain tokens|a word)
        (which|what) values (can|may) (logit_bias|logit bias) (have|take); how do I make a token (more|less) likely; keep the model from using a (word|token)
        I want one token never to be drawn; by what can tokens be favoured; what is a logit bias good for
        tell me what logit_bias does; which range has the logit bias""",
    ),
    Topic(
        name="min_tokens",
        group="sampling",
        answer="Until min_tokens are generated, EOS, stop ids and stop strings do not end the answer. ignore_eos goes on past EOS without "
        "hiding it.",
        things="(min_tokens|min tokens|ignore_eos|ignore eos); the (min_tokens|ignore_eos) parameter; the minimum length; a minimum (length|number of tokens); ignoring EOS; the end of sequence token; EOS",
        actions="(set|force|demand) a minimum (length|number of tokens); (ignore|go on past|continue past) (eos|the eos|the end token); keep (it|the model) from stopping (early|too early|too soon)",
        ask="""(min_tokens|min tokens|ignore_eos|ignore eos|eos|minimum length); what does (min_tokens|min tokens|ignore_eos) (do|mean); can I (force|set) a minimum (length|number of tokens)
        what happens at (eos|the eos token|the end of sequence); the (answer|model) (stops|ends) too (early|soon); what is (eos|the eos token); is ignore_eos supported
        I need at least 50 tokens; how do I make it run on past the end token; which parameter sets the least number of tokens
        tell me what ignore_eos does; what is min_tokens good for""",
    ),
    Topic(
        name="n_answers",
        group="sampling",
        answer="n asks for several answers to one prompt, from 1 to 128. Choice i is drawn with seed + i.",
        things="the n parameter; n in the request; several (answers|choices|completions) (to one prompt|); multiple (answers|choices|completions); the number of choices; the parameter n; parallel (samples|answers)",
        actions="(get|have|ask for|generate|sample|request) (several|many|multiple|more than one|two|three|5) (answers|choices|completions|samples|alternatives) (to one prompt|for one prompt|to the same question|at once|); use n",
        ask="""what does (n|the n parameter|n=2|n=3|the parameter n) (do|mean); can I get (several|multiple|more than one|two|many) (answers|choices|completions|samples); (n|n=2|multiple choices|several answers|multiple answers)
        how many (choices|answers|completions) (can I get|are possible|can I ask for); is n (greater than 1 |larger than 1 |)supported; one prompt, (several|many|multiple|two) answers
        I would like three different answers to the same question; which field gives more choices; how large may n be
        can one prompt yield many completions; tell me what n does""",
    ),
    Topic(
        name="sampling_order",
        group="sampling",
        answer="The order is: logit bias, repetition, frequency and presence penalties, temperature, top-k, top-p, min-p, then the draw.",
        things="the (order|sequence) of (sampling|the sampler|the sampling steps|the parameters|the transforms|operations); the (sampling order|order of application); the sampler; the sampling (pipeline|steps)",
        ask="""in (which|what) order (are|is) (the |)(parameters|sampling parameters|penalties|sampling steps|transforms|temperature and top_p) (applied|used|done); sampling order; (what|which) (comes|is applied|happens) first, (temperature or top_p|top_k or top_p|top-k or top-p|penalties or temperature|temperature or top-k)
        how does (sampling|the sampler) work; order of (sampling|parameters|sampling parameters|application); how are (the sampling |)parameters combined; (is|does) temperature (applied|come) (before|after) (top_p|top-p|top_k|min_p|the penalties)
        how is (a|the next) token (drawn|chosen|picked|selected|sampled)
        are penalties applied before the temperature; what are the steps of sampling and their order; when does top-k act, before or after top-p
        tell me the order in which logits are changed; what does the sampler do step by step""",
    ),
    Topic(
        name="params",
        group="sampling",
        answer="GenerationParams holds everything about one request: max_tokens, temperature, top_p, top_k, min_p, penalties, stop "
        "strings, logprobs, seed. It is checked when made.",
        things="GenerationParams; (generation|sampling|request) parameters; the (generation|sampling|request) parameters; the GenerationParams class; the parameters of a request; the defaults of the parameters",
        actions="(set|change|give|pass) (the |)(parameters|sampling parameters|generation parameters|GenerationParams|params) (of a request|); tune (the |)(generation|sampling|parameters)",
        ask="""(GenerationParams|generation params|sampling parameters|generation parameters|params); (which|what) (sampling |generation |request |)parameters (are there|can I set|exist|does @ have|does @ support|are supported)
        list (the|all|all the) (sampling |generation |)parameters; what (is in|does) GenerationParams (contain|hold|); can each request have its own parameters; what are the default parameters; what can I tune
        which knobs does sampling have; may two requests in a batch have different parameters; what fields has GenerationParams
        tell me all parameters of generation; how do I pass parameters for one request""",
    ),
)
