"""Measures of rankings and their intervals."""
