"""What names a cache: every setting that decides its pixels."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.images.cache import Source, open_cache, prepare
from trainables.spec import DataSpec, digest

Make = Callable[..., DataSpec]
CHANGES = {
    "pad": {"fit": "pad"}, "stretch": {"fit": "stretch"}, "trim": {"trim": True},
    "window": {"window": (0.0, 1000.0)}, "wider": {"window": (0.0, 3000.0)},
}  # fmt: skip


def deep(root: Path) -> None:
    for name in ("a/a4.PNG", "b/b4.jpeg"):
        (root / name).unlink()
    pixels = np.arange(2000, dtype=np.uint16).reshape(40, 50)
    pixels[:8] = 0
    for name in ("a/a4.png", "b/b4.png"):
        Image.fromarray(pixels).save(root / name)
        pixels = pixels.T.copy()


def test_digests_remembered_before_are_forgotten(spec: Make, folders: Path, tmp_path: Path) -> None:
    """They don't say how the pixels are read."""
    deep(folders)
    made, cache = spec("folder"), tmp_path / "cache"
    wanted = Source(made, folders).digest(cache)
    (memory,) = cache.glob("digests-*.json")
    found = json.loads(memory.read_text())
    files = {name: [*entry[:-1], entry[-1][:64]] for name, entry in found["files"].items()}
    memory.write_text(json.dumps({"files": files, "digest": digest(files)}))
    assert Source(made, folders).digest(cache) == wanted


def test_each_setting_has_a_cache_of_its_own(spec: Make, folders: Path, tmp_path: Path) -> None:
    deep(folders)
    specs = [spec("folder"), *(spec("folder", **change) for change in CHANGES.values())]
    paths = [prepare(made, folders, tmp_path / "cache") for made in specs]
    assert len(set(paths)) == len(specs)
    pixels = [open_cache(path) for path in paths]
    assert len({data.images[data.names.index("a/a4.png")].tobytes() for data in pixels}) == 6


def test_a_cache_of_before_is_decoded_again_under_its_name(
    spec: Make, folders: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It may hold JPEG files without an end as grey rows."""
    made, cache = spec("folder"), tmp_path / "cache"
    path = prepare(made, folders, cache)
    manifest = json.loads((path / "manifest.json").read_text())
    for later in ("checks", "seal", "found"):
        manifest.pop(later)
    (path / "manifest.json").write_text(json.dumps(manifest | {"seal": digest(manifest)}))
    assert prepare(made, folders, cache) == path
    assert "an older version" in caplog.text
    caplog.clear()
    assert prepare(made, folders, cache) == path
    assert not caplog.text


def test_what_was_found_is_kept(spec: Make, tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((40, 40)).astype(np.float32)
    for i in range(12):
        pixels = values + np.float32(i / 1000)
        if i < 3:
            pixels[20, 5] = np.nan
        if i in (2, 4):
            pixels[:8] = 0
        path = tmp_path / "data" / "ab"[i % 2] / f"{i}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    for trim, trimmed in ((False, 0), (True, 2)):
        made = spec("folder", trim=trim, channels=1)
        found = open_cache(prepare(made, tmp_path / "data", tmp_path / "cache")).found
        assert found == {"trimmed": trimmed, "unsound": 3}
