"""`index.html`: one self-contained page, to read, mail or print.

Untrusted text (task and class names, reasons, paths) is made printable and escaped wherever a
template shows it; nothing is marked as safe.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from search.chains import lengths
from search.chains.plan import Plan
from search.console.printable import clock, printable
from search.report import (
    attention,
    duplicates,
    published,
    relation,
    sources,
    verdict_words,
    words,
    worth,
)
from search.report.figures.forest import MAX_ROWS
from search.report.page import captions
from search.report.summary import Summary
from search.report.table import Table, number, p_text, span
from trainables.architectures import ARCHITECTURES
from trainables.spec import Measure
from trainables.training.lengths import PROBED

Unscored = dict[tuple[str, str], list[str]]


class Bar(NamedTuple):
    """An interval and its score on a scale from 0 to 100, the same in all rows."""

    low: float
    high: float
    score: float


def render(found: Summary, plan: Plan, figures: Mapping[str, Path], loads: bool = True) -> str:
    """Render the page as HTML. figures: name -> PNG file. loads: `best/` has weights."""
    shown = values(found, plan, figures, loads)
    return environment().get_template("page.html").render(shown)


def environment() -> Environment:
    """Return the environment of the templates in this folder."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, finalize=_printable,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {
        "number": number,
        "signed": lambda value: number(value, signed=True),
        "p_text": p_text,
        "length_words": lengths.words,
        "general": lambda value: f"{value:g}",
        "percent": lambda value: f"{value:.0%}",
        "clock": clock,
    }
    return made


def values(
    found: Summary, plan: Plan, figures: Mapping[str, Path], loads: bool
) -> dict[str, object]:
    """Return all that the templates need."""
    return {
        "found": found,
        "loads": loads,
        "table": found.table,
        "objective": found.table.objective,
        "info": found.info,
        "plan": plan,
        "space": plan.space,
        "profile": plan.space.profile,
        "key_names": "torchvision" if plan.space.profile.backbone in ARCHITECTURES else "timm",
        "duplicates": duplicates.sentence(found.info.near_duplicates),
        "figures": {name: base64.b64encode(p.read_bytes()).decode() for name, p in figures.items()},
        "alts": {name: captions.alt(name, found) for name in figures},
        "attended": attention.attended(found.table),
        "attention": attention,
        "bars": _bars(found.table),
        "measured": _measured(found.table),
        "finalists": [row.chain for row in found.table.finalists],
        "unscored": _unscored(found.table),
        "most_drawn": MAX_ROWS,
        "most_probed": f"{PROBED:,}",
        "rows_compared": sum(row.could_be_best is not None for row in found.table.rows),
        "span": span,
        "source_sentence": sources.sentence,
        "related": [*map(relation.sentence, found.relations)],
        "published_sentences": [*published.sentences(found.published)],
        "words": words,
        "worth": worth,
        "verdicts": verdict_words,
    }


def _printable(value: object) -> object:
    """Escape invisible characters of whatever is shown, but for the markup of a macro."""
    plain = isinstance(value, str) and value.isascii() and value.isprintable()  # e.g. a picture
    return value if plain or hasattr(value, "__html__") else printable(value)


def _bars(table: Table) -> dict[str, Bar]:
    """Return a bar for every scored chain."""
    start = min((row.ci_low or 0 for row in table.scored), default=0.0)
    end = max((row.ci_high or 0 for row in table.scored), default=1.0)
    scale = 100 / max(end - start, 1e-9)
    found = {}
    for row in table.scored:
        ends = row.ci_low, row.ci_high, row.score
        found[row.chain] = Bar(*(scale * ((value or 0) - start) for value in ends))
    return found


def _measured(table: Table) -> dict[str, dict[str, Measure]]:
    """Return measure -> chain -> its value, of the best chain and the baselines."""
    found: dict[str, dict[str, Measure]] = {}
    for row in table.finalists:
        for name, one in row.measures.items():
            found.setdefault(name, {})[row.chain] = one
    return found


def _unscored(table: Table) -> Unscored:
    """Return status and reason -> the chains that have no score for it."""
    found: Unscored = {}
    for row in table.rows:
        if row.score is None and not row.is_baseline:
            found.setdefault((row.status, row.reason), []).append(row.chain)
    return found
