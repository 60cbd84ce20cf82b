"""What every data set must keep: splits by group, rows by name, a YAML file with its parameters."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import yaml

from trainables.images.cache import open_cache, prepare
from trainables.plugins import available, load

SPACES = Path(__file__).parents[3] / "spaces"
PARAMS = {
    "demo": {"n": 160, "size": 32},
    "folder": {"groups_csv": "who.csv"},
    "isic2019": {},
    "table": {},
}
EVERY = pytest.mark.parametrize("name", available("trainables.data"))


@pytest.fixture
def root(request, name):
    """The images of a data set: its own fixture's, none for those that draw theirs."""
    assert name in PARAMS, f"add data set {name} to this test, with images of several a group"
    if name == "folder":
        folders = request.getfixturevalue("folders")
        rows = ["image,group", *(f"{c}{i},{c}{i // 2}" for c in "ab" for i in range(5))]
        (folders / "who.csv").write_text("\n".join(rows))
        return folders
    fixtures = {"isic2019": "isic", "table": "listed"}
    return request.getfixturevalue(fixtures[name]) if name in fixtures else None


@EVERY
@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_group_is_on_two_sides(name, root, spec, tmp_path, merge, seed):
    made = spec(name, params=PARAMS[name], merge_duplicates=merge, seed=seed)
    data = open_cache(prepare(made, root, tmp_path / "cache"))
    assert len(set(data.groups)) < len(data.groups)  # else there is nothing to keep together
    sides = [{data.groups[i] for i in index} for index in data.split.values()]
    assert sum(map(len, sides)) == len(set().union(*sides)) == len(set(data.groups))
    rows = np.concatenate(list(data.split.values()))
    assert sorted(rows.tolist()) == list(range(len(data.names)))
    for index in data.split.values():
        assert set(data.labels[index]) == set(range(len(data.classes)))


@EVERY
def test_rows_are_sorted_and_read(name, root):
    data = load("trainables.data", name)(root, PARAMS[name])
    table = data.table()
    assert list(table.names) == sorted(set(table.names))
    assert data.read(0).dtype == np.uint8
    assert data.read(0).ndim in (2, 3)


@EVERY
def test_the_yaml_file_names_every_parameter(name):
    own = yaml.safe_load((SPACES / "data" / f"{name}.yaml").read_text())
    assert own["name"] == name
    plugin = load("trainables.data", name)
    assert set(own["params"]) == {field.name for field in fields(plugin.Params)}
