"""Thumbnails of images: they tell copies of one image from images that are only alike.

    small = thumbnails(images)                       # uint8 [n, SIDE, SIDE]
    hashes = hashed(small)                           # of every turn and mirroring
    correlation(small.astype(np.float32), a, b, turn)    # of pairs

The hashes are signs of low frequencies (the DCT hash of Zauner, "Implementation and benchmarking of
perceptual image hash functions", 2010). The sign replaces its median, so mirroring only flips known
bits and all eight turns and mirrorings need one transform.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.processor import cores

SIDE = 32  # px
ROUGH, FINE = 8, 16  # frequencies per direction of the hashes, the constant one excluded
BLACK = 16  # a darker pixel away from the middle is a dermoscope's or collimator's frame
CROPS = (0.97, 0.94, 0.91)  # fractions of the side that a cropped copy may have kept
BLOCK = 1024  # images at once
TURNS = tuple((turned, down, right) for turned in (0, 1) for down in (0, 1) for right in (0, 1))

Stack = NDArray[np.float32]  # [n, SIDE, SIDE]
Thumbnails = NDArray[np.uint8]  # [n, SIDE, SIDE]
Index = NDArray[np.int64]
Images = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]


class Hashes(NamedTuple):
    """The hashes of every turn and mirroring of every thumbnail, the original first.

    rough: uint64 [8, n]. fine: uint64 [8, n, 4], after local contrast is equalised.
    """

    rough: NDArray[np.uint64]
    fine: NDArray[np.uint64]


def thumbnails(images: Images) -> Thumbnails:
    """Return every image in grey and small."""
    found = np.empty((len(images), SIDE, SIDE), np.uint8)

    def fill(at: int) -> None:
        for row in range(at, min(at + BLOCK, len(images))):
            found[row] = _thumbnail(images[row])

    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(fill, range(0, len(images), BLOCK)))
    return found


def digests(small: Thumbnails) -> NDArray[np.uint64]:
    """Return a digest of each thumbnail, which equals that of copies."""
    sums = (hashlib.blake2b(one, digest_size=8).digest() for one in small)
    return np.frombuffer(b"".join(sums), np.uint64)


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    grey = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).convert("L")
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def hashed(small: Thumbnails) -> Hashes:
    """Return the hashes of all turns and mirrorings."""
    blocks = []
    for first in range(0, len(small), BLOCK):
        some = small[first : first + BLOCK].astype(np.float32)
        blocks.append((_signs(some, ROUGH), _signs(_evened(some), FINE)))
    rough, fine = (np.concatenate(parts, axis=1) for parts in zip(*blocks, strict=True))
    return Hashes(rough[:, :, 0], fine)


def _signs(small: Stack, frequencies: int) -> NDArray[np.uint64]:
    """Hash every turn and mirroring by the signs of low frequencies: [8, n, words]."""
    k = np.arange(1, frequencies + 1)
    side = np.sin(np.pi * (np.arange(SIDE) + 0.5) / SIDE)
    window = np.outer(side, side).astype(np.float32)  # fades frames and cropped borders
    mean = (small * window).sum((1, 2), keepdims=True) / window.sum()
    waves = np.cos(np.pi * np.outer(k, 2 * np.arange(SIDE) + 1) / (2 * SIDE)).astype(np.float32)
    found = _both_ways(waves, (small - mean) * window)
    odd = np.where(k % 2, -1.0, 1.0).astype(np.float32)  # mirroring flips their signs

    def packed(turned: int, down: int, right: int) -> NDArray[np.uint64]:
        f = found.transpose(0, 2, 1) if turned else found
        f = f * (odd[:, None] if down else 1) * (odd if right else 1)
        return np.packbits((f > 0).reshape(len(f), -1), axis=1).view(np.uint64)

    return np.stack([packed(*turn) for turn in TURNS])


def correlation(
    small: Stack, a: Index, b: Index, turn: Index, crops: Sequence[float] = CROPS
) -> NDArray[np.float32]:
    """Correlate each pair, `a` turned; the maximum over crops of either image."""
    plain = _evened(small)
    best = _products(plain, plain, a, b, turn)
    for kept in crops:
        inner = _evened(_both_ways(_crop(kept), small))
        np.maximum(best, _products(inner, plain, a, b, turn), out=best)
        np.maximum(best, _products(plain, inner, a, b, turn), out=best)
    return best


def _evened(small: Stack) -> Stack:
    """Normalise local mean and contrast, then length; contrast below 4 grey levels stays low."""
    distance = np.subtract.outer(np.arange(SIDE), np.arange(SIDE))
    blur = np.exp(-((distance / 2) ** 2) / 2).astype(np.float32)
    seen = _seen(small)
    weight: Stack = np.maximum(_both_ways(blur, seen), 1e-6)
    detail = seen * (small - _both_ways(blur, seen * small) / weight)
    detail /= np.sqrt(_both_ways(blur, detail**2) / weight + 4**2)
    return detail / np.maximum(np.sqrt((detail**2).sum((1, 2), keepdims=True)), 1e-6)


def _seen(small: Stack) -> Stack:
    """Mask black frames and their neighbours with 0; black lesions near the middle keep 1."""
    near = np.abs(np.subtract.outer(np.arange(SIDE), np.arange(SIDE))) <= 1
    place = np.arange(SIDE) + 0.5 - SIDE / 2
    outside = np.add.outer(place**2, place**2) > (0.4 * SIDE) ** 2
    black = ((small < BLACK) & outside).astype(np.float32)
    return (_both_ways(near.astype(np.float32), black) == 0).astype(np.float32)


def _both_ways(matrix: NDArray[np.float32], small: Stack) -> Stack:
    """Apply the matrix to every column and every row."""
    return np.asarray(matrix @ small @ matrix.T, np.float32)


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
        found[mine] = np.einsum("nij,nij->n", view[a[mine]], y[b[mine]])
    return found
