"""Memory for what many threads do at once.

room = Room(free_memory() // 4)
with room.taken(bytes): ...      # waits until so much is free
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Room:
    """Bytes to share out; who needs more than there are gets all of them, alone."""

    def __init__(self, size: int) -> None:
        self.size = self._free = size
        self._given_back = threading.Condition()

    @contextmanager
    def taken(self, wanted: int) -> Iterator[None]:
        """Hold `wanted` bytes for the block; waits until they are free."""
        share = min(wanted, self.size)
        with self._given_back:
            self._given_back.wait_for(lambda: self._free >= share)
            self._free -= share
        try:
            yield
        finally:
            with self._given_back:
                self._free += share
                self._given_back.notify_all()
