"""A published table beside a search of the same space: where both agree, and where they differ.

    read(space)                     # UserError before anything is trained
    found = beside(table, space)    # None without `published: FILE.csv`
    sentences(found)

Ranks are those of the chains that have a score in both, 1 the best. Rows of the literature (a
challenge's winner) and baselines are shown, and are no part of any rank.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from search.report import known
from search.report.known import Known
from search.report.statistics.factors import FEW
from search.report.table import SURE, Table, number, p_text, span
from search.space import Space
from trainables.errors import UserError

if TYPE_CHECKING:
    from search.report.statistics.inference import Effect

log = logging.getLogger(__name__)
SETTING = "published"
SHOWN = 3  # chains named in a sentence
OWN = frozenset({"chain", "ci_low", "ci_high"})  # columns of a table that have a place of their own


@dataclass(frozen=True)
class Line:
    """A row of the published table. further: its other columns. own: the search's score."""

    name: str
    published: float
    further: tuple[str, ...]
    own: float | None
    own_low: float | None
    own_high: float | None
    rank: int | None = None
    own_rank: int | None = None

    @property
    def moved(self) -> int:
        """Places by which the chain stands lower here than there; 0 without a rank."""
        return (self.own_rank or 0) - (self.rank or 0)


@dataclass(frozen=True)
class Published:
    """The published rows, best first. pairs, agree: of shared chains, those in the same order."""

    file: str
    column: str
    further: tuple[str, ...]
    lines: tuple[Line, ...]
    pairs: int
    agree: int
    effect: "Effect | None"

    @property
    def shared(self) -> list[Line]:
        """The chains with a score in both, best published first."""
        return [line for line in self.lines if line.rank is not None]


def read(space: Space) -> Known | None:
    """Read the table that the space names; UserError for a bad one, None without one."""
    if space.published is None:
        return None
    return known.read(
        Path(space.published), space.downstream.objective, None, [*space.starts], [*space.tasks],
        SETTING,
    )  # fmt: skip


def beside(table: Table, space: Space) -> Published | None:
    """Compare the table of a search with the published one; None if there is none to read."""
    try:
        found = read(space)
    except UserError as error:  # it was read before the search
        log.warning("%s", error)
        return None
    return compare(table, found, Path(str(space.published)).name) if found else None


def compare(table: Table, found: Known, file: str) -> Published:
    """Compare our table with a published one."""
    there = {str(chain): score.merit for chain, score in found.scores.items()}
    here = {row.chain: table.merit(row) or 0.0 for row in table.chains if row.chain in there}
    shared = [name for name in there if name in here]
    ranks, own_ranks = (_ranks({k: merits[k] for k in shared}) for merits in (there, here))
    further = _further(found)
    values = {str(chain): score.value for chain, score in found.scores.items()}
    values.update(found.others)
    lines = []
    for name in sorted(values, key=lambda name: -found.objective.merit(values[name])):
        row = table.row(name)
        own = (row.score, row.ci_low, row.ci_high) if row else (None, None, None)
        cells = tuple(found.cells[name].get(column, "").strip() for column in further)
        lines.append(Line(name, values[name], cells, *own, ranks.get(name), own_ranks.get(name)))
    signs = [(there[a] - there[b]) * (here[a] - here[b]) for a, b in combinations(shared, 2)]
    effect = _effect([there[name] for name in shared], [here[name] for name in shared])
    agree = sum(sign > 0 for sign in signs)
    return Published(file, found.objective.name, further, tuple(lines), len(signs), agree, effect)


def _effect(there: Sequence[float], here: Sequence[float]) -> "Effect | None":
    from search.report.statistics.inference import spearman

    return spearman(here, there) if len(here) >= FEW else None


def _ranks(merits: Mapping[str, float]) -> dict[str, int]:
    """Return each chain's rank from 1; equal ones share the better."""
    return {name: 1 + sum(b > merit for b in merits.values()) for name, merit in merits.items()}


def _further(found: Known) -> tuple[str, ...]:
    """Return the other columns with something in them, in the table's order."""
    columns = dict.fromkeys(key for row in found.cells.values() for key in row if key)
    return tuple(
        one for one in columns
        if one not in OWN | {found.objective.name} and any(row[one] for row in found.cells.values())
    )  # fmt: skip


def sentences(found: Published | None) -> Iterator[str]:
    """Yield what the comparison says, in plain text."""
    if found is None:
        return
    shared = found.shared
    if len(shared) < 2:
        yield f"Of {found.file}, {len(shared)} chains have a score here: too few to compare."
        return
    yield (
        f"{len(shared)} chains of {found.file} have a score here, {_order(found)}: {found.agree} "
        f"of {found.pairs} pairs of chains are in the same order."
    )
    yield _best(shared)
    moved = sorted((one for one in shared if abs(one.moved) > 1), key=lambda one: -abs(one.moved))
    if moved:
        told = ", ".join(
            f"{one.name} (rank {one.rank} there, {one.own_rank} here)" for one in moved[:SHOWN]
        )
        yield f"They differ most about {told}."
    else:
        yield "No chain is more than one rank apart."


def _order(found: Published) -> str:
    if found.effect is None:
        return f"and a rank correlation takes {FEW} that differ"
    doubt = "" if found.effect.p_value < SURE else ", which chance can explain"
    return (
        f"with a rank correlation of {number(found.effect.value, signed=True)} "
        f"(Spearman, 95 % interval {span(found.effect.low, found.effect.high, signed=True)}, "
        f"p {p_text(found.effect.p_value)}{doubt})"
    )


def _best(shared: Sequence[Line]) -> str:
    there = min(shared, key=lambda one: one.rank or 0)
    here = min(shared, key=lambda one: one.own_rank or 0)
    if there == here:
        return f"Both have {there.name} first."
    return (
        f"The best there, {there.name}, is of rank {there.own_rank} here; the best here, "
        f"{here.name}, is of rank {here.rank} there."
    )
