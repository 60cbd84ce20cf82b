"""Ten steps of every task and of both fine-tunings give the losses they gave before.

The same runs show that pretraining reads no label: there is none to read.
"""

import pytest

from tests.golden import record

TOLERANCE = 3e-4  # another processor's kernels, amplified by training


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("golden")


@pytest.mark.parametrize("name", record.NAMES)
def test_losses_are_the_recorded_ones(name, cache):
    golden, now = record.read(name), record.measure(name, cache)
    assert now["version"] == golden["version"], f"record anew: python -m tests.golden.record {name}"
    assert len(golden["losses"]) == record.STEPS
    assert len(set(golden["losses"])) == record.STEPS
    assert now["losses"] == pytest.approx(golden["losses"], rel=TOLERANCE), (
        f"other numbers than before: if that is meant, raise the version of {name} and run "
        f"`python -m tests.golden.record {name}`"
    )


def test_reading_a_label_would_be_noticed(cache):
    data = record.small.unlabelled(record.small.prepared(cache))
    with pytest.raises(AssertionError, match="read labels"):
        data.labels[0]
    with pytest.raises(AssertionError, match="counted labels"):
        len(data.groups)


def test_every_golden_file_is_of_a_task():
    assert sorted(path.stem for path in record.HERE.glob("*.json")) == sorted(record.NAMES)
