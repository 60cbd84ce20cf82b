"""How a worker's job ends: a result also where the task can't be trained; else a fault."""

import errno
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import torch

from search.chains.node import Node
from search.chains.plan import Plan
from search.space import load
from search.store.stage_store import StageStore
from trainables.errors import MachineFault, StageFailed, Stopped, UserError
from trainables.spec import Runtime
from trainables.workers import worker
from trainables.workers.job import Fault, Job, Lease, Result


@pytest.fixture
def job(tmp_path):
    plan = Plan(load("isic3", ["data=demo", "profile=smoke"]), "digest")
    spec = plan.stages(Node.parse("moco"))[0]
    store = StageStore(tmp_path / "store")
    out = str(store.part(spec.key()))
    return Job(spec.key(), "moco", spec, None, out, None, str(tmp_path), Runtime(), store.id)


def test_a_node_without_the_shared_store_is_a_fault(job, tmp_path):
    """Its own disk has a folder of that name, even a store, but not this one."""
    other = StageStore(tmp_path / "other")
    elsewhere = replace(job, out_dir=str(other.part(job.key)))
    with pytest.raises(
        MachineFault, match=r"^store=.*other: must be the same folder on every node"
    ):
        worker.perform(elsewhere, lambda _: None)
    none = replace(job, out_dir=str(tmp_path / "nothing" / "x.part"))
    with pytest.raises(MachineFault, match="mount it there at the same path"):
        worker.perform(none, lambda _: None)


def test_a_kind_need_not_measure_its_own_time(job, tmp_path, monkeypatch):
    """The manifest has seconds of every stage."""

    class Quick:
        def __init__(self, values):
            self.values = values

        def __call__(self):
            return self

        def run(self, _):
            return Result(self.values)

    monkeypatch.setattr(worker, "_data", lambda _: {})
    own = replace(job, inputs={}, places={}, out_dir=str(tmp_path / "store" / "x.part"))
    for values in ({}, {"seconds": -7.0}):
        monkeypatch.setattr(worker, "load", lambda *_, values=values: Quick(values))
        seconds = worker.perform(own, lambda _: None).values["seconds"]
        assert seconds == values.get("seconds", seconds)
        assert values or seconds >= 0


class Broker:
    """Keeps what it is told; its methods are called as an actor's are."""

    def __init__(self):
        self.said = []

    def __getattr__(self, name):
        self_ = self

        class Method:
            def remote(self, *values):
                self_.said.append((name, *values))

        return Method()


@pytest.fixture
def served(monkeypatch, job):
    """Serve a lease whose job ends so; what the broker was told."""
    monkeypatch.setattr(ray, "get", lambda reference: reference)

    def run(error):
        def perform(*_):
            if error is not None:
                raise error
            return Result({"loss": 1.0})

        monkeypatch.setattr(worker, "perform", perform)
        broker = Broker()
        worker._serve_one(broker, "g", Lease(7, job))
        (said,) = broker.said
        return said

    return run


def test_an_end_is_a_result(served):
    assert served(None) == ("finish", "g", 7, Result({"loss": 1.0}))
    assert served(StageFailed("loss is NaN at step 3")) == (
        "finish", "g", 7, Result(failed="loss is NaN at step 3"),
    )  # fmt: skip
    assert served(Stopped("at step 3")) == ("end", "g", 7)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full; free some"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (FileNotFoundError(errno.ENOENT, "No such file", "backbone.safetensors"), "No such file"),
        (torch.OutOfMemoryError("out of memory"), "make profile.batch smaller"),
        (MachineFault("store=/x: must be"), "store=/x: must be"),
        (UserError("image.png: is no image"), "image.png: is no image"),
        (ValueError("first line\nsecond line"), "ValueError: first line"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_the_machine_kept_from_its_end_is_a_fault(served, error, said):
    name, _, _, answer = served(error)
    assert name == "finish"
    assert isinstance(answer, Fault)
    assert said in answer.reason
    assert "\n" not in answer.reason
    assert type(error).__name__ in answer.trace
    assert str(Path(__file__).name) in answer.trace
