"""From a spec and a source to a decoder with its weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from tqdm import tqdm

from .. import spec as s
from ..config import Quantization
from ..errors import ModelLoadError
from ..memory import return_freed_memory
from ..weights.source import Source
from .decoder import Decoder
from .loader import CPU, Blueprint, Checkpoint
from .names import NameMap
from .ops import TORCH_OPS, Ops

MOST_NAMES = 8
RETURNED_AFTER = 1 << 26
"""So many bytes are loaded before what was freed is handed back."""
HEAD = "lm_head.weight"
WITHOUT_EFFECT = ("rotary_emb.inv_freq",)


def build_decoder(
    spec: s.Decoder,
    source: Source,
    *,
    device: torch.device,
    dtype: torch.dtype,
    quantization: Quantization | None = None,
    progress: bool = False,
    ops: Ops = TORCH_OPS,
) -> Decoder:
    """The model of a spec with the weights of a source, on a device, in one type, ready to run.

    `ops` do what is no matrix product; `device_ops.choose_ops` says which are best for a device.
    A tied head that the checkpoint stores all the same is used as it is stored.

    Raises:
        ModelLoadError: tensors are missing, left over or of other shapes than the spec says; it lists them.
    """
    names = NameMap(spec.names, source.names())
    shapes = expected_shapes(spec, names)
    num_parameters = sum(math.prod(shape) for shape in shapes.values())
    if (stored := as_stored(spec, names, source)) != spec:
        spec, shapes = stored, expected_shapes(stored, names)
    _check_names(shapes, names, source)
    total = sum(math.prod(shape) for shape in shapes.values()) * dtype.itemsize
    with tqdm(total=total, desc="loading weights", unit="B", unit_scale=True, disable=not progress) as bar:
        load = Checkpoint(names, source, device, dtype, _Loaded(bar.update), quantization=quantization, ops=ops)
        return Decoder(spec, load, device=device, num_parameters=num_parameters).eval()


class _Loaded:
    """Told what is loaded; it hands back what was freed now and then, so that gaps between matrices stay few."""

    def __init__(self, report: Callable[[int], object]) -> None:
        self._report, self._since = report, 0

    def __call__(self, count: int) -> None:
        self._report(count)
        self._since += count
        if self._since >= RETURNED_AFTER:
            self._since = 0
            return_freed_memory()


def as_stored(spec: s.Decoder, names: NameMap, source: Source) -> s.Decoder:
    """The spec with a head of its own if it says that it is tied and the checkpoint stores one all the same."""
    return replace(spec, tied=spec.tied and names.found(HEAD) not in source.names())


def expected_shapes(
    spec: s.Decoder, names: NameMap | None = None, *, device: torch.device = CPU
) -> Mapping[str, tuple[int, ...]]:
    """The names and shapes of the tensors that a model is made of, as its checkpoints have them.

    The model is built to see what it asks for, without memory for its tensors, on any device; `meta` is one too.
    """
    blueprint = Blueprint(names or NameMap(spec.names), device=device)
    Decoder(spec, blueprint, device=device)
    return blueprint.shapes


def _check_names(expected: Mapping[str, tuple[int, ...]], names: NameMap, source: Source) -> None:
    found = source.names()
    missing = [name for name in expected if name not in found]
    extra = sorted(
        name
        for name in found
        if name not in expected and not name.endswith(WITHOUT_EFFECT) and not names.is_ignored(name)
    )
    other = [
        f"{name} (is {list(source.shape(name))}, should be {list(shape)})"
        for name, shape in expected.items()
        if name in found and source.shape(name) != shape
    ]
    problems = (("missing", missing), ("not part of this architecture", extra), ("of another shape", other))
    said = [f"{len(which)} {problem}: {_listed(which)}" for problem, which in problems if which]
    if said:
        raise ModelLoadError(
            f"the weights in {source.path} do not fit its config.json; {'; '.join(said)}", [*missing, *extra, *other]
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
