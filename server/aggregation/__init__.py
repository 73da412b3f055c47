"""Pure functions over shops' updates.

Checks, exact and robust means, low-rank factors, the server's optimizer step.
"""
