"""A node of the prefix tree: a chain and, per task, the window of its LR range. Pure.

`Node(("odc", "moco"))` tries the full ranges. `Node(("odc", "moco"), (("odc", "low"),))`, written
`odc[low]>moco`, tries only the lower rates of odc. The window decides the rates in the stage's
specification, so stages are shared exactly along equal prefixes with equal windows.
`odc>moco#1` is the first repeat: the same node with another seed in all of its stages, and
`odc>moco#1000` the first fresh one. `odc>moco@0.01` is scored with a hundredth of the labels,
`odc>moco#1000~other` on the external test set called other.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NotRequired, TypeAlias, TypedDict

from search.chains.chain import BASELINES, SCRATCH, Chain
from trainables.errors import UserError

FULL, LOW, HIGH = "full", "low", "high"
WINDOWS = (FULL, LOW, HIGH)
PART = re.compile(r"([^\[\]>]+)(?:\[(\w+)\])?")  # a task and its window
FRESH = 1000  # repeats from here on have seeds that no choice among chains has seen
Ranges: TypeAlias = Mapping[str, tuple[float, ...]]  # LR ranges by task


class Config(TypedDict):
    """A node in plain values, as the config of its trial. A baseline is a start without tasks."""

    start: str
    tasks: list[str]
    repeat: int
    lr: dict[str, list[float]]  # the rates that each task tries
    labels: NotRequired[float]  # a fraction, if it is not the profile's
    external: NotRequired[str]  # the external test set that judges it


@dataclass(frozen=True)
class Node:
    """A chain, its windows and its repeat. windows: (task, window) in order, without `full`.

    repeat: 0 for the nodes that policies ask for; `scheduling/` adds the others. labels: the
    fraction of labels to score with; None for the profile's. external: the external test set that
    its finished score is judged on.
    """

    chain: Chain
    windows: tuple[tuple[str, str], ...] = ()
    repeat: int = 0
    labels: float | None = None
    external: str | None = None

    def __post_init__(self) -> None:
        assert self.chain
        assert self.repeat >= 0, self.repeat
        in_order = [(task, self.window(task)) for task in self.chain]
        assert self.windows == tuple(pair for pair in in_order if pair[1] != FULL), self

    @classmethod
    def of(cls, chain: Chain, windows: Mapping[str, str]) -> "Node":
        """Build a node; `windows` may name other tasks and `full`, which are ignored."""
        chosen = ((task, windows.get(task, FULL)) for task in chain)
        return cls(chain, tuple(pair for pair in chosen if pair[1] != FULL))

    @classmethod
    def parse(cls, text: str) -> "Node":
        """Read a node as `str` writes it; UserError if it is none."""
        whole = re.fullmatch(r"([^#@~]+)(?:#(\d+))?(?:@(0?\.\d+|1))?(?:~([\w.-]+))?", text)
        parts = [PART.fullmatch(part) for part in whole[1].split(">")] if whole else [None]
        named = [(part[1], part[2] or FULL) for part in parts if part]
        windows = dict(named)
        known = len(named) == len(parts) and {*named} == {*windows.items()}
        if not whole or not known or not {*windows.values()} <= {*WINDOWS}:
            raise UserError(f"chain={text}: must be tasks joined by '>'; try odc[low]>moco")
        node = cls.of(tuple(task for task, _ in named), windows).again(int(whole[2] or 0))
        return replace(node, labels=float(whole[3]) if whole[3] else None, external=whole[4])

    def config(self, ranges: Ranges) -> Config:
        """Return the config of the node's trial. ranges: the space's LR range of each task."""
        start, tasks = SCRATCH, [*self.chain]
        if self.chain[0] in BASELINES:
            start, tasks = self.chain[0], []
        lr = {task: [*rates_in(ranges[task], self.window(task))] for task in tasks}
        config: Config = {"start": start, "tasks": tasks, "repeat": self.repeat, "lr": lr}
        if self.labels is not None:
            config["labels"] = self.labels
        if self.external is not None:
            config["external"] = self.external
        return config

    @classmethod
    def of_config(cls, config: Config, ranges: Ranges) -> "Node":
        """Return the node with this config; a task's rates name its window."""
        windows = {task: window_of(ranges[task], rates) for task, rates in config["lr"].items()}
        chain = tuple(config["tasks"]) or (config["start"],)
        node = cls.of(chain, windows).again(config["repeat"])
        return replace(node, labels=config.get("labels"), external=config.get("external"))

    def __str__(self) -> str:
        marks = {task: f"[{window}]" for task, window in self.windows}
        text = ">".join(task + marks.get(task, "") for task in self.chain)
        repeat = f"#{self.repeat}" if self.repeat else ""
        labels = f"@{self.labels:g}" if self.labels else ""
        return f"{text}{repeat}{labels}" + (f"~{self.external}" if self.external else "")

    @property
    def is_fresh(self) -> bool:
        return self.repeat >= FRESH

    def again(self, repeat: int) -> "Node":
        """Return the same node for another repeat; 0 is the first training."""
        return replace(self, repeat=repeat)

    def first(self) -> "Node":
        """Return the node of the first seed with the profile's labels."""
        return replace(self, repeat=0, labels=None, external=None)

    def window(self, task: str) -> str:
        return dict(self.windows).get(task, FULL)

    def parent(self) -> "Node | None":
        """Return the node without its last stage; None for a single."""
        if len(self.chain) == 1:
            return None
        return Node.of(self.chain[:-1], dict(self.windows)).again(self.repeat)

    def child(self, task: str, window: str = FULL) -> "Node":
        longer = Node.of((*self.chain, task), {**dict(self.windows), task: window})
        return longer.again(self.repeat)

    def path(self) -> "tuple[Node, ...]":
        """Return the nodes from the single to this node."""
        above = self.parent()
        return (*above.path(), self) if above else (self,)


def windows_of(rates: int) -> tuple[str, ...]:
    """Return the windows that differ on a range of that number of rates."""
    return WINDOWS if rates > 1 else (FULL,)


def rates_in(lr_range: tuple[float, ...], window: str) -> tuple[float, ...]:
    """Return the window's rates; with three or more, `low` and `high` overlap in the middle."""
    size = len(lr_range) // 2 + (len(lr_range) != 2)
    if window == FULL or size >= len(lr_range):
        return lr_range
    return lr_range[:size] if window == LOW else lr_range[-size:]


def window_of(lr_range: tuple[float, ...], rates: Sequence[float]) -> str:
    """Return the window with these rates; KeyError if there is none."""
    known = {rates_in(lr_range, window): window for window in windows_of(len(lr_range))}
    return known[tuple(rates)]
