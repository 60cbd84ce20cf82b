"""The records of a finished search: tracker and report are made from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from search.chains.chain import Chain
from search.cluster.time_ledger import Overhead
from trainables.spec import Score

Status = Literal["planned", "done", "stopped", "failed", "pruned", "not run"]


@dataclass(frozen=True)
class Repeat:
    """The score of a chain trained again, with another seed in all of its stages.

    seed: 0 is that of the first training; fresh seeds count from 0 again.
    """

    seed: int
    score: Score
    downstream_key: str
    probe_key: str | None = None
    stage_key: str | None = None


@dataclass(frozen=True)
class ChainResult:
    """One chain or baseline, with score and keys of the first seed.

    status: `pruned` was never tried, `stopped` was ended early in fine-tuning, `not run` is a
    baseline without its weights. order: position of its score among all scores, from 0. repeats:
    later seeds that chose among chains; fresh: seeds that no choice has seen. control: a chain that
    is trained for comparison and can't be chosen. frozen: it is features from elsewhere.
    """

    chain: Chain
    status: Status
    score: Score | None = None
    reason: str = ""  # why it failed, was stopped, was pruned or was not run
    stage_key: str | None = None  # of its last stage; None for a baseline
    downstream_key: str | None = None
    probe_key: str | None = None  # None where the space has no probes
    order: int | None = None
    repeats: tuple[Repeat, ...] = ()
    fresh: tuple[Repeat, ...] = ()
    control: bool = False
    frozen: bool = False


@dataclass(frozen=True)
class LabelPoint:
    """One point of the label curve: a chain or start scored with this fraction of the labels."""

    chain: Chain
    labels: float
    score: Score
    downstream_key: str
    probe_key: str | None = None


@dataclass(frozen=True)
class ExternalScore:
    """A chain or start judged on an external test set; seed: of fresh or of other ones, from 0."""

    chain: Chain
    external: str
    seed: int
    score: Score
    downstream_key: str


@dataclass(frozen=True)
class Pool:
    """How many images the pretext tasks saw, and how many were left out, by reason.

    unknown: images without a label that name no patient.
    """

    labelled: int
    unlabelled: int
    unknown: int
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class Duplicates:
    """Pairs of near-duplicate images in different patient groups."""

    pairs: int = 0
    across_splits: int = 0
    merged: bool = False  # their patient groups were merged before the split


@dataclass(frozen=True)
class StoppedChain:
    """A chain whose fine-tuning was ended early; best: its objective then."""

    chain: str
    reason: str
    epoch: int
    epochs: int  # planned
    best: float


@dataclass(frozen=True)
class RunInfo:
    """The cost and the circumstances of a search.

    stages_repeats: stages of later seeds, fresh ones included, and of controls.
    """

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
    best_chain: str | None = None  # the policy's choice among all chains tried
    leading_start: str | None = None  # the start with the highest mean over seeds
    fresh_missing: str = ""  # why the two lack fresh seeds, or ""
    stopped: tuple[StoppedChain, ...] = ()
    budget: str = ""  # e.g. "8 h"; "" if there is none
    overhead: Overhead | None = None  # None if nothing was trained
    budget_spent: bool = False  # True if chains were not tried for that reason
    incomplete: str = ""  # the machine fault that ended the search early, or ""
    given_split: tuple[str, ...] = ()  # the parts that the data set gives
    leak: str = ""  # what a published protocol lets cross the split, or ""
    label_curve: tuple[LabelPoint, ...] = ()
    external: tuple[ExternalScore, ...] = ()  # of fresh seeds
    elsewhere: tuple[ExternalScore, ...] = ()  # of every chain's first seed
    pool: Pool | None = None  # None: pretext tasks saw the training images
    without_pool: tuple[Repeat, ...] = ()  # the best chain's fresh seeds without it
