"""The A/B switch: which users get the shop's own signals alone."""

from __future__ import annotations

import hashlib


def variant_of(user_id: str | None, *, local_share: float) -> str:
    """Returns `local` for a share of the users, by hash, else `fused`.

    Args:
        user_id: None for a visitor without a name, who gets `fused`.
        local_share: 0 to 1. A larger share keeps the users of a smaller one.
    """
    if not local_share or user_id is None:
        return "fused"
    digest = hashlib.sha256(f"fedprofile-ab-1\x1f{user_id}".encode()).digest()
    return "local" if int.from_bytes(digest[:8], "big") / 2**64 < local_share else "fused"
