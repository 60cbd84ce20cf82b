"""The summary: what a search found beyond its table, and `summary.json`.

found = build(table, info, store)
found.as_json()["best_chain"]     # for programs: unrounded, null for no value
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from search.chains.chain import SCRATCH
from search.report import (
    attention,
    convergence,
    external,
    labels,
    learning,
    notes,
    pool,
    relation,
    sources,
    stored,
    verdict_words,
    worth,
)
from search.report.convergence import Trend
from search.report.external import ExternalSet
from search.report.labels import Labelled
from search.report.learning import LearningCurve
from search.report.ledger import Seen
from search.report.notes import Recall
from search.report.pool import WithoutPool
from search.report.published import Published
from search.report.relation import Relation
from search.report.rows import IMAGENET
from search.report.sources import Sources
from search.report.statistics import verdicts
from search.report.statistics.course import Step, course
from search.report.statistics.factors import Correlation, Factor, correlations, factors
from search.report.statistics.verdicts import Estimate, Planned, Recommended
from search.report.stored import Store
from search.report.table import Images, Row, Table
from search.results.records import RunInfo

OWN = ("best_chain", "elsewhere")  # of the circumstances: told in another form


@dataclass(frozen=True)
class Gain:
    """The points by which the best chain is better than a baseline, paired; None if unknown."""

    val: Estimate | None
    test: Estimate | None


@dataclass(frozen=True)
class Summary:
    """Everything that is told about a search.

    headline: its result in one line. worth: whether pretraining pays, and from where. planned: the
    one planned comparison. optimism: points that the best chain's selected score lost on fresh
    seeds. notes: what makes the numbers worth less. test: best chain and baselines on the test
    images. tested: whether these were allowed to be scored. seen: their earlier uses. gains: by
    baseline. recall: the recommended's, of every class of the validation images. trends: of the
    starts' fine-tuning. learning: probes along the singles' training. published: a published table
    beside this one. relations: of attention inside the region to the score.
    looked_at: validation images on which attention was measured.
    """

    table: Table
    info: RunInfo
    headline: str
    worth: str
    recommended: Recommended | None
    planned: Planned | None
    optimism: float | None
    notes: tuple[str, ...]
    tested: bool
    test: dict[str, Estimate]
    test_on: Images | None
    gains: dict[str, Gain]
    factors: tuple[Factor, ...]
    correlations: tuple[Correlation, ...]
    course: tuple[Step, ...]
    recall: tuple[Recall, ...]
    label_curve: tuple[Labelled, ...]
    external: tuple[ExternalSet, ...]
    sources: Sources | None
    trends: tuple[Trend, ...]
    learning: tuple[LearningCurve, ...] = ()
    without_pool: WithoutPool | None = None
    seen: Seen | None = None
    published: Published | None = None
    relations: tuple[Relation, ...] = ()
    looked_at: int = 0

    @property
    def winner(self) -> Row | None:
        """The row of the recommended, a chain or a start."""
        return self.table.row(self.recommended.name) if self.recommended else None

    @property
    def controls(self) -> tuple[Row, ...]:
        """The controls, and the best chain's tasks in reverse where that is an ordinary chain."""
        best = self.table.best.path if self.table.best else None
        return tuple(
            row
            for row in self.table.scored
            if row.control or (best and len(best.tasks) > 1 and row.path == best.reverse)
        )

    def as_json(self) -> dict[str, Any]:
        """Return `summary.json` as plain values; its keys are an interface."""
        table, info, best = self.table, self.info, self.table.best
        plain: Any = asdict(self, dict_factory=_object)
        return {
            "headline": self.headline,
            "worth_pretraining": self.worth,
            "starts": [_start(row) for row in table.probed],
            "recommended": self.recommended.name if self.recommended else None,
            "recommended_by": self.recommended.by if self.recommended else None,
            "notes": [*self.notes],
            "planned": plain["planned"],
            "best_chain": best.chain if best else None,
            "best_score": best.score if best else None,
            "best_ci": [best.ci_low, best.ci_high] if best else None,
            "best_above_scratch": best.above_scratch if best else None,
            "best_above_imagenet": best.above_imagenet if best else None,
            "scratch": table.score(SCRATCH),
            "imagenet": table.score(IMAGENET),
            "gain_over_scratch": plain["gains"][SCRATCH],
            "gain_over_imagenet": plain["gains"][IMAGENET],
            "gain_over": plain["gains"],
            "test": plain["test"],
            "test_on": plain["test_on"],
            "explained": _explained(self.factors),
            **{name: one for name, one in plain["info"].items() if name not in OWN},
            "overhead_seconds": info.overhead.kinds() if info.overhead else {},
            "failed": _reasons(table, "failed"),
            "pruned": _reasons(table, "pruned"),
            "could_be_best": [row.chain for row in table.contenders] if table.compared else None,
            "cheapest_of_them": table.cheapest.chain if table.cheapest else None,
            "optimism": self.optimism,
            "controls": {row.chain: verdict_words.control(row, table) for row in self.controls},
            "fine_tuning": plain["trends"],
            "learning_curves": plain["learning"],
            "earlier_test_looks": self.seen.earlier if self.seen else None,
            "label_curve": plain["label_curve"],
            "external": plain["external"],
            "sources": plain["sources"],
            "without_pool": plain["without_pool"],
            "published": plain["published"],
            "attention_and_score": plain["relations"],
            "compared_on": plain["table"]["compared_on"],
            "training_noise": table.training_noise,
            "factors": plain["factors"],
            "correlations": plain["correlations"],
            "course": plain["course"],
            "recall": [{"class": n, "images": k, "recall": r} for n, k, r in self.recall],
            "objective": table.objective.name,
            "measures": {
                row.chain: {name: asdict(one) for name, one in row.measures.items()}
                for row in table.finalists
            },
            "chains": [_object([*table.values(row).items()]) for row in table.rows],
        }


def build(table: Table, info: RunInfo, store: Store, test: bool = True) -> Summary:
    """Build the summary. test: whether test images may be scored."""
    test = test and not (info.interrupted or info.incomplete)  # once, when the search is over
    scored = verdicts.finalists(table, store) if test else None
    chosen = verdicts.recommended(table)
    planned = verdicts.planned(table, store, "test" if scored else "val")
    recall, trends = tuple(_recall(table, store)), convergence.starts(table, store)
    within = sources.build(table, _chosen(table, chosen), store)
    said, mark = verdict_words.headline(table, chosen, planned), notes.mark(info)
    return Summary(
        table=table,
        info=info,
        headline=f"{said} ({mark})" if mark else said,
        worth=worth.answer(table, chosen, planned),
        recommended=chosen,
        planned=planned,
        optimism=verdicts.optimism(table),
        notes=notes.notes(table, info, store, recall, trends) + sources.warning(within),
        tested=test,
        test={chain: scored.estimate(chain) for chain in scored.chains} if scored else {},
        test_on=scored.on if scored else None,
        gains={one: _gain(table, planned, one) for one in (SCRATCH, IMAGENET, *_named(table))},
        factors=factors(table),
        correlations=correlations(table),
        course=course(table, store),
        recall=recall,
        label_curve=labels.curve(info.label_curve, store, table.objective),
        external=external.judged(info.external, table, chosen.name if chosen else None, store),
        sources=within,
        trends=trends,
        learning=tuple(learning.curves(table, store)),
        without_pool=pool.without(info.without_pool, table, store),
        relations=relation.relations(table, info.elsewhere, store),
        looked_at=attention.looked_at(table, store),
    )


def _chosen(table: Table, chosen: Recommended | None) -> list[str]:
    """Return the recommended, the leading start and the best chain, each once."""
    names = [chosen.name] if chosen else []
    return list(dict.fromkeys([*names, *(r.chain for r in (table.leading_start, table.best) if r)]))


def _named(table: Table) -> list[str]:
    """Return the baselines that have no keys of their own."""
    return sorted(table.start_names - {SCRATCH, IMAGENET})


def _start(row: Row) -> dict[str, object]:
    """Return what `summary.json` tells of a start, its frozen probes first."""
    return {
        "start": row.chain, "linear": row.linear, "linear_ci": [row.linear_low, row.linear_high],
        "knn": row.knn, "knn_ci": [row.knn_low, row.knn_high], "score": row.score,
        "fresh_score": row.fresh_score, "status": row.status, "frozen": row.frozen,
    }  # fmt: skip


def _gain(table: Table, planned: Planned | None, baseline: str) -> Gain:
    row, val, test = table.row(baseline), None, None
    if row and row.difference is not None:
        assert row.difference_low is not None
        assert row.difference_high is not None
        less = Estimate(-row.difference, -row.difference_high, -row.difference_low)
        val = verdict_words.gain(table, less)
    if planned and planned.split == "test":
        known = {one.start: one.difference for one in planned.others}
        found = (known | {planned.start: planned.difference}).get(baseline)
        test = verdict_words.gain(table, found) if found else None
    return Gain(val, test)


def _explained(decides: tuple[Factor, ...]) -> dict[str, float] | None:
    """Return both explained variances in percent, or None: one alone would mislead."""
    percent = {one.name: 100 * one.effect.value for one in decides if one.effect}
    return percent if len(percent) == len(decides) else None


def _recall(table: Table, store: Store) -> Iterator[Recall]:
    row = table.recommended
    shown = stored.predictions(store, first_key(row), "val") if row else None
    if shown is None:
        return
    for k, name in enumerate(shown.classes):
        right = shown.recognised(k)[shown.having(k)]
        if len(right):
            yield Recall(name, len(right), 100 * float(right.mean()))


def first_key(row: Row) -> str | None:
    """Return the key of the score that stands for a row: of its first fresh seed, if it has one."""
    return row.fresh_keys[0] if row.fresh_keys else row.downstream_key


def _reasons(table: Table, status: str) -> list[dict[str, str]]:
    return [{"chain": r.chain, "reason": r.reason} for r in table.rows if r.status == status]


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a record as JSON has it after reading: with lists."""
    return {key: [*value] if isinstance(value, tuple) else value for key, value in pairs}
