"""The summary: what a search found beyond its table, and `summary.json`.

found = build(table, info, store)
found.as_json()["best_chain"]     # for programs: unrounded, null for no value
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from search.chains.chain import BASELINES, IMAGENET, SCRATCH
from search.report import stored
from search.report.statistics import verdicts
from search.report.statistics.course import Step, course
from search.report.statistics.factors import Correlation, Factor, correlations, factors
from search.report.statistics.verdicts import Estimate, Scored
from search.report.stored import Store
from search.report.table import Images, Table
from search.results.records import RunInfo


@dataclass(frozen=True)
class Gain:
    """The points by which the winner is better than a baseline, paired; None if unknown."""

    val: Estimate | None
    test: Estimate | None


class Recall(NamedTuple):
    """The fraction of a class that was recognised, in percent, of `images` images."""

    name: str
    images: int
    recall: float


@dataclass(frozen=True)
class Summary:
    """Everything that is told about a search.

    test: winner and baselines on the test images. gains: by baseline. recall: the winner's, of
    every class of the validation images.
    """

    table: Table
    info: RunInfo
    test: dict[str, Estimate]
    test_on: Images | None
    gains: dict[str, Gain]
    factors: tuple[Factor, ...]
    correlations: tuple[Correlation, ...]
    course: tuple[Step, ...]
    recall: tuple[Recall, ...]

    def as_json(self) -> dict[str, Any]:
        """Return `summary.json` as plain values; its keys are an interface."""
        table, info, best = self.table, self.info, self.table.best
        plain: Any = asdict(self, dict_factory=_object)
        return {
            "best_chain": best.chain if best else None,
            "best_score": best.score if best else None,
            "best_ci": [best.ci_low, best.ci_high] if best else None,
            "best_above_scratch": best.above_scratch if best else None,
            "best_above_imagenet": best.above_imagenet if best else None,
            "scratch": table.score(SCRATCH),
            "imagenet": table.score(IMAGENET),
            "gain_over_scratch": plain["gains"][SCRATCH],
            "gain_over_imagenet": plain["gains"][IMAGENET],
            "test": plain["test"],
            "test_on": plain["test_on"],
            "explained": _explained(self.factors),
            **plain["info"],
            "overhead_seconds": info.overhead.kinds() if info.overhead else {},
            "failed": _reasons(table, "failed"),
            "pruned": _reasons(table, "pruned"),
            "tied": [row.chain for row in table.tied],
            "cheapest_tied": table.cheapest.chain if table.cheapest else None,
            "compared_on": plain["table"]["compared_on"],
            "training_noise": table.training_noise,
            "factors": plain["factors"],
            "correlations": plain["correlations"],
            "course": plain["course"],
            "recall": [{"class": n, "images": k, "recall": r} for n, k, r in self.recall],
            "objective": table.objective.name,
            "measures": {
                row.chain: {name: asdict(one) for name, one in row.measures.items()}
                for row in table.finalists
            },
            "chains": [_object([*table.values(row).items()]) for row in table.rows],
        }


def build(table: Table, info: RunInfo, store: Store) -> Summary:
    """Build the summary; the winner is the best chain, compared with the baselines."""
    test = verdicts.finalists(table, store)
    return Summary(
        table=table,
        info=info,
        test={chain: test.estimate(chain) for chain in test.chains} if test else {},
        test_on=test.on if test else None,
        gains={baseline: _gain(table, test, baseline) for baseline in BASELINES},
        factors=factors(table),
        correlations=correlations(table),
        course=course(table, store),
        recall=tuple(_recall(table, store)),
    )


def _gain(table: Table, test: Scored | None, baseline: str) -> Gain:
    row, best, val = table.row(baseline), table.best, None
    merit = table.objective.merit
    if row and row.difference is not None:
        assert row.difference_low is not None
        assert row.difference_high is not None
        low, high = sorted((-merit(row.difference_low), -merit(row.difference_high)))
        val = Estimate(-merit(row.difference), low, high)
    if best is None or test is None:
        return Gain(val, None)
    better = (best.chain, baseline) if merit(1.0) > 0 else (baseline, best.chain)
    return Gain(val, test.difference(*better))


def _explained(decides: tuple[Factor, ...]) -> dict[str, float] | None:
    """Return both explained variances in percent, or None: one alone would mislead."""
    percent = {one.name: 100 * one.effect.value for one in decides if one.effect}
    return percent if len(percent) == len(decides) else None


def _recall(table: Table, store: Store) -> Iterator[Recall]:
    shown = stored.predictions(store, table.best.downstream_key, "val") if table.best else None
    if shown is None:
        return
    for k, name in enumerate(shown.classes):
        right = shown.predicted[shown.labels == k] == k
        if len(right):
            yield Recall(name, len(right), 100 * float(right.mean()))


def _reasons(table: Table, status: str) -> list[dict[str, str]]:
    return [{"chain": r.chain, "reason": r.reason} for r in table.rows if r.status == status]


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a record as JSON has it after reading: with lists."""
    return {key: [*value] if isinstance(value, tuple) else value for key, value in pairs}
