"""The live view: plain lines on change where there is no terminal, a tree where there is one."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from search.console import live_tree
from search.console.live_tree import LiveView, picture
from search.console.printable import clock
from search.results.status import ChainState, GroupState, Progress
from tests.measures import BALANCED, scored
from trainables.spec import Score
from trainables.workers.job import Heartbeat

STARTS = ("scratch", "imagenet")
CHAINS = ["moco", "odc", "moco>odc", "odc>moco"]
AT_WORK = GroupState("group-0", "moco", "pretext", Heartbeat("training", 40, 100, 811.6, 42.0))
START = Progress(83.4, chains={"moco": ChainState("running")}, groups=(AT_WORK,))


TREE = """\
[ 1:23] 2 of 5 done, 2 stages trained, about 2:10 left
✓ scratch  30.00 (28.0-32.0)
├── ✗ moco  failed: [bad] loss
│   └── · odc
└── ✓ odc  41.00 (38.0-44.0)  ★
    └── ▶ moco  running
  moco: training 40% 812 img/s, 0:42 left
"""


class Lines:
    """A view without a terminal, at a clock that is set by hand."""

    def __init__(self) -> None:
        self.out, self.now = io.StringIO(), 0.0
        console = Console(file=self.out, force_terminal=False, width=200)
        self.view = LiveView(console, CHAINS, STARTS, lambda: self.now)

    def after(self, seconds: float, progress: Progress) -> list[str]:
        """The lines that this news adds."""
        self.now += seconds
        before = len(self.out.getvalue())
        with self.view as view:
            view.update(progress)
        return self.out.getvalue()[before:].splitlines()


@pytest.fixture
def lines() -> Lines:
    return Lines()


def test_progress_then_result(lines: Lines) -> None:
    assert lines.after(0, START) == ["[ 1:23] moco: training 40% 812 img/s, 0:42 left"]
    done = {"moco": ChainState("done", "", scored(42.1, 38.94, 45.2))}
    assert lines.after(1, Progress(125, chains=done)) == ["[ 2:05] moco: 42.10 (38.9-45.2)"]
    assert lines.after(1, Progress(126, chains=done)) == []


def test_one_progress_line_in_fifteen_seconds(lines: Lines) -> None:
    def at(step: int) -> Progress:
        return replace(
            START, groups=(replace(AT_WORK, progress=replace(AT_WORK.progress, step=step)),)
        )

    said = [len(lines.after(1, at(step))) for step in range(31)]
    assert said == [1, *[0] * 14, 1, *[0] * 14, 1]


def test_nothing_new_is_not_repeated(lines: Lines) -> None:
    assert [len(lines.after(60, START)) for _ in range(3)] == [1, 0, 0]


def test_failures_and_pruning_say_why(lines: Lines) -> None:
    chains = {
        "odc": ChainState("failed", "loss is NaN at step 3"),
        "odc>moco": ChainState("pruned", "odc failed"),
        "moco": ChainState("planned"),
    }
    assert lines.after(0, Progress(5, chains=chains)) == [
        "[ 0:05] odc: failed: loss is NaN at step 3",
        "[ 0:05] odc>moco: pruned: odc failed",
    ]


def test_a_notice_is_said_once(lines: Lines) -> None:
    one, two = Progress(5, notices=("late",)), Progress(6, notices=("late", "damaged"))
    assert [lines.after(1, progress) for progress in (one, one, two, two)] == [
        ["[ 0:05] late"], [], ["[ 0:06] damaged"], [],
    ]  # fmt: skip


def test_fine_tuning_is_called_so(lines: Lines) -> None:
    group = GroupState("g", "odc", "classify", Heartbeat("training"))
    assert lines.after(0, Progress(groups=(group,))) == ["[ 0:00] odc: fine-tuning"]


def test_markup_in_a_reason_is_text(lines: Lines) -> None:
    chains = {"odc[low]": ChainState("failed", "[red]no[/red]")}
    assert lines.after(0, Progress(chains=chains)) == ["[ 0:00] odc[low]: failed: [red]no[/red]"]


def test_tree_shows_every_chain_below_its_prefix() -> None:
    out = io.StringIO()
    chains = {
        "scratch": ChainState("done", "", scored(30, 28, 32)),
        "odc": ChainState("done", "", scored(41, 38, 44)),
        "odc>moco": ChainState("running"),
        "moco": ChainState("failed", "[bad] loss"),
    }
    progress = replace(START, done=2, total=5, stages_trained=2, eta=130.0, chains=chains)
    Console(file=out, width=100).print(picture(progress, CHAINS, STARTS))
    assert out.getvalue() == TREE


def test_every_start_has_its_tree_and_its_frozen_probe() -> None:
    out, probe = io.StringIO(), BALANCED.measure(39.2, 36.0, 42.1)
    chains = {
        "scratch": ChainState("done", "", scored(30, 28, 32)),
        "imagenet!frozen": ChainState("done", "", Score("linear", {"linear": probe})),
        "imagenet:odc": ChainState("done", "", scored(41, 38, 44)),
    }
    names = ["moco", "imagenet:odc", "imagenet:odc>moco"]
    Console(file=out, width=100).print(picture(Progress(chains=chains), names, STARTS))
    assert out.getvalue().splitlines()[1:] == [
        "✓ scratch  30.00 (28.0-32.0)",
        "└── · moco",
        "· imagenet  (frozen: linear 39.20 (36.0-42.1))",
        "└── ✓ odc  41.00 (38.0-44.0)  ★",
        "    └── · moco",
    ]


def test_a_frozen_probe_is_told_as_soon_as_it_is_known(lines: Lines) -> None:
    probe = BALANCED.measure(39.2, 36.0, 42.1)
    chains = {
        "imagenet!frozen": ChainState("done", "", Score("linear", {"linear": probe})),
        "scratch!frozen": ChainState("done"),
    }
    assert lines.after(0, Progress(5, chains=chains)) == [
        "[ 0:05] imagenet, frozen: linear 39.20 (36.0-42.1)",
        "[ 0:05] scratch, frozen: no probe",
    ]
    probing = GroupState("g", "scratch!frozen", "probe", Heartbeat("probing"))
    assert lines.after(30, Progress(groups=(probing,))) == ["[ 0:00] scratch, frozen: probing"]


def test_a_tree_too_large_for_a_screen_keeps_what_is_active_and_settled() -> None:
    many = [f"task{i}" for i in range(live_tree.MAX_CHAINS)]
    states = {
        "task0": ChainState("done", "", scored(40, 39, 41)),
        "task1": ChainState("pruned", "not rising"),
    }

    def shown(chains: list[str]) -> list[str]:
        out = io.StringIO()
        Console(file=out, width=100).print(picture(Progress(chains=states), chains, STARTS))
        return out.getvalue().splitlines()[2:]  # below the header and scratch

    assert len(shown(many)) == live_tree.MAX_CHAINS
    assert shown([*many, "one_more"]) == ["└── ✓ task0  40.00 (39.0-41.0)  ★"]


def test_terminal_uses_rich_live() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    with LiveView(console, CHAINS, STARTS) as view:
        view.update(START)
    assert "moco: training 40%" in out.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (83.4, "1:23"), (3725, "1:02:05")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
