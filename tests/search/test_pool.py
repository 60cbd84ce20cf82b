"""How a cluster is shared out among worker groups."""

import pytest

from search.pool import Crew
from search.space import load


def crew(nodes, wanted=8, per_gpu=1, **runtime):
    overrides = [f"runtime.{key}={value}" for key, value in runtime.items()]
    return Crew.of(load("isic3", ["profile=gpu", *overrides]).runtime, nodes, wanted, per_gpu)


def total(nodes):
    return {key: sum(n.get(key, 0) for n in nodes) for key in ("CPU", "GPU")}


LAPTOP = [{"CPU": 2.0}]
BOX = [{"CPU": 64.0, "GPU": 4.0}]
CLOUD = [{"CPU": 4.0}, {"CPU": 48.0, "GPU": 4.0}, {"CPU": 16.0, "GPU": 1.0}]


@pytest.mark.parametrize(
    ("nodes", "runtime", "groups", "threads"),
    [
        (LAPTOP, {}, 2, 1),
        (LAPTOP, {"workers": 2}, 1, 1),
        (LAPTOP, {"groups": 1}, 1, 2),
        (LAPTOP, {"workers": 4}, 0, 1),
        ([{"CPU": 64.0}], {}, 8, 8),
        (BOX, {}, 4, 16),
        (BOX, {"workers": 4}, 1, 16),
        (CLOUD, {}, 5, 12),
        (CLOUD, {"threads": 4}, 5, 4),
        (BOX, {"per_gpu": 2}, 8, 8),
        (BOX, {"per_gpu": 2, "groups": 5}, 5, 8),
        (LAPTOP, {"per_gpu": 2}, 2, 1),
    ],
)
def test_every_worker_fits_on_its_node(nodes, runtime, groups, threads):
    made = crew(nodes, **runtime)
    assert made.fit(total(nodes)) == groups
    assert made.threads == threads


def test_a_cluster_that_grows_holds_more_groups():
    made = crew(BOX)
    assert made.fit(total(BOX)) == 4
    assert made.fit(total([*BOX, *BOX])) == 8
    assert made.fit(total([*BOX, *BOX, *BOX])) == 8
