"""The bytes that a shop signs to confirm who is in a sum.

Shops of a run sign them, and a ledger checks those signatures for as long as it is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.keys.signing import canonical

SET_PURPOSE = b"fedprofile survivors\n"
"""Begins what is signed, so that no other signature of the key can stand for it."""


def survivors_statement(binding: str, survivors: Sequence[str]) -> bytes:
    """Returns what a shop signs: that these shops and no others are in a sum.

    Args:
        binding: Digest of all that the sum is bound to: set-up, dealers, release, what was asked.
        survivors: Shops in the sum, in order of their names.
    """
    return SET_PURPOSE + canonical([binding, list(survivors)])
