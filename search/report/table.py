"""The table from which CSV, page, terminal, figures and tracker are made; `rows.py` builds it.

    table.write_csv(out / "chains.csv")

Best first, baselines included; then rows without a score, pruned chains last.
"""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from search.chains.chain import Chain
from search.report.statistics.noise import Noise
from trainables.spec import Measure, MeasureType

if TYPE_CHECKING:
    from search.report.statistics.scored import Estimate

CHEAPER = 0.8  # fraction of the cost; smaller differences may come from the machine
SURE = 0.05  # significance level


@dataclass(frozen=True)
class Row:
    """One chain or baseline, in the unit of the objective; None where there is no number.

    lrs, downstream_lr: a * marks a rate at the edge of its task's range. train_seconds: all stages
    and the score, as if nothing were shared; stage_seconds: without the score, whose cost differs
    between chains only by noise. difference: to the best chain, images and training included;
    could_be_best: by multiple comparisons with the best, of chains and starts; all four are None
    where no row has several seeds. order: position among the scores, from 0. pretext_accuracy,
    pretext_chance: the last stage's accuracy on its own task, 0 to 1, and that of guessing.
    control: trained for comparison only, can't be the best.

    seeds, seed_scores: the selection seeds and their scores, in order. score and measures are
    means over all selection seeds of the search, see `seeds` where the row lacks some; linear
    and knn are plain means; rates, cost and keys are the first seed's. repeat_keys: scores of the
    other seeds. fresh_*: the same of the fresh seeds, counted from 0, on validation;
    `fresh_stage_keys` are None for a start. recommended: the one row to use, a chain or a start.
    above_start: whether it is above its own start. frozen: features from elsewhere. stage_steps: of
    all pretext stages, without those that chose rates.
    """

    chain: str
    length: int
    label: str
    score: float | None
    ci_low: float | None
    ci_high: float | None
    delta: float | None
    above_scratch: bool | None
    above_imagenet: bool | None
    linear: float | None
    knn: float | None
    lrs: str
    downstream_lr: str
    status: str
    reason: str
    train_seconds: float | None
    stage_key: str | None
    downstream_key: str | None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    could_be_best: bool | None = None
    order: int | None = None
    stage_seconds: float | None = None
    pretext_accuracy: float | None = None
    pretext_chance: float | None = None
    seed_scores: tuple[float, ...] = ()
    repeat_keys: tuple[str, ...] = ()
    control: bool = False
    seeds: tuple[int, ...] = ()
    fresh_score: float | None = None
    fresh_low: float | None = None
    fresh_high: float | None = None
    fresh_seeds: tuple[int, ...] = ()
    fresh_scores: tuple[float, ...] = ()
    fresh_keys: tuple[str, ...] = ()
    fresh_stage_keys: tuple[str | None, ...] = ()
    linear_low: float | None = None
    linear_high: float | None = None
    knn_low: float | None = None
    knn_high: float | None = None
    recommended: bool = False
    above_start: bool | None = None
    frozen: bool = False
    stage_steps: int | None = None
    measures: Mapping[str, Measure] = field(default_factory=dict)

    @property
    def is_baseline(self) -> bool:
        return self.length == 0

    @property
    def path(self) -> Chain:
        """The start with the pretext tasks in order; none for a baseline."""
        return Chain((), self.chain) if self.is_baseline else Chain.parse(self.chain, ())

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.path.tasks

    @property
    def start(self) -> str:
        return self.path.start

    @property
    def title(self) -> str:
        return "ImageNet" if self.chain == "imagenet" else self.chain

    @property
    def at_edge(self) -> bool:
        """Whether a learning rate is at the edge of its range."""
        return "*" in self.lrs + self.downstream_lr


@dataclass(frozen=True)
class Images:
    """The size of a split: images, patient groups, images of the rarest class."""

    images: int
    groups: int
    rarest: int


@dataclass(frozen=True)
class Table:
    """All rows of one search.

    compared_on: the images of the comparisons; None before them. noise: of training, on these
    images; None where no row has several seeds. best_chain: the policy's recommendation; None takes
    the highest score. beside: further measures to show of every row.
    """

    rows: tuple[Row, ...]
    objective: MeasureType
    compared_on: Images | None = None
    noise: Noise | None = None
    best_chain: str | None = None
    beside: tuple[MeasureType, ...] = ()

    @property
    def training_noise(self) -> float | None:
        """The standard deviation of one training, in points; None where it was not measured.

        What all rows of a seed share and what the choice of images explains are no part of it.
        """
        return self.noise.std if self.noise else None

    @cached_property
    def scored(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.score is not None)

    @cached_property
    def chains(self) -> tuple[Row, ...]:
        """The scored chains that can be chosen, highest score first: no starts, no controls."""
        return tuple(row for row in self.scored if not row.is_baseline and not row.control)

    @cached_property
    def starts(self) -> tuple[Row, ...]:
        """The scored starts, highest score first."""
        return tuple(row for row in self.scored if row.is_baseline)

    @cached_property
    def probed(self) -> tuple[Row, ...]:
        """All baselines, scored or not, by their frozen linear probe, the highest first."""
        starts = (row for row in self.rows if row.is_baseline)
        return tuple(sorted(starts, key=lambda row: row.linear or 0.0, reverse=True))

    @cached_property
    def start_names(self) -> frozenset[str]:
        """All baselines, scored or not."""
        return frozenset(row.chain for row in self.rows if row.is_baseline)

    @cached_property
    def best(self) -> Row | None:
        """The row of `best_chain`."""
        named = (row for row in self.chains if row.chain == self.best_chain)
        return next(named, self.chains[0] if self.chains else None)

    @cached_property
    def leaders(self) -> frozenset[str]:
        """The chain of the highest score of each length."""
        first = {row.length: row.chain for row in reversed(self.chains)}
        return frozenset(first.values())

    def mark(self, row: Row) -> str:
        """Return `top` for the highest score of all chains, `top of 2` for that of a length."""
        if row.chain not in self.leaders:
            return ""
        return "top" if row.chain == self.chains[0].chain else f"top of {row.length}"

    @property
    def leading_start(self) -> Row | None:
        return self.starts[0] if self.starts else None

    @cached_property
    def contenders(self) -> tuple[Row, ...]:
        """The chains and starts that could be the best; () if nothing was compared."""
        return tuple(row for row in self.scored if row.could_be_best)

    @property
    def compared(self) -> bool:
        """Whether rows are compared, for which some need several seeds."""
        return any(row.could_be_best is not None for row in self.rows)

    @cached_property
    def recommended(self) -> Row | None:
        return next((row for row in self.rows if row.recommended), None)

    @property
    def finalists(self) -> tuple[Row, ...]:
        """The best chain and the starts."""
        return tuple(row for row in self.scored if row.is_baseline or row == self.best)

    @property
    def cheapest(self) -> Row | None:
        """The chain that trains fastest of those that could be the best.

        It is the best chain unless another is clearly faster; compares stages if seconds are
        unknown.
        """
        some = [row for row in self.contenders if not row.is_baseline]
        timed = all(row.stage_seconds is not None for row in some)
        cost = (lambda row: row.stage_seconds) if timed else (lambda row: row.length)
        found = min(some, key=cost, default=None)
        if found is None or self.best not in some:
            return found
        return found if cost(found) < CHEAPER * cost(self.best) else self.best

    def row(self, chain: str) -> Row | None:
        return next((row for row in self.rows if row.chain == chain), None)

    def score(self, chain: str) -> float | None:
        row = self.row(chain)
        return row.score if row else None

    def merit(self, row: Row | None) -> float | None:
        """Return a row's score, signed so that higher is better."""
        return None if row is None or row.score is None else self.objective.merit(row.score)

    def amount(self, value: float | None) -> str:
        """Format a value of the objective with its unit."""
        return f"{number(value)} {self.objective.unit}".rstrip()

    def values(self, row: Row) -> dict[str, object]:
        """Return the row's public columns; the objective's has its measure's name."""
        public = {one.name: getattr(row, one.name) for one in fields(row) if one.name != "measures"}
        own = {self.objective.name if k == "score" else k: value for k, value in public.items()}
        return own | {"mark": self.mark(row)} | self.further(row)

    def further(self, row: Row) -> dict[str, float | None]:
        """Return the measures beside the objective by name; None where a row lacks one."""
        known = {one.name: row.measures.get(one.name) for one in self.beside}
        return {name: one.value if one else None for name, one in known.items()}

    def write_csv(self, path: Path) -> None:
        """Write one row a chain: two decimals, yes or no, empty cells for no value."""
        values = [self.values(row) for row in self.rows]
        write_rows(path, [*values[:1], *(map(_cell, row.values()) for row in values)])


def write_rows(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write rows, the header first, as a CSV file in UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def number(value: float | None, signed: bool = False) -> str:
    """Format with two decimals; a dash for None."""
    if value is None:
        return "–"
    return f"{value:+.2f}" if signed else f"{value:.2f}"


def span(low: float | None, high: float | None, signed: bool = False) -> str:
    """Format an interval; a dash if it is unknown."""
    if low is None or high is None:
        return "–"
    return f"{number(low, signed)} to {number(high, signed)}"


def cells(found: "Estimate | Measure | None") -> list[str]:
    """Return the value and its interval as cells of a CSV file, empty for None."""
    return [f"{one:.2f}" for one in (found.value, found.low, found.high)] if found else [""] * 3


def p_text(p_value: float | None) -> str:
    """Format a p-value: `<0.001`, `0.034`, a dash for None; never rounded up to SURE."""
    if p_value is None:
        return "–"
    shown = min(p_value, SURE - 0.001) if p_value < SURE else p_value
    return "<0.001" if p_value < 0.001 else f"{shown:.3f}"


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(_cell, value))
    if isinstance(value, float):
        return f"{value:.2f}"
    return "" if value is None else str(value)
