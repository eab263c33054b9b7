"""The tables of model families: what each reader reads, what its comparisons cover, and how near they came.

A family's comparisons are the small models of the core's tests; their errors are measured by `python -m bench parity`
and kept in `docs/parity.json`.
"""

import ast
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from real_checkpoints import Files, Index, RealCheckpoint, checkpoint_names, real_checkpoint
from transformers.utils import logging
from variants import MODELS

from candle_vllm_core.model.families import FAMILIES, decoder_spec
from candle_vllm_core.model.families.common import Family
from candle_vllm_core.spec import Attention, Decoder, DeltaNet, Dense, LatentAttention, Rope, Sparse

FIGURES = Path(__file__).parents[1] / "docs/parity.json"
FP32, OWN, THEIRS = "fp32", "bf16", "bf16 of transformers"
Figures = Mapping[str, Mapping[str, str]]

logging.set_verbosity_error()


def supported() -> Iterator[str]:
    """What is read, and from which checkpoints."""
    yield from ("| family | `architectures` | checkpoints | compared with |", "| --- | --- | --- | --- |")
    for name, family in FAMILIES.items():
        examples = ", ".join(family.examples)
        yield f"| {title(family)} | `{name}` | {examples} | {', '.join(features(name))} |"


def parity() -> Iterator[str]:
    """The worst error of each family, and the lines it takes."""
    yield "| `architectures` | small models | fp32 | bf16 | `transformers` in bf16 | reader, lines | with helpers |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for name, family in FAMILIES.items():
        exact = max((row[FP32] for row in measured(name)), key=float, default="")
        own, theirs = max(rounded(name), key=lambda pair: float(pair[0]) / float(pair[1]), default=("", ""))
        reader, helpers = lines(family)
        yield f"| `{name}` | {len(measured(name))} | {exact} | {own} | {theirs} | {reader} | {reader + helpers} |"


def names() -> Iterator[str]:
    """Whose tensors are asked for, and which published files their names are held to."""
    yield "| `architectures` | at their real size | held to the files of | names | bytes | known of the files |"
    yield "| --- | --- | --- | --- | --- | --- |"
    known = [real_checkpoint(name) for name in checkpoint_names()]
    for name in FAMILIES:
        own = [real for real in known if real.architecture == name]
        checkpoints = ", ".join(real.checkpoint for real in own) or "none known"
        yield f"| `{name}` | {checkpoints} | {' | '.join(published(own))} |"


TABLES = {"supported": supported, "parity": parity, "names": names}


def table(name: str) -> Iterator[str]:
    """One of `TABLES`."""
    return TABLES[name]()


def title(family: Family) -> str:
    """What a family is called: the first line of its reader's docstring."""
    return (inspect.getdoc(family.read) or "").partition("\n")[0].removesuffix(".")


def published(checkpoints: Sequence[RealCheckpoint]) -> tuple[str, str, str, str]:
    """Of the first of these with a published index, or else of all with files: whose, names, bytes, what is known."""
    for real in checkpoints:
        if real.index is not None:
            parts = {"tensors": real.tensors, "ignored": real.ignored, "copies": real.copies}
            shards = sum(len(part.stored(parts[name])) for name, part in real.index.parts.items())
            known = ", ".join([*of_index(real.index), *of_files(real.files)])
            return real.index.of, f"{shards:,}", f"{int(real.index.metadata['total_size']):,}", known
    held = [(real, real.files) for real in checkpoints if real.files is not None]
    if not held:
        return "none found", "-", "-", "-"
    stored = [len(real.tensors) + len(real.ignored) + len(real.copies) for real, _ in held]
    lengths = [", ".join(of_files(files)) for _, files in held]
    return "; ".join(files.of for _, files in held), "; ".join(f"{each:,}" for each in stored), "-", "; ".join(lengths)


def of_index(index: Index) -> Iterator[str]:
    """What is known of an index."""
    yield "digest of the index" if index.digest else "length of the index"
    if index.read == "all":
        yield "all its names read"
    elif not index.read.startswith("none"):
        yield "some names read"


def of_files(files: Files | None) -> Iterator[str]:
    """What is known of the files with the tensors."""
    if files is not None and files.lengths:
        yield f"lengths of {len(files.lengths)} of {files.count} files"
    if files is not None and files.total is not None:
        yield f"length of {files.count} files together"


@cache
def variants(architecture: str) -> Sequence[str]:
    """The small models of an architecture."""
    return [name for name, variant in MODELS.items() if variant.model.__name__ == architecture]


@cache
def figures() -> Figures:
    """The measured errors, by the name of the small model."""
    found: Figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    return found


def measured(architecture: str) -> Sequence[Mapping[str, str]]:
    """The errors of an architecture's small models."""
    return [figures()[name] for name in variants(architecture) if name in figures()]


def rounded(architecture: str) -> Sequence[tuple[str, str]]:
    """The errors in bf16, ours and that of transformers, of the small models that are compared in it."""
    return [(row[OWN], row[THEIRS]) for row in measured(architecture) if OWN in row]


def features(architecture: str) -> list[str]:
    """The words of `FEATURES` that are true of one of an architecture's small models."""
    specs = [decoder_spec(MODELS[name].written(), length=MODELS[name].length) for name in variants(architecture)]
    return [word for word, is_true in FEATURES.items() if any(map(is_true, specs))]


def attentions(spec: Decoder) -> Iterator[Attention]:
    """The attentions of a model that are neither latent nor recurrent."""
    yield from (attention for attention in spec.attentions() if isinstance(attention, Attention))


def ropes(spec: Decoder) -> set[Rope]:
    """The different rotations of a model."""
    return {rope for a in spec.attentions() if not isinstance(a, DeltaNet) and (rope := a.rope) is not None}


def networks(spec: Decoder) -> Iterator[Dense | Sparse]:
    """The feed-forward networks of a model."""
    yield from (layer.feed_forward for layer in spec.layers)


def sparse(spec: Decoder) -> Iterator[Sparse]:
    """The mixtures of experts of a model."""
    yield from (network for network in networks(spec) if isinstance(network, Sparse))


def scaled(kind: str) -> Callable[[Decoder], bool]:
    """Whether a rotation is scaled in one way."""
    return lambda spec: any(dict(rope.scaling).get("rope_type") == kind for rope in ropes(spec))


FEATURES: Mapping[str, Callable[[Decoder], bool]] = {
    "windows": lambda spec: any(a.window for a in attentions(spec)),
    "layers with and without window": lambda spec: len({a.window for a in attentions(spec)}) > 1,
    "latent attention": lambda spec: any(isinstance(a, LatentAttention) for a in spec.attentions()),
    "recurrent layers": lambda spec: any(isinstance(a, DeltaNet) for a in spec.attentions()),
    "attention sinks": lambda spec: any(a.sinks for a in attentions(spec)),
    "gated attention": lambda spec: any(a.gate for a in attentions(spec)),
    "capped scores": lambda spec: any(a.softcap for a in attentions(spec)),
    "queries that grow with their position": lambda spec: any(a.query_growth for a in attentions(spec)),
    "normalised heads": lambda spec: any(a.qk_norm for a in attentions(spec)),
    "biases on q, k and v": lambda spec: any(a.qkv_bias for a in attentions(spec)),
    "rotated in part": lambda spec: any(a.rope and a.rope.dim < a.head_dim for a in attentions(spec)),
    "rotated in neighbouring pairs": lambda spec: any(rope.interleaved for rope in ropes(spec)),
    "two rotations": lambda spec: len(ropes(spec)) > 1,
    "layers without positions": lambda spec: any(a.rope is None for a in attentions(spec)),
    "linear rope": scaled("linear"),
    "llama3 rope": scaled("llama3"),
    "yarn": scaled("yarn"),
    "longrope": scaled("longrope"),
    "experts": lambda spec: any(True for _ in sparse(spec)),
    "shared expert": lambda spec: any(network.shared for network in sparse(spec)),
    "experts in groups": lambda spec: any(network.router.groups > 1 for network in sparse(spec)),
    "sigmoid routing": lambda spec: any(network.router.score == "sigmoid" for network in sparse(spec)),
    "network without a gate": lambda spec: any(isinstance(n, Dense) and not n.gated for n in networks(spec)),
    "norms after each part": lambda spec: any(layer.residual == "post" for layer in spec.layers),
    "norms before and after each part": lambda spec: any(layer.residual == "sandwich" for layer in spec.layers),
    "parallel parts": lambda spec: any(layer.residual == "parallel" for layer in spec.layers),
    "LayerNorm": lambda spec: spec.norm.kind == "layer",
    "scaled embeddings": lambda spec: spec.embed_scale != 1.0,
    "scaled residuals": lambda spec: any(layer.residual_scale != 1.0 for layer in spec.layers),
    "scaled logits": lambda spec: spec.logit_scale != 1.0,
    "capped logits": lambda spec: spec.logit_softcap is not None,
    "tied head": lambda spec: spec.tied,
}


def lines(family: Family) -> tuple[int, int]:
    """The lines of a family's reader, and those of the other functions of its module that it needs."""
    module = inspect.getmodule(family.read)
    assert module is not None
    source = inspect.getsource(module)
    functions = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    needed = [family.read.__name__]
    for name in needed:
        called = (node.id for node in ast.walk(functions[name]) if isinstance(node, ast.Name))
        needed += [each for each in dict.fromkeys(called) if each in functions and each not in needed]
    each_has = [written(source, functions[name]) for name in needed]
    return each_has[0], sum(each_has[1:])


def written(source: str, function: ast.FunctionDef) -> int:
    """The lines of a function that are not empty."""
    span = source.splitlines()[function.lineno - 1 : function.end_lineno]
    return sum(bool(line.strip()) for line in span)
