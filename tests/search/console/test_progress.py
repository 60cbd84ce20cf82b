"""The live view's input: the broker's status with the driver's snapshot."""

import gc
from types import FunctionType, ModuleType

import pytest

from search.chains.plan import Plan
from search.console.commands import parse
from search.console.live_tree import LiveView
from search.console.progress import Show, together
from search.console.request import request
from search.console.screen import Screen
from search.policies import Policy
from search.results.collect import snapshot
from search.results.status import ChainState, GroupState, Snapshot, Status
from search.scheduling.journal import Journal
from search.scheduling.scheduler import Scheduler
from search.session import Session
from search.space.budget import Budget, Meter
from search.store.stage_store import StageStore
from tests.measures import scored


def shown(snapshot=None, status=None, budget=None, known=0):
    """After 100 seconds."""
    meter = Meter(Budget.parse(budget), 0.0, lambda: 100.0)
    return together(status or Status(), snapshot or Snapshot(), meter, known)


@pytest.mark.parametrize(
    ("done", "total", "known", "budget", "eta"),
    [
        (0, 8, 0, None, None),
        (2, 2, 2, None, None),  # all known from before: nothing to go by
        (4, 8, 0, None, 100.0),  # 4 in 100 s, 4 to come
        (4, 8, 2, None, 200.0),  # 2 in 100 s
        (4, 8, 2, "150s", 50.0),  # the budget ends it
        (8, 8, 0, None, 0.0),
    ],
)
def test_what_is_left_goes_by_the_pace_so_far(done, total, known, budget, eta):
    progress = shown(Snapshot(done=done, total=total), budget=budget, known=known)
    assert progress.eta == (None if eta is None else pytest.approx(eta))
    assert (progress.done, progress.total, progress.elapsed) == (done, total, 100.0)


def test_what_runs_now_is_shown_over_what_was_known():
    old = {
        "odc": ChainState("stopped", "hopeless"),
        "moco": ChainState("done", "", scored(40, 39, 41)),
    }
    group = GroupState("g", "odc")
    status = Status(
        trained=frozenset("ab"), reused=frozenset("c"), chains={"odc": ChainState("running")},
        groups=(group,),
    )  # fmt: skip
    progress = shown(Snapshot(old), status)
    assert progress.chains == {**old, "odc": ChainState("running")}
    assert (progress.stages_trained, progress.stages_reused, progress.groups) == (2, 1, (group,))


def test_notices_of_both_are_shown():
    assert shown(status=Status(notices=("late",))).notices == ("late",)
    both = shown(Snapshot(notice="the budget is spent"), Status(notices=("late",)))
    assert both.notices == ("the budget is spent", "late")


def test_neither_view_nor_its_thread_reaches_the_policy(tmp_path, monkeypatch):
    """All that the live view's thread can get at from what it is given."""
    monkeypatch.chdir(tmp_path)
    args = parse(["--space", "isic3", "data=demo", "profile=smoke", "policy=adaptive"])
    session = Session(request(args, 0), Screen(), 0.0)
    plan = Plan(session.space, "digest")
    journal, store = Journal(tmp_path / "out", {}), StageStore(tmp_path / "store")
    scheduler = Scheduler(plan, session.policy, journal, store, session.meter.spent)
    view = LiveView(session.screen.console, ["moco"], ("scratch",))
    show = Show(view, session.meter, snapshot(scheduler))
    assert not [one for one in reachable(show) if isinstance(one, Policy | Scheduler | Journal)]
    assert [one for one in reachable(scheduler) if isinstance(one, Policy)]  # the walk can see it


def reachable(start):
    """Every object that can be reached from it, but for modules, classes and globals."""
    seen, left = {}, [start]
    while left:
        one = left.pop()
        if id(one) in seen or isinstance(one, ModuleType | type):
            continue
        seen[id(one)] = one
        if isinstance(one, FunctionType):
            left += [cell.cell_contents for cell in one.__closure__ or ()]
        else:
            left += gc.get_referents(one)
    return seen.values()
