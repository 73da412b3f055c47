"""Measurements of a shop's node: a large synthetic shop, HTTP load and single calls."""
