"""Notes that are never silent: what makes the numbers of a report worth less than they seem.

    notes(table, info, store, recall, trends)     # one sentence each: the number, and what to do

On the page near the top, in the terminal, in `summary.json`, in the model card and the tracker.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from search.console.printable import clock
from search.report import more_seeds, stored
from search.report.convergence import Trend
from search.report.stored import Store
from search.report.table import Row, Table, number
from search.results.records import RunInfo

FEW_STEPS = 100
MOST = 0.5  # of a task's accuracy above chance
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
        *_few_steps(table, store),
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
    """Return that nothing is compared, and what more seeds would cost; "" with several seeds."""
    if table.compared or any(len(row.seed_scores) > 1 for row in table.scored):
        return ""
    if not table.chains:
        return ""
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
        f"its last {trend.epochs} epochs, beyond its noise. It is not yet what it could be; train "
        "longer with profile.downstream_steps."
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


def _few_steps(table: Table, store: Store) -> Iterator[str]:
    """Yield a note on short stages, and one on short fine-tunings."""
    stages = {key: row for row in table.rows for key in stored.lineage(store, row.stage_key)}
    tuned = {row.downstream_key: row for row in table.scored}
    cases = (
        ("stage", "profile.steps", stages),
        ("fine-tuning", "profile.downstream_steps", tuned),
    )
    for noun, setting, keys in cases:
        steps = [n for key in keys if (n := stored.result(store, key).get("steps")) is not None]
        few = [count for count in steps if count < FEW_STEPS]
        if few:
            yield (
                f"{len(few)} of {len(steps)} {noun}s had fewer than {FEW_STEPS} steps (the "
                f"shortest {min(few)}): too few to judge what longer training gives; "
                f"raise {setting}."
            )


def _shortcuts(table: Table, store: Store) -> Iterator[str]:
    """Yield a note for each task whose control explains most of what it learnt."""
    told = set[str]()
    for key in sorted({k for row in table.rows for k in stored.lineage(store, row.stage_key)}):
        known, task = stored.result(store, key), key.rpartition("-")[0]
        if task in told or "control_accuracy" not in known:
            continue
        blind, seen, chance = (
            100 * known[name] for name in ("control_accuracy", "controlled_accuracy", "chance_level")
        )
        if seen > chance and blind - chance > MOST * (seen - chance):
            told.add(task)
            yield (
                f"{task} answered {seen:.0f} % right, and {blind:.0f} % when it could not know "
                f"({chance:.0f} % by chance): most of what it learnt is where in an image a patch "
                f"lies, not how patches are related; lower tasks.{task}.params.crop."
            )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
