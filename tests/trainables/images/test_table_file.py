"""Tables of caches: whatever is written is read."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from trainables.images import table_file


@pytest.mark.parametrize("label", [[2, 0, 1], [[1, 0], [-1, 1], [0, 0]]])
def test_what_is_written_is_read(tmp_path, label):
    path = tmp_path / table_file.TABLE
    names = ["a", "é", ""]
    table_file.write(path, {"image": names, "label": label}, classes=["x", "y"], duplicates=[])
    table, said = table_file.read(path)
    assert table_file.texts(table, "image") == ("a", "é", "")
    assert table_file.texts(table, "source") == ()
    assert np.array_equal(table_file.numbers(table, "label"), label)
    assert said == {"classes": ["x", "y"], "duplicates": []}


def test_any_tool_reads_it(tmp_path):
    path = tmp_path / table_file.TABLE
    table_file.write(path, {"image": ["a"], "part": ["train"]})
    assert pq.read_table(path).to_pylist() == [{"image": "a", "part": "train"}]
