"""The drawn images: the same everywhere, several a lesion, a mask that fits."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from trainables.data.demo import Plugin
from trainables.errors import UserError
from trainables.images.splits import split

SMALL = {"n": 200, "size": 32}


def pixels_digest(n: int, size: int = 32, seen: int = 12) -> str:
    data = Plugin(None, {"n": n, "size": size})
    return hashlib.sha256(b"".join(data.read(i).tobytes() for i in range(seen))).hexdigest()


def test_same_in_another_process_and_for_another_n():
    code = (
        "import hashlib; from trainables.data.demo import Plugin; "
        "d = Plugin(None, {'n': 50, 'size': 32}); "
        "print(hashlib.sha256(b''.join(d.read(i).tobytes() for i in range(12))).hexdigest())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == pixels_digest(50) == pixels_digest(80)


def test_same_on_every_processor():
    known = "5d27ff12a314bb84147301243f61cb0568be359058fbb697adef7537588abb7e"
    assert pixels_digest(300, 64, 300) == known, "other pixels than before: raise demo.DRAWING"


def test_table():
    table = Plugin(None, {}).table()
    assert len(table.names) == 1400
    counts = dict(zip(table.classes, np.bincount(table.labels).tolist(), strict=True))
    assert set(counts) == {"MEL", "NV", "BCC", "AK", "BKL", "DF", "VASC", "SCC"}
    assert max(counts, key=counts.__getitem__) == "NV"
    assert min(counts.values()) > 50
    _, views = np.unique(table.groups, return_counts=True)
    assert set(views.tolist()) == {1, 2, 3, 4}


def test_views_of_a_lesion_differ_and_share_its_class():
    data = Plugin(None, SMALL)
    table = data.table()
    i = next(i for i in range(199) if table.groups[i] == table.groups[i + 1])
    assert table.labels[i] == table.labels[i + 1]
    assert np.abs(data.read(i).astype(int) - data.read(i + 1)).mean() > 5


def test_mask_is_where_the_lesion_is():
    data = Plugin(None, {**SMALL, "exclude_classes": ["AK", "BCC", "SCC", "DF"]})
    contrast = []
    for i in range(30):
        mask, pixels = data.mask(i), data.read(i).mean(2)
        assert mask.shape == (32, 32)
        assert 0.03 < mask.mean() < 0.99
        contrast.append(pixels[~mask].mean() - pixels[mask].mean())
    assert np.mean(contrast) > 20  # pigmented lesions are darker than the skin


def test_other_seed_other_images():
    same, other = Plugin(None, SMALL), Plugin(None, {**SMALL, "seed": 1})
    assert not np.array_equal(same.read(0), other.read(0))
    assert same.source(0) != other.source(0)


def test_small_n_still_splits():
    table = Plugin(None, {"n": 160}).table()
    split(table.labels, table.groups, 0.15, 0.15, 0, table.classes)


@pytest.mark.parametrize("params", [{"n": 0}, {"size": 8}, {"seed": 0.5}, {"n": True}])
def test_bad_parameters(params):
    with pytest.raises(UserError, match="must be a whole number"):
        Plugin(None, params).table()
