"""`summary.json`: the search in one object, for programs. Full numbers, null if there is none."""

from dataclasses import asdict
from typing import Any

from search.chain import IMAGENET, SCRATCH
from search.report import evidence
from search.report.stored import Store
from search.report.table import Table
from search.results import RunInfo


def build(table: Table, info: RunInfo, store: Store) -> dict[str, Any]:
    """The winner is the best chain; whether it beats the baselines is said, not assumed."""
    best = table.best
    return {
        "best_chain": best.chain if best else None,
        "best_score": best.balanced_accuracy if best else None,
        "best_ci": [best.ci_low, best.ci_high] if best else None,
        "best_better_than_scratch": best.better_than_scratch if best else None,
        "best_better_than_imagenet": best.better_than_imagenet if best else None,
        "scratch": table.accuracy(SCRATCH),
        "imagenet": table.accuracy(IMAGENET),
        "gain_over_scratch": _gain(table, store, SCRATCH),
        "gain_over_imagenet": _gain(table, store, IMAGENET),
        "test": {c: asdict(found) for c, found in evidence.held_out(table, store).items()},
        "explained": evidence.explained(table),
        **asdict(info),
        "failed": _reasons(table, "failed"),
        "pruned": _reasons(table, "pruned"),
        "chains": [asdict(row) for row in table.rows],
    }


def _gain(table: Table, store: Store, baseline: str) -> dict[str, Any]:
    """Paired differences of the winner to a baseline, on validation and on the test images."""
    splits: tuple[evidence.Split, ...] = ("val", "test")
    found = {split: evidence.gain(table, store, baseline, split) for split in splits}
    return {split: asdict(one) if one else None for split, one in found.items()}


def _reasons(table: Table, status: str) -> list[dict[str, str]]:
    return [{"chain": r.chain, "reason": r.reason} for r in table.rows if r.status == status]
