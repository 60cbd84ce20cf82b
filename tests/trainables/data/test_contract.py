"""What every data set must keep: splits by group, rows by name, a YAML file with its parameters."""

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import yaml

from trainables.images.cache import open_cache, prepare
from trainables.plugins import available, load

SPACES = Path(__file__).parents[3] / "spaces"
WITHOUT_PATIENTS = ("medmnist",)
EVERY = pytest.mark.parametrize("name", available("trainables.data"))


@pytest.fixture
def example(request, name):
    """Root and parameters of a small data set: the fixture `NAME_example` in conftest.py."""
    return request.getfixturevalue(f"{name}_example")


@EVERY
@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_group_is_on_two_sides(name, example, spec, tmp_path, merge, seed):
    root, params = example
    made = spec(name, params=params, merge_duplicates=merge, seed=seed)
    data = open_cache(prepare(made, root, tmp_path / "cache"))
    if name not in WITHOUT_PATIENTS:
        assert len(set(data.groups)) < len(data.groups)  # else there is nothing to keep together
    sides = [{data.groups[i] for i in index} for index in data.split.values()]
    assert sum(map(len, sides)) == len(set().union(*sides)) == len(set(data.groups))
    rows = np.concatenate(list(data.split.values()))
    assert sorted(rows.tolist()) == list(range(len(data.names)))
    for index in data.split.values():
        assert set(data.labels[index]) == set(range(len(data.classes)))


@EVERY
def test_rows_are_sorted_and_read(name, example):
    data = load("trainables.data", name)(*example)
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
