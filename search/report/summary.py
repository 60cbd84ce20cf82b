"""`summary.json`: the search as one object for programs; unrounded, null for no value."""

from dataclasses import asdict
from typing import Any

from search.chains.chain import IMAGENET, SCRATCH
from search.report import stored
from search.report.statistics import evidence
from search.report.statistics.course import course
from search.report.statistics.evidence import Estimate, Scored
from search.report.statistics.factors import Factor, correlations, factors
from search.report.stored import Store
from search.report.table import Row, Table
from search.results.records import RunInfo


def build(table: Table, info: RunInfo, store: Store) -> dict[str, Any]:
    """Build the summary; the winner is the best chain, compared with the baselines."""
    best, test, decides = table.best, evidence.finalists(table, store), factors(table)
    return {
        "best_chain": best.chain if best else None,
        "best_score": best.balanced_accuracy if best else None,
        "best_ci": [best.ci_low, best.ci_high] if best else None,
        "best_above_scratch": best.above_scratch if best else None,
        "best_above_imagenet": best.above_imagenet if best else None,
        "scratch": table.accuracy(SCRATCH),
        "imagenet": table.accuracy(IMAGENET),
        "gain_over_scratch": _gain(table, test, SCRATCH),
        "gain_over_imagenet": _gain(table, test, IMAGENET),
        "test": {chain: asdict(test.estimate(chain)) for chain in test.chains} if test else {},
        "test_on": asdict(test.on) if test else None,
        "explained": _explained(decides),
        **asdict(info),
        "overhead_seconds": info.overhead.kinds() if info.overhead else {},
        "stopped": [asdict(one) for one in info.stopped],
        "failed": _reasons(table, "failed"),
        "pruned": _reasons(table, "pruned"),
        "tied": [row.chain for row in table.tied],
        "cheapest_tied": table.cheapest.chain if table.cheapest else None,
        "compared_on": asdict(table.compared_on) if table.compared_on else None,
        "training_noise": table.training_noise,
        "factors": [asdict(factor) for factor in decides],
        "correlations": [asdict(one) for one in correlations(table)],
        "course": [asdict(step) for step in course(table, store)],
        "recall": _recall(table, store),
        "chains": [_plain(row) for row in table.rows],
    }


def _plain(row: Row) -> dict[str, Any]:
    """Return the row as plain JSON values."""
    return {k: [*v] if isinstance(v, tuple) else v for k, v in asdict(row).items()}


def _gain(table: Table, test: Scored | None, baseline: str) -> dict[str, Any]:
    """Return the winner's paired differences to a baseline, on validation and test."""
    row, best = table.row(baseline), table.best
    val = on_test = None
    if row and row.difference is not None:
        assert row.difference_low is not None
        assert row.difference_high is not None
        val = Estimate(-row.difference, -row.difference_high, -row.difference_low)
    if best and test:
        on_test = test.difference(best.chain, baseline)
    return {"val": asdict(val) if val else None, "test": asdict(on_test) if on_test else None}


def _explained(decides: tuple[Factor, ...]) -> dict[str, float] | None:
    """Return both explained variances in percent, or None: one alone would mislead."""
    percent = {one.name: 100 * one.effect.value for one in decides if one.effect}
    return percent if len(percent) == len(decides) else None


def _recall(table: Table, store: Store) -> list[dict[str, Any]]:
    """Return the winner's recall of each class on the validation images."""
    shown = stored.predictions(store, table.best.downstream_key, "val") if table.best else None
    if shown is None:
        return []
    right = shown.labels == shown.predicted
    of = [(name, shown.labels == k) for k, name in enumerate(shown.classes)]
    return [
        {"class": name, "images": int(some.sum()), "recall": 100 * float(right[some].mean())}
        for name, some in of
        if some.any()
    ]


def _reasons(table: Table, status: str) -> list[dict[str, str]]:
    return [{"chain": r.chain, "reason": r.reason} for r in table.rows if r.status == status]
