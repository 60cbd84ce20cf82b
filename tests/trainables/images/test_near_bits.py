"""Hashes within some bits: all of them, whatever chunks they share, against comparing all pairs."""

import numpy as np
import pytest

from trainables.images import near_bits
from trainables.images.near_bits import Bits


def clustered(n, seed=1):
    """Hashes of uneven bits, many of them near: each is one of eight with some bits changed."""
    fixed, rng = np.random.default_rng(0), np.random.default_rng(seed)
    bits = fixed.random((8, 64)) < fixed.uniform(0.05, 0.95, 64)
    some = bits[rng.integers(0, 8, n)] ^ (rng.random((n, 64)) < 0.06)
    return np.packbits(some, axis=1).view(np.uint64).ravel()


@pytest.mark.parametrize("chunks", [3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("distance", [4, 9])
def test_all_near_pairs_are_found_and_no_other(chunks, distance, monkeypatch):
    monkeypatch.setattr(near_bits, "FEWEST", chunks)
    monkeypatch.setattr(near_bits, "MOST", chunks)
    monkeypatch.setattr(near_bits, "QUERIES", 7)
    monkeypatch.setattr(near_bits, "PAIRS", 50)
    base, queries = clustered(300), clustered(20, seed=2)
    found = [np.stack(some) for some in Bits(base, distance).near(queries)]
    found = {tuple(pair) for pair in np.concatenate(found, axis=1).T.tolist()}
    far = np.bitwise_count(queries[:, None] ^ base)
    assert found == {(a, b) for a, b in np.argwhere(far <= distance).tolist()}
    assert found


@pytest.mark.parametrize("n", [1, 2, 100, 20_000])
def test_chunks_grow_with_the_set(n):
    index = Bits(clustered(n), 9)
    columns = [chunk.columns for chunk in index.chunks]
    assert sorted(np.concatenate(columns)) == [*range(64)]
    assert len(columns) == {1: 8, 2: 8, 100: 8, 20_000: 4}[n]


def test_few_are_compared_and_never_many_at_once(monkeypatch):
    compared = []
    original = near_bits._expanded

    def counted(begin, count):
        compared.append(int(count.sum()))
        return original(begin, count)

    monkeypatch.setattr(near_bits, "_expanded", counted)
    monkeypatch.setattr(near_bits, "PAIRS", 30_000)
    hashes = np.random.default_rng(0).integers(0, 1 << 63, 20_000, dtype=np.uint64)
    list(Bits(hashes, 9).near(hashes[:2000]))
    assert sum(compared) < 0.01 * 2000 * 20_000
    assert max(compared) <= 30_000 + 20_000
    same = np.zeros(20_000, np.uint64)
    compared.clear()
    found = list(Bits(same, 9).near(same[:3]))
    assert max(compared) <= 30_000 + 20_000
    assert sum(len(query) for query, _ in found) == 4 * 3 * 20_000  # once a chunk
