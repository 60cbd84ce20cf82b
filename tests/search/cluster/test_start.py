"""Sizing the worker groups, on clusters that are described rather than started."""

from types import SimpleNamespace

import pytest

from search.chains.plan import Plan
from search.cluster import gpu_sharing
from search.cluster.gpu_sharing import SharedGPU
from search.cluster.start import size
from search.space import load
from trainables.errors import UserError


def sized(monkeypatch, resources, *overrides, wanted=16):
    """What is chosen, and what was done before measuring."""
    done, plan = [], Plan(load("isic3", ["profile=smoke", *overrides]), "digest")
    cluster = SimpleNamespace(connect=lambda: resources, nodes=lambda: [resources])

    def measure(stages, _data, _root, _cache, most):
        done.append((len(stages), most))
        return SharedGPU(2, "more are not faster", (10.0, 19.0, 20.0))

    monkeypatch.setattr(gpu_sharing, "groups_per_gpu", measure)
    return size(plan, wanted, cluster, lambda: done.append("decoded")), done


def test_cores_are_shared_out(monkeypatch):
    found, done = sized(monkeypatch, {"CPU": 8.0}, "runtime.groups=2")
    assert str(found) == "2 worker groups of 1 x 4 CPU threads"
    assert (found.device, found.sharing, done) == ("8 CPU cores", "", [])


def test_a_shared_gpu_is_measured_once_the_images_are_decoded(monkeypatch):
    found, done = sized(monkeypatch, {"CPU": 8.0, "GPU": 1.0})
    assert done == ["decoded", (3, 16)]
    assert (found.groups, found.shape.gpus, found.shape.threads) == (2, 0.5, 4)
    assert found.sharing.startswith("2 worker groups a GPU")


@pytest.mark.parametrize(
    ("override", "gpus", "groups"),
    [("runtime.groups_per_gpu=4", 1.0, 4), ("runtime.workers=2", 2.0, 1), ("seed=1", 16.0, 16)],
)
def test_nothing_is_measured_where_there_is_no_choice(monkeypatch, override, gpus, groups):
    found, done = sized(monkeypatch, {"CPU": 64.0, "GPU": gpus}, override)
    assert (found.groups, found.sharing, done) == (groups, "", [])


def test_workers_that_do_not_fit_are_refused(monkeypatch):
    with pytest.raises(UserError, match=r"^runtime.workers=2, runtime.threads=5: must fit on 8"):
        sized(monkeypatch, {"CPU": 8.0}, "runtime.workers=2", "runtime.threads=5")
