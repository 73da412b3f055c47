"""Recommendations of one shop over HTTP, from its own machine."""
