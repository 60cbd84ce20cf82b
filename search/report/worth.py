"""The first question: is it worth pretraining on these images at all, and from where?

    answer(table, recommended, planned)     # one or two sentences, honest where nothing can be said

Whether is the planned comparison, of the best chain with the leading start and with its own; from
where is the best chain of every start, on validation.
"""

from collections.abc import Iterator

from search.report.statistics.verdicts import Planned, Recommended
from search.report.table import Row, Table, p_text
from search.report.verdict_words import SPLIT, ahead, gain, than, within

QUESTION = "Is it worth pretraining on these images, and from where?"


def answer(table: Table, chosen: Recommended | None, planned: Planned | None) -> str:
    """Return the answer; it says so where the search can't tell."""
    best = table.best
    if best is None or table.leading_start is None:
        missing = "start" if best else "chain"
        return f"Whether pretraining pays can't be told: no {missing} has a score."
    if planned is None or planned.difference is None:
        why = "one seed can't tell" if planned else "best chain and start have no fresh seeds"
        return f"Whether pretraining pays can't be told: {why}. {_from_where(table, best)}"
    return f"{_whether(table, chosen, planned)} {_from_where(table, best)}"


def _whether(table: Table, chosen: Recommended | None, planned: Planned) -> str:
    assert planned.difference
    lead, best = gain(table, planned.difference), planned.chain
    is_start = chosen is not None and chosen.name in table.start_names
    found = f"{than(lead)} {planned.start} alone on {SPLIT[planned.split]} ({within(lead)})"
    if is_start or lead.high < 0:
        said = f"No: the best chain, {best}, is {found}"
        if lead.low > 0:
            said = f"Open: {planned.start} was better on fresh seeds, though {best} is {found}"
    elif lead.low > 0:
        said = f"Yes: {best}, pretrained on these images, is {found}"
    else:
        said = f"Perhaps: {best}, pretrained on these images, is {found}, which may be noise"
    return f"{said}{_own_start(table, planned)}."


def _own_start(table: Table, planned: Planned) -> str:
    """Return the comparison with the start that the chain grew from, if another one leads."""
    row = table.row(planned.chain)
    for one in planned.others:
        if row and one.start == row.start and one.difference:
            better = gain(table, one.difference)
            p_value = f"p {p_text(one.p_value)} by Holm's method"
            return (
                f"; it is {than(better)} {one.start}, its own start ({within(better)}, {p_value})"
            )
    return ""


def _from_where(table: Table, best: Row) -> str:
    """Describe the best chain of every other start."""
    others = [*_leaders(table, best)]
    if not others:
        return f"All chains began from {best.start}, so where to begin was not compared."
    return f"From where: {best.start}. {' '.join(_behind(table, row, best) for row in others)}"


def _leaders(table: Table, best: Row) -> Iterator[Row]:
    """Yield the highest chain of each start but the best chain's."""
    seen = {best.start}
    for row in table.chains:
        if row.start not in seen:
            seen.add(row.start)
            yield row


def _behind(table: Table, row: Row, best: Row) -> str:
    said = f"The best chain from {row.start}, {row.chain}, "
    if (apart := ahead(table, row)) is None:
        return f"{said}has {table.amount(row.score)}, which one seed can't compare."
    doubt = "" if apart.low > 0 or apart.high < 0 else "; that may be noise"
    return f"{said}is {than(apart)} {best.chain} on validation ({within(apart)}{doubt})."
