"""A memory budget for threads.

room = Room(free_memory() // 4)
with room.taken(bytes): ...  # waits until that many bytes are free
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Room:
    """A budget of bytes; a request above the budget waits for all of it and runs alone."""

    def __init__(self, size: int) -> None:
        self.size = self._free = size
        self._given_back = threading.Condition()

    @contextmanager
    def taken(self, wanted: int) -> Iterator[None]:
        """Reserve `wanted` bytes for the block; waits until they are free."""
        granted = min(wanted, self.size)
        with self._given_back:
            self._given_back.wait_for(lambda: self._free >= granted)
            self._free -= granted
        try:
            yield
        finally:
            with self._given_back:
                self._free += granted
                self._given_back.notify_all()
