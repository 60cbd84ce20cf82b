"""The verdicts in sentences: what is recommended, the planned comparison, what was luck.

    headline(table, recommended, planned)     # "No chain was better than scratch"

Plain text with numbers. Differences are told so that a positive one is better, in points.
"""

from search.report.statistics.verdicts import Estimate, Planned, Recommended
from search.report.table import Row, Table, number, p_text, span

SPLIT = {"val": "validation", "test": "test"}
FRESH = "fresh seeds"  # as it stands in Recommended.by
TIMES = {2: "twice", 3: "three times", 4: "four times"}


def headline(table: Table, chosen: Recommended | None, planned: Planned | None) -> str:
    """Return the result of the search in one line."""
    if chosen is None:
        return "No chain finished, so there is no winner"
    row = table.row(chosen.name)
    if row is not None and row.is_baseline:
        return _start_leads(table, chosen, planned)
    if planned is None:
        whose = "its start" if row and row.fresh_scores else "it"
        why = f"{whose} has no fresh seeds" if table.starts else "no start was scored"
        return f"{chosen.name} is recommended, not confirmed: {why}"
    if planned.difference is None:
        return f"{chosen.name} is recommended from one seed; nothing is compared"
    better = gain(table, planned.difference)
    where = f"on {SPLIT[planned.split]}"
    if better.low > 0:
        return f"{chosen.name} was better than {planned.start} {where}"
    if better.high < 0:
        return f"{chosen.name} is recommended, but was worse than {planned.start} {where}"
    return f"{chosen.name} is recommended; its lead over {planned.start} {where} may be noise"


def _start_leads(table: Table, chosen: Recommended, planned: Planned | None) -> str:
    if table.best is None:
        return f"No chain has a score; {chosen.name} is the best start"
    if planned and planned.difference and gain(table, planned.difference).low > 0:
        where = SPLIT[planned.split]
        return f"No chain was better than {chosen.name} on fresh seeds, though one was on {where}"
    clearly = "" if chosen.by == FRESH else "clearly "
    return f"No chain was {clearly}better than {chosen.name}"


def recommendation(table: Table, chosen: Recommended | None, missing: str) -> str:
    """Describe how the recommended was found, with its score; missing: why fresh seeds are."""
    row = table.row(chosen.name) if chosen else None
    if chosen is None or row is None:
        return ""
    if chosen.by == FRESH:
        seeds = count(len(row.fresh_scores), "fresh seed")
        said = (
            f"{row.chain} is recommended: its {table.objective.title} on validation is "
            f"{table.amount(row.fresh_score)}{_within(row.fresh_low, row.fresh_high)} on {seeds}, "
            "which no choice has seen"
        )
        return f"{said}{_rivals(table, row)}{_lower(table)}."
    seeds = count(len(row.seed_scores), "seed")
    return (
        f"{row.chain} is recommended by selection: its {table.objective.title} on validation is "
        f"{table.amount(row.score)}{_within(row.ci_low, row.ci_high)} on {seeds} that also chose "
        f"it, which flatters it{_lower(table)}. There are no fresh seeds of both chain and start"
        f"{f' ({missing})' if missing else ''}."
    )


def _rivals(table: Table, row: Row) -> str:
    """Return the fresh score of what the recommended was compared with."""
    other = table.best if row.is_baseline else table.leading_start
    if other is None or other.fresh_score is None or other == row:
        return ""
    return f"; that of {other.chain} is {number(other.fresh_score)}"


def planned_words(table: Table, planned: Planned | None) -> str:
    """Describe the one planned comparison and, after it, the other starts."""
    if planned is None:
        return ""
    where, seeds = SPLIT[planned.split], count(planned.seeds, "fresh seed")
    scores = f"{table.amount(planned.chain_score)} against {number(planned.start_score)}"
    if planned.difference is None:
        return (
            f"{planned.chain} and {planned.start} on {where}, {seeds}: {scores}. One seed can't "
            "tell whether they differ."
        )
    better = gain(table, planned.difference)
    verdict = "" if better.low > 0 or better.high < 0 else "; that may be noise"
    said = (
        f"The planned comparison: {planned.chain} is {than(better)} {planned.start} on {where} "
        f"({within(better)}{verdict}): {scores}, {seeds}, paired."
    )
    others = "; ".join(
        f"{than(found)} {one.start} ({within(found)}, p {p_text(one.p_value)})"
        for one in planned.others
        if one.difference and (found := gain(table, one.difference))
    )
    if not others:
        return said
    return f"{said} It is {others}; these are corrected by Holm's method, after the planned one."


def luck(table: Table, optimism: float | None) -> str:
    """Describe the selected score of the best chain with its optimism."""
    best = table.best
    if best is None or best.fresh_score is None or optimism is None:
        return ""
    chosen = f"{best.chain} was chosen at {number(best.score)}, and has "
    points = f"{number(optimism)} points of it were luck"
    more = points if optimism > 0 else "none of it was luck"
    return f"{chosen}{number(best.fresh_score)} on fresh seeds: {more}."


def could_be_best(table: Table) -> str:
    """Describe the set of chains and starts that could be the best."""
    if not table.compared:
        return ""
    several = [row for row in table.scored if row.could_be_best is not None]
    named = ", ".join(row.chain for row in table.contenders[:6])
    more = f" and {len(table.contenders) - 6} more" if len(table.contenders) > 6 else ""
    said = f"{len(table.contenders)} of {len(several)} could be the best ({named}{more})"
    if len(table.contenders) == len(several):
        return f"{said}: the noise of images and training hides which."
    return (
        f"{said}, with 95 % confidence; each of the others is worse than one of them beyond the "
        "noise of images and training."
    )


def could(row: Row) -> str:
    """Return the verdict of a row in the table."""
    if row.control:
        return "control"
    if row.could_be_best is None:
        return "–"
    return "could be best" if row.could_be_best else "worse"


def control(row: Row, table: Table) -> str:
    """Describe a control: what it is, and its difference to the best chain."""
    best = table.best
    said = meaning(row.tasks, best.tasks if best else ())
    if best and row.stage_steps and best.stage_steps:
        said += f" ({row.stage_steps:,} steps, the best chain {best.stage_steps:,})"
    found = ahead(table, row)
    return f"{said}: {signed(found) if found else table.amount(row.score)}"


def meaning(tasks: tuple[str, ...], best: tuple[str, ...]) -> str:
    """Return the meaning of a control: `moco twice in a row`."""
    if len({*tasks}) == 1:
        return f"{tasks[0]} {TIMES.get(len(tasks), f'{len(tasks)} times')} in a row"
    if tasks == best[::-1]:
        return f"the tasks of {'>'.join(best)} in reverse"
    return ">".join(tasks)


def ahead(table: Table, row: Row) -> Estimate | None:
    """Return the row's difference to the best chain, signed so that a positive one is better."""
    if row.difference is None or row.difference_low is None or row.difference_high is None:
        return None
    return gain(table, Estimate(row.difference, row.difference_low, row.difference_high))


def gain(table: Table, difference: Estimate) -> Estimate:
    """Return a difference signed so that a positive one is better."""
    if table.objective.higher_is_better:
        return difference
    return Estimate(-difference.value, -difference.high, -difference.low)


def than(better: Estimate) -> str:
    """Return `4.64 points better than`."""
    return f"{number(abs(better.value))} points {'better' if better.value > 0 else 'worse'} than"


def within(better: Estimate) -> str:
    """Return the interval of such a difference, in its direction."""
    if better.value > 0:
        return f"95 % interval {span(better.low, better.high)}"
    return f"95 % interval {span(-better.high, -better.low)}"


def signed(found: Estimate) -> str:
    return f"{number(found.value, signed=True)} ({span(found.low, found.high)})"


def _within(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" (95 % interval {span(low, high)})"


def _lower(table: Table) -> str:
    return "" if table.objective.higher_is_better else " (lower is better)"


def count(number_of: int, noun: str) -> str:
    return f"{number_of} {noun}{'s' if number_of != 1 else ''}"
