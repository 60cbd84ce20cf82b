"""The pool in the report: its images, and what the best chain is worth without it.

    found = without(info.without_pool, table, store)
    sentences(info.pool, found, table)

The comparison is on validation, paired by image and by fresh seed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from search.chains.node import FRESH
from search.report import verdict_words
from search.report.statistics.scored import Estimate, fresh, noise_of, observe
from search.report.stored import Store
from search.report.table import Table
from search.results.records import Pool, Repeat

ALONE = "without the pool"


@dataclass(frozen=True)
class WithoutPool:
    """The best chain without the pool: its mean over fresh seeds.

    gain: points by which the pool makes it better, paired; None if that can't be judged.
    """

    chain: str
    seeds: int
    score: Estimate
    gain: Estimate | None


def without(repeats: Sequence[Repeat], table: Table, store: Store) -> WithoutPool | None:
    """Judge the control without the pool; None if it has no score."""
    best = table.best
    if best is None or not repeats:
        return None
    alone = {FRESH + one.seed: one.downstream_key for one in repeats}
    keys, measure = {**fresh([best]), ALONE: alone}, table.objective.name
    observed = observe(keys, store, "val", measure, frozenset())
    if observed is None or ALONE not in observed.chains:
        return None
    scored = observed.scored(noise_of([observed]))
    more = scored.difference(best.chain, ALONE)
    gain = verdict_words.gain(table, more) if more else None
    return WithoutPool(best.chain, len(alone), scored.estimate(ALONE), gain)


def sentences(pool: Pool | None, found: WithoutPool | None, table: Table) -> Iterator[str]:
    """Yield what the pretext tasks saw, and what it was worth."""
    if pool is None:
        return
    said = (
        f"Pretext tasks were trained on {pool.labelled + pool.unlabelled} images: {pool.labelled} "
        f"with a label and {pool.unlabelled} without"
    )
    left = sum(pool.left_out.values())
    yield f"{said}; {left} others were left out, see left_out.csv." if left else f"{said}."
    if pool.unknown:
        yield (
            f"{pool.unknown} images without a label name no patient: some may show one of "
            "validation or test, and would make the scores too high."
        )
    if found:
        yield _control(found, table)


def _control(found: WithoutPool, table: Table) -> str:
    said = f"Control: without the pool, {found.chain} has {table.amount(found.score.value)}"
    if found.gain is None:
        return f"{said}; one seed can't tell whether the pool helps."
    better = found.gain
    verdict = "" if better.low > 0 or better.high < 0 else "; that may be noise"
    return (
        f"{said}; with it, it is {verdict_words.than(better)} that "
        f"({verdict_words.within(better)}{verdict})."
    )
