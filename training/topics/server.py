"""The HTTP server: address, flags, routes, clients."""

from .topic import Topic

TOPICS = (
    Topic(
        name="port",
        group="server",
        answer="The server listens on port 2000. Another port is chosen with --p, for example --p 8000.",
        things="the port; the (server port|default port|port number|port of the server); the --p flag; --p; port 2000; the --port flag",
        actions="(change|set|choose|select|configure) the port; (use|run on|listen on) (another|a different|port 8000 instead of the default) port; use port (8000|8080|3000|5000)",
        ask="""(which|what) port (does @ use|is it|is used|does the server listen on|do I connect to|is the server on|); port; on (which|what) port (is|does) (the server|@) (listen|run|listening|running)
        what is the (default|) port (number|); what does (--p|the --p flag) (do|mean); default port; why port 2000; can the port be changed; port (8000|8080)
        tell me the port of the server; I need the server on port 9000; which number is the port
        port 2000 does not suit me, how do I pick another; at what port can I reach the server""",
    ),
    Topic(
        name="port_in_use",
        group="server",
        answer="A port in use is reported before any weights load. Stop the other program or choose a free port with --p.",
        things="the port in use error; the address already in use error; a busy port; an occupied port; a port conflict",
        ask="""(the |)port (2000 |)is (already in use|in use|taken|occupied|busy|already taken|blocked); (address|port) already in use; port (conflict|in use)
        what if (the port|port 2000) is (in use|taken|occupied|busy|not free); another (program|process|server) (uses|is on|has|blocks) (the|this|that|my) port
        it says (the port is in use|address already in use); error: port in use; something (else |)(runs|is running|listens) on port 2000 (already|)
        what should I do when port 2000 is already taken; the server says that the port is in use; my port is occupied by another program
        the address is already in use, what now; how do you handle a port in use""",
    ),
    Topic(
        name="host",
        group="server",
        answer="By default the server binds to 127.0.0.1, so only your own machine reaches it. --h 0.0.0.0 opens it to the network.",
        things="the host; the (host flag|bind address|ip address|listen address); the --h flag; --h; 0.0.0.0; 127.0.0.1; localhost; remote access; the --host flag",
        actions="""(open|expose) (the server|@) to (the network|my network|the lan|others|the internet); (reach|access|use) the server from (another machine|another computer|my phone|outside|the network|remote)
        change the (host|bind address|ip address); listen on all interfaces""",
        ask="""(which|what) (host|address|ip|ip address|interface) does (the server|@) (use|listen on|bind to); host; can (others|other machines|my phone|my colleagues) (reach|access|use|connect to) the server
        what does (--h|the --h flag) (do|mean); is the server (public|reachable from outside|visible on the network); remote access; what is 127.0.0.1 (for|)
        why can I not (reach|connect to) the server from another (machine|computer)
        I want my other computer to connect to the server; on which address does it listen; may other people on my network use the server
        make the server visible in the lan; how do I set the host""",
    ),
    Topic(
        name="flags",
        group="server",
        answer="The common flags are --m model, --p port, --h host, --cpu, --dtype and --max-num-seqs. candle-vllm-server --help lists "
        "them all.",
        things="the (flags|options|command line|switches|command line options|command line flags|cli); the server (flags|options|arguments); candle-vllm-server; --help; the candle-vllm-server command",
        actions="(see|list|show) (all|the) (flags|options|arguments); use the command line",
        ask="""(which|what) (flags|options|arguments|parameters|switches|command line options) (are there|does the server (have|take|know|accept)|can I pass to the server|exist)
        (flags|options|--help|help flag|server flags|cli|command line); list (the|all|) (flags|options); how (do|can) I (pass|give) (flags|options) (to the server|)
        what does (--help|candle-vllm-server) do; how is the server (configured on the command line|called)
        tell me the flags of the server; what can I write on the command line of candle-vllm-server; which options can the server be started with
        is there a list of all flags; what are the most used flags""",
    ),
    Topic(
        name="curl",
        group="server",
        answer="""curl http://127.0.0.1:2000/v1/chat/completions -H "Content-Type: application/json" -d '{"messages": [{"role": "user", "content": "Hello"}]}'""",
        things="curl; the curl command; a curl (example|request|command|call)",
        actions="(use|call|query|test|ask|try) (@|the server|the api) (with|using|through|by) curl; (send|make) a (curl|raw http|plain http|http) request; use curl",
        ask="""curl; (a|an|give me a|show me a|show me the) curl (example|command|request|call|line); (does it|can I) (work with|use) curl; what is the curl command
        (curl|http|wget) (example|request) (for chat completions|); how do I (ask|call|use) (it|the server|the api) from (the shell|bash) ; an example (http |)request
        what does a request (look like|to the server look like)
        I would like to talk to the server by curl; which curl line asks the model something; write the curl command for a chat
        please give an example with curl; how does one query the server using curl""",
    ),
    Topic(
        name="openai_client",
        group="server",
        answer='In Python: client = OpenAI(base_url="http://127.0.0.1:2000/v1", api_key="EMPTY"), then call '
        "client.chat.completions.create as usual.",
        things="the (openai|official openai|openai python) (client|library|package|sdk); the OpenAI client; the base url; base_url; an openai client example",
        actions="use (the|an) (openai|OpenAI) (client|library|sdk|package|python client); (connect|point) (the openai client|openai|my openai client|an openai client) (to @|here|to this server|); set the base url",
        ask="""(does|can) (it|@|the server) (work with|support|be used with) the openai (client|library|sdk|package); openai (client|python|sdk|library|package); what is the base url
        (which|what) (base url|base_url|url) (do I|should I) (use|set|give) (the client|in the openai client|); can I use (my|the) openai (code|client|program) (with @|)
        from openai import OpenAI; how do I talk to the server from python; use the server from python; langchain
        I have code for the openai library, how does it reach candle-vllm; what base url goes in the openai client
        show the python code that calls the server through openai; connect with the OpenAI package; my program uses the openai sdk""",
    ),
    Topic(
        name="routes",
        group="server",
        answer="The routes are POST /v1/chat/completions, /v1/completions and /v1/embeddings, GET /v1/models, /health, /ready and /version.",
        things="the (routes|endpoints|api|urls|http api|rest api|http routes|http endpoints|api endpoints); /v1/chat/completions; the chat completions endpoint; the openai api of @; the chat completions route",
        actions="(see|list|find) the (routes|endpoints); call the api",
        ask="""(which|what) (routes|endpoints|urls|apis|paths) (are there|does the server (have|offer|know)|exist|can I call|are supported); (routes|endpoints|api|urls)
        list (the|all|) (routes|endpoints); is (it|the api|@|the server) (openai compatible|compatible with openai|openai-compatible); does @ have (an|a rest) api
        what does /v1/chat/completions do; which (parts of the |)openai api (is|are) supported; what is the url of the (api|chat endpoint); (chat completions|/v1/chat/completions)
        tell me all endpoints of the server; at which url are chat completions; what can one call over http
        which paths does the api have; give me the list of routes""",
    ),
    Topic(
        name="list_models",
        group="server",
        answer="GET /v1/models lists the model that is loaded, with its state and its longest context. As model name, `default` always "
        "works.",
        things="/v1/models; the (models|/v1/models) (route|endpoint); the model (name|id) in (a request|requests|the api); the model list; the model field; the list of loaded models",
        actions="(see|list|find out|check|show) (which|what) (model is|models are) loaded; list the models (of the server|); name the model in a request",
        ask="""(which|what) (model is|models are) (loaded|active|served|running|available on the server); what does (/v1/models|GET /v1/models|the models route) (do|return|answer|show)
        what (do I|should I) (write|put|give) (as|for|in|in the) model (name|field|); (which|what) model (name|id) do I (use|send|give) (in the request|in the api|); /v1/models; list models; can I leave the model out
        how do I ask the server what models it has; which name goes into the model field; where can I see the loaded model
        what is the model name for requests; tell me about the /v1/models endpoint""",
    ),
    Topic(
        name="health",
        group="server",
        answer="GET /health answers 200 while the server lives, GET /ready once its model can answer.",
        things="/health; /ready; the /ready route; the readiness check; the (health|/health) (route|endpoint|check); the health check; a liveness probe; the liveness check",
        actions="check (that|whether|if) the server (is alive|is up|is running|lives|works|is healthy|is ok); (monitor|probe|health check|ping) the server",
        ask="""(is there a|what does the|where is the|how does the) health (check|route|endpoint) (do|work|); /health; /ready; ready; is the server ready; health (check|); what does (/ready|GET /ready|the ready route) (do|mean|return|answer); is the server (alive|up|running|healthy|still there)
        what does (/health|GET /health) (return|do|answer|mean); liveness (probe|check|); how do I know (that|whether|if) the server (is up|is running|works|is alive)
        which url tells me if the server lives; I need a probe for the server; can I see whether the server is still running
        what status does the health route give; tell me about the health check""",
    ),
    Topic(
        name="sse",
        group="server",
        answer='Put "stream": true in the request. The server then sends the answer as server-sent events, chunk by chunk, and ends with '
        "[DONE].",
        things="server-sent events; SSE; http streaming; streaming over http; [DONE]; the stream field; the [DONE] (event|line); stream: true; the event stream",
        actions="""stream (over http|from the server|with the api|in the api|chat completions|a chat completion|with curl|with the openai client|over the api)
        (get|receive|read) (server-sent events|sse|chunks from the server|a streamed http answer)""",
        ask="""(does|can) the (server|api) stream; (sse|server-sent events|server sent events|stream true|http streaming|stream=true); what (is|means|does) [DONE] (mean|)
        what does ("stream": true|stream true|the stream field) do; does the server (support|have|send) (sse|server-sent events|streaming|streams)
        how do I turn on streaming in (the|a) (request|api|http request); how does a stream (from the server |over http |)end; why is there a [DONE]; is the api able to stream
        I want the http answer piece by piece; which field makes the server stream; what ends the event stream
        are server-sent events sent by the server; how can I have the api stream its answer""",
    ),
    Topic(
        name="error_body",
        group="server",
        answer="HTTP errors have OpenAI's form: an error object with message, type, param and code. Bad requests get 400, unknown models "
        "404, too large bodies 413.",
        things="the (error body|error response|error format|http errors|status codes|http status codes|error object|error bodies); (status|error) (400|404|413); a 400 (error|response); a 404 (error|response); (http|api) errors",
        actions="read an http error; handle (http errors|api errors|errors of the server|server errors); understand a (400|404|413)",
        ask="""what (do|does) (http errors|api errors|an api error|server errors|an error response|the error body) look like; (why|what) (do|did) I get (a 400|a 404|a 413|status 400|error 400|error 404) (from the server|)
        (400|404|413|400 bad request|404 not found|bad request|status codes|error body|error format); (which|what) status codes (are there|does the server (use|return|send))
        the server (says|returns|answers|gives|sends) (400|404|413|an error|bad request); how are errors (returned|reported|sent) (over http|by the server|by the api)
        my request came back with status 400; what form has an error of the server; in which format are api errors
        what is in the error object; which http code is sent for a bad request""",
    ),
    Topic(
        name="unknown_fields",
        group="server",
        answer="No field is silently ignored: one that the server does not know is refused with 400 unsupported_field, and param names it.",
        things="unknown fields; unsupported fields; unsupported_field; an unknown field; the unsupported_field error; extra fields in a request; unrecognised fields; unsupported parameters",
        ask="""what happens (to|with) (unknown|unsupported|extra|wrong|misspelled) (fields|parameters|keys|json fields); are (unknown|unsupported|extra) (fields|parameters|keys) (ignored|accepted|refused|allowed)
        (unsupported_field|unknown field|unsupported field|unsupported parameter); does the server ignore (fields|unknown fields|parameters) (it does not know|)
        (what does|why do I get) unsupported_field (mean|); the server does not (know|accept|like) (a|my|this) field; I misspelled a field (in my request|)
        will a field that the server does not know be dropped; my request has an unsupported field; what if I send an unknown parameter
        is a misspelled field an error; how do you treat unknown json keys""",
    ),
    Topic(
        name="stop_server",
        group="server",
        answer="Press Ctrl-C. Running streams are ended cleanly and the server exits with code 0.",
        things="Ctrl-C; the shutdown; ctrl c; a clean shutdown; graceful shutdown; the exit code",
        actions="(stop|end|quit|kill|exit|terminate|shut down|turn off|switch off|close) (the server|@|the running server); shut (the server|it|@) down",
        ask="""(ctrl-c|ctrl c|shutdown|stop server|stop the server|quit|exit); what (happens|does it do) (on|when I press|with|after) (ctrl-c|ctrl c|control c); is the shutdown (clean|graceful)
        what happens to (running|open) (streams|requests) (on shutdown|when the server stops|at exit); how is the server (stopped|ended|shut down); how does the server (stop|exit|end); is there a (clean|proper) way to stop
        which key ends the server; I want the server to go away; how do I bring the server down
        what do I press to quit; may I just press ctrl-c""",
    ),
    Topic(
        name="api_key",
        group="server",
        answer="No API key is asked by default; clients that insist may send any text, such as EMPTY. --api-key sets a key of your own.",
        things="the (api key|API key|key|authentication|password|login|bearer token); api keys; access control; EMPTY; the --api-key flag; the authorization header",
        actions="(set|get|use|create|find|protect the server with) (an|the|my) (api key|password|key); log in; authenticate; sign (in|up)",
        ask="""do I need (an|a) (api key|key|password|account|openai key|token) (for the server|); (api key|authentication|password|login|auth|account); (which|what) api key (do I (use|need|send)|is it|is needed)
        (is|does) the server (protected|secured|ask for a key|need a password|have authentication); where do I get (an|the) api key; what is EMPTY; is there a (login|password)
        does @ (need|want|require) (an account|an api key|a key|a password)
        my client wants an api key, what do I give it; is any key required; must I register or log in
        what should the api_key be; does the server check keys""",
    ),
    Topic(
        name="settings",
        group="server",
        answer="Settings come in this order: a flag wins over a CANDLE_VLLM_ environment variable, which wins over the .env file. "
        ".example.env lists the variables.",
        things="the (environment variables|env variables|.env file|settings|env file|dotenv file|server settings); .example.env; .env; environment variables; CANDLE_VLLM_MODEL; the order of settings; the precedence of settings; CANDLE_VLLM variables",
        actions="(set|use|change|configure) (environment variables|settings|the settings|a .env file|the .env file|env variables); configure the server (with|by|through) (the environment|variables|a file)",
        ask="""(which|what) environment variables (are there|does @ read|exist|can I set); (environment variables|.env|env vars|settings|.example.env|dotenv); (what is|where is) (the|.example.env|the .env file) (for|)
        what wins, a flag or (a|an environment) variable; (which|what) (setting|one) (wins|takes precedence|has priority); where (do|can) I (put|write|keep) (the|my) (settings|configuration)
        does @ read (a|the) .env (file|); is there a (configuration|config|settings) file; what is CANDLE_VLLM_MODEL
        can I configure the server by environment variables; in what order are settings read; does an environment variable beat a flag
        tell me about the .env file; where do the settings of the server come from""",
    ),
    Topic(
        name="disconnect",
        group="server",
        answer="When a client goes away, the server cancels its request and frees its blocks at once.",
        things="(client|a client) (disconnect|disconnects); a (closed|broken|lost|dropped) connection; disconnected clients; a client that (disconnects|goes away|hangs up)",
        ask="""what (happens|if|happens when|happens if) (a|the|my) client (disconnects|goes away|hangs up|closes the connection|closes the tab|quits|crashes|leaves)
        (client |)disconnect; does a (closed|broken|lost) connection (stop|cancel|end) the (request|answer|generation); (connection lost|lost connection|broken connection|connection closed)
        what if I close (the browser|the connection|the tab|my client) (during|in the middle of) (an answer|a stream); does the server (keep|go on) generating (when|after) (I|the client) (leave|disconnect|disconnects)
        my connection broke while streaming, what does the server do; is the work wasted when a client hangs up
        when a user leaves in the middle, does generation go on; what becomes of a request whose client is gone; how do you deal with disconnects""",
    ),
)
