"""The verdicts: which rows could be the best, and the best chain against the starts.

    table = compare(rows.build(results, store, objective, best_chain), store)
    planned(table, store, "test").difference        # the one planned comparison
    recommended(table).name

Comparisons are paired: all networks are scored on the same resampled patient groups, and seed k is
the same for all rows. The noise of training is part of every one; where no row has several seeds,
nothing is compared. Selection flatters the winner, so it is trained again on
fresh seeds, and only these meet the test images.
"""

from dataclasses import dataclass, replace
from typing import Literal

from search.report.statistics.scored import (
    Estimate,
    Observed,
    Scored,
    Split,
    fresh,
    noise_of,
    observe,
    selection,
)
from search.report.stored import Store
from search.report.table import Images, Row, Table

By = Literal["fresh seeds", "selection"]


@dataclass(frozen=True)
class Other:
    """The best chain minus a start that doesn't lead.

    p_value: by Holm's method over these starts, and at least that of the planned comparison: what
    was not planned is found only where that is found, so both together err as seldom as it alone.
    """

    start: str
    difference: Estimate | None
    p_value: float | None


@dataclass(frozen=True)
class Planned:
    """The best chain against the leading start on fresh seeds, paired by seed.

    chain_score, start_score: means over `seeds` fresh seeds. difference: chain minus start, in the
    unit of the objective; None if the noise of training is unknown. others: the remaining starts.
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
    """The chain or start to use, and what decided."""

    name: str
    by: By


def compare(table: Table, store: Store) -> Table:
    """Return the table with every row compared with the best chain, on validation.

    Fills in the intervals of selection and fresh scores, differences and `could_be_best`.
    """
    measure, starts = table.objective.name, table.start_names
    chosen = observe(selection(table.scored), store, "val", measure, starts)
    again = observe(fresh(table.scored), store, "val", measure, starts)
    return judge(table, chosen, again) if chosen else table


def judge(table: Table, chosen: Observed, again: Observed | None) -> Table:
    """Do the same from the scores of selection seeds and fresh seeds on validation."""
    still = {row.chain for row in table.rows if row.frozen}  # nothing of them is trained again
    noise = noise_of([one.without(still) for one in (chosen, again) if one])
    scored = chosen.scored(noise)
    table = replace(table, compared_on=chosen.on, noise=noise)
    rows = _with_fresh(table.rows, again.scored(noise) if again else None)
    if noise is not None:
        rows = _compared(replace(table, rows=rows), scored)
    return replace(table, rows=rows)


def finalists(table: Table, store: Store, split: Split = "test") -> Scored | None:
    """Score best chain and starts on the split: on fresh seeds, or on the selection's if none."""
    measure, rows, starts = table.objective.name, table.finalists, table.start_names
    observed = observe(fresh(rows), store, split, measure, starts)
    observed = observed or observe(selection(rows), store, split, measure, starts)
    return observed.scored(table.noise) if observed else None


def planned(table: Table, store: Store, split: Split) -> Planned | None:
    """Return the planned comparison; None unless best chain and leading start have fresh seeds."""
    keys, measure = fresh(table.finalists), table.objective.name
    observed = observe(keys, store, split, measure, table.start_names)
    return planned_of(table, observed, split) if observed else None


def planned_of(table: Table, observed: Observed, split: Split) -> Planned | None:
    """Do the same from the finalists' scores on fresh seeds."""
    best, start = table.best, table.leading_start
    if not best or not start or not {best.chain, start.chain} <= {*observed.chains}:
        return None
    scored = observed.scored(table.noise)
    value = dict(zip(scored.chains, scored.scores.tolist(), strict=True))
    seeds = dict(zip(observed.chains, map(len, observed.seeds), strict=True))
    return Planned(
        chain=best.chain,
        start=start.chain,
        split=split,
        on=scored.on,
        seeds=min(seeds[best.chain], seeds[start.chain]),
        chain_score=value[best.chain],
        start_score=value[start.chain],
        difference=scored.difference(best.chain, start.chain),
        others=_others(scored, best.chain, start.chain),
    )


def recommended(table: Table) -> Recommended | None:
    """Return the chain or start with the higher mean on fresh seeds; None if nothing has a score.

    Without fresh seeds of both it is the leading start, unless the best chain lies above it by the
    interval of their difference.
    """
    best, start, merit = table.best, table.leading_start, table.objective.merit
    if best is None or start is None:
        only = best or start
        return Recommended(only.chain, "selection") if only else None
    if best.fresh_score is not None and start.fresh_score is not None:
        ahead = merit(best.fresh_score) > merit(start.fresh_score)
        return Recommended((best if ahead else start).chain, "fresh seeds")
    ends = [end for end in (start.difference_low, start.difference_high) if end is not None]
    above = bool(ends) and max(map(merit, ends)) < 0
    return Recommended((best if above else start).chain, "selection")


def optimism(table: Table) -> float | None:
    """Return the points by which selection flattered the best chain, against fresh seeds."""
    best, merit = table.best, table.objective.merit
    if best is None or best.score is None or best.fresh_score is None:
        return None
    return merit(best.score) - merit(best.fresh_score)


def _with_fresh(rows: tuple[Row, ...], again: Scored | None) -> tuple[Row, ...]:
    """Return the rows with their score on fresh seeds and its interval."""
    if again is None:
        return rows
    found = {chain: again.estimate(chain) for chain in again.chains}
    return tuple(
        replace(row, fresh_score=own.value, fresh_low=own.low, fresh_high=own.high)
        if (own := found.get(row.chain))
        else row
        for row in rows
    )


def _compared(table: Table, scored: Scored) -> tuple[Row, ...]:
    """Return the rows with their interval, difference to the best, and if they could be it."""
    from search.report.statistics.inference import could_be_best

    able = [k for k, name in enumerate(scored.chains) if not _row(table, name).control]
    sign = table.objective.merit(1.0)
    seeds = [scored.seeds[k] for k in able]
    kept = could_be_best(sign * scored.scores[able], sign * scored.resampled[able], seeds)
    best = dict(zip((scored.chains[k] for k in able), kept.tolist(), strict=True))
    return tuple(
        _judged(row, table, scored, best.get(row.chain)) if row.chain in scored.chains else row
        for row in table.rows
    )


def _judged(row: Row, table: Table, scored: Scored, could_be_best: bool | None) -> Row:
    own = scored.estimate(row.chain)
    apart = scored.difference(row.chain, table.best.chain) if table.best else None
    return replace(
        row,
        ci_low=own.low,
        ci_high=own.high,
        difference=apart.value if apart else None,
        difference_low=apart.low if apart else None,
        difference_high=apart.high if apart else None,
        could_be_best=could_be_best,
    )


def _row(table: Table, name: str) -> Row:
    row = table.row(name)
    assert row, name
    return row


def _others(scored: Scored, best: str, leading: str) -> tuple[Other, ...]:
    """Return the best chain against the starts that don't lead; see `Other`."""
    import numpy as np

    from search.report.statistics.inference import holm, two_sided

    starts = [name for name in scored.chains if name not in (best, leading)]
    if scored.noise is None:
        return tuple(Other(start, None, None) for start in starts)
    own = scored.resampled[scored.chains.index(best)]
    apart = {start: scored.difference(best, start) for start in (leading, *starts)}
    p_values = {
        start: two_sided(one.value, own - scored.resampled[scored.chains.index(start)])
        for start, one in apart.items()
        if one
    }
    corrected = holm(np.array([p_values[start] for start in starts]))
    gated = np.maximum(corrected, p_values[leading]).tolist()
    return tuple(Other(start, apart[start], p) for start, p in zip(starts, gated, strict=True))
