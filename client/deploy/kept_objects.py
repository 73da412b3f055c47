"""What a node keeps of what it pulled: a round's message repeats parts that never change.

Flower names an object by the SHA-256 of its content, so that one that is kept need not be sent
again. With a frozen `A`, half of the adapter is the same in every round.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from flwr.supercore.inflatable.inflatable_object import get_object_id

SMALLEST, MOST = 4_096, 64_000_000
"""Bytes of an object that is worth keeping, and of all that are kept."""


class KeptObjects:
    """The objects of a node that were used last, in memory; safe to use from several threads.

    Args:
        most: Bytes of all of them.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most, self._size = most, 0
        self._lock = threading.Lock()
        self._objects: OrderedDict[str, bytes] = OrderedDict()

    def get(self, number: str) -> bytes | None:
        """Returns the content of an object; None where it is not kept."""
        with self._lock:
            if number in self._objects:
                self._objects.move_to_end(number)
            return self._objects.get(number)

    def put(self, number: str, content: bytes) -> None:
        """Keeps an object; one that is small, or whose content has another name, is let go."""
        if not SMALLEST <= len(content) <= self._most or get_object_id(content) != number:
            return
        with self._lock:
            if number not in self._objects:
                self._objects[number] = content
                self._size += len(content)
            while self._size > self._most:
                _, oldest = self._objects.popitem(last=False)
                self._size -= len(oldest)
