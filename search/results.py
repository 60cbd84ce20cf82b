"""What became of a chain: the one record that tracker, live view and report are made from."""

from dataclasses import dataclass
from typing import Literal

from search.chain import Chain
from trainables.spec import Score

Status = Literal["planned", "running", "done", "failed", "pruned", "not run"]


@dataclass(frozen=True)
class ChainResult:
    """One chain or baseline.

    pruned: the policy never tried it. not run: a baseline without its weights.
    """

    chain: Chain
    status: Status
    score: Score | None = None
    reason: str = ""  # why it failed, was pruned or was not run
    stage_key: str | None = None  # of its last stage; None for a baseline
    downstream_key: str | None = None


@dataclass(frozen=True)
class RunInfo:
    """What a search cost, beside its results."""

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
