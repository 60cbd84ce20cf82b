"""What became of a chain: the one record that tracker, live view and report are made from."""

from dataclasses import dataclass
from typing import Literal

from search.chains.chain import Chain
from search.cluster.time_ledger import Overhead
from trainables.spec import Score

Status = Literal["planned", "running", "done", "stopped", "failed", "pruned", "not run"]


@dataclass(frozen=True)
class Repeat:
    """A chain trained once more, with another seed in all of its stages."""

    score: Score
    downstream_key: str


@dataclass(frozen=True)
class ChainResult:
    """One chain or baseline, its score and keys of the first seed.

    pruned: never tried. stopped: its fine-tuning was ended early. not run: a baseline without its
    weights. order: place of its score among all of the search, from 0.
    """

    chain: Chain
    status: Status
    score: Score | None = None
    reason: str = ""  # why it failed, was stopped, was pruned or was not run
    stage_key: str | None = None  # of its last stage; None for a baseline
    downstream_key: str | None = None
    order: int | None = None
    repeats: tuple[Repeat, ...] = ()


@dataclass(frozen=True)
class Duplicates:
    """Pairs of near-duplicate images that the data set puts into different groups."""

    pairs: int = 0
    across_splits: int = 0
    merged: bool = False  # their groups, before the split


@dataclass(frozen=True)
class Stopped:
    """A chain whose fine-tuning was ended early; best: its highest score until then."""

    chain: str
    reason: str
    epoch: int
    epochs: int  # of the whole run
    best: float


@dataclass(frozen=True)
class RunInfo:
    """What a search cost, beside its results. stages_repeats: of all, those of further seeds."""

    space: str
    data: str  # "demo" or the data set's name and root
    demo: bool
    policy: str
    profile: str
    device: str
    stages_trained: int
    stages_reused: int
    stages_pruned: int
    stages_naive: int
    wall_seconds: float
    interrupted: bool
    started: str  # ISO 8601
    stages_repeats: int = 0
    near_duplicates: Duplicates = Duplicates()
    recommended: str | None = None  # the policy's pick of all chains tried, if it has one
    stopped: tuple[Stopped, ...] = ()
    budget: str = ""  # as "8 h"; "" if there is none
    overhead: Overhead | None = None  # None: nothing was trained, or it was interrupted
    budget_spent: bool = False  # and so chains of the policy were not tried
    incomplete: str = ""  # the fault of the machine that ended it early; "" if none did
