"""What a request's draws are made from. No torch here."""

from __future__ import annotations

import hashlib
import secrets

SEED_BITS = 64


def seed_of(own: int | None, engine_seed: int | None, number: int) -> int:
    """A request's own seed; else one from (engine seed, request number); else a random one."""
    if own is not None:
        return own % (1 << SEED_BITS)
    if engine_seed is None:
        return secrets.randbits(SEED_BITS)
    digest = hashlib.sha256(f"{engine_seed}:{number}".encode()).digest()
    return int.from_bytes(digest[: SEED_BITS // 8], "little")
