"""From the names that modules ask for to those that a checkpoint has. No torch here."""

from __future__ import annotations

from collections.abc import Sequence, Set

from ..spec import Names

USUAL = {
    "attention_norm": "input_layernorm",
    "feed_forward_norm": "post_attention_layernorm",
}


class NameMap:
    """The names of one checkpoint, by what its family says of them and by what is there."""

    def __init__(self, names: Names, there: Set[str] | None = None) -> None:
        """`there` are the checkpoint's own names; without them the first of the family's roots counts."""
        self._spec = names
        self.interleaved = names.experts == "interleaved"
        inner, head = next((root for root in names.roots if _is_root(root, there)), names.roots[0])
        self._parts = USUAL | dict(names.renames) | {"lm_head": head}
        self._inner = inner

    def found(self, path: str) -> str:
        """What the checkpoint calls a tensor."""
        root, _, rest = path.partition(".")
        if root != "model":
            return ".".join(self._parts.get(part, part) for part in path.split("."))
        parts = [self._parts.get(part, part) for part in rest.split(".")]
        return ".".join([self._inner, *parts] if self._inner else parts)

    def fused(self, names: Sequence[str], rows: Sequence[int]) -> Sequence[tuple[str, int]]:
        """The matrices that hold all the named ones, and how many rows each has."""
        whole = dict(self._spec.fused).get(tuple(names))
        return list(zip(names, rows, strict=True)) if whole is None else [(whole, sum(rows))]

    def listed(self, path: str, count: int) -> Sequence[str]:
        """The names of `count` tensors that the checkpoint has in one's stead; none if it has that one."""
        for name, pattern in self._spec.listed:
            if path.endswith(f".{name}"):
                whole = f"{path.removesuffix(name)}{pattern}"
                return [self.found(whole.replace("*", str(index))) for index in range(count)]
        return ()

    def is_ignored(self, name: str) -> bool:
        """Whether a tensor is no part of the language model."""
        return name.startswith(self._spec.ignored)


def _is_root(root: tuple[str, str], there: Set[str] | None) -> bool:
    return there is not None and (f"{root[0]}." if root[0] else "") + "embed_tokens.weight" in there
