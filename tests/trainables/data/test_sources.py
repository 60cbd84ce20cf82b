"""The source of an image (hospital, camera): from the data set to the cache, and no false hit."""

import pytest

from trainables.data.folder import Plugin as Folder
from trainables.data.isic2019 import METADATA
from trainables.data.isic2019 import Plugin as Isic
from trainables.data.table import Plugin as Table
from trainables.errors import UserError
from trainables.images.cache import Source, made_by, open_cache, prepare, save_made


@pytest.fixture
def sourced(listed):
    """The table's images with a column `hospital`, empty for the third."""
    header, *rows = (listed / "labels.csv").read_text().splitlines()
    cells = ["" if i == 2 else f"H{i % 2}" for i in range(len(rows))]
    lines = [
        f"{header},hospital",
        *(f"{row},{cell}" for row, cell in zip(rows, cells, strict=True)),
    ]
    (listed / "labels.csv").write_text("\n".join(lines) + "\n")
    return listed


def test_a_table_names_its_column(sourced):
    table = Table(sourced, {"source_column": "hospital"}).table()
    assert table.sites[:4] == ("H0", "H1", "unknown", "H1")
    assert Table(sourced, {}).table().sites == ()
    with pytest.raises(UserError, match="no column 'ward' in labels"):
        Table(sourced, {"source_column": "ward"}).table()


def test_one_source_alone_says_nothing(sourced, change):
    for i in (0, 1):
        change(sourced / "labels.csv", f",H{i}", ",here")
    change(sourced / "labels.csv", ",\n", ",here\n")
    assert Table(sourced, {"source_column": "hospital"}).table().sites == ()


def test_a_folder_takes_it_from_the_file_of_patients(folders):
    rows = [f"{c}{i},{c}{i // 2},{'CT' if i else ''}" for c in "ab" for i in range(5)]
    (folders / "who.csv").write_text("\n".join(["image,group,scanner", *rows]))
    given = {"groups_csv": "who.csv", "source_column": "scanner"}
    table = Folder(folders, given).table()
    assert set(table.sites) == {"CT", "unknown"}
    assert table.groups == Folder(folders, {"groups_csv": "who.csv"}).table().groups
    with pytest.raises(UserError, match="must be a column of the file"):
        Folder(folders, {"source_column": "scanner"}).table()


def test_isic_begins_a_lesion_with_its_collection(isic, change):
    assert Isic(isic, {}).table().sites == ()
    change(isic / METADATA, ",L00,", ",HAM_0000118,")
    found = Isic(isic, {}).table()
    assert set(found.sites) == {"HAM", "unknown"}


def test_real_lesions_are_of_ham_or_unknown(mini):
    sites = Isic(mini, {}).table().sites
    assert {site: sites.count(site) for site in set(sites)} == {"HAM": 8012, "unknown": 382}


def test_the_cache_keeps_sources_and_tells_other_sources_apart(sourced, spec, change, tmp_path):
    made = spec("table", params={"source_column": "hospital"}, size=16)
    first = prepare(made, sourced, tmp_path)
    data = open_cache(first)
    assert data.sites == Table(sourced, {"source_column": "hospital"}).table().sites
    (tmp_path / "stage").mkdir()
    save_made(tmp_path / "stage", data)
    assert made_by(tmp_path / "stage").sites == data.sites
    change(sourced / "labels.csv", ",H0", ",H7")
    second = prepare(made, sourced, tmp_path)
    assert second != first
    assert "H7" in open_cache(second).sites


def test_a_digest_is_the_recorded_one(spec, tmp_path):
    """So finished stages are still found; who means to change it records it anew."""
    made = spec("demo", params={"n": 160, "size": 32})
    assert Source(made, None).digest(tmp_path) == "a68710b27d848c9a"
