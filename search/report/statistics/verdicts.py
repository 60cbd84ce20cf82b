"""The verdicts: which rows could be the best, and the winner against the starts on fresh seeds.

    table = compare(rows.build(results, store, objective, best_chain), store)
    planned(table, store, "test").difference        # the one planned comparison

Stub.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from search.report.stored import Store
from search.report.table import Images, Row, Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Split = Literal["val", "test"]
FRESH, SELECTION = "fresh seeds", "selection"


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, in percent or percentage points."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scored:
    """Rows scored on one split: scores [rows]; resampled [rows, resamples], paired.

    training_noise: see `Table`. seeds: of each row.
    """

    chains: tuple[str, ...]
    scores: "NDArray[np.float64]"
    resampled: "NDArray[np.float64]"
    on: Images
    training_noise: float | None

    def estimate(self, chain: str) -> Estimate: ...

    def difference(self, chain: str, other: str) -> Estimate | None:
        """Return the chain's score minus the other's; None if one has no predictions."""


@dataclass(frozen=True)
class Other:
    """The best chain minus a start that doesn't lead; p_value: by Holm over these starts."""

    start: str
    difference: Estimate | None
    p_value: float | None


@dataclass(frozen=True)
class Planned:
    """The best chain against the leading start on fresh seeds, paired by seed.

    chain_score, start_score: means over `seeds` fresh seeds. difference: chain minus start, in the
    unit of the objective; None with one seed. others: the remaining starts.
    """

    chain: str
    start: str
    split: Split
    on: Images
    seeds: int
    chain_score: float
    start_score: float
    difference: Estimate | None
    others: tuple[Other, ...]


@dataclass(frozen=True)
class Recommended:
    """The chain or start to use; by: "fresh seeds" or "selection"."""

    name: str
    by: Literal["fresh seeds", "selection"]


def compare(table: Table, store: Store) -> Table:
    """Fill in difference*, could_be_best, ci_* and fresh_* intervals."""
    return table


def planned(table: Table, store: Store, split: Split) -> Planned | None:
    """Return the planned comparison; None unless best chain and leading start have fresh seeds."""
    return None


def recommended(table: Table) -> Recommended | None:
    """Return the chain or start with the higher fresh-seed mean on validation; None if no score."""
    return None


def optimism(table: Table) -> float | None:
    """Return by how many points selection made the best chain look better than fresh seeds do."""
    return None


def finalists(table: Table, store: Store, split: Split = "test") -> Scored | None:
    """Score best chain and starts on the split: on fresh seeds, or on the selection's if none."""
    return None


def on_split(rows: Iterable[Row], store: Store, split: Split, measure: str) -> Scored | None:
    """Score the rows' selection seeds on the split by a measure; None without predictions."""
    return None
