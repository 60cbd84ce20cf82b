"""Does a chain with more attention inside the region score better, here and elsewhere?

    found = relations(table, external, store)      # one for validation, sources, each external set
    sentence(found[0])
    write_csv(found, table, out / "report" / "attention.csv")

Spearman's correlation of AIL with the score, over chains and starts. On images from elsewhere, and
within each source, a network gains nothing by recognising the hospital or camera: there it tells
whether attention inside the region is more robust to that.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from search.report import stored
from search.report.attention import AIL, AREA, attended, looked_at
from search.report.statistics.factors import FEW
from search.report.stored import Predictions, Store
from search.report.table import SURE, Row, Table, cells, p_text, span, write_rows
from search.results.records import ExternalScore
from trainables.spec import MeasureType

if TYPE_CHECKING:
    from search.report.statistics.inference import Effect


VALIDATION = "validation"
FEWEST = 30  # images of which AIL is more than luck


@dataclass(frozen=True)
class Relation:
    """AIL against the scores on some images. rows: chains and starts; effect: None if too few.

    scores: of each of them, on these images. images: those that AIL is of. no_better_than: what
    guessing scores, where no row scores more; there nothing is robust.
    """

    on: str
    robust: bool
    rows: int
    effect: "Effect | None"
    scores: Mapping[str, float]
    images: int
    no_better_than: float | None = None


def relations(
    table: Table, external: Sequence[ExternalScore], store: Store
) -> tuple[Relation, ...]:
    """Relate AIL to the score on validation, within sources, and on each external test set.

    (): no attention was measured. external: of first seeds, whose attention is known.
    """
    rows = attended(table)
    if not rows:
        return ()
    guessing, images = _guessing(rows[0], store, table.objective), looked_at(table, store)
    own = {row.chain: row.score for row in rows if row.score is not None}
    judged: dict[str, Mapping[str, float]] = {VALIDATION: own}
    if within := _within(rows, store, table.objective):
        judged[f"{VALIDATION}, within each source"] = within
    for name in dict.fromkeys(one.external for one in external):
        judged[f"the external test set {name}"] = {
            str(one.chain): one.score.value for one in external if one.external == name
        }
    kind = table.objective
    return tuple(
        _relation(on, scores, rows, images, kind, None if on == VALIDATION else guessing)
        for on, scores in judged.items()
    )


def _relation(
    on: str,
    scores: Mapping[str, float],
    rows: Sequence[Row],
    images: int,
    kind: MeasureType,
    guessing: float | None,
) -> Relation:
    from search.report.statistics.inference import spearman

    known = [row for row in rows if row.chain in scores]
    merits = [kind.merit(scores[row.chain]) for row in known]
    ails = [row.measures[AIL].value for row in known]
    lost = guessing is not None and max(merits, default=guessing) <= guessing
    return Relation(
        on=on,
        robust=on != VALIDATION,
        rows=len(known),
        effect=spearman(ails, merits) if len(known) >= FEW else None,
        scores={row.chain: scores[row.chain] for row in known},
        images=images,
        no_better_than=guessing if lost else None,
    )


def _guessing(row: Row, store: Store, kind: MeasureType) -> float | None:
    """Return what an answer drawn at random scores among the classes that the network knows."""
    from trainables.downstream.measures import guessing

    said = stored.predictions(store, row.downstream_key, "val")
    return guessing(kind.name, len(said.classes)) if said else None


def _within(rows: Sequence[Row], store: Store, kind: MeasureType) -> Mapping[str, float]:
    """Return each row's mean over the sources of its score there; {} without sources."""
    found = dict[str, float]()
    for row in rows:
        said = stored.predictions(store, row.downstream_key, "val")
        if said and said.sources is not None and (scores := [*_by_source(said, kind.name)]):
            found[row.chain] = fmean(scores)
    return found


def _by_source(said: Predictions, measure: str) -> Iterator[float]:
    """Yield the score in every source that has two classes: elsewhere the source is the class."""
    import numpy as np

    assert said.sources is not None
    for source in np.unique(said.sources):
        own = said.at(said.sources == source)
        if sum(own.having(k).any() for k in range(len(own.classes))) > 1:
            value = float(own.values(own.resamples(0), measure)[0])
            if np.isfinite(value):
                yield value


def sentence(found: Relation) -> str:
    """Describe a relation with its interval."""
    effect = found.effect
    if effect is None:
        return f"On {found.on}: {found.rows} chains and starts, too few or too equal to tell."
    size = (
        f"Spearman {effect.value:+.2f} ({span(effect.low, effect.high, signed=True)}), "
        f"p {p_text(effect.p_value)}, {found.rows} chains and starts"
    )
    if found.images < FEWEST:
        size += f"; AIL is of {found.images} images only, so this may be luck"
    if effect.p_value >= SURE:
        return f"On {found.on}, the score does not detectably go with AIL ({size})."
    more, fewer = ("better", "more") if effect.value > 0 else ("worse", "less")
    robust = f", so they are {fewer} robust to what confounds" if found.robust else ""
    if found.no_better_than is None:
        return f"On {found.on}, chains of higher AIL are {more}{robust} ({size})."
    return (
        f"On {found.on}, chains of higher AIL are {more} ({size}), but none scores more than "
        f"guessing ({found.no_better_than:.1f} %), so that tells nothing of robustness."
    )


def write_csv(found: Sequence[Relation], table: Table, path: Path) -> None:
    """Write every chain's and start's AIL and area, and its score on each of the images."""
    columns = [column for name in (AIL, AREA) for column in (name, f"{name}_low", f"{name}_high")]
    rows = [["chain", *columns, *(f"score on {one.on}" for one in found)]]
    for row in attended(table):
        known = [row.measures.get(name) for name in (AIL, AREA)]
        told = [value for one in known for value in cells(one)]
        scores = (one.scores.get(row.chain) for one in found)
        rows.append([row.chain, *told, *("" if x is None else f"{x:.2f}" for x in scores)])
    write_rows(path, rows)
