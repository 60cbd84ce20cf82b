"""Two real processes compute what one does: losses, queues, banks, labels, prototypes."""

import subprocess
import sys

import pretext_harness
import pytest
import torch

from trainables.plugins import available

TASKS = available("trainables.pretext")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    files = [str(folder / "rendezvous"), str(folder / "out")]
    processes = [
        subprocess.Popen([sys.executable, pretext_harness.__file__, rank, world, *files, *TASKS])
        for rank, world in (("0", "2"), ("1", "2"), ("0", "1"))
    ]
    here = [files[0], str(folder / "here")]
    pretext_harness.run_rank(0, 1, *here, list(TASKS))
    assert [process.wait(timeout=300) for process in processes] == [0, 0, 0]
    names = ("out.2.0", "out.2.1", "out.1.0", "here.1.0")
    return [torch.load(folder / name) for name in names]


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_same_seed_same_losses_in_another_process(runs, name):
    *_, other, here = (run[name] for run in runs)
    assert here["history"] == other["history"]
    assert all(torch.equal(value, other["state"][key]) for key, value in here["state"].items())


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_losses_and_metrics_equal_those_of_one_rank(runs, name):
    first, second, alone, _ = (run[name]["history"] for run in runs)
    assert first == second
    for row, expected in zip(first, alone, strict=True):
        assert row == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_parameters_and_memories_agree_on_all_ranks(runs, name):
    first, second, alone, _ = (run[name]["state"] for run in runs)
    for key, value in first.items():
        if "running_" in key:
            continue  # a rank's own, averaged when saved
        assert torch.equal(value, second[key]), key
        torch.testing.assert_close(value, alone[key], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_the_control_takes_the_centre_from_the_image_before_in_the_global_batch(runs):
    first, second, alone, _ = (run["relative_location"]["control"] for run in runs)
    assert len(alone) == 2
    assert first == second == pytest.approx(alone)
