"""A node of the prefix tree: a chain and, per task, the window of its LR range. Pure.

`Node(Chain(("odc", "moco")))` tries the full ranges. With `windows` of `(("odc", "low"),)`, written
`odc[low]>moco`, it tries only the lower rates of odc. The window decides the rates in the stage's
specification, so stages are shared exactly along equal prefixes with equal windows. A backbone
that has learnt before is trained at rates of its own (`Range`).
`odc>moco#1` is the first repeat: the same node with another seed in all of its stages, and
`odc>moco#1000` the first fresh one. `odc>moco@0.01` is scored with a hundredth of the labels,
`odc>moco#1000~other` on the external test set called other. `odc>moco#1000!pool` is trained on the
labelled images alone. `imagenet!frozen` is judged by its frozen probe, before any fine-tuning.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, NotRequired, TypeAlias, TypedDict

from search.chains.chain import SCRATCH, Chain
from trainables.errors import UserError

FULL, LOW, HIGH = "full", "low", "high"
WINDOWS = (FULL, LOW, HIGH)
PART = re.compile(r"([^\[\]>]+)(?:\[(\w+)\])?")  # a task and its window
FRESH = 1000  # repeats from here on have seeds that no choice among chains has seen


class Range(NamedTuple):
    """The LR range of a task's first stage from scratch, and of all its others.

    Those begin with a backbone that has learnt before, which a high rate would undo.
    """

    first: tuple[float, ...]
    later: tuple[float, ...]

    def of(self, chain: Chain, task: str) -> tuple[float, ...]:
        """Return the range of the task's first stage in the chain."""
        fresh = chain.start == SCRATCH and chain.tasks.index(task) == 0
        return self.first if fresh else self.later


Ranges: TypeAlias = Mapping[str, Range]  # by task


class Config(TypedDict):
    """A node in plain values, as the config of its trial. A baseline is a start without tasks."""

    start: str
    tasks: list[str]
    repeat: int
    lr: dict[str, list[float]]  # the rates that each task tries
    labels: NotRequired[float]  # a fraction, if it is not the profile's
    external: NotRequired[str]  # the external test set that judges it
    without_pool: NotRequired[bool]
    frozen: NotRequired[bool]


@dataclass(frozen=True)
class Node:
    """A chain, its windows and its repeat. windows: (task, window) in order, without `full`.

    repeat: 0 for the nodes that policies ask for; `scheduling/` adds the others. labels: the
    fraction of labels to score with; None for the profile's. external: the external test set that
    its finished score is judged on. without_pool: its stages see labelled images only. frozen: its
    score is that of the probe of its backbone.
    """

    chain: Chain
    windows: tuple[tuple[str, str], ...] = ()
    repeat: int = 0
    labels: float | None = None
    external: str | None = None
    without_pool: bool = False
    frozen: bool = False

    def __post_init__(self) -> None:
        assert self.repeat >= 0, self.repeat
        in_order = [(task, self.window(task)) for task in self.chain.tasks]
        assert self.windows == tuple(pair for pair in in_order if pair[1] != FULL), self

    @classmethod
    def of(cls, chain: Chain, windows: Mapping[str, str]) -> "Node":
        """Build a node; `windows` may name other tasks and `full`, which are ignored."""
        chosen = ((task, windows.get(task, FULL)) for task in chain.tasks)
        return cls(chain, tuple(pair for pair in chosen if pair[1] != FULL))

    @classmethod
    def parse(cls, text: str, starts: Collection[str] = (SCRATCH,)) -> "Node":
        """Read a node as `str` writes it; UserError if it is none. starts: see `Chain.parse`."""
        marks = r"(?:#(\d+))?(?:@(0?\.\d+|1))?(?:~([\w.-]+))?(!pool)?(!frozen)?"
        whole = re.fullmatch(rf"([^#@~!]+){marks}", text)
        start, colon, tasks = whole[1].rpartition(":") if whole else ("", "", "")
        named = [
            (part[1], part[2] or FULL) for one in tasks.split(">") if (part := PART.fullmatch(one))
        ]
        windows = dict(named)
        known = len(named) == tasks.count(">") + 1 and {*named} == {*windows.items()}
        if not whole or not known or not {*windows.values()} <= {*WINDOWS}:
            raise UserError(f"chain={text}: must be tasks joined by '>'; try odc[low]>moco")
        chain = Chain.parse(start + colon + ">".join(task for task, _ in named), starts)
        node = cls.of(chain, windows).again(int(whole[2] or 0))
        labels, external = float(whole[3]) if whole[3] else None, whole[4]
        pool, frozen = bool(whole[5]), bool(whole[6])
        return replace(node, labels=labels, external=external, without_pool=pool, frozen=frozen)

    def config(self, ranges: Ranges) -> Config:
        """Return the config of the node's trial. ranges: the space's LR range of each task."""
        start, tasks = self.chain.start, self.chain.tasks
        lr = {t: [*rates_in(ranges[t].of(self.chain, t), self.window(t))] for t in tasks}
        config: Config = {"start": start, "tasks": [*tasks], "repeat": self.repeat, "lr": lr}
        if self.labels is not None:
            config["labels"] = self.labels
        if self.external is not None:
            config["external"] = self.external
        if self.without_pool:
            config["without_pool"] = True
        if self.frozen:
            config["frozen"] = True
        return config

    @classmethod
    def of_config(cls, config: Config, ranges: Ranges) -> "Node":
        """Return the node with this config; a task's rates name its window."""
        chain = Chain(tuple(config["tasks"]), config["start"])
        tried = {t: (ranges[t].of(chain, t), rates) for t, rates in config["lr"].items()}
        node = cls.of(chain, {task: window_of(*both) for task, both in tried.items()})
        return replace(
            node.again(config["repeat"]),
            labels=config.get("labels"),
            external=config.get("external"),
            without_pool=config.get("without_pool", False),
            frozen=config.get("frozen", False),
        )

    def __str__(self) -> str:
        marks = {task: f"[{window}]" for task, window in self.windows}
        tasks = tuple(task + marks.get(task, "") for task in self.chain.tasks)
        text = str(replace(self.chain, tasks=tasks))
        repeat = f"#{self.repeat}" if self.repeat else ""
        labels = f"@{self.labels:g}" if self.labels else ""
        external = f"~{self.external}" if self.external else ""
        more = "!pool" * self.without_pool + "!frozen" * self.frozen
        return f"{text}{repeat}{labels}{external}{more}"

    @property
    def is_fresh(self) -> bool:
        return self.repeat >= FRESH

    def again(self, repeat: int) -> "Node":
        """Return the same node for another repeat; 0 is the first training."""
        return replace(self, repeat=repeat)

    def first(self) -> "Node":
        """Return the node of the first seed with the profile's labels and the pool."""
        return Node(self.chain, self.windows)

    def window(self, task: str) -> str:
        return dict(self.windows).get(task, FULL)

    def parent(self) -> "Node | None":
        """Return the node without its last stage; None for a single or a start."""
        if len(self.chain.tasks) < 2:
            return None
        return Node.of(self.chain.parent, dict(self.windows)).again(self.repeat)

    def child(self, task: str, window: str = FULL) -> "Node":
        longer = Node.of(self.chain.then(task), {**dict(self.windows), task: window})
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
