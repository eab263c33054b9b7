"""One configuration of a kernel to compile without running it; each kernel file lists its own in `signatures()`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from triton import JITFunction


class Case(NamedTuple):
    """A kernel with the types of its arguments and the values of its constants.

    `types` has every argument that is no constant, in triton's spelling: "*bf16" and "*fp8e4nv" are pointers, "i32" and
    "fp32" are numbers, "i32:16" one that is a multiple of 16, as all pointers are. `constants` has the arguments that
    are annotated `tl.constexpr` or are 1 where they are launched. `targets` has the GPUs that the configuration is for,
    such as "sm_90", where it is not for all.
    """

    name: str
    kernel: JITFunction
    types: Mapping[str, str]
    constants: Mapping[str, object]
    num_warps: int
    num_stages: int
    targets: tuple[str, ...] = ()
