"""What the driver adds to the broker's snapshots before they are shown."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from search.budget import Budget, Meter
from search.live import LiveView
from search.progress import LATE, Progress
from search.proposal import Proposal
from trainables.spec import Score

MOCO, ODC = Proposal(("moco",)), Proposal(("odc",))


@pytest.fixture
def shown():
    """A Progress over two chains, what it prints, and which chains it mirrors."""
    space = SimpleNamespace(repeats=1)
    plan = SimpleNamespace(space=space, baselines=lambda: ())
    questions = SimpleNamespace(plan=plan, scores={}, stops={}, reasons={}, over="")
    policy = SimpleNamespace(planned=lambda: SimpleNamespace(maximum=2))
    mirrored = []
    view = LiveView(Console(file=io.StringIO(), width=200), ["moco", "odc"])
    show = Progress(view, questions, policy, Meter(Budget.parse(None), 0.0), mirrored.append)
    return show, questions, view.console.file, mirrored


def status(**more):
    return {"elapsed": 1.0, "leased": 0.0, "came": 1, "chains": {}, "groups": [], **more}


def test_only_chains_with_a_new_score_are_mirrored(shown):
    show, questions, _, mirrored = shown
    show(status())
    questions.scores[MOCO] = Score(50.0, 45.0, 55.0)
    show(status())
    show(status())
    questions.scores[ODC] = Score(51.0, 45.0, 55.0)
    questions.scores[MOCO.again(1)] = Score(49.0, 45.0, 55.0)
    show(status())
    assert mirrored == [{("moco",)}, {("odc",), ("moco",)}]


def test_a_cluster_whose_groups_never_come_up_is_not_waited_for_in_silence(shown):
    show, _, printed, _ = shown
    show(status(came=0, elapsed=LATE - 1))
    assert "no worker group" not in printed.getvalue()
    show(status(came=0, elapsed=LATE + 1))
    show(status(came=0, elapsed=LATE + 2))
    assert printed.getvalue().count("no worker group has come up in 90 s") == 1
