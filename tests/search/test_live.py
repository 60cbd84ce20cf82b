"""The live view: plain lines on change where there is no terminal, a tree where there is one."""

import io
from typing import Any

import pytest
from rich.console import Console

from search.live import LiveView, clock_text, picture

CHAINS = ["moco", "odc", "moco>odc", "odc>moco"]
START: dict[str, Any] = {
    "elapsed": 83.4,
    "chains": {"moco": {"state": "running"}},
    "groups": [
        {
            "group": "group-0", "chain": "moco", "what": "stage", "phase": "training",
            "step": 40, "steps": 100, "images_per_second": 811.6, "eta": 42.0,
        }
    ],
}  # fmt: skip


TREE = """\
[ 1:23] 2 of 5 done, 2 stages trained, about 2:10 left
✓ scratch  30.00
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
        self.view = LiveView(console, CHAINS, lambda: self.now)

    def after(self, seconds: float, status: dict[str, Any]) -> list[str]:
        """The lines that this snapshot adds."""
        self.now += seconds
        before = len(self.out.getvalue())
        with self.view as view:
            view.update(status)
        return self.out.getvalue()[before:].splitlines()


@pytest.fixture
def lines() -> Lines:
    return Lines()


def test_progress_then_result(lines: Lines) -> None:
    assert lines.after(0, START) == ["[ 1:23] moco: training 40% 812 img/s, 0:42 left"]
    done = {"moco": {"state": "done", "score": 42.1, "ci": [38.94, 45.2]}}
    assert lines.after(1, {"elapsed": 125, "chains": done}) == ["[ 2:05] moco: 42.10 (38.9-45.2)"]
    assert lines.after(1, {"elapsed": 126, "chains": done}) == []


def test_one_progress_line_in_fifteen_seconds(lines: Lines) -> None:
    def at(step: int) -> dict[str, Any]:
        return START | {"groups": [START["groups"][0] | {"step": step}]}

    said = [len(lines.after(1, at(step))) for step in range(31)]
    assert said == [1, *[0] * 14, 1, *[0] * 14, 1]


def test_nothing_new_is_not_repeated(lines: Lines) -> None:
    assert [len(lines.after(60, START)) for _ in range(3)] == [1, 0, 0]


def test_failures_and_pruning_say_why(lines: Lines) -> None:
    chains = {
        "odc": {"state": "failed", "reason": "loss is NaN at step 3"},
        "odc>moco": {"state": "pruned", "reason": "odc failed"},
        "moco": {"state": "planned"},
    }
    assert lines.after(0, {"elapsed": 5, "chains": chains}) == [
        "[ 0:05] odc: failed: loss is NaN at step 3",
        "[ 0:05] odc>moco: pruned: odc failed",
    ]


@pytest.mark.parametrize("status", [{}, {"groups": [{}]}, {"chains": {"moco": {}}}])
def test_early_snapshots_lack_fields(lines: Lines, status: dict[str, Any]) -> None:
    assert lines.after(0, status) == []


def test_fine_tuning_is_called_so(lines: Lines) -> None:
    group = {"group": "g", "chain": "odc", "what": "downstream", "phase": "training"}
    assert lines.after(0, {"groups": [group]}) == ["[ 0:00] odc: fine-tuning"]


def test_markup_in_a_reason_is_text(lines: Lines) -> None:
    chains = {"odc[low]": {"state": "failed", "reason": "[red]no[/red]"}}
    assert lines.after(0, {"chains": chains}) == ["[ 0:00] odc[low]: failed: [red]no[/red]"]


def test_tree_shows_every_chain_below_its_prefix() -> None:
    out = io.StringIO()
    status = START | {
        "done": 2, "total": 5, "stages_trained": 2, "eta": 130.0,
        "chains": {
            "scratch": {"state": "done", "score": 30.0},
            "odc": {"state": "done", "score": 41.0, "ci": [38, 44]},
            "odc>moco": {"state": "running"},
            "moco": {"state": "failed", "reason": "[bad] loss"},
        },
    }  # fmt: skip
    Console(file=out, width=100).print(picture(status, CHAINS))
    assert out.getvalue() == TREE


def test_terminal_uses_rich_live() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    with LiveView(console, CHAINS) as view:
        view.update(START)
    assert "moco: training 40%" in out.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (83.4, "1:23"), (3725, "1:02:05")])
def test_clock(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text
