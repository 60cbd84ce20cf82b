"""Near-duplicates: found whatever was done to the copy, and no two lesions taken for one."""

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from trainables.data.isic2019 import Plugin
from trainables.images import duplicates
from trainables.images.decoding import square
from trainables.images.duplicates import Pair, Search, find, like, merged
from trainables.images.thumbnails import TURNS, hashed

MINI = Path(__file__).parents[4] / "shared" / "data" / "isic-mini"
SIDE = 96
COPIES = {
    "same file": lambda image: image,
    "low JPEG quality": lambda image: encoded(image, 40),
    "half the size": lambda image: image.resize((SIDE // 2, SIDE // 2)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "flatter": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "cropped by 3 % a side": lambda image: cropped(image, 0.03),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned": lambda image: encoded(image.transpose(Image.Transpose.ROTATE_90), 60),
    "on its diagonal": lambda image: image.transpose(Image.Transpose.TRANSVERSE),
}


def encoded(image, quality):
    file = io.BytesIO()
    image.save(file, "jpeg", quality=quality)
    return Image.open(file)


def cropped(image, share):
    low, high = share * image.width, (1 - share) * image.width
    return image.resize(image.size, Image.Resampling.BICUBIC, (low, low, high, high))


def rows(n):
    return [str(i) for i in range(n)]


def drawn(n, seed=0):
    """Smooth coloured noise: as unlike as images can be."""
    small = np.random.default_rng(seed).integers(0, 256, (n, 12, 12, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((48, 48))) for one in small])


@pytest.fixture(scope="module")
def lesions():
    """[n, SIDE, SIDE, 3] of every fourth real image, with their lesions."""
    if not MINI.is_dir():
        pytest.skip(f"no real images: {MINI} is not there")
    data = Plugin(MINI, {})
    groups = data.table().groups
    chosen = [i for i, group in enumerate(groups) if sum(group.encode()) % 4 == 0]
    images = np.stack([square(data.read(i, SIDE), SIDE, 3) for i in chosen])
    return images, [groups[i] for i in chosen]


@pytest.mark.parametrize("what", COPIES)
def test_copies_of_real_images_are_found(lesions, what):
    images = lesions[0][:: len(lesions[0]) // 150]
    copies = [COPIES[what](Image.fromarray(image)) for image in images]
    both = np.concatenate([images, [square(np.asarray(copy), SIDE, 3) for copy in copies]])
    n = len(images)
    found = {(pair.a, pair.b) for pair in find(both, rows(2 * n))}
    assert len(found & {(i, n + i) for i in range(n)}) >= 0.97 * n
    assert all(b - a == n for a, b in found)


def test_real_lesions_are_told_apart(lesions):
    images, groups = lesions
    assert find(images, groups) == []
    pairs = find(images, rows(len(images)))
    assert len(pairs) > 10
    assert all(groups[pair.a] == groups[pair.b] for pair in pairs)


@pytest.mark.parametrize("radius", [46, 40])
def test_a_dermoscopes_black_frame_makes_no_duplicates(lesions, radius):
    images, groups = lesions
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    framed = np.where((x**2 + y**2 <= radius**2)[..., None], images, 0).astype(np.uint8)
    assert find(framed, groups) == []


def test_one_channel():
    grey = drawn(8)[..., :1]
    both = np.concatenate([grey, grey[::-1, ::-1]])
    assert [(p.a, p.b) for p in find(both, rows(16))] == [(i, 15 - i) for i in range(8)]


def test_blank_images_are_no_flood():
    faint = np.random.default_rng(0).integers(0, 3, (80, 48, 48, 1), np.uint8)
    assert find(faint, rows(80)) == []
    ramps = faint + np.arange(48, dtype=np.uint8)[:, None]
    assert find(ramps, rows(80)) == []


def test_copies_of_one_image_pair_with_the_first():
    images = np.concatenate([drawn(3), np.zeros((50, 48, 48, 3), np.uint8)])
    found = find(images, rows(53))
    assert found == [Pair(3, i, "3", str(i), 0) for i in range(4, 53)]


def test_only_pairs_of_different_groups():
    images = np.concatenate([drawn(4), drawn(4)[:, ::-1]])
    found = find(images, ["a", "b", "c", "d", "a", "b", "x", "y"])
    assert [(p.a, p.b, p.group_a, p.group_b) for p in found] == [(2, 6, "c", "x"), (3, 7, "d", "y")]


def test_hashes_of_turned_thumbnails_need_no_second_transform():
    small = np.random.default_rng(0).integers(0, 256, (5, 32, 32), np.uint8)
    hashes = hashed(small)
    for k, (turned, down, right) in enumerate(TURNS):
        view = small.transpose(0, 2, 1) if turned else small
        view = view[:, :: -1 if down else 1, :: -1 if right else 1]
        for plain, turn in zip(hashed(np.ascontiguousarray(view)), hashes, strict=True):
            assert np.bitwise_count(plain[0] ^ turn[k]).max() <= 1  # a frequency may be next to 0


def test_candidates_against_every_pair_one_by_one(monkeypatch):
    """Whatever turn makes them near, in blocks that end between their images."""
    monkeypatch.setattr(duplicates, "BLOCK", 16)
    monkeypatch.setattr(duplicates, "DISTANCE", 22)
    monkeypatch.setattr(duplicates, "FINE_DISTANCE", 120)
    rng = np.random.default_rng(0)
    small, member = rng.integers(0, 256, (60, 32, 32), np.uint8), rng.integers(0, 30, 60)
    search = Search(small, small, lambda a, b: (a < b) & (member[a] != member[b]))
    blocks = [search.candidates(at) for at in range(0, 60, 16)]
    found = {tuple(column) for column in np.concatenate(blocks, axis=1).T.tolist()}
    rough, fine = hashed(small)
    slow = set()
    for a, b, turn in itertools.product(range(60), range(60), range(8)):
        near = (int(rough[turn, a]) ^ int(rough[0, b])).bit_count()
        finer = int(np.bitwise_count(fine[turn, a] ^ fine[0, b]).sum())
        if a < b and member[a] != member[b] and near <= 22 and finer <= 120:
            slow.add((a, b, near, turn))
    assert found == slow
    assert slow


def test_merged_groups_are_those_that_pairs_connect():
    groups = ["d", "a", "b", "b", "c", "e"]
    pairs = [Pair(0, 2, "d", "b", 0), Pair(3, 4, "b", "c", 3)]
    assert merged(groups, pairs) == ("b", "a", "b", "b", "b", "e")
    assert merged(groups, []) == tuple(groups)


def test_images_like_held_out_ones_are_the_pairs_with_them(monkeypatch):
    """Copies of a copy and blank images included, in blocks of any size."""
    held_out = np.concatenate([drawn(20), np.zeros((1, 48, 48, 3), np.uint8)])
    turned, new = np.rot90(held_out[3]), drawn(9, seed=1)
    ours = np.stack([new[0], turned, new[1], held_out[7], turned, held_out[20], *new[2:]])
    both = np.concatenate([held_out, ours])
    pairs = find(both, ["held out"] * len(held_out) + ["ours"] * len(ours))
    expected = {pair.b - len(held_out) for pair in pairs} | {4}  # `find` pairs the first copy only
    assert expected == {1, 3, 4, 5}
    for size in (1, 2, 100):
        monkeypatch.setattr(duplicates, "BLOCK", size)
        assert set(like(ours, held_out)) == expected
    assert len(like(ours[:0], held_out)) == len(like(ours, held_out[:0])) == 0
