"""Ten steps of a stage, read from heartbeats with known times."""

import pytest

from trainables.timing import STEPS, VALIDATION, WARM, Timed, drawn, timed
from trainables.workers.job import Heartbeat

COUNT = 100 + 2 * VALIDATION  # images drawn, 100 of them to train on
LAST = WARM + STEPS


def test_steps_evaluation_and_start():
    """Begun at 0; the start takes 10 s, a step 0.5 s, the evaluation 4 s, writing 1 s."""
    beats = [
        (0.0, Heartbeat()), (1.0, Heartbeat("training", 0)), (12.0, Heartbeat("training", WARM)),
        (14.0, Heartbeat("training", 6)), (17.0, Heartbeat("training", LAST)),
        (21.0, Heartbeat(curve=(1.0,))), (22.0, Heartbeat()),
    ]  # fmt: skip
    assert timed(beats, COUNT) == Timed(0.5, 4 / (VALIDATION + 100), pytest.approx(0.1))


def test_a_stage_without_steps_is_timed_as_a_whole():
    beats = [(1.0, Heartbeat()), (2.0, Heartbeat("probing")), (6.0, Heartbeat())]
    assert timed(beats, COUNT) == Timed(0.0, 0.0, 5 / 100)


def test_random_images_have_every_class_in_every_part():
    data = drawn(64, size=8, channels=1)
    assert data.images.shape == (64 + 2 * VALIDATION, 8, 8, 1)
    assert all(len(set(data.labels[rows])) == len(data.classes) for rows in data.split.values())
    assert sum(map(len, data.split.values())) == len(data.images)
