"""Ranking metrics with full ranking, and their intervals."""
