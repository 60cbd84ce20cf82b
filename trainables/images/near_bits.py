"""Hashes of 64 bits that differ in few bits, without comparing all pairs.

    index = Bits(hashes, distance=9)             # uint64 [n]
    for query, row in index.near(queries):       # blocks of pairs, each pair once or more often
        ...

Multi-index hashing (Norouzi et al., "Fast search in Hamming space with multi-index hashing", 2012):
the bits are dealt out to m chunks. Two hashes within `distance` bits have a chunk that differs in
few bits (`_radius`); so each chunk is a table from which a query reads all values near its
own. The longer chunks of larger sets keep the hits in proportion.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Rows = NDArray[np.intp]

FEWEST, MOST = 3, 8  # chunks: a table of the longest has 2 ** 22 entries
QUERIES = 1024  # answered at once
PAIRS = 1 << 22  # compared at once, to bound the memory; those of one query are at most n


class Bits:
    """An index of hashes [n] for queries within `distance` bits."""

    def __init__(self, hashes: Hashes, distance: int) -> None:
        self.distance = distance
        bits = _bits(hashes)
        m = int(np.clip(64 // np.log2(max(len(hashes), 2)), FEWEST, MOST))
        even_first = np.argsort(np.abs(bits.mean(0) - 0.5), kind="stable")
        self.chunks = [
            Chunk(even_first[k::m], _radius(distance, m, k), hashes, bits) for k in range(m)
        ]

    def near(self, queries: Hashes) -> Iterator[tuple[Rows, Rows]]:
        """Yield rows of `queries` and of the hashes that are near."""
        for at in range(0, len(queries), QUERIES):
            some = queries[at : at + QUERIES]
            bits = _bits(some)
            for chunk in self.chunks:
                for query, place in chunk.alike(bits):
                    near = np.bitwise_count(some[query] ^ chunk.hashes[place]) <= self.distance
                    yield at + query[near], chunk.rows[place[near]]


class Chunk:
    """A table of the values of some bits. hashes: sorted by value; rows: where they come from."""

    def __init__(self, columns: Rows, radius: int, hashes: Hashes, bits: NDArray[np.uint8]) -> None:
        self.columns = columns
        self.weights = 1 << np.arange(len(columns), dtype=np.int32)
        values = self.values(bits)
        self.rows = np.argsort(values, kind="stable")
        self.hashes = hashes[self.rows]
        sizes = np.bincount(values, minlength=1 << len(columns))
        self.first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        flips = [some for k in range(radius + 1) for some in combinations(self.weights, k)]
        self.flips = np.array([sum(map(int, some)) for some in flips], np.int32)

    def values(self, bits: NDArray[np.uint8]) -> NDArray[np.int32]:
        return bits[:, self.columns] @ self.weights

    def alike(self, bits: NDArray[np.uint8]) -> Iterator[tuple[Rows, Rows]]:
        """Yield queries, and places of all whose value is near: in blocks of about PAIRS."""
        keys = self.values(bits)[:, None] ^ self.flips
        begin = self.first[keys]
        count = self.first[keys + 1] - begin
        totals = np.cumsum(count.sum(1, dtype=np.int64))
        cuts = np.searchsorted(totals, np.arange(PAIRS, totals[-1] + PAIRS, PAIRS), "right")
        for low, high in zip([0, *cuts], [*cuts, len(keys)], strict=True):
            if low < high:
                query, place = _expanded(begin[low:high], count[low:high])
                yield low + query, place


def _radius(distance: int, m: int, k: int) -> int:
    """Return in how many bits chunk k of m may differ.

    If each of them differed in more, all of them together would in more than `distance`.
    """
    radius, spare = divmod(distance, m)
    return radius if k <= spare else radius - 1


def _bits(hashes: Hashes) -> NDArray[np.uint8]:
    """Return the bits of each hash: [n, 64] of 0 and 1."""
    return np.unpackbits(hashes.view(np.uint8).reshape(len(hashes), 8), axis=1)


def _expanded(begin: NDArray[np.int32], count: NDArray[np.int32]) -> tuple[Rows, Rows]:
    """Return the row, and begin, begin + 1, ... begin + count - 1, of every entry of [n, k]."""
    row, column = np.nonzero(count)
    begin, count = begin[row, column], count[row, column]
    before = np.cumsum(count) - count
    place = np.arange(count.sum()) + np.repeat(begin - before, count)
    return np.repeat(row, count), place
