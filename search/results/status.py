"""What a search is doing at one moment: frozen records, made by who knows, read by who shows.

Curve, Scored   the broker's to a trial: how its chain's fine-tuning goes; how it ended
Status      the broker's: who trains what
Snapshot    the driver's: what is known of every chain
Progress    both together, for the live view
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from search.cluster.time_ledger import Entry

State = Literal["planned", "waiting", "running", "done", "stopped", "failed", "pruned"]


@dataclass(frozen=True)
class ChainState:
    """One chain as the live view names it; score and interval in percent."""

    state: State = "planned"
    reason: str = ""
    score: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class GroupState:
    """A worker group and how far its job is."""

    group: str
    chain: str
    kind: Literal["stage", "downstream"] = "stage"
    phase: str = ""
    step: int | None = None
    steps: int | None = None
    images_per_second: float | None = None
    eta: float | None = None  # seconds


@dataclass(frozen=True)
class Status:
    """The broker's view. elapsed: seconds since it started; leased: seconds of all leases.

    heard: when each worker group last said something, on the same clock. fault: what ended the
    search, or "".
    """

    elapsed: float = 0.0
    leased: float = 0.0
    trained: frozenset[str] = frozenset()  # keys
    reused: frozenset[str] = frozenset()
    chains: Mapping[str, ChainState] = field(default_factory=dict)
    groups: tuple[GroupState, ...] = ()
    heard: Mapping[str, float] = field(default_factory=dict)
    ledger: Mapping[str, Entry] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True)
class Snapshot:
    """The driver's view. chains: all that have a score or were stopped, repeats among them.

    done, total: scores, as far as is known now.
    """

    chains: Mapping[str, ChainState] = field(default_factory=dict)
    done: int = 0
    total: int = 0
    notice: str = ""


@dataclass(frozen=True)
class Progress:
    """What the live view shows; times in seconds since the command was started."""

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
    """Validation accuracies of a fine-tuning's epochs so far, in percent, of `epochs` in all."""

    values: tuple[float, ...]
    epochs: int


@dataclass(frozen=True)
class Scored:
    """How a chain's score ended. value: percent; NaN unless it is done, and then why.

    failed: its task can't be trained. ended: stopped early, or the search is over before it; so
    nothing is known of the chain.
    """

    value: float
    reason: str = ""
    state: Literal["done", "failed", "ended"] = "done"
