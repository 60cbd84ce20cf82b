"""A trial's results, and the files of Tune's that are kept of it."""

import math
from types import SimpleNamespace

import pytest

from search.chains.node import Node, Range
from search.cluster import trials
from search.cluster.trials import FILES, ChainTrial, Kept
from search.results.status import Curve, Probed, Scored

RANGES = {"moco": Range((0.01, 0.1), (0.01, 0.1)), "odc": Range((0.03,), (0.03,))}
NODE = Node.parse("odc>moco[low]#1")


def test_a_reused_trial_reports_epochs_and_then_all_that_was_found(monkeypatch):
    probes = Probed({"linear": 30.0})
    answers = iter(
        [probes, Curve((40.0, 39.0), 3), Scored(41.0, found={"lr/odc": 0.03, "seconds": 2.0})]
    )
    asked = []
    follow = SimpleNamespace(remote=lambda *given: asked.append(given))
    monkeypatch.setattr(trials.ray, "get", lambda _: next(answers))
    trial = object.__new__(ChainTrial)
    trial.setup(Node.parse("odc").config(RANGES), SimpleNamespace(follow=follow), RANGES)
    assert trial.reset_config(NODE.config(RANGES))
    first = trial.step()
    assert math.isnan(first.pop("merit"))
    assert first == {"done": False, "epoch": 0, "epochs": 0, "probes/linear": 30.0}
    assert trial.step() == {"merit": 39.0, "done": False, "epoch": 2, "epochs": 3}, "the last one"
    assert trial.step() == {
        "merit": 41.0, "done": True, "state": "done", "reason": "", "lr/odc": 0.03, "seconds": 2.0,
    }  # fmt: skip
    assert asked == [(NODE, 0, False), (NODE, 0, True), (NODE, 2, True)]


@pytest.fixture
def ended(tmp_path):
    """Return a function that ends a trial, whose files hold this text."""

    def end(text, node=NODE, merit=1.0):
        own = tmp_path / "tunes"
        own.mkdir(exist_ok=True)
        for name in (*FILES, "params.pkl"):
            (own / name).write_text(text)
        result = {} if merit is None else {"merit": merit}
        trial = SimpleNamespace(config=node.config(RANGES), local_path=str(own), last_result=result)
        Kept(tmp_path / "out" / "tune", RANGES).on_trial_complete(1, [], trial)

    return end


def test_what_can_be_read_is_kept_and_a_later_trial_takes_its_place(ended, tmp_path):
    ended("old")
    ended("new")
    ended("other", Node.parse("scratch"))
    ended("nothing", Node.parse("odc"), merit=None)  # it has no result
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {str(path.relative_to(tmp_path / "out/tune")): path.read_text() for path in files} == {
        **{f"odc+moco[low]#1/{name}": "new" for name in FILES},
        **{f"scratch/{name}": "other" for name in FILES},
    }


def test_a_disk_that_takes_no_more_ends_no_search(ended, tmp_path, caplog):
    (tmp_path / "out").write_text("a file where the folder should be")
    ended("text")
    (said,) = (record.message for record in caplog.records)
    assert said.startswith("odc>moco[low]#1: cannot keep Tune's files")
