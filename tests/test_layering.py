"""Who may import whom, checked against the sources without importing them."""

import ast
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

import pytest

from workspace import PACKAGES, Module, modules

# Inside the core a module may import its own folder and what stands before it here.
CORE = [
    *(
        "errors",
        "memory",
        "constraint",
        "types",
        "stats",
        "events",
        "config",
        "spec",
        "kernels",
        "native",
        "quant",
        "weights",
        "attention",
        "model",
    ),
    *("protocol", "tokenizer_files", "tokenizer", "detokenizer", "constraints", "runtime", "planning", "embedding"),
    *("engine", "testing"),
]
# Modules of the core that neither import torch nor anything that imports it.
TORCH_FREE = {
    *("", "errors", "memory", "types", "config", "spec", "tokenizer_files", "tokenizer", "detokenizer", "engine"),
    *("testing", "model.families", "model.fields", "model.positions", "model.names"),
    *("runtime.request", "runtime.blocks", "runtime.scheduler", "runtime.driver"),
    *("runtime.bad_words", "runtime.drawing", "runtime.ahead", "runtime.recording", "runtime.swap"),
    *("planning", "runtime.activations", "runtime.container", "runtime.kv", "runtime.kv_memory", "runtime.stepper"),
    *("stats", "events", "runtime.journal", "runtime.overhead", "runtime.threads"),
    *("protocol", "embedding", "runtime.pool", "runtime.seeds"),
    *("constraint", "constraints", "constraints.compiler", "constraints.grammar", "constraints.matcher"),
    *("constraints.sandbox", "constraints.trial", "constraints.vocabulary"),
}
THIRD_PARTIES = {
    "candle_vllm_core": {
        "huggingface_hub",
        "llguidance",
        "numpy",
        "psutil",
        "rich",
        "safetensors",
        "tokenizers",
        "tqdm",
        "triton",
    },
    "candle_vllm_openai": {"jinja2", "pydantic", "pydantic_core"},
    "candle_vllm_responses": set(),
    "candle_vllm_server": {"fastapi", "pydantic", "pydantic_settings", "rich", "starlette", "uvicorn"},
    "candle_vllm": set(),
}
# Modules of the core that load triton, beside the kernels themselves: what imports them does so when it has a GPU.
WITH_TRITON: set[str] = {"attention.triton", "model.triton_ops", "quant.grouped", "runtime.device_sampling"}
# Every import that is not at the top of its file: what it spares the importer is said beside it.
DEFERRED = {
    ("candle_vllm_core.engine", "candle_vllm_core.runtime.loop"),  # torch
    ("candle_vllm_core.planning", "candle_vllm_core.runtime.plan"),  # torch
    # A library that is loaded with the first constraint.
    *((f"candle_vllm_core.constraints.{name}", "llguidance") for name in ("compiler", "matcher", "vocabulary")),
    ("candle_vllm_core.constraints.trial", "resource"),  # not on every system
    ("candle_vllm_core.attention", "candle_vllm_core.attention.triton"),  # triton, where there is a GPU
    ("candle_vllm_core.model.device_ops", "candle_vllm_core.model.triton_ops"),  # as before
    ("candle_vllm_core.model.loader", "candle_vllm_core.quant.grouped"),  # triton, where there is a GPU
    ("candle_vllm_core.runtime.sampling", "candle_vllm_core.runtime.device_sampling"),  # triton, where there is a GPU
    ("candle_vllm_core.weights.source", "candle_vllm_core.weights.hub"),  # an HTTP client, unless something is fetched
}


@dataclass(frozen=True)
class Import:
    """One imported module, as an absolute name."""

    line: int
    target: str
    relative: bool
    deferred: bool

    @property
    def top(self) -> str:
        return self.target.partition(".")[0]

    @property
    def inner(self) -> str:
        return self.target.partition(".")[2]


def imports(module: Module, known: Collection[str]) -> Iterator[Import]:
    """Every import of a module outside `if TYPE_CHECKING`; `from a import b` is `a.b` where that is a known module."""
    for node, deferred in statements(module.tree, deferred=False):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, False, deferred)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(module, node)
            for target in sorted({f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names}):
                yield Import(node.lineno, target, node.level > 0, deferred)


def statements(node: ast.AST, deferred: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Every node below, and whether it is inside a function; what only the type checker reads is left out."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        inside = deferred or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield child, inside
        yield from statements(child, inside)


def absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.folder.split(".")
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, node.module] if node.module else parts)


def only_the_layer_beneath(module: Module, imported: Import) -> str | None:
    if imported.top not in PACKAGES or imported.top == module.package:
        return None
    mine, theirs = PACKAGES.index(module.package), PACKAGES.index(imported.top)
    if theirs > mine:
        return "a higher layer"
    if theirs < mine - 1 and module.package != "candle_vllm":
        return f"only {PACKAGES[mine - 1]} is directly beneath"
    return None


def only_the_front_door(module: Module, imported: Import) -> str | None:
    if module.inner == imported.inner == "__main__":
        return None  # A command line is a door too.
    if imported.top in PACKAGES and imported.top != module.package and imported.inner:
        return f"only names from {imported.top} itself are public"
    return None


def relative_at_home(module: Module, imported: Import) -> str | None:
    if imported.top == module.package and not imported.relative:
        return "imports inside a package are relative"
    return None


def downwards_in_the_core(module: Module, imported: Import) -> str | None:
    if not (module.package == imported.top == "candle_vllm_core" and module.inner and imported.inner):
        return None
    mine, theirs = module.inner.partition(".")[0], imported.inner.partition(".")[0]
    for name in (mine, theirs):
        if name not in CORE:
            return f"{name} has no place in the order of the core yet"
    return "higher in the core" if CORE.index(theirs) > CORE.index(mine) else None


def upwards_never_to_the_front(module: Module, imported: Import) -> str | None:
    if module.inner and imported.target == module.package:
        return "a module takes names from where they are made, not from its package's front door"
    return None


def torch_in_its_place(module: Module, imported: Import) -> str | None:
    if imported.top != "torch":
        return None
    if module.package != "candle_vllm_core":
        return "torch is the core's alone"
    return "this module works without torch" if module.inner in TORCH_FREE else None


def kernels_by_themselves(module: Module, imported: Import) -> str | None:
    """A kernel file can be read, and taken elsewhere, by itself."""
    is_kernel = module.package == "candle_vllm_core" and module.inner.startswith("kernels.")
    if is_kernel and imported.top == module.package and not imported.inner.startswith("kernels."):
        return "kernels import nothing of ours"
    if is_kernel and imported.top not in {*sys.stdlib_module_names, module.package, "torch", "triton"}:
        return "kernels import torch and triton"
    if imported.top == "triton" and not is_kernel:
        return "triton is the kernels' alone"
    return None


def declared_third_parties(module: Module, imported: Import) -> str | None:
    if imported.top in PACKAGES or imported.top in sys.stdlib_module_names or imported.top == "torch":
        return None
    if imported.top not in THIRD_PARTIES[module.package]:
        return f"{module.package} uses no {imported.top}"
    return None


def at_the_top(module: Module, imported: Import) -> str | None:
    if imported.deferred and (module.name, imported.target) not in DEFERRED:
        return "imports stand at the top of the file"
    return None


RULES: list[Callable[[Module, Import], str | None]] = [
    only_the_layer_beneath,
    only_the_front_door,
    relative_at_home,
    downwards_in_the_core,
    upwards_never_to_the_front,
    torch_in_its_place,
    kernels_by_themselves,
    declared_third_parties,
    at_the_top,
]


def faults(module: Module, known: Collection[str] = ()) -> list[str]:
    return [
        f"{module.name}:{imported.line} imports {imported.target}; {reason}"
        for imported in imports(module, known)
        for rule in RULES
        if (reason := rule(module, imported))
    ]


def graph(sources: Collection[Module]) -> dict[str, set[str]]:
    """What each module imports of ours at its top."""
    known = {module.name for module in sources}
    return {m.name: {i.target for i in imports(m, known) if i.target in known and not i.deferred} for m in sources}


def cycle(sources: Collection[Module]) -> list[str]:
    """A circle of imports, or nothing."""
    try:
        TopologicalSorter(graph(sources)).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def torch_reached(sources: Collection[Module]) -> list[str]:
    """Torch-free modules of the core that load torch, by which road."""
    free = [m.name for m in sources if m.package == "candle_vllm_core" and m.inner in TORCH_FREE]
    return reached("torch", free, sources)


def triton_reached(sources: Collection[Module]) -> list[str]:
    """Modules that load triton and that a program without a GPU imports, by which road."""
    free = [m.name for m in sources if m.inner not in WITH_TRITON and not m.inner.startswith("kernels.")]
    return reached("triton", free, sources)


def reached(library: str, free: Collection[str], sources: Collection[Module]) -> list[str]:
    """Which of some modules load a library, by which road."""
    edges = graph(sources)
    loads = {m.name for m in sources if any(i.top == library and not i.deferred for i in imports(m, edges))}
    return [" imports ".join([*road, library]) for name in free if (road := way(name, loads, edges))]


def way(start: str, goals: Collection[str], edges: Mapping[str, set[str]]) -> list[str]:
    """The shortest way along imports from a module to one of the goals, or nothing."""
    roads = {start: [start]}
    for name in (waiting := [start]):
        if name in goals:
            return roads[name]
        for target in sorted(with_parents(edges[name]) & edges.keys() - roads.keys()):
            roads[target] = [*roads[name], target]
            waiting.append(target)
    return []


def with_parents(names: Collection[str]) -> set[str]:
    """To import a.b.c is to import a, a.b and a.b.c."""
    return {".".join(parts[:n]) for name in names for parts in [name.split(".")] for n in range(1, len(parts) + 1)}


def test_every_import_keeps_the_rules() -> None:
    sources = list(modules())
    known = {module.name for module in sources}
    assert [fault for module in sources for fault in faults(module, known)] == []


def test_no_module_imports_itself_in_a_circle() -> None:
    assert cycle(list(modules())) == []


def test_torch_free_modules_reach_no_torch() -> None:
    assert torch_reached(list(modules())) == []


def test_without_a_gpu_nothing_reaches_triton() -> None:
    assert triton_reached(list(modules())) == []


@pytest.mark.parametrize("table", [TORCH_FREE, {source.partition("core.")[2] for source, _ in DEFERRED}])
def test_the_tables_name_modules_that_exist(table: set[str]) -> None:
    names = {module.inner for module in modules() if module.package == "candle_vllm_core"}
    assert table - names == set()


@pytest.mark.parametrize(
    ("name", "source", "reason"),
    [
        ("candle_vllm_core.engine", "import candle_vllm_openai", "a higher layer"),
        ("candle_vllm_server.app", "import candle_vllm_core", "only candle_vllm_responses is directly beneath"),
        ("candle_vllm_openai.a", "from candle_vllm_core.errors import X", "only names from candle_vllm_core"),
        ("candle_vllm_openai.a", "from candle_vllm_core import errors", "only names from candle_vllm_core"),
        ("candle_vllm.openai", "from candle_vllm_openai.adapter import X", "only names from candle_vllm_openai"),
        ("candle_vllm_core.engine", "from candle_vllm_core.errors import X", "imports inside a package are relative"),
        ("candle_vllm_core.spec", "from .model.build import build", "higher in the core"),
        ("candle_vllm_core.kernels.attention", "from ..runtime import loop", "higher in the core"),
        ("candle_vllm_core.errors", "from . import engine", "higher in the core"),
        ("candle_vllm_core.engine", "from .novelty import X", "novelty has no place"),
        ("candle_vllm_core.engine", "from . import InferenceEngine", "not from its package's front door"),
        ("candle_vllm_core.runtime.scheduler", "import torch", "this module works without torch"),
        ("candle_vllm_server.app", "from torch.nn import Linear", "torch is the core's alone"),
        ("candle_vllm_core.kernels.attention", "from ..spec import X", "kernels import nothing of ours"),
        ("candle_vllm_core.kernels.attention", "import numpy", "kernels import torch and triton"),
        ("candle_vllm_core.attention.triton", "import triton", "triton is the kernels' alone"),
        ("candle_vllm_core.engine", "import pydantic", "candle_vllm_core uses no pydantic"),
        ("candle_vllm_openai.a", "def f():\n    import fastapi", "candle_vllm_openai uses no fastapi"),
        ("candle_vllm_core.runtime.loop", "def f():\n    import json", "imports stand at the top of the file"),
        ("candle_vllm_core.runtime.loop", "class A:\n    def f(self):\n        from . import x", "imports stand at"),
    ],
)  # fmt: skip
def test_a_planted_fault_is_found(name: str, source: str, reason: str) -> None:
    known = {"candle_vllm_core.errors", "candle_vllm_core.engine", "candle_vllm_core.runtime.loop"}
    found = faults(Module(name, source), known)
    assert any(reason in fault and fault.startswith(f"{name}:") for fault in found), found


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("candle_vllm_openai.adapter", "from candle_vllm_core import Engine\n\nfrom .params import X"),
        ("candle_vllm_core.runtime.runner", "import torch\n\nfrom ..model import build\nfrom .blocks import BlockPool"),
        ("candle_vllm_core.engine", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch"),
        ("candle_vllm_core.engine", "def start():\n    from .runtime.loop import EngineLoop"),
        ("candle_vllm_core.kernels.attention", "import torch\nimport triton\n\nfrom .case import Case"),
        ("candle_vllm_core.attention.triton", "from ..kernels.attention import attend"),
        ("candle_vllm.openai", "from candle_vllm_openai import OpenAIAdapter"),
        ("candle_vllm.__main__", "from candle_vllm_server.__main__ import main"),
    ],
)
def test_what_is_allowed_is_let_through(name: str, source: str) -> None:
    assert faults(Module(name, source), {"candle_vllm_core.runtime.loop"}) == []


def test_a_planted_fault_reads_well() -> None:
    found = faults(Module("candle_vllm_openai.adapter", "import json\nimport candle_vllm_core.runtime"))
    assert found == [
        "candle_vllm_openai.adapter:2 imports candle_vllm_core.runtime; "
        "only names from candle_vllm_core itself are public"
    ]


def test_a_planted_circle_is_found() -> None:
    circle = [Module("p.a", "from .b import x"), Module("p.b", "from . import c"), Module("p.c", "from .a import y")]
    assert set(cycle(circle)) == {"p.a", "p.b", "p.c"}
    assert cycle(circle[:2]) == []


def test_a_planted_road_to_torch_is_found() -> None:
    road = [
        Module("candle_vllm_core.engine", "from .runtime.loop import EngineLoop"),
        Module("candle_vllm_core.runtime.loop", "import torch"),
    ]
    assert torch_reached(road) == ["candle_vllm_core.engine imports candle_vllm_core.runtime.loop imports torch"]


def test_a_planted_road_to_triton_is_found() -> None:
    kernel = Module("candle_vllm_core.kernels.attention", "import triton")
    backend = Module("candle_vllm_core.attention.triton", "from ..kernels.attention import attend")
    early = Module("candle_vllm_core.runtime.loop", "from ..attention.triton import TritonBackend")
    late = Module("candle_vllm_core.runtime.loop", "def f():\n    from ..attention.triton import TritonBackend")
    assert triton_reached([kernel, backend, late]) == []
    assert triton_reached([kernel, backend, early]) == [
        "candle_vllm_core.runtime.loop imports candle_vllm_core.attention.triton"
        " imports candle_vllm_core.kernels.attention imports triton"
    ]
