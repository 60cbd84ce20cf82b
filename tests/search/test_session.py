"""A session checks, makes its forecast, and uses the same one when it searches."""

import signal
import threading
import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from search.chains.plan import Plan
from search.console import exit
from search.console.commands import parse
from search.console.request import request
from search.console.screen import Screen
from search.scheduling.cost import Span
from search.scheduling.journal import Journal
from search.session import CHECKPOINTS, Session
from trainables.errors import UserError


@pytest.fixture
def session(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    args = parse(["--space", "isic3", "profile=smoke", "data.params.n=320", "repeats=3"])
    return Session(request(args, 0), Screen(), 0.0)


def test_it_parses_and_prints_nothing(session, capsys):
    forecast = session.check()
    assert capsys.readouterr().out == ""
    assert forecast is session.forecast
    assert (forecast.stages_maximum, forecast.repeats, forecast.demo) == (7, (4, 2), True)


def test_room_is_needed_for_what_the_forecast_says(session, monkeypatch):
    """Twice 7 stages, the start's 3 seeds, 6 chains once more with 3 stages and a score each.

    Then 3 fresh seeds of a chain with 3 stages, and of the start, and the checkpoints.
    """
    session.check()
    asked = []

    class Full:
        def check_space(self, wanted):
            asked.append(wanted)
            raise UserError("full")

    session.store = Full()
    session.plan = Plan(session.space, "digest")
    monkeypatch.setattr("search.session.backbone_bytes", lambda name: 1)
    with pytest.raises(UserError, match="full"):
        session._check_room()
    assert asked == [2 * 7 + 3 + 6 * 4 + 3 * 4 + 3 + CHECKPOINTS]


def test_it_checks_before_it_says_anything(session, capsys, tmp_path):
    """The first line says how long a long search takes, so the checks come before it."""
    (tmp_path / "runs").write_text("x")
    with pytest.raises(UserError, match="must be a folder to write to"):
        session.search()
    assert capsys.readouterr().out == ""


def test_a_search_is_alone_in_its_out(session, monkeypatch):
    monkeypatch.setattr("search.scheduling.journal.PATIENCE", 0.0)
    with Journal(session.out, {}).alone(), pytest.raises(UserError, match="no other search runs"):
        session.search()


def test_a_long_search_says_so_first(session, capsys, monkeypatch):
    """The rates are made up, and nothing is trained: there is no room."""
    shorter = ("repeats=1", "budget=30m")
    long = SimpleNamespace(shorter=shorter, span=Span(1200.0, 2400.0))
    monkeypatch.setattr("search.session.Session._expected", lambda self: long)
    monkeypatch.setattr("search.session.backbone_bytes", lambda name: 1 << 50)
    with pytest.raises(UserError, match="GB free"):
        session.search()
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("this takes about 20 to 40 minutes; shorter: python search/run.py --sp")
    assert second.startswith("isic3: relative_location, moco, odc; profile smoke")


def test_a_short_search_times_nothing(session, monkeypatch):
    session.check()
    session.store = SimpleNamespace(keys=list)
    monkeypatch.setattr("search.session.estimate", lambda *_: 1 / 0)
    assert session._expected() is None


def test_the_worker_groups_get_what_the_space_says(session, capsys, monkeypatch, tmp_path):
    """Ray itself is left out: the cluster is described, the engine only notes what it is given."""
    from search.cluster import engine as engines

    cores = {"CPU": 4.0}
    cluster = SimpleNamespace(connect=lambda: cores, nodes=lambda: [cores], namespace="here")
    monkeypatch.setattr("search.session.join", lambda address: {None: cluster}[address])
    status = SimpleNamespace(leased=7.0)
    monkeypatch.setattr(
        engines, "Engine", lambda *given: SimpleNamespace(given=given, status=status)
    )
    session.check()
    session.plan = Plan(session.space, "digest")
    plan, shape, namespace, out = session._engine().given
    assert (plan, namespace, out) == (session.plan, "here", tmp_path / "runs/isic3-demo")
    assert (shape.threads, shape.limit, shape.workers) == (1, 7 + 1, 1)
    assert (session.device, session.meter.gpus, session.meter.leased()) == ("4 CPU cores", 0.0, 7.0)
    assert capsys.readouterr().out == "4 worker groups of 1 x 1 CPU threads\n"


@pytest.fixture
def impatient(monkeypatch):
    """Faults are raised again ten times a second, as `exit.listen` has it, until they are heard."""
    before = signal.getsignal(signal.SIGALRM)
    signal.signal(signal.SIGALRM, exit._interrupt)
    monkeypatch.setattr(exit, "INSIST_SECONDS", 0.1)
    monkeypatch.setattr(exit, "_fault", "")
    yield
    exit.heard()
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("impatient")
def test_a_fault_that_is_insisted_on_does_not_cut_the_report(session, monkeypatch):
    """The engine hangs as Tune does when the broker is gone; the report takes a while."""

    def abandoned(*_):
        gone = threading.Event(), 0.0, "the broker died"
        threading.Thread(target=exit.abandon, args=gone).start()
        time.sleep(30)

    def report(_, incomplete):
        time.sleep(0.5)
        return {"incomplete": incomplete}

    monkeypatch.setattr(session, "_engine", lambda: nullcontext(SimpleNamespace()))
    monkeypatch.setattr(session, "_train", abandoned)
    monkeypatch.setattr(session, "_report", report)
    assert session.search() == {"incomplete": "the broker died"}
