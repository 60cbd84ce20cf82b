"""The decoded cache: what is in it, what decides its name, and two processes at once."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trainables.data.isic2019 import IMAGES, TRUTH
from trainables.errors import UserError
from trainables.images import cache, decoding, fingerprint
from trainables.images.cache import Source, open_cache, prepare
from trainables.images.table_file import TABLE
from trainables.plugins import load

SMALL = {"n": 160, "size": 32}


def test_content(spec, tmp_path):
    demo = spec(params=SMALL)
    seen = []
    data = open_cache(prepare(demo, None, tmp_path, lambda done, n: seen.append((done, n))))
    plugin = load("trainables.data", "demo")(None, SMALL)
    assert seen[-1] == (160, 160)
    assert data.images.shape == (160, 32, 32, 3)
    assert np.array_equal(data.images[7], plugin.read(7))
    assert (data.name, data.demo, len(data.names)) == ("demo", True, 160)
    assert not data.images.flags.writeable
    train = np.asarray(data.images[data.split["train"]], float) / 255
    assert np.allclose(data.mean, train.mean((0, 1, 2)))
    assert np.allclose(data.std, train.std((0, 1, 2)))
    source = Source(demo, None)
    assert all(np.array_equal(source.split[part], index) for part, index in data.split.items())
    assert (source.table.names, source.table.groups) == (data.names, data.groups)
    assert source.digest(tmp_path) == data.digest


def test_several_readers_read_what_one_does(spec, tmp_path, monkeypatch):
    data = open_cache(prepare(spec(params=SMALL), None, tmp_path))
    rows = np.random.default_rng(0).permutation(160)[:37]
    pooled = replace(data, pool=np.asarray(data.images[100:]), images=data.images[:100])
    monkeypatch.setattr(cache, "SHARE", data.images[0].nbytes * 10)
    for one in (data, pooled):
        found = np.zeros((37, 32, 32, 3), np.uint8)
        one.take(rows, found)
        assert np.array_equal(found, data.images[rows])


def test_real_images(spec, mini, tmp_path):
    params = {"exclude_classes": ["NV", "MEL", "BKL", "BCC"]}
    data = open_cache(prepare(spec("isic2019", params=params, size=96), mini, tmp_path))
    assert data.images.shape == (468, 96, 96, 3)
    assert data.classes == ("AK", "DF", "VASC", "SCC")
    with Image.open(mini / IMAGES / f"{data.names[5]}.jpg") as image:
        centre = image.resize((96, 96), Image.Resampling.BICUBIC, (25, 0, 175, 150))
    assert np.array_equal(data.images[5], np.asarray(centre))


def test_one_channel_costs_a_third(spec, folders, tmp_path):
    one, three = (
        prepare(spec("folder", channels=n, size=64), folders, tmp_path / "cache") for n in (1, 3)
    )
    data = open_cache(one)
    assert data.images.shape == (10, 64, 64, 1)
    assert len(data.mean) == len(data.std) == 1
    sizes = [(path / "images.npy").stat().st_size for path in (one, three)]
    header = sizes[0] - 10 * 64**2
    assert sizes[1] - header == 3 * 10 * 64**2


def test_colour_to_one_channel_is_luma(spec, tmp_path):
    for i, colour in enumerate([(200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 90)] * 2):
        path = tmp_path / "images" / f"class{i // 4}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20 + i), colour).save(path)  # no copies of each other
    data = open_cache(prepare(spec("folder", channels=1), tmp_path / "images", tmp_path / "cache"))
    assert data.images[:4, 0, 0, 0].tolist() == [60, 117, 23, 90]  # .299, .587, .114


def test_grey_to_three_channels(spec, folders, tmp_path):
    data = open_cache(prepare(spec("folder", size=16), folders, tmp_path / "cache"))
    assert (data.images[9, ..., 0] == data.images[9, ..., 2]).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bit_grey_is_as_its_8_bits(spec, tmp_path, channels, ending):
    """Also of 12 bits, and with an offset of the values."""
    picture = np.linspace(0, 255, 32 * 32).reshape(32, 32)
    for i, (factor, offset) in enumerate([(257, 0), (256, 0), (16, 0), (16.06, 0), (9, 40_000)]):
        path = tmp_path / "images" / f"class{i % 2}" / f"{i}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((picture * factor + offset).astype(np.uint16)).save(path)
    Image.fromarray(picture.astype(np.uint8)).save(tmp_path / "images" / "class1" / "5.png")
    made = spec("folder", channels=channels)
    data = open_cache(prepare(made, tmp_path / "images", tmp_path / "cache"))
    assert len(data.names) == 6
    assert np.abs(data.images.astype(int) - picture[..., None]).max() <= 4  # 1 % at either end


def test_second_start_reads_no_image(spec, isic, tmp_path, monkeypatch):
    first = prepare(spec("isic2019"), isic, tmp_path / "cache")
    monkeypatch.setattr(cache.Source, "_build", None)
    monkeypatch.setattr(fingerprint, "file_digest", None)
    assert prepare(spec("isic2019"), isic, tmp_path / "cache") == first


def test_whether_images_are_decoded_is_known_without_reading_them(spec, isic, tmp_path):
    there = tmp_path / "cache"
    unread = cache.Source(spec("isic2019"), isic)
    assert not unread.decoded(there)
    folder = prepare(spec("isic2019"), isic, there)
    assert unread.decoded(there)
    assert not cache.Source(spec("isic2019", size=40), isic).decoded(there)
    (isic / "ISIC_2019_Training_Input" / "ISIC_0000000.jpg").write_bytes(b"another")
    assert unread.decoded(there), "a guess"
    unread.digest(there)
    assert not unread.decoded(there), "the content is another"
    (folder / "manifest.json").write_text("[]")
    assert not cache.Source(spec("isic2019"), isic).decoded(there)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:50],
        lambda text: "[]",
        lambda text: '{"files": 3, "digest": 3}',
        lambda text: text.replace(re.search(r"[0-9a-f]{64}", text)[0], "0" * 64),
    ],
)
def test_damaged_memory_of_digests(spec, isic, tmp_path, damage):
    first = prepare(spec("isic2019"), isic, tmp_path / "cache")
    (memory,) = (tmp_path / "cache").glob("digests-*.json")
    memory.write_text(damage(memory.read_text()))
    assert prepare(spec("isic2019"), isic, tmp_path / "cache") == first


def copied(isic, a, b):
    """The file of image a, as image b: the lesions differ."""
    shutil.copy(isic / IMAGES / f"ISIC_{a:07}.jpg", isic / IMAGES / f"ISIC_{b:07}.jpg")


def test_near_duplicates_are_found_as_the_cache_is_built(spec, isic, tmp_path):
    copied(isic, 1, 8)
    copied(isic, 1, 7)
    copied(isic, 0, 2)  # of the same lesion
    data = open_cache(prepare(spec("isic2019"), isic, tmp_path / "cache"))
    pairs = [(data.names[p.a], data.names[p.b], p.group_a, p.group_b) for p in data.duplicates]
    assert pairs == [
        ("ISIC_0000001", "ISIC_0000007", "L10", "L12"),
        ("ISIC_0000001", "ISIC_0000008", "L10", "L02"),
    ]
    assert not data.merged
    assert data.groups[7] == "L12"


def test_merged_on_request(spec, isic, tmp_path):
    copied(isic, 1, 7)
    plain = prepare(spec("isic2019"), isic, tmp_path / "cache")
    path = prepare(spec("isic2019", merge_duplicates=True), isic, tmp_path / "cache")
    data = open_cache(path)
    assert path != plain
    assert data.merged
    assert [data.groups[i] for i in (1, 7, 9, 11)] == ["L10", "L10", "L13", "L13"]
    assert [(p.group_a, p.group_b) for p in data.duplicates] == [("L10", "L12")]
    assert len({part for part, index in data.split.items() if {1, 7} & set(index)}) == 1


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [("group", ["one"] * 160, "'one'"), ("part", ["train"] * 159 + [None], "in no part")],
)
def test_a_split_that_leaks_is_not_opened(spec, tmp_path, column, values, said):
    path = prepare(spec(params=SMALL), None, tmp_path)
    table = pq.read_table(path / TABLE)
    at = table.column_names.index(column)
    pq.write_table(table.set_column(at, column, [values]), path / TABLE)
    with pytest.raises(AssertionError, match=said):
        open_cache(path)


def test_moved_folder_has_the_same_digest(spec, isic, tmp_path):
    first = prepare(spec("isic2019"), isic, tmp_path / "cache")
    moved = shutil.move(isic, tmp_path / "moved")
    assert prepare(spec("isic2019"), moved, tmp_path / "other").name == first.name


def test_digest_follows_content_and_spec(spec, isic, tmp_path, change):
    root = tmp_path / "cache"
    paths = {prepare(spec("isic2019", **other), isic, root) for other in ({}, {"seed": 1})}
    shutil.copy(isic / IMAGES / "ISIC_0000001.jpg", isic / IMAGES / "ISIC_0000002.jpg")
    paths.add(prepare(spec("isic2019"), isic, root))
    change(isic / TRUTH, "ISIC_0000004,0.0,1.0", "ISIC_0000004,1.0,0.0")
    paths.add(prepare(spec("isic2019"), isic, root))
    assert len(paths) == 4


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_unreadable_image(spec, isic, tmp_path, content):
    path = isic / IMAGES / "ISIC_0000006.jpg"
    path.write_bytes(path.read_bytes()[:-500] if content is None else content)
    with pytest.raises(UserError, match=r"ISIC_0000006.jpg: must be a readable image"):
        prepare(spec("isic2019"), isic, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*tmp*"))


def test_full_disk(spec, tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1000))
    with pytest.raises(UserError, match=r"must have 0\.1 GB free for .*, has 0\.0"):
        prepare(spec(params=SMALL), None, tmp_path)


def test_bad_split_before_any_work(spec, tmp_path):
    with pytest.raises(AssertionError):
        prepare(spec(params=SMALL, val=0.0), None, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "a bit of the last pixel": ("images.npy", lambda path: flip(path, -1)),
    "a bit of the shape": ("images.npy", lambda path: flip(path, 60)),
    "images cut": ("images.npy", lambda path: os.truncate(path, 200_000)),
    "images longer": ("images.npy", lambda path: path.write_bytes(path.read_bytes() + b"0")),
    "no images": ("images.npy", os.unlink),
    "a bit of the table": (TABLE, lambda path: flip(path, 300)),
    "table cut": (TABLE, lambda path: os.truncate(path, 300)),
    "no table": (TABLE, os.unlink),
    "a digit of the manifest": ("manifest.json", lambda path: flip(path, 15)),
    "manifest cut": ("manifest.json", lambda path: os.truncate(path, 100)),
    "a list for a manifest": ("manifest.json", lambda path: path.write_text("[]")),
    "no manifest": ("manifest.json", os.unlink),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_cache_is_built_again(spec, tmp_path, kind, caplog, monkeypatch):
    """Checksums are of small blocks here, so that the images have several."""
    monkeypatch.setattr(cache, "BLOCK", 1 << 16)
    small = spec(params=SMALL)
    path = prepare(small, None, tmp_path)
    whole = {file.name: file.read_bytes() for file in path.iterdir()}
    name, damage = DAMAGE[kind]
    damage(path / name)
    with caplog.at_level("WARNING"):
        assert prepare(small, None, tmp_path) == path
    (said,) = caplog.messages
    assert said.startswith(f"{path}: damaged (")
    assert {file.name: file.read_bytes() for file in path.iterdir()} == whole
    assert not list(tmp_path.glob("*tmp*"))
    monkeypatch.setattr(cache.Source, "_build", None)
    assert prepare(small, None, tmp_path) == path


def test_who_has_a_damaged_cache_open_keeps_what_it_maps(spec, tmp_path):
    path = prepare(spec(params=SMALL), None, tmp_path)
    opened = open_cache(path)
    before, old = opened.images[:].copy(), os.stat(path / "images.npy").st_ino
    (path / TABLE).write_text("{")
    assert prepare(spec(params=SMALL), None, tmp_path) == path
    assert os.stat(path / "images.npy").st_ino != old
    assert np.array_equal(opened.images, before)


def test_everything_is_on_the_disk_before_the_cache_has_its_name(spec, tmp_path, monkeypatch):
    events, sync, replace = [], os.fsync, os.replace

    def synced(descriptor):
        events.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        sync(descriptor)

    def replaced(a, b):
        events.append(f"to {os.path.basename(b)}")
        replace(a, b)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    path = prepare(spec(params=SMALL), None, tmp_path)
    named = events.index(f"to {path.name}")
    for first in ("images.npy", TABLE, "to manifest.json"):
        assert events.index(first) < named
    assert events[named + 1 :] == [tmp_path.name]


def test_cache_root_is_a_file(spec, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: must be a folder to write to"):
        prepare(spec(params=SMALL), None, tmp_path / "file")


def test_unknown_data_set(spec, tmp_path):
    with pytest.raises(UserError, match="try isic2019"):
        prepare(spec("isic2018"), None, tmp_path)


def test_what_a_killed_process_left_is_removed(spec, tmp_path):
    first = prepare(spec(params=SMALL), None, tmp_path)
    shutil.copytree(first, tmp_path / f"{first.name}.tmp-dead")
    shutil.rmtree(first)
    assert prepare(spec(params=SMALL), None, tmp_path) == first
    assert not list(tmp_path.glob("*tmp*"))


def test_two_processes_at_once(spec, tmp_path):
    demo = spec(params=SMALL)
    code = (
        "import sys; from pathlib import Path; from trainables.images.cache import prepare\n"
        "from trainables.spec import DataSpec\n"
        f"p = prepare({demo!r}, None, Path(sys.argv[1]), lambda *a: print('decoded', *a))\n"
        "print(p)"
    )
    run = [sys.executable, "-c", code, str(tmp_path)]
    both = [subprocess.Popen(run, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    lines = [process.communicate()[0].splitlines() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert lines[0][-1] == lines[1][-1]
    assert sorted(len(out) for out in lines) == [1, 161]  # one built, one waited
    assert len(open_cache(tmp_path / os.path.basename(lines[0][-1])).names) == 160


def test_everything_is_readable_without_pickle(spec, tmp_path):
    path = prepare(spec(params=SMALL), None, tmp_path)
    assert {p.suffix for p in path.iterdir()} == {".npy", ".json", ".parquet"}
    assert json.loads((path / "manifest.json").read_text())["demo"] is True


def test_search_side_imports_no_torch():
    modules = "trainables.images.cache, trainables.data.isic2019"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_blank_images_have_no_zero_deviation():
    _, std = decoding.statistics(np.zeros((3, 2, 1), np.int64), 16)
    assert std == (1 / 255,)
