"""Tests of the four packages, in folders that mirror theirs."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The checkout."""
