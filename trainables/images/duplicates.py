"""Near-duplicates: copies of one image in different patient groups.

    pairs = find(data.images, groups)   # also re-encoded, resized, relit, turned, slightly cropped
    groups = merged(groups, pairs)      # merges the patient groups of each pair
    rows = like(images, held_out)       # of images, those with a near-duplicate in held_out

1. Near perceptual hashes of 64 bits make candidates: one pair of real images in a thousand.
2. Finer hashes leave a hundredth of these of dermoscopy, and a sixth of chest X-rays.
3. Hashes can't tell two round moles apart, so all candidates left are confirmed: the thumbnails
   must correlate after local contrast is equalised (skin counts as much as the lesion's edge).
Frames are no evidence: step 1 fades the border, steps 2 and 3 mask black frames. No step compares
all pairs (see `near_bits`); tests/benchmarks/rows.py measures a million images.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.images.near_bits import Bits
from trainables.images.thumbnails import (
    CROPS,
    Hashes,
    Images,
    Index,
    Thumbnails,
    correlation,
    digests,
    hashed,
    thumbnails,
)
from trainables.processor import cores

DISTANCE = 9  # bits of 64; finds 9 in 10 copies of real images cropped by 4 % on each side
FINE_DISTANCE = 80  # bits of 256; has all of these copies, and all pairs of isic-mini
CORRELATION = 0.9  # among 8,394 real images no two of different lesions exceed 0.83
LIKELY = 0.75  # correlation with one crop in place of all; copies exceed it
BLOCK = 1024  # images, or pairs, at once


@dataclass(frozen=True)
class Pair:
    """Two images, by row, and their patient groups as the data set gives them."""

    a: int
    b: int
    group_a: str
    group_b: str
    distance: int  # between the hashes, bits of 64


def find(images: NDArray[np.uint8], groups: Sequence[str]) -> list[Pair]:
    """Find near-duplicates in different patient groups; exact copies pair with the first one."""
    small = thumbnails(images)
    _, first, of = np.unique(digests(small), return_index=True, return_inverse=True)
    member = np.unique(np.asarray(groups), return_inverse=True)[1]
    of = first[of]
    copies = [(int(of[row]), int(row), 0) for row in np.flatnonzero(member[of] != member)]
    first = np.sort(first)
    own, distinct = member[first], small[first]

    def wanted(a: Index, b: Index) -> NDArray[np.bool_]:
        return (a < b) & (own[a] != own[b])

    near = Search(distinct, distinct, wanted).pairs()
    pairs = sorted(copies + [(int(first[a]), int(first[b]), int(d)) for a, b, d in near.T])
    return [Pair(a, b, groups[a], groups[b], distance) for a, b, distance in pairs]


def like(images: Images, held_out: Images) -> Index:
    """Return the rows of `images` that are near-duplicates or copies of any in `held_out`."""
    if not len(images) or not len(held_out):
        return np.array([], np.int64)
    ours, theirs = thumbnails(images), thumbnails(held_out)
    found = np.isin(digests(ours), digests(theirs))
    search = Search(theirs, ours, lambda _, row: ~found[row])
    found[search.pairs()[1]] = True
    return np.flatnonzero(found)


def merged(groups: Sequence[str], pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Merge patient groups that pairs connect, directly or not, under the first one's name."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    names, member = np.unique(np.asarray(groups), return_inverse=True)
    ends = member[[pair.a for pair in pairs]], member[[pair.b for pair in pairs]]
    graph = coo_array((np.ones(len(pairs)), ends), shape=(len(names), len(names)))
    _, component = connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)
    return tuple(names[first[component[member]]].tolist())


class Search:
    """Near-duplicates of `queries` in `base`. wanted: of which rows of both, [n] each."""

    def __init__(
        self,
        queries: Thumbnails,
        base: Thumbnails,
        wanted: Callable[[Index, Index], NDArray[np.bool_]],
    ) -> None:
        self.queries, self.base, self.wanted = queries, base, wanted
        self.hashes: Hashes = hashed(queries)
        self.others = self.hashes if base is queries else hashed(base)
        self.index = Bits(self.others.rough[0], DISTANCE)

    def pairs(self) -> Index:
        """Return confirmed pairs: [3, n] of query, row of the base, bits between their hashes."""
        with ThreadPoolExecutor(cores()) as pool:
            blocks = list(pool.map(self._pairs, range(0, len(self.queries), BLOCK)))
        return np.concatenate(blocks, axis=1)

    def _pairs(self, first: int) -> Index:
        sure = self._confirmed(self.candidates(first))
        _, nearest = np.unique(sure[:2], axis=1, return_index=True)
        return sure[:3, nearest]

    def candidates(self, first: int) -> Index:
        """Return what the hashes allow of a block of queries: [4, n], sorted.

        Rows: query, row of the base, distance, turn of the query.
        """
        found = [np.empty((4, 0), np.int64)]
        for turn, rough in enumerate(self.hashes.rough[:, first : first + BLOCK]):
            for query, row in self.index.near(rough):
                wanted = self.wanted(first + query, row)
                a, b = first + query[wanted], row[wanted]
                fine = np.bitwise_count(self.hashes.fine[turn, a] ^ self.others.fine[0, b])
                near = fine.sum(1) <= FINE_DISTANCE
                distance = np.bitwise_count(self.hashes.rough[turn, a] ^ self.others.rough[0, b])
                found.append(np.stack([a, b, distance, np.full(len(a), turn)])[:, near])
        return np.unique(np.concatenate(found, axis=1), axis=1)

    def _confirmed(self, candidates: Index) -> Index:
        """Return those whose thumbnails correlate; with few crops first, as most do not at all."""
        likely = self._correlated(candidates, CROPS[1:2], LIKELY)
        return self._correlated(likely, CROPS, CORRELATION)

    def _correlated(self, candidates: Index, crops: Sequence[float], least: float) -> Index:
        sure = [np.empty((4, 0), np.int64)]
        for first in range(0, candidates.shape[1], BLOCK):
            some = candidates[:, first : first + BLOCK]
            (a, mine), (b, theirs) = (np.unique(rows, return_inverse=True) for rows in some[:2])
            both = np.concatenate([self.queries[a], self.base[b]]).astype(np.float32)
            near = correlation(both, mine, len(a) + theirs, some[3], crops) >= least
            sure.append(some[:, near])
        return np.concatenate(sure, axis=1)
