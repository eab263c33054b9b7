"""One pool of KV blocks: which are held, and which still hold what an earlier prompt computed. No torch here.

A block is a fixed run of slots. A full block is known by a key, the SHA-256 of its predecessor's key and its tokens: it
stands for the whole sequence up to the block's end, so two prompts that begin alike have the same first keys. Before
the first block stands a key of the model and of the request's salt: other models and other salts share nothing.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence


def root_key(fingerprint: bytes, salt: str | None) -> bytes:
    """What stands before the first block of a sequence, for the model with this fingerprint and a request's salt."""
    model = hashlib.sha256(fingerprint).digest()
    return hashlib.sha256(model + (salt or "").encode(errors="surrogatepass")).digest()


def block_key(parent: bytes, tokens: Sequence[int]) -> bytes:
    """The key of a full block with these tokens, whose predecessor (or root) has the key `parent`."""
    return hashlib.sha256(parent + array("q", tokens).tobytes()).digest()


class BlockPool:
    """Gives out blocks, takes them back, and shares full ones between sequences that begin alike.

    A block that no sequence holds is free. Blank ones are given out first, then those whose content was used least
    recently.
    """

    def __init__(self, num_blocks: int) -> None:
        """`num_blocks` blocks, all of them free."""
        self.num_blocks = num_blocks
        self._references = [0] * num_blocks
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(num_blocks))
        self.num_cached = 0
        """Free blocks whose content may be given out again."""
        self._key_of: dict[int, bytes] = {}
        self._block_of: dict[bytes, int] = {}

    @property
    def num_free(self) -> int:
        """Blocks that nobody holds."""
        return len(self._free)

    @property
    def num_used(self) -> int:
        """Blocks that some sequence holds."""
        return self.num_blocks - len(self._free)

    def allocate(self, count: int) -> list[int]:
        """Take `count` blocks; the caller has seen that so many are free."""
        return [self._allocate_one() for _ in range(count)]

    def _allocate_one(self) -> int:
        block, _ = self._free.popitem(last=False)
        if (key := self._key_of.pop(block, None)) is not None:
            del self._block_of[key]
            self.num_cached -= 1
        self._references[block] = 1
        return block

    def find(self, key: bytes) -> int | None:
        """The block whose content stands for this key, if there is one. Nothing is taken."""
        return self._block_of.get(key)

    def count_free(self, blocks: Sequence[int]) -> int:
        """How many of these blocks nobody holds."""
        return sum(block in self._free for block in blocks)

    def share(self, blocks: Sequence[int]) -> None:
        """Take blocks that `find` found."""
        for block in blocks:
            if self._references[block] == 0:
                del self._free[block]
                self.num_cached -= 1
            self._references[block] += 1

    def register(self, block: int, key: bytes) -> None:
        """Say that a held block is full and what it stands for; a block that already stands for that stays the one."""
        if key not in self._block_of and block not in self._key_of:
            self._key_of[block], self._block_of[key] = key, block

    def release(self, blocks: Sequence[int]) -> None:
        """Give a sequence's blocks back, last first, so that a prefix outlives what was built on it."""
        for block in reversed(blocks):
            self._references[block] -= 1
            if self._references[block] < 0:
                raise RuntimeError(f"block {block} was given back twice")
            if self._references[block] == 0:
                self._free[block] = None
                self._free.move_to_end(block, last=block in self._key_of)
                self.num_cached += block in self._key_of

    def check(self, tables: Iterable[Sequence[int]] | None = None) -> None:
        """Raise RuntimeError if the pool's books contradict each other, or what the holders' tables say.

        `tables`: the blocks that each sequence holds.
        """
        if tables is not None:
            held = Counter(block for table in tables for block in table)
            if wrong := [block for block, count in enumerate(self._references) if count != held[block]]:
                raise RuntimeError(f"blocks {wrong} are held by more or fewer sequences than the pool has counted")
        for block, references in enumerate(self._references):
            if (references == 0) != (block in self._free):
                raise RuntimeError(f"block {block} has {references} references and free is {block in self._free}")
        if {block: key for key, block in self._block_of.items()} != self._key_of:
            raise RuntimeError("the prefix cache's two directions differ")
        if sum(block in self._free for block in self._key_of) != self.num_cached:
            raise RuntimeError(f"{self.num_cached} blocks are counted as cached")
