"""Installing, the make targets, the first minutes."""

from .topic import Topic

TOPICS = (
    Topic(
        name="install",
        group="run",
        answer="Clone the repository and type `make run`. It makes a .venv, installs everything in it and starts the server.",
        things="the (installation|install|setup|set-up); the installation (steps|process|guide); the .venv; the virtual environment; make setup",
        actions="install @; install (this|it|everything); set @ up; set up @; get @; download @; get started (with @|); begin (with @|); build @",
        ask="""(install|installation|setup|installing|getting started|quickstart|quick start); how (is|to get) @ installed; how do I get (started|going) (with @|)
        (pip install|pip install candle-vllm|can I pip install @|is @ on pypi); what (are|is) the (install|installation|first) (steps|step|instructions)
        what (do|should) I (do|type) first; where (can|do) I (get|download) @; I am new (here|to @), (how|where) do I start; first steps; how do I clone @
        what does make setup do; do I need a (venv|virtual environment|virtualenv|conda|docker)
        what do I need to do to have candle-vllm on my computer; give me the installation instructions; I want it on my laptop, how do I install it
        installing candle-vllm: how; how does one get started""",
    ),
    Topic(
        name="requirements",
        group="run",
        answer="You need Python 3.11 or newer, git and make. Any CPU will do; no GPU is needed.",
        things="the (requirements|prerequisites|system requirements|hardware requirements|minimum requirements); the (needed|required) (python version|hardware)",
        ask="""(what|which) python (version|) (do I need|is needed|is required|does @ need); (requirements|prerequisites|system requirements|dependencies)
        what (do I need|is needed|is required|does it take) (to run @|to install @|for @|); what (hardware|computer|machine) (do I need|is needed|does @ need)
        does @ (work|run) (on|with) (python 3.10|python 3.12|python 3.13|my laptop|a laptop|my machine|old computers|any cpu); what are the requirements
        (will|can) my (computer|laptop|machine|pc) run (@|this); do I need a (gpu|graphics card|special machine) (to run @|); minimum (hardware|python version)
        how much (memory|ram|disk) do I need
        which version of python must I have; is a gpu needed; what must be on my machine before I install
        does candle-vllm have any prerequisites; can a normal laptop run candle-vllm""",
    ),
    Topic(
        name="make_run",
        group="run",
        answer='`make run` starts the server on http://127.0.0.1:2000 with the embedded model. Flags go in ARGS: make run ARGS="--p '
        '8000".',
        things="make run; the make run (command|target); ARGS in make run",
        actions="(start|run|launch|boot|fire up|bring up) the server; (start|run|launch) @; start (it|everything); start a server",
        ask="""make run; what does make run do; what happens (when I type|with|after|on) make run; how (is|do I get) the server (started|running)
        (start|run|launch) (server|the server); how do I pass (flags|arguments|args) to make run; which command starts (the server|@)
        what (is the|) command (to|starts|launches) (start|) the server; run @; how to run @; (where|what) is the start command; ARGS
        I want the server up, what do I type; what is make run good for; by which command is the server launched
        how would I get the server to start; tell me what make run does""",
    ),
    Topic(
        name="make_test",
        group="run",
        answer='`make test` runs all tests. Choose some with ARGS, for example make test ARGS="-k stream".',
        things="make test; the (tests|test suite|unit tests); the make test (command|target); pytest",
        actions="(run|start|execute|launch) (the|all|all the|your) (tests|unit tests|test suite); test @; run (a single|one|some) test; run pytest",
        ask="""make test; what does make test do; how (are|is) (the tests|@|the project) (run|tested); are there (tests|unit tests|any tests); (tests|testing|pytest|test suite)
        which command runs the tests; how do I check that (everything|all|@) works; is @ tested; where are the tests; do the tests (need|use) a (gpu|network)
        I changed the code and want to test it; what runs the test suite; by which command do I run tests
        tell me about make test; how can I run only some of the tests""",
    ),
    Topic(
        name="make_chat",
        group="run",
        answer="`make chat` opens a chat with the model in your terminal.",
        things="make chat; the terminal chat; the make chat (command|target); the chat in the terminal; the command line chat",
        actions="(chat|talk|speak) (in|from) (the|my) terminal; chat (with|on) the (model|command line); talk (to|with) the model; talk to you (in the terminal|); chat without a browser",
        ask="""make chat; what does make chat do; is there a (chat|command line chat|terminal chat|cli|console chat); how do I chat (with the model|with you|)
        (terminal|console|cli) chat; where can I (chat|talk) (with|to) (you|the model); can I (chat|talk) (in|from) the (terminal|console|shell|command line); chat
        which command opens a chat; I want to talk with the model in a shell; is it possible to have a conversation in the terminal
        how do I open the chat; tell me what make chat is""",
    ),
    Topic(
        name="make_check",
        group="run",
        answer="`make check` looks at formatting, lint and strict types with ruff and mypy. `make format` mends the formatting.",
        things="make check; make format; the (linter|formatter|type checker|type check|code style); ruff; mypy; linting",
        actions="(lint|format|type check) (the code|my code|the sources); check (the|my) (code|style|types|formatting); run (the linter|ruff|mypy|the type checker)",
        ask="""make check; make format; what does make (check|format) do; (lint|ruff|mypy|linter|formatting|type checking); is the code (typed|type checked|linted|formatted)
        which (linter|formatter|type checker) (do you use|is used); which command (formats|checks|lints) (the code|the types|the sources); do you use (ruff|mypy|black)
        how is the code formatted; what checks the types; which tools look at code style
        tell me about make check; what is the command for linting""",
    ),
    Topic(
        name="make_bench",
        group="run",
        answer="`make bench` measures speed on your machine and prints a table.",
        things="make bench; the (benchmark|benchmarks); the make bench (command|target); the bench folder",
        actions="(measure|benchmark) (the speed|speed|performance|@|throughput|my machine); run (the|a) (benchmark|benchmarks|bench); see how fast @ is on my machine",
        ask="""make bench; what does make bench do; is there a benchmark; (benchmark|benchmarks|bench|benchmarking); which command measures (speed|performance|throughput)
        how (is|do you measure) (speed|performance|throughput) (measured|); are there (benchmarks|speed tests|performance tests)
        I would like to measure tokens per second; what prints the speed table; how would I benchmark it
        tell me what make bench does; which command runs the benchmark""",
    ),
    Topic(
        name="uninstall",
        group="run",
        answer="`make clean` removes the .venv and all caches. Delete the cloned folder too and nothing is left but downloaded models in "
        "the Hugging Face cache.",
        things="make clean; the make clean (command|target); the uninstallation",
        actions="(uninstall|remove|delete) @; (uninstall|remove|delete) (it|everything); clean up; get rid of @; (remove|delete) the (venv|.venv|caches|environment); start over (from scratch|)",
        ask="""make clean; what does make clean do; (uninstall|uninstalling|clean up|cleanup); how is @ (removed|uninstalled); which command (removes|deletes|cleans) (everything|the venv|the caches)
        how do I undo the installation; the (venv|environment|.venv) is broken; reinstall
        I do not want candle-vllm any more, how do I remove it; what does the clean target delete; how do I wipe the environment
        is there a command to uninstall; tell me about make clean""",
    ),
    Topic(
        name="extras",
        group="run",
        answer="Extras choose how much is installed: candle-vllm[openai], [mcp], [responses], [server] or [all].",
        things="the extras; the (package|pip|optional) extras; optional dependencies; candle-vllm[all]; candle-vllm[server]; candle-vllm[openai]; the [server] extra; the [all] extra",
        actions="install (only|just) (the core|the server|a part|some parts|what I need); install the extras; choose what is installed",
        ask="""(which|what) extras (are there|exist|can I install|does @ have); extras; optional (dependencies|extras|packages); what is in (candle-vllm[all]|[all]|[server]|[openai])
        what does candle-vllm[(all|server|openai|responses|mcp)] (install|mean|do); can I install (only|just) (a part|the core|the server|one package)
        how do I install with extras; do I have to install everything; minimal install
        tell me the extras of the package; is there an extra for the server; how do I choose which parts get installed
        which optional extras can I pick; what does the all extra contain""",
    ),
)
