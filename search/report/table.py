"""The table from which CSV, page, terminal, figures and tracker are made.

    table = build(results, store)
    table.write_csv(out / "chains.csv")

Best first, baselines included; then rows without a score, pruned chains last.
"""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from search.chains import chain as chains
from search.chains.chain import BASELINES, IMAGENET, SCRATCH, Chain
from search.report import stored
from search.report.stored import Result, Store
from search.results.records import ChainResult
from trainables.spec import Measure, MeasureType, Score

WITHOUT_SCORE = ("running", "planned", "not run", "stopped", "failed", "pruned")  # in this order
BASELINE = "baseline"  # in the label's column
CHEAPER = 0.8  # fraction of the cost; smaller differences may come from the machine
SURE = 0.05  # significance level of corrected p-values; from it on, chains are tied


@dataclass(frozen=True)
class Row:
    """One chain or baseline, in the unit of the objective; None where there is no number.

    lrs, downstream_lr: a * marks a rate at the edge of its task's range. train_seconds: all stages
    and the score, as if nothing were shared; stage_seconds: without the score, whose cost differs
    between chains only by noise. difference: to the winner, on the same resampled patient groups;
    p_value: corrected; tied: not significantly different. order: position among the scores, from 0.
    pretext_accuracy, pretext_chance: the last stage's accuracy on its own task, 0 to 1, and that of
    guessing. seed_scores: one a seed, in order; score, measures, linear and knn are means over
    seeds; rates, cost and keys are the first seed's. repeat_keys: scores of the other seeds.
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
    p_value: float | None = None
    tied: bool | None = None
    order: int | None = None
    stage_seconds: float | None = None
    pretext_accuracy: float | None = None
    pretext_chance: float | None = None
    seed_scores: tuple[float, ...] = ()
    repeat_keys: tuple[str, ...] = ()
    measures: Mapping[str, Measure] = field(default_factory=dict)

    @property
    def is_baseline(self) -> bool:
        return self.chain in BASELINES

    @property
    def tasks(self) -> Chain:
        """The pretext tasks in order; none for a baseline."""
        return () if self.is_baseline else chains.parse(self.chain)

    @property
    def title(self) -> str:
        return "ImageNet" if self.chain == IMAGENET else self.chain

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

    compared_on: the images of the comparisons; None before them. training_noise: the
    standard deviation of the objective over seeds, in points; None without repeats.
    """

    rows: tuple[Row, ...]
    objective: MeasureType
    compared_on: Images | None = None
    training_noise: float | None = None

    @cached_property
    def scored(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.score is not None)

    @cached_property
    def chains(self) -> tuple[Row, ...]:
        """The scored chains without the baselines, best first."""
        return tuple(row for row in self.scored if not row.is_baseline)

    @property
    def best(self) -> Row | None:
        return self.chains[0] if self.chains else None

    @cached_property
    def tied(self) -> tuple[Row, ...]:
        """The chains that are not significantly below the best one, which comes first."""
        return tuple(row for row in self.chains if row.tied)

    @property
    def finalists(self) -> tuple[Row, ...]:
        """The best chain and the baselines."""
        return tuple(row for row in self.scored if row.is_baseline or row == self.best)

    @property
    def cheapest(self) -> Row | None:
        """The tied chain that trains fastest; the best one unless another is clearly faster.

        Compares stages if seconds are unknown.
        """
        timed = all(row.stage_seconds is not None for row in self.tied)
        cost = (lambda row: row.stage_seconds) if timed else (lambda row: row.length)
        found = min(self.tied, key=cost, default=None)
        return found if found is None or cost(found) < CHEAPER * cost(self.best) else self.best

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
        return {self.objective.name if k == "score" else k: value for k, value in public.items()}

    def write_csv(self, path: Path) -> None:
        """Write one row a chain: two decimals, yes or no, empty cells for no value."""
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            values = [self.values(row) for row in self.rows]
            writer.writerows(values[:1])  # the header
            for row in values:
                writer.writerow(_cell(name, value) for name, value in row.items())


def build(results: Sequence[ChainResult], store: Store, objective: MeasureType) -> Table:
    """Build a row for every result, with labels and deltas from the singles' scores."""
    merits = {r.chain: fmean(one.merit for one in _scores(r)) for r in results if r.score}
    singles = {c[0]: m for c, m in merits.items() if len(c) == 1 and c[0] not in BASELINES}
    ranges = {
        result.chain[0]: full
        for result in results
        if len(result.chain) == 1 and (full := stored.lr_range(store, result.stage_key))
    }
    rows = [_row(result, store, merits, singles, ranges, objective) for result in results]
    return Table(tuple(sorted(rows, key=lambda row: _order(row, objective))), objective)


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


def p_text(p_value: float | None) -> str:
    """Format a p-value: `<0.001`, `0.034`, a dash for None; never rounded up to SURE."""
    if p_value is None:
        return "–"
    shown = min(p_value, SURE - 0.001) if p_value < SURE else p_value
    return "<0.001" if p_value < 0.001 else f"{shown:.3f}"


def yes_no(value: bool | None) -> str:
    return "–" if value is None else "yes" if value else "no"


def _row(
    result: ChainResult,
    store: Store,
    merits: Mapping[Chain, float],
    singles: Mapping[str, float],
    ranges: Mapping[str, Sequence[float]],
    objective: MeasureType,
) -> Row:
    tasks = () if result.chain[0] in BASELINES else result.chain
    scores = _scores(result)
    own = merits.get(result.chain)
    better = None if own is None or not tasks else chains.delta(tasks, own, singles)
    measures = _means(scores)
    judged = measures.get(objective.name)
    measured = stored.result(store, result.downstream_key)
    keys = [result.probe_key, *(repeat.probe_key for repeat in result.repeats)]
    probed = [stored.measures(store, key) for key in keys if scores]
    values = [{name: one.value for name, one in known.items()} for known in probed]
    trained = stored.lineage(store, result.stage_key)
    stages = {task: stored.result(store, key) for task, key in zip(tasks, trained, strict=False)}
    last = stored.result(store, result.stage_key)
    return Row(
        chain=chains.name(result.chain),
        length=len(tasks),
        label=chains.label(tasks, singles) if tasks else BASELINE,
        score=judged.value if judged else None,
        ci_low=judged.low if judged else None,
        ci_high=judged.high if judged else None,
        delta=None if better is None else objective.merit(better),
        above_scratch=_above(own, merits.get((SCRATCH,)), result.chain == (SCRATCH,)),
        above_imagenet=_above(own, merits.get((IMAGENET,)), result.chain == (IMAGENET,)),
        linear=_known(values, "linear", fmean),
        knn=_known(values, "knn", fmean),
        lrs=", ".join(f"{task} {_rate(stage, ranges.get(task))}" for task, stage in stages.items()),
        downstream_lr=_rate(measured) if scores else "",
        status=result.status,
        reason=result.reason,
        train_seconds=_known([*stages.values(), measured], "seconds", sum) if scores else None,
        stage_key=result.stage_key,
        downstream_key=result.downstream_key,
        order=result.order,
        stage_seconds=_known(stages.values(), "seconds", sum) if scores else None,
        pretext_accuracy=last.get("accuracy"),
        pretext_chance=last.get("chance_level"),
        seed_scores=tuple(score.value for score in scores),
        repeat_keys=tuple(repeat.downstream_key for repeat in result.repeats),
        measures=measures,
    )


def _scores(result: ChainResult) -> list[Score]:
    """Return the scores of all seeds."""
    return [result.score, *(repeat.score for repeat in result.repeats)] if result.score else []


def _means(scores: Sequence[Score]) -> dict[str, Measure]:
    """Return the mean of every measure that all seeds have, and of its interval's ends."""
    found = {}
    for name, first in scores[0].measures.items() if scores else ():
        some = [score.measures[name] for score in scores if name in score.measures]
        ends = [fmean(getattr(one, end) for one in some) for end in ("value", "low", "high")]
        found[name] = replace(first, value=ends[0], low=ends[1], high=ends[2])
    return found


def _above(own: float | None, baseline: float | None, itself: bool) -> bool | None:
    return None if own is None or baseline is None or itself else own > baseline


def _rate(measured: Result, whole: Sequence[float] | None = None) -> str:
    """Format a rate. whole: the task's full LR range, of which later stages try a part."""
    if "lr" not in measured:
        return ""
    within = whole is not None and min(whole) < measured["lr"] < max(whole)
    edge = "*" if measured.get("lr_at_edge") and not within else ""
    return f"{measured['lr']:g}{edge}"


def _known(
    results: Iterable[Mapping[str, Any]], name: str, combined: Callable[[list[float]], float]
) -> float | None:
    """Return the values of that name, combined; None if there is none."""
    known = [one[name] for one in results if name in one]
    return combined(known) if known else None


def _order(row: Row, objective: MeasureType) -> tuple[int, float, int]:
    if row.score is not None:
        return 0, -objective.merit(row.score), row.length
    place = WITHOUT_SCORE.index(row.status) if row.status in WITHOUT_SCORE else 0
    return 1 + place, 0.0, row.length


def _cell(column: str, value: object) -> str:
    if isinstance(value, bool):
        return yes_no(value)
    if isinstance(value, tuple):
        return " ".join(_cell(column, one) for one in value)
    if isinstance(value, float):
        return f"{value:.3g}" if column == "p_value" else f"{value:.2f}"
    return "" if value is None else str(value)
