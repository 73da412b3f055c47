"""Headers of NumPy's array format, read by one thread at a time.

NumPy parses a header as Python syntax. CPython before 3.11.8 and 3.12.2 counts the depth of such a
parse for all threads together, so that two at once may end in `SystemError: AST constructor
recursion depth mismatch` (https://github.com/python/cpython/issues/106905).
"""

from __future__ import annotations

import threading

ONE_READER = threading.RLock()
"""Held by whoever turns bytes into an array in a process with several threads."""
