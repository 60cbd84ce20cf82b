"""Near-duplicates: copies of one image in different patient groups.

    pairs = find(data.images, groups)   # also re-encoded, resized, relit, turned, slightly cropped
    groups = merged(groups, pairs)      # merges the patient groups of each pair
    rows = like(images, held_out)       # of images, those with a near-duplicate in held_out

1. A perceptual hash finds candidates: the signs of 64 low frequencies of a 32 px thumbnail (the DCT
   hash of Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010). The
   sign replaces its median, so mirroring only flips known bits and all eight turns and mirrorings
   need one transform.
2. The hash can't tell two round moles apart, so every candidate is confirmed: the thumbnails must
   correlate after their local contrast is equalised (skin counts as much as the lesion's edge).
Frames are no evidence: step 1 fades the border, step 2 masks black frames. 25,000 images take about
15 s of one core.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.processor import cores

SIDE = 32  # px of a thumbnail
FREQUENCIES = 8  # per direction, the constant one excluded
DISTANCE = 9  # bits of 64; finds 9 in 10 copies of real images cropped by 4 % on each side
CORRELATION = 0.9  # among 8,394 real images no two of different lesions exceed 0.83
BLACK = 16  # a darker pixel away from the middle is a dermoscope's or collimator's frame
CROPS = (0.97, 0.94, 0.91)  # fractions of the side that a cropped copy may have kept
BLOCK = 512  # rows at once: a block's distances fit into the processor's cache
PASS = 16384  # images compared with held-out ones at once, to bound the memory
TURNS = tuple((turned, down, right) for turned in (0, 1) for down in (0, 1) for right in (0, 1))

Stack = NDArray[np.float32]  # [n, SIDE, SIDE]
Index = NDArray[np.int64]
Images = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]


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
    thumbnails = _thumbnails(images)
    flat = _flat(thumbnails)
    _, first, of = np.unique(flat, return_index=True, return_inverse=True)
    member = np.unique(np.asarray(groups), return_inverse=True)[1]
    copies = [(int(first[k]), i, 0) for i, k in enumerate(of) if member[first[k]] != member[i]]
    first = np.sort(first)
    near = _near(thumbnails[first].astype(np.float32), member[first])
    pairs = sorted(copies + [(int(first[a]), int(first[b]), int(d)) for a, b, d in near])
    return [Pair(a, b, groups[a], groups[b], distance) for a, b, distance in pairs]


def like(images: Images, held_out: Images) -> Index:
    """Return the rows of `images` that are near-duplicates or copies of any in `held_out`."""
    if not len(images) or not len(held_out):
        return np.array([], np.int64)
    ours, theirs = _thumbnails(images), _thumbnails(held_out)
    found = np.isin(_flat(ours), _flat(theirs))
    for at in range(0, len(ours), PASS):
        some = np.concatenate([theirs, ours[at : at + PASS]])
        member = np.arange(len(some)) >= len(theirs)
        for _, b, _ in _near(some.astype(np.float32), member.astype(np.int64), len(theirs)):
            found[at + b - len(theirs)] = True
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


def _thumbnails(images: Images) -> NDArray[np.uint8]:
    with ThreadPoolExecutor(cores()) as pool:
        return np.stack(list(pool.map(_thumbnail, images)))


def _flat(thumbnails: NDArray[np.uint8]) -> NDArray[np.void]:
    """Return each thumbnail as one value that equals that of copies."""
    flat: NDArray[np.void] = thumbnails.reshape(len(thumbnails), -1).view(f"V{SIDE**2}").ravel()
    return flat


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).convert("L")
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def _near(
    thumbnails: Stack, member: Index, first: int | None = None
) -> Iterator[tuple[int, int, int]]:
    """Yield confirmed pairs of distinct thumbnails with the distance of their hashes.

    first: only pairs with one of so many first thumbnails.
    """
    hashes = _hashes(thumbnails)
    with ThreadPoolExecutor(cores()) as pool:
        starts = range(0, first or len(thumbnails), BLOCK)
        blocks = list(pool.map(lambda at: _candidates(hashes, member, at), starts))
    a, b, turn, distance = np.concatenate(blocks, axis=1)
    sure = _correlation(thumbnails, a, b, turn) >= CORRELATION
    return zip(a[sure], b[sure], distance[sure], strict=True)


def _hashes(thumbnails: Stack) -> NDArray[np.uint64]:
    """Hash every turn and mirroring of every thumbnail: [8, n], the original first."""
    k = np.arange(1, FREQUENCIES + 1)
    side = np.sin(np.pi * (np.arange(SIDE) + 0.5) / SIDE)
    window = np.outer(side, side).astype(np.float32)  # fades frames and cropped borders
    mean = (thumbnails * window).sum((1, 2), keepdims=True) / window.sum()
    waves = np.cos(np.pi * np.outer(k, 2 * np.arange(SIDE) + 1) / (2 * SIDE)).astype(np.float32)
    frequencies = _both_ways(waves, (thumbnails - mean) * window)
    odd = np.where(k % 2, -1.0, 1.0).astype(np.float32)  # mirroring flips their signs

    def packed(turned: int, down: int, right: int) -> NDArray[np.uint64]:
        f = frequencies.transpose(0, 2, 1) if turned else frequencies
        f = f * (odd[:, None] if down else 1) * (odd if right else 1)
        return np.packbits((f > 0).reshape(len(f), -1), axis=1).view(np.uint64).ravel()

    return np.stack([packed(*turn) for turn in TURNS])


def _candidates(hashes: NDArray[np.uint64], member: Index, at: int) -> Index:
    """Find pairs with `a` in the block: [4, found] of row a < row b, nearest turn, distance."""
    block = hashes[:, at : at + BLOCK]
    least = np.full((block.shape[1], hashes.shape[1] - at), 64, np.uint8)
    for turned in block:
        np.minimum(least, np.bitwise_count(turned[:, None] ^ hashes[0, at:]), out=least)
    a, b = np.nonzero(least <= DISTANCE)
    wanted = (a < b) & (member[at + a] != member[at + b])
    a, b = a[wanted], b[wanted]
    turn = np.bitwise_count(block[:, a] ^ hashes[0, at + b]).argmin(0)
    return np.stack([at + a, at + b, turn, least[a, b]])


def _correlation(thumbnails: Stack, a: Index, b: Index, turn: Index) -> NDArray[np.float32]:
    """Correlate each pair, `a` turned; the maximum over crops of either image."""
    plain = _evened(thumbnails)
    best = _products(plain, plain, a, b, turn)
    for kept in CROPS:
        inner = _evened(_both_ways(_crop(kept), thumbnails))
        np.maximum(best, _products(inner, plain, a, b, turn), out=best)
        np.maximum(best, _products(plain, inner, a, b, turn), out=best)
    return best


def _evened(thumbnails: Stack) -> Stack:
    """Normalise local mean and contrast, then length; contrast below 4 grey levels stays low."""
    distance = np.subtract.outer(np.arange(SIDE), np.arange(SIDE))
    blur = np.exp(-((distance / 2) ** 2) / 2).astype(np.float32)
    seen = _seen(thumbnails)
    weight: Stack = np.maximum(_both_ways(blur, seen), 1e-6)
    detail = seen * (thumbnails - _both_ways(blur, seen * thumbnails) / weight)
    detail /= np.sqrt(_both_ways(blur, detail**2) / weight + 4**2)
    return detail / np.maximum(np.sqrt((detail**2).sum((1, 2), keepdims=True)), 1e-6)


def _seen(thumbnails: Stack) -> Stack:
    """Mask black frames and their neighbours with 0; black lesions near the middle keep 1."""
    near = np.abs(np.subtract.outer(np.arange(SIDE), np.arange(SIDE))) <= 1
    place = np.arange(SIDE) + 0.5 - SIDE / 2
    outside = np.add.outer(place**2, place**2) > (0.4 * SIDE) ** 2
    black = ((thumbnails < BLACK) & outside).astype(np.float32)
    return (_both_ways(near.astype(np.float32), black) == 0).astype(np.float32)


def _both_ways(matrix: NDArray[np.float32], thumbnails: Stack) -> Stack:
    """Apply the matrix to every column and every row."""
    return np.asarray(matrix @ thumbnails @ matrix.T, np.float32)


def _crop(kept: float) -> NDArray[np.float32]:
    """Return the matrix [SIDE, SIDE] that stretches the middle of a line over all of it."""
    place = (np.arange(SIDE) + 0.5 - SIDE / 2) * kept + SIDE / 2 - 0.5
    return np.maximum(0, 1 - np.abs(np.subtract.outer(place, np.arange(SIDE)))).astype(np.float32)


def _products(x: Stack, y: Stack, a: Index, b: Index, turn: Index) -> NDArray[np.float32]:
    """Return the inner products of x[a], turned, with y[b]."""
    found = np.empty(len(a), np.float32)
    for k, (turned, down, right) in enumerate(TURNS):
        mine = np.flatnonzero(turn == k)
        view = x.transpose(0, 2, 1) if turned else x
        view = view[:, :: -1 if down else 1, :: -1 if right else 1]
        for part in np.array_split(mine, len(mine) // BLOCK + 1):
            found[part] = np.einsum("nij,nij->n", view[a[part]], y[b[part]])
    return found
