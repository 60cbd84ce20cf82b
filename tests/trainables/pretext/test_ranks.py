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
        subprocess.Popen([sys.executable, pretext_harness.__file__, rank, "2", *files, *TASKS])
        for rank in ("0", "1")
    ]
    pretext_harness.run_rank(0, 1, *files, list(TASKS))
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    return [torch.load(folder / f"out.{world}.{rank}") for rank, world in ((0, 2), (1, 2), (0, 1))]


@pytest.mark.parametrize("name", TASKS)
def test_losses_and_metrics_equal_those_of_one_rank(runs, name):
    first, second, alone = (run[name]["history"] for run in runs)
    assert first == second
    for row, expected in zip(first, alone, strict=True):
        assert row == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", TASKS)
def test_parameters_and_memories_agree_on_all_ranks(runs, name):
    first, second, alone = (run[name]["state"] for run in runs)
    for key, value in first.items():
        if "running_" in key:
            continue  # a rank's own, averaged when saved
        assert torch.equal(value, second[key]), key
        torch.testing.assert_close(value, alone[key], rtol=1e-3, atol=1e-4)
