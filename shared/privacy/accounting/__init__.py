"""Epsilon of a plan that was fixed in advance, and the noise that keeps it."""
