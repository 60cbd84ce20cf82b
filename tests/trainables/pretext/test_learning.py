"""Every task learns on the built-in images, and its score knows a sensible learning rate.

Three short runs a task: at the top of its LR range, a hundredth and a hundred times of that.
"""

import math
from dataclasses import dataclass, replace
from functools import cache, partial

import pytest
import torch

from search.chains.chain import Chain
from search.chains.node import Node
from tests.trainables import small
from trainables.errors import StageFailed
from trainables.kinds.pretext import build
from trainables.processor import has_bfloat16
from trainables.spec import LRPolicy, Runtime
from trainables.training.checkpoint import FULL
from trainables.training.loop import Loop

PRECISION = "bfloat16" if has_bfloat16() else "float32"  # whichever is fast here
MORE = (
    "data.params.n=1400",
    "profile.batch=32",
    "profile.steps=78",
    "tasks.relative_location.params={border: 0.15, crop: 0.7}",  # else patches have 4 px
    "tasks.odc.params.clusters=8",
    f"profile.precision={PRECISION}",
)
STEPS = {  # odc: clusters settle first; the others have learnt by then
    "mim": 40, "moco": 40, "odc": 156, "relative_location": 36, "rotation": 36,
}  # fmt: skip
RATES = {"byol": 0.5, "odc": 0.5, "swav": 0.3}  # of so few steps, which the ranges are not for
each_task = pytest.mark.parametrize("name", small.TASKS)


@dataclass(frozen=True)
class Run:
    score: float
    accuracy: float = 0.0  # over the second half
    chance: float = 1.0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.set_num_threads(1)
    data = small.prepared(tmp_path_factory.mktemp("cache"), *MORE)

    @cache
    def trained(name, factor):
        spec = small.plan(data, *MORE).stages(Node(Chain((name,))))[0]
        rate = RATES.get(name, spec.training.lr.range[-1]) * factor
        steps = STEPS.get(name, spec.training.steps)
        training = replace(spec.training, steps=steps, lr=LRPolicy((rate,), 1))
        spec = replace(spec, training=training)
        loop = Loop(
            partial(build, spec, None), spec, data, data.split["train"],
            Runtime(threads=1, log_every=10), tmp_path_factory.mktemp("out"), lambda progress: None,
        )  # fmt: skip
        try:
            task = loop.train().task
        except StageFailed:
            return Run(-math.inf)
        rows = loop.runs.by_name[FULL].rows
        late = [row["accuracy"] for row in rows[len(rows) // 2 :]]
        return Run(task.score(rows), sum(late) / len(late), task.chance_level())

    return trained


@pytest.mark.slow
@each_task
def test_it_learns(run, name):
    found = run(name, 1)
    assert found.accuracy > 1.25 * found.chance, found


@pytest.mark.long
@each_task
@pytest.mark.parametrize("factor", [0.01, 100])
def test_its_score_ranks_a_sensible_rate_above_one_far_off(run, name, factor):
    assert run(name, 1).score > run(name, factor).score
