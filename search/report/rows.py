"""The rows of the table, built from a search's results and the store.

    table = build(results, store, objective, best_chain="odc>moco")

A row's score is its mean over all selection seeds. Best first; then rows without a score.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any, TypeAlias

from search.chains import chain as chains
from search.chains import seeds
from search.chains.chain import SCRATCH, Chain
from search.report import stored
from search.report.stored import Result, Store
from search.report.table import Row, Table
from search.results.records import ChainResult
from trainables.spec import Measure, MeasureType, Score

WITHOUT_SCORE = ("planned", "not run", "stopped", "failed", "pruned")  # in this order
BASELINE = "baseline"  # in the label's column
Ranges: TypeAlias = Mapping[tuple[str, bool], Collection[float]]
IMAGENET = "imagenet"  # the start that has a column, as scratch has


def build(
    results: Sequence[ChainResult],
    store: Store,
    objective: MeasureType,
    best_chain: str | None = None,
    beside: Sequence[MeasureType] = (),
) -> Table:
    """Build a row for every result, with labels and deltas from the scores of its start's singles.

    best_chain: the policy's recommendation; None takes the highest score. beside: further measures
    to show, where a row has them.
    """
    means = _means(results)
    merits = {
        result.chain: mean[objective.name].merit
        for result, mean in zip(results, means, strict=True)
        if objective.name in mean
    }
    singles = {chain: merit for chain, merit in merits.items() if len(chain.tasks) == 1}
    ranges = _ranges(results, store)
    rows = [
        _row(result, store, mean, merits, singles, ranges, objective)
        for result, mean in zip(results, means, strict=True)
    ]
    rows.sort(key=lambda row: _order(row, objective))
    measured = {name for row in rows for name in row.measures} - {objective.name}
    shown = tuple(one for one in beside if one.name in measured)
    return Table(tuple(rows), objective, best_chain=best_chain, beside=shown)


def _row(
    result: ChainResult,
    store: Store,
    measures: Mapping[str, Measure],
    merits: Mapping[Chain, float],
    singles: Mapping[Chain, float],
    ranges: Ranges,
    objective: MeasureType,
) -> Row:
    chain, tasks = result.chain, result.chain.tasks
    scores = _scores(result)
    better = chains.delta(chain, merits[chain], singles) if chain in merits else None
    judged = measures.get(objective.name)
    measured = stored.result(store, result.downstream_key)
    values = _probes(result, store)
    trained = stored.lineage(store, result.stage_key)
    stages = [stored.result(store, key) for key in trained[: len(tasks)]]
    last = stored.result(store, result.stage_key)
    fresh = [repeat.score.value for repeat in result.fresh]
    return Row(
        chain=str(chain),
        length=len(tasks),
        label=chains.label(chain, singles) if tasks else BASELINE,
        score=judged.value if judged else None,
        ci_low=judged.low if judged else None,
        ci_high=judged.high if judged else None,
        delta=None if better is None else objective.merit(better),
        above_scratch=_above(chain, SCRATCH, merits),
        above_imagenet=_above(chain, IMAGENET, merits),
        linear=_known(values, "linear", fmean),
        knn=_known(values, "knn", fmean),
        lrs=", ".join(_rates(tasks, trained, ranges, store)),
        downstream_lr=_rate(measured) if scores else "",
        status=result.status,
        reason=result.reason,
        train_seconds=_known([*stages, measured], "seconds", sum) if scores else None,
        stage_key=result.stage_key,
        downstream_key=result.downstream_key,
        order=result.order,
        stage_seconds=_known(stages, "seconds", sum) if scores else None,
        pretext_accuracy=last.get("accuracy"),
        pretext_chance=last.get("chance_level"),
        seed_scores=tuple(score.value for score in scores),
        repeat_keys=tuple(repeat.downstream_key for repeat in result.repeats),
        control=result.control,
        seeds=_seeds(result),
        fresh_score=fmean(fresh) if fresh else None,
        fresh_seeds=tuple(repeat.seed for repeat in result.fresh),
        fresh_scores=tuple(fresh),
        fresh_keys=tuple(repeat.downstream_key for repeat in result.fresh),
        fresh_stage_keys=tuple(repeat.stage_key for repeat in result.fresh),
        linear_low=_known(values, "linear_low", fmean),
        linear_high=_known(values, "linear_high", fmean),
        knn_low=_known(values, "knn_low", fmean),
        knn_high=_known(values, "knn_high", fmean),
        measures=measures,
        above_start=_above(chain, chain.start, merits),
        frozen=result.frozen,
        stage_steps=_steps(stages) if scores else None,
    )


def _probes(result: ChainResult, store: Store) -> list[dict[str, float]]:
    """Return the probes of every selection seed; of a start also where it has no score."""
    if not _scores(result) and (not result.chain.is_baseline or result.status == "not run"):
        return []
    keys = [result.probe_key, *(repeat.probe_key for repeat in result.repeats)]
    return [_probed(stored.measures(store, key)) for key in keys]


def _ranges(results: Sequence[ChainResult], store: Store) -> Ranges:
    """Return all rates that stages were to try, by task and whether from a fresh backbone.

    One stage may try a window of its task's range.
    """
    found: dict[tuple[str, bool], set[float]] = defaultdict(set)
    for result in results:
        keys = stored.lineage(store, result.stage_key)
        for task, key in zip(result.chain.tasks, keys, strict=False):
            fresh = stored.backbone(store, key) is None
            found[task, fresh] |= {*stored.lr_policy(store, key).get("range", ())}
    return found


def _rates(
    tasks: Sequence[str], keys: Sequence[str], ranges: Ranges, store: Store
) -> Iterator[str]:
    for task, key in zip(tasks, keys, strict=False):
        whole = ranges[task, stored.backbone(store, key) is None]
        yield f"{task} {_rate(stored.result(store, key), whole)}"


def _scores(result: ChainResult) -> list[Score]:
    """Return the scores of all seeds."""
    return [result.score, *(repeat.score for repeat in result.repeats)] if result.score else []


def _seeds(result: ChainResult) -> tuple[int, ...]:
    """Return the selection seeds, in the order of `_scores`."""
    return (0, *(repeat.seed for repeat in result.repeats)) if result.score else ()


def _means(results: Sequence[ChainResult]) -> list[dict[str, Measure]]:
    """Return each row's mean of every measure over all seeds, see `seeds`; {} if unscored."""
    found: list[dict[str, Measure]] = [{} for _ in results]
    names = [one.score.measures if one.score else {} for one in results]
    for name in dict.fromkeys(name for some in names for name in some):
        some = {
            place: [score.measures[name] for score in _scores(result)]
            for place, result in enumerate(results)
            if result.score and all(name in score.measures for score in _scores(result))
        }
        values = {
            place: dict(zip(_seeds(results[place]), (one.value for one in row), strict=True))
            for place, row in some.items()
        }
        starts = [place for place in some if results[place].chain.is_baseline]
        levels = seeds.means(values, starts)
        for place, row in some.items():
            level = levels[place]
            mean, low, high = (fmean(getattr(o, k) for o in row) for k in ("value", "low", "high"))
            shift = level - mean
            found[place][name] = replace(row[0], value=level, low=low + shift, high=high + shift)
    return found


def _probed(measures: Mapping[str, Measure]) -> dict[str, float]:
    """Return the probes' values, and the ends of their intervals as `linear_low`, ..."""
    found: dict[str, float] = {}
    for name, one in measures.items():
        found |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    return found


def _above(chain: Chain, start: str, merits: Mapping[Chain, float]) -> bool | None:
    """Return whether the chain is above this baseline; None for itself, or if one is unknown."""
    baseline = Chain((), start)
    known = {chain, baseline} <= merits.keys() and chain != baseline
    return merits[chain] > merits[baseline] if known else None


def _rate(measured: Result, whole: Collection[float] = ()) -> str:
    """Format a rate. whole: all rates of which the stage may have tried a window."""
    if "lr" not in measured:
        return ""
    within = min(whole, default=0) < measured["lr"] < max(whole, default=0)
    edge = "*" if measured.get("lr_at_edge") and not within else ""
    return f"{measured['lr']:g}{edge}"


def _steps(stages: Iterable[stored.Result]) -> int | None:
    steps = _known(stages, "steps", sum)
    return None if steps is None else round(steps)


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
