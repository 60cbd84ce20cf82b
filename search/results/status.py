"""The state of a running search: frozen records, passed one way from broker and driver to view.

Probed          broker to trial: what its frozen backbone knows
Curve, Scored   broker to trial: the fine-tuning so far; how it ended
Status          broker to driver: which worker group trains what
Snapshot        driver to view: the state of every chain
Progress        Status and Snapshot together, as the live view shows them
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from search.cluster.time_ledger import GroupTimes
from search.store.sealing import Manifest
from trainables.spec import PRETEXT, Score
from trainables.workers.job import Heartbeat

State = Literal["planned", "waiting", "running", "done", "stopped", "failed", "pruned"]


@dataclass(frozen=True)
class ChainState:
    """One chain in the live view."""

    state: State = "planned"
    reason: str = ""
    score: Score | None = None


@dataclass(frozen=True)
class GroupState:
    """A worker group and the progress of its job."""

    group: str
    chain: str
    kind: str = PRETEXT
    progress: Heartbeat = field(default_factory=Heartbeat)


@dataclass(frozen=True)
class Status:
    """The broker's state. elapsed: seconds since it started; leased: seconds of all leases.

    heard: time of each worker group's last message, on the clock of `elapsed`. fault: what ended
    the search, or "".
    """

    elapsed: float = 0.0
    leased: float = 0.0
    trained: frozenset[str] = frozenset()  # keys
    reused: frozenset[str] = frozenset()
    chains: Mapping[str, ChainState] = field(default_factory=dict)
    groups: tuple[GroupState, ...] = ()
    heard: Mapping[str, float] = field(default_factory=dict)
    ledger: Mapping[str, GroupTimes] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class Snapshot:
    """The driver's state. chains: all nodes that have a score or were stopped, of every seed.

    done, total: number of scores; the total is an estimate until the search ends.
    """

    chains: Mapping[str, ChainState] = field(default_factory=dict)
    done: int = 0
    total: int = 0
    notice: str = ""


@dataclass(frozen=True)
class Progress:
    """The content of the live view; elapsed: seconds since the command started."""

    elapsed: float = 0.0
    done: int = 0
    total: int = 0
    eta: float | None = None
    stages_trained: int = 0
    stages_reused: int = 0
    chains: Mapping[str, ChainState] = field(default_factory=dict)
    groups: tuple[GroupState, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Curve:
    """Merits of the objective on validation, one for each finished epoch of `epochs`."""

    values: tuple[float, ...]
    epochs: int


@dataclass(frozen=True)
class Probed:
    """The probes of the chain's frozen backbone, by name; fine-tuning comes next."""

    found: Mapping[str, float]


@dataclass(frozen=True)
class Scored:
    """The end of a chain's scoring. value: its merit if done, else NaN with a reason.

    failed: the task can't be trained. ended: stopped early or by the end of the search, which says
    nothing about the chain. found: what is known of a chain that is done, see `details`.
    """

    value: float
    reason: str = ""
    state: Literal["done", "failed", "ended"] = "done"
    found: Mapping[str, float] = field(default_factory=dict, compare=False)


def details(score: Score, own: Manifest, stages: Sequence[Manifest | None]) -> dict[str, float]:
    """Return every measure, each task's chosen rate, and the seconds that all of it trained.

    own: the score's manifest. stages: those of the chain; of a repeated task, the last rate counts.
    """
    known = [manifest for manifest in stages if manifest]
    return {
        **{f"measures/{name}": measure.value for name, measure in score.measures.items()},
        **{f"lr/{one['spec']['name']}": float(one["result"]["lr"]) for one in known},
        "seconds": sum(manifest["seconds"] for manifest in (*known, own)),
    }
