"""The rehearsal that measures secure aggregation runs the real protocol."""

from __future__ import annotations

from simulation.bench.secure_aggregation import secure_aggregation_figures


def test_a_small_rehearsal_is_exact_and_counts_every_message() -> None:
    figures = {f.name: f for f in secure_aggregation_figures(shops=5, gone=1, numbers=20_000)}
    assert figures["secure sums that are wrong"].value == 0
    per_number = figures["bytes that a shop sends for a secure sum"].value
    assert 6 < per_number < 6.1
    note = figures["shop's processor time for a secure sum"].note
    assert all(f"{part} " in note for part in ("keys", "shares", "input", "confirm", "open"))
    assert figures["shop's processor time for a secure sum"].value > 0
