"""Notes that are never silent: what makes the numbers of a report worth less than they seem.

    notes(table, info, store, recall, trends)     # one sentence each: the number, and what to do

On the page near the top, in the terminal, in `summary.json`, in the model card and the tracker.
"""

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import NamedTuple, TypeAlias

from search.chains.lengths import SHORT, too_short
from search.console.printable import clock
from search.report import more_seeds, stored
from search.report.convergence import Trend
from search.report.stored import Store
from search.report.table import Row, Table, number
from search.results.records import RunInfo

MOST = 0.5  # of a task's accuracy above chance level
LEARNT = 3.0  # points above chance level; less may be luck, as 1,000 answers tell it to one point
Accuracies: TypeAlias = tuple[float, float, float]
SEEDS = 3  # what one seed is compared with
DEMO, SMOKE = "demo", "smoke"  # profiles that show how it works


class Recall(NamedTuple):
    """The fraction of a class that was recognised, in percent, of `images` images."""

    name: str
    images: int
    recall: float


def notes(
    table: Table,
    info: RunInfo,
    store: Store,
    recall: Sequence[Recall] = (),
    trends: Sequence[Trend] = (),
) -> tuple[str, ...]:
    """Return all notes, the gravest first.

    recall: of the recommended on validation. trends: of the starts' fine-tuning.
    """
    found = [
        _meaningless(info),
        f"{info.leak}." if info.leak else "",
        one_seed(table),
        _unrecognised(table, recall),
        *_probes(table),
        *_too_short(table, store),
        *_shortcuts(table, store),
        *(rising(trend) for trend in trends if trend.rises),
    ]
    return tuple(filter(None, found))


def mark(info: RunInfo) -> str:
    """Return the mark of a search whose numbers mean nothing or too much, or ""."""
    if info.demo:
        return "the numbers mean nothing: DEMONSTRATION images, drawn by a program"
    if info.profile in (DEMO, SMOKE):
        return f"the numbers mean nothing: settings of profile={info.profile}"
    return "the split leaks, as published: scores are too high" if info.leak else ""


def _meaningless(info: RunInfo) -> str:
    if not info.demo and info.profile not in (DEMO, SMOKE):
        return ""
    found = mark(info)
    cure = "--data PATH" if info.demo else "profile=cpu or profile=gpu"
    return f"T{found[1:]}. Run again with {cure}."


def one_seed(table: Table) -> str:
    """Return that nothing is compared, and what more seeds would cost; "" if noise is known."""
    if table.compared or all(len(row.seed_scores) > 1 for row in table.chains):
        return ""
    if any(len(row.seed_scores) > 1 for row in table.scored):
        return (
            "Every chain was trained with one seed so far, so nothing is ranked or compared: "
            "training again would change the scores by an unknown amount. The same command "
            "continues with further seeds."
        )
    cost = more_seeds.cost(table, SEEDS)
    took = "" if cost.seconds is None else f", {clock(cost.seconds)} on one worker at its rates"
    return (
        "Every chain was trained with one seed, so nothing is ranked or compared: training again "
        f"would change the scores by an unknown amount. repeats={SEEDS} would tell, for about "
        f"{cost.stages} stages and {cost.scores} fine-tunings more than this search{took}."
    )


def rising(trend: Trend) -> str:
    """Describe a fine-tuning that is not finished."""
    return (
        f"The fine-tuning of {trend.start} still rose at its end: {number(trend.gain)} points in "
        f"its last {trend.epochs} evaluations, beyond its noise. It is not yet what it could be; "
        "train longer with profile.downstream_steps."
    )


def _unrecognised(table: Table, recall: Sequence[Recall]) -> str:
    none = [f"{one.name} ({one.images} images)" for one in recall if one.recall == 0]
    if not none or table.recommended is None:
        return ""
    return (
        f"{table.recommended.chain} recognised no image of {_listed(none)} on validation "
        "(recall 0): it needs more labels of these classes, or a longer fine-tuning."
    )


def _probes(table: Table) -> Iterator[str]:
    """Yield a note if frozen networks are better than fine-tuned ones."""
    above = [(probe - tuned, row, probe, tuned) for row, probe, tuned in _probed(table)]
    above = sorted((one for one in above if one[0] > 0), key=lambda one: -one[0])
    if above:
        _, row, probe, tuned = above[0]
        rows = "one row" if len(above) == 1 else f"{len(above)} rows"
        yield (
            f"In {rows} the frozen probe is above its own fine-tuned network (at most in "
            f"{row.chain}: {number(probe)} above {number(tuned)}): fine-tuning loses what "
            "pretraining learnt; raise profile.downstream_steps, or lower downstream.lr_range."
        )


def _probed(table: Table) -> Iterator[tuple[Row, float, float]]:
    """Yield rows with their best probe and the same measure of the fine-tuned network."""
    for row in (row for row in table.scored if not row.frozen):
        probes = [value for value in (row.linear, row.knn) if value is not None]
        tuned = row.measures.get(stored.PROBED) or row.measures.get(stored.PROBED_MANY)
        if probes and tuned:
            yield row, max(probes), tuned.value


def _too_short(table: Table, store: Store) -> Iterator[str]:
    """Yield a note on short stages, and one on short fine-tunings."""
    stages = dict[str, int]()
    for row in table.rows:
        for task, key in zip(row.tasks, stored.lineage(store, row.stage_key), strict=False):
            count = stored.result(store, key).get("steps", SHORT)
            stages[task] = min(count, stages.get(task, count))
    known = [stored.result(store, row.downstream_key).get("steps", SHORT) for row in table.scored]
    tuned = {"fine-tuning": min(known, default=SHORT)}
    for said in too_short(stages, tuned):
        yield f"{said[0].upper()}{said[1:]}."


def _shortcuts(table: Table, store: Store) -> Iterator[str]:
    """Yield a note for each task whose control explains most of what its stages learnt."""
    stages = dict[str, dict[str, Accuracies]]()
    for row in table.rows:
        for task, key in zip(row.tasks, stored.lineage(store, row.stage_key), strict=False):
            if "control_accuracy" in (known := stored.result(store, key)):
                stages.setdefault(task, {})[key] = _controlled(known)
    for task, found in stages.items():
        guess, blind, seen = (100 * fmean(values) for values in zip(*found.values(), strict=True))
        if seen - guess >= LEARNT and blind - guess > MOST * (seen - guess):
            yield (
                f"{task} answered {seen:.0f} % right, and {blind:.0f} % when it could not know "
                f"({guess:.0f} % by guessing): most of what it learnt is where in an image a patch "
                f"lies, not how patches are related; lower tasks.{task}.params.crop."
            )


def _controlled(known: stored.Result) -> Accuracies:
    """Return chance level, accuracy without what the answers should need, and accuracy."""
    return known["chance_level"], known["control_accuracy"], known["controlled_accuracy"]


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
