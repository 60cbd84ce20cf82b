"""The report's verdicts on simulated searches: coverage, false verdicts, power, optimism.

    python tests/benchmarks/evidence.py                     # all cells, 20 minutes of one core
    python tests/benchmarks/evidence.py --out runs/evidence # finished cells are kept: run it again
    python tests/benchmarks/evidence.py --quick             # a few searches a cell, half a minute
    python tests/benchmarks/evidence.py --only "lead 8"     # the cells whose name has this
    python tests/benchmarks/evidence.py --searches 1000     # those with fewer are run again

A search has chains and two starts with known true scores, patient groups, and four classes, of
which the rarest has ten patient groups. Every network errs by the difficulty of an image, which is
the same for all, by what its chain finds difficult, and by itself. A seed moves all networks that
have it, and training moves each: by `sd` points both, unless said otherwise. The verdicts are the
report's own functions. Early stopping is simulated by early_stopping.py, whose first rows follow.
Measured results: evidence.md.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from scipy.stats import norm

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from search.chains.node import FRESH, Node  # noqa: E402
from search.report import rows  # noqa: E402
from search.report.statistics import verdicts  # noqa: E402
from search.report.statistics.scored import Observed  # noqa: E402
from search.report.table import Images, Table  # noqa: E402
from search.results.records import ChainResult, Repeat  # noqa: E402
from search.scheduling import repeats  # noqa: E402
from tests.benchmarks import early_stopping  # noqa: E402
from trainables.downstream.measures import MEASURES  # noqa: E402
from trainables.downstream.metrics import GroupBootstrap  # noqa: E402
from trainables.spec import MeasureType, Score  # noqa: E402

STARTS = ("scratch", "imagenet")
Floats: TypeAlias = NDArray[np.float64]
Found: TypeAlias = dict[str, float]  # of one search; means of a cell

CLASSES, EACH = (90, 60, 40, 10), 2  # patient groups of each class, images of a group
LEVEL = 70.0  # true score of a chain that doesn't lead
DIFFICULTY = {"group": 0.2, "image": 0.35, "chain": 0.15, "network": 0.3}  # of a variance of 1
POINTS = 100 * float(norm.pdf(norm.ppf(LEVEL / 100)))  # per unit of it, around LEVEL
SEARCHES, QUICK = 300, 8
MERIT = MeasureType("merit", "merit")
RESAMPLES = 1000  # of patient groups; the report takes 2,000
MANY = 64  # chains; searches of so many are half as many


@dataclass(frozen=True)
class Cell:
    """One kind of search. sd: of one training, in points.

    leaders: chains that are truly `lead` points above the others. halving: contenders get their
    seeds as in a search, by their scores so far; else all do. lower: the measure is an error.
    starts: sd of a start's training, in that of a chain's; shared: sd of a seed, in the same.
    """

    chains: int = 15
    seeds: int = 3
    sd: float = 1.0
    lead: float = 0.0
    leaders: int = 1
    halving: bool = False
    lower: bool = False
    starts: float = 1.0
    shared: float = 1.0

    @property
    def name(self) -> str:
        said = "equal" if not self.lead else f"lead {self.lead:g}"
        said += f", {self.leaders} leaders" if self.leaders > 1 else ""
        said += ", halving" if self.halving else ""
        said += ", lower is better" if self.lower else ""
        said += f", starts {self.starts:g} times as noisy" if self.starts != 1 else ""
        said += f", seeds {self.shared:g} times as noisy" if self.shared != 1 else ""
        return f"{said}, {self.chains} chains, {self.seeds} seeds, sd {self.sd:g}"

    @property
    def truth(self) -> Floats:
        """The true scores of the chains, then of two starts."""
        scores = np.full(self.chains + len(STARTS), LEVEL)
        scores[: self.leaders] += self.lead
        return 100 - scores if self.lower else scores


def cells() -> Iterator[Cell]:
    for sd in (0.5, 1.5, 3.0):
        for chains in (15, MANY):
            yield from (Cell(chains, seeds, sd) for seeds in (2, 3))
        yield from (Cell(15, seeds, sd, lead) for lead in (3.0, 5.0, 8.0) for seeds in (2, 3))
    yield from (Cell(sd=sd, halving=True) for sd in (0.5, 1.5, 3.0))
    yield Cell(sd=1.5, lead=8.0, halving=True)
    yield Cell(sd=1.5, lead=8.0, leaders=7)
    yield Cell(sd=1.5, lower=True)
    yield Cell(sd=1.5, lead=8.0, lower=True)
    yield Cell(sd=1.5, starts=2.0)
    yield from (Cell(seeds=seeds, sd=1.5, shared=3.0) for seeds in (2, 3))
    yield Cell(seeds=1, sd=1.5)


@cache
def images() -> GroupBootstrap:
    """Return the labels and patient groups of a split."""
    labels = np.repeat(np.arange(len(CLASSES)), [EACH * count for count in CLASSES])
    groups = np.repeat(np.arange(sum(CLASSES)), EACH).astype(str)
    return GroupBootstrap(labels, groups, len(CLASSES), RESAMPLES)


def accuracies(right: NDArray[np.bool_]) -> Floats:
    """Return balanced accuracies: [networks, images] -> [networks, 1 + resamples]."""
    truth = np.eye(len(CLASSES))[images().labels]
    hits = images().sums((right.T[:, :, None] * truth[:, None]).reshape(len(truth), -1))
    every = images().sums(truth)[:, None]
    hits = hits.reshape(len(every), len(right), len(CLASSES))
    known = np.broadcast_to(every > 0, hits.shape)
    return 100 * np.mean(hits / np.maximum(every, 1), axis=2, where=known).T


class Split:
    """New images, and how difficult each chain finds them: [rows, images]."""

    def __init__(self, rng: np.random.Generator, chains: int) -> None:
        count = len(images().labels)
        group = np.repeat(np.arange(images().groups), EACH)
        share = {name: part**0.5 for name, part in DIFFICULTY.items()}
        same = share["group"] * rng.standard_normal(images().groups)[group]
        same = same + share["image"] * rng.standard_normal(count)
        self.difficulty = same + share["chain"] * rng.standard_normal((chains, count))
        self.own, self.rng = share["network"], rng

    def score(self, row: Sequence[int], level: Floats) -> Floats:
        """Score networks of these rows and levels: [networks, 1 + resamples]."""
        own = self.own * self.rng.standard_normal((len(row), len(images().labels)))
        return accuracies(level[:, None] > self.difficulty[[*row]] + own)


class Search:
    """A search's networks, by row and seed, and two splits of images."""

    def __init__(self, cell: Cell, rng: np.random.Generator) -> None:
        self.cell = cell
        self.names = (*(f"c{k}" for k in range(cell.chains)), *STARTS)
        self.val, self.test = Split(rng, len(self.names)), Split(rng, len(self.names))
        truth = 100 - cell.truth if cell.lower else cell.truth
        self.selection = [*range(cell.seeds)]
        self.fresh = [FRESH + k for k in self.selection]
        seeds, own = [*self.selection, *self.fresh], np.full((len(self.names), 1), cell.sd / POINTS)
        own[cell.chains :] *= cell.starts
        shared = cell.shared * cell.sd / POINTS
        levels = norm.ppf(truth[:, None] / 100) * np.sqrt(1 + own**2 + shared**2)
        levels = levels + rng.normal(0, shared, len(seeds))
        levels = levels + rng.normal(0, own, (len(own), len(seeds)))
        self.level = {
            (name, seed): levels[k, s]
            for k, name in enumerate(self.names) for s, seed in enumerate(seeds)
        }  # fmt: skip

    def observe(self, split: Split, keep: Mapping[str, Sequence[int]]) -> Observed:
        """Score these rows' networks of these seeds."""
        row = [self.names.index(name) for name, seeds in keep.items() for _ in seeds]
        level = np.array([self.level[name, seed] for name in keep for seed in keep[name]])
        values = split.score(row, level)
        values = 100 - values if self.cell.lower else values
        on = Images(len(images().labels), images().groups, EACH * min(CLASSES))
        return Observed(
            tuple(keep), tuple(map(tuple, keep.values())), values, on, frozenset(STARTS)
        )

    def chosen(self) -> Observed:
        """Score the selection seeds on validation."""
        every = self.observe(self.val, dict.fromkeys(self.names, self.selection))
        return _contenders(every, self.cell) if self.cell.halving else every


def _contenders(every: Observed, cell: Cell) -> Observed:
    """Return the scores that a search would have asked for; it begins with the first seeds."""
    sign = -1 if cell.lower else 1
    nodes = [_node(name).again(k) for name in every.chains for k in every.seeds[0]]
    merits = dict(zip(nodes, (sign * every.values[:, 0]).tolist(), strict=True))
    scores = {node: MERIT.score(merit, merit, merit) for node, merit in merits.items()}
    starts = {node for node in nodes if node.chain.is_baseline}
    first = [node for node in nodes if node.repeat == 0 and node not in starts]
    asked = {node: scores[node] for node in first}

    def leader(again: Mapping[Node, Sequence[Score]]) -> Node | None:
        """Return the chain with the highest mean over the seeds that it has."""
        return max(first, key=lambda p: fmean(s.merit for s in (scores[p], *again.get(p, ()))))

    while missing := repeats.rounds(asked, (), cell.seeds, leader)[0]:
        asked |= {node: scores[node] for node in missing}
    known = {*asked, *starts}
    kept = [k for k, node in enumerate(nodes) if node in known]
    seeds = [tuple(k for k in every.seeds[0] if _node(n).again(k) in known) for n in every.chains]
    return replace(every, seeds=tuple(seeds), values=every.values[kept])


def _node(name: str) -> Node:
    return Node.parse(name, STARTS)


class NoStore:
    """A store without manifests: the table needs none."""

    def path(self, key: str) -> Path:
        return Path(key)

    def manifest(self, key: str) -> None:  # noqa: ARG002
        return None


def tabulate(cell: Cell, chosen: Observed) -> Table:
    """Build the report's table from the scores."""
    measure = replace(MEASURES["balanced_accuracy"], higher_is_better=not cell.lower)
    results, values = [], iter(chosen.values[:, 0].tolist())
    for name, seeds in zip(chosen.chains, chosen.seeds, strict=True):
        first, *others = (measure.score(v, v, v) for _, v in zip(seeds, values, strict=False))
        again = tuple(Repeat(k, score, "") for k, score in zip(seeds[1:], others, strict=True))
        results.append(
            ChainResult(_node(name).chain, "done", first, downstream_key="", repeats=again)
        )
    return rows.build(results, NoStore(), measure)


def measure(cell: Cell, rng: np.random.Generator) -> Found:
    """Simulate a search; return whether each of its verdicts holds."""
    search = Search(cell, rng)
    chosen = search.chosen()
    table = tabulate(cell, chosen)
    again = dict.fromkeys((row.chain for row in table.finalists), search.fresh)
    table = verdicts.judge(table, chosen, search.observe(search.val, again))
    tested = verdicts.planned_of(table, search.observe(search.test, again), "test")
    truth = dict(zip(search.names, cell.truth.tolist(), strict=True))
    best, start = table.best, table.leading_start
    assert best
    assert start
    assert tested
    found = {
        "optimism": verdicts.optimism(table) or 0.0,
        "bias": table.objective.merit((best.score or 0) - truth[best.chain]),
        "fresh": _mean(_within(truth[r.chain], r.fresh_low, r.fresh_high) for r in table.finalists),
        "verdict": float(any(row.could_be_best is not None for row in table.rows)),
    }
    if table.noise is None:
        return found
    found |= _rows(table, truth) | _set(cell, table, truth) | _pairs(chosen, table, truth)
    found |= _planned(tested, truth)
    return found | {"false verdict": float(any(found[name] == 1 for name in WRONG))}


def _rows(table: Table, truth: Mapping[str, float]) -> Found:
    """Return whether the intervals of selection scores hold their truth."""
    best = table.best
    assert best
    return {
        "row": _mean(_within(truth[r.chain], r.ci_low, r.ci_high) for r in table.rows),
        "row width": _mean((r.ci_high or 0) - (r.ci_low or 0) for r in table.rows),
        "winner": _within(truth[best.chain], best.ci_low, best.ci_high),
    }


def _set(cell: Cell, table: Table, truth: Mapping[str, float]) -> Found:
    """Return what the set that could be the best has lost rightly and wrongly."""
    top = table.objective.merit(max(map(table.objective.merit, truth.values())))
    lost = [row.chain for row in table.rows if row.could_be_best is False]
    wrong = [name for name in lost if truth[name] == top]
    return {
        "any lost": float(bool(wrong)),
        "lost": len(wrong) / sum(score == top for score in truth.values()),
        "excluded": float(sum(name not in STARTS and name not in wrong for name in lost)),
        "of": float(cell.chains - cell.leaders if cell.lead else 0),
    }


def _pairs(chosen: Observed, table: Table, truth: Mapping[str, float]) -> Found:
    """Return what holds of the differences to the first chain, which no score has selected."""
    scored = chosen.scored(table.noise)
    one, *others = scored.chains
    found = {name: scored.difference(one, name) for name in others}
    draws = scored.resampled[0] - scored.resampled[1]
    assert table.noise
    return {
        "difference": _mean(
            _within(truth[one] - truth[name], known.low, known.high)
            for name, known in found.items() if known
        ),
        "reported sd": float(draws.std()),
        "apart": float(scored.scores[0] - scored.scores[1]),
        "training": table.noise.std,
    }  # fmt: skip


def _planned(tested: verdicts.Planned, truth: Mapping[str, float]) -> Found:
    known = tested.difference
    assert known
    apart = truth[tested.chain] - truth[tested.start]
    others = [one for one in tested.others if one.difference and one.p_value is not None]
    wrong = [
        one.p_value is not None and one.p_value < 0.05
        for one in others
        if truth[tested.chain] == truth[one.start]
    ]
    return {
        "planned": _within(apart, known.low, known.high),
        "planned wrong": float(not known.low <= 0 <= known.high) if not apart else float("nan"),
        "planned width": known.high - known.low,
        "others": _mean(
            _within(truth[tested.chain] - truth[one.start], one.difference.low, one.difference.high)
            for one in others if one.difference
        ),
        "others wrong": float(any(wrong)) if wrong else float("nan"),
        "planned power": float(known.low * known.high > 0 and known.value * apart > 0)
        if apart else float("nan"),
    }  # fmt: skip


def _within(value: float, low: float | None, high: float | None) -> float:
    return float("nan") if low is None or high is None else float(low <= value <= high)


def _mean(values: Iterator[float]) -> float:
    return float(np.mean([*values]))


def run(cell: Cell, searches: int, console: Console) -> Found:
    """Return the means over the searches of a cell; `true sd`: of a difference, over searches."""
    rng = np.random.default_rng(list(cell.name.encode()))
    every = [measure(cell, rng) for _ in track(range(searches), cell.name, console=console)]
    found = {
        name: float(np.nanmean([one[name] for one in every]))
        for name in every[0]
        if np.isfinite([one[name] for one in every]).any()
    }
    if "apart" in found:
        found["true sd"] = float(np.std([one["apart"] for one in every], ddof=1))
    return found | {"searches": searches}


def kept(path: Path) -> dict[str, Found]:
    """Return the finished cells by name."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {one.pop("cell"): one for one in map(json.loads, lines)}


WRONG = ("planned wrong", "others wrong")  # the verdicts on starts; the set keeps its own promise
COVERAGE = ("row", "difference", "fresh", "planned", "others")
PERCENT = (
    *COVERAGE,
    *WRONG,
    "any lost",
    "false verdict",
    "winner",
    "lost",
    "planned power",
    "verdict",
)
TABLES = {
    "Coverage of the 95 % intervals, %": COVERAGE,
    "False verdicts, %, and the selected winner": (
        "verdict", "false verdict", "planned wrong", "others wrong", "any lost", "lost", "winner",
        "optimism", "bias",
    ),
    "Noise, points": ("reported sd", "true sd", "training", "row width", "planned width"),
    "Power": ("excluded", "of", "planned power"),
}  # fmt: skip


def written(found: Mapping[str, Found]) -> str:
    """Return the tables in Markdown."""
    parts = []
    for title, columns in TABLES.items():
        lines = [f"**{title}**", "", f"| cell | searches | {' | '.join(columns)} |"]
        lines.append("| --- |" + " ---: |" * (1 + len(columns)))
        for name, one in found.items():
            cells = [_cell(one.get(column), column in PERCENT) for column in columns]
            lines.append(f"| {name} | {one['searches']:.0f} | {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def stopped(sds: Sequence[float] = (0.5, 1.5, 2.65)) -> str:
    """Return how often early stopping ends a chain that is truly equal, in Markdown."""
    lines = [
        "**Early stopping of truly equal chains, %**",
        "",
        "| sd | stopped |",
        "| --- | ---: |",
    ]
    lines += [f"| {sd} | {100 * early_stopping.simulate(sd).stopped:.1f} |" for sd in sds]
    return "\n".join(lines)


def _cell(value: float | None, percent: bool) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.1f}" if percent else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/evidence"), metavar="FOLDER")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="", metavar="TEXT")
    parser.add_argument("--searches", type=int, default=SEARCHES, metavar="N", help="a cell")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / ("quick.jsonl" if args.quick else "cells.jsonl")
    found, console = kept(path), Console(stderr=True)
    wanted = [cell for cell in cells() if args.only in cell.name]
    for cell in wanted:
        searches = QUICK if args.quick else args.searches // (1 + (cell.chains >= MANY))
        if found.get(cell.name, {"searches": 0})["searches"] < searches:
            found[cell.name] = run(cell, searches, console)
            with path.open("a") as file:
                file.write(json.dumps({"cell": cell.name, **found[cell.name]}) + "\n")
    print(written({cell.name: found[cell.name] for cell in wanted}), stopped(), sep="\n\n")


if __name__ == "__main__":
    main()
