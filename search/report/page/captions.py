"""The figures in words, for the alternative texts."""

from itertools import pairwise

from search.chains.chain import prefixes
from search.report.attention import AIL, attended
from search.report.learning import sentence
from search.report.relation import sentence as told
from search.report.summary import Summary
from search.report.table import Row, Table, number, span
from search.report.verdict_words import could

SPOKEN = 6  # rows or steps listed in an alternative text


def alt(figure: str, found: Summary) -> str:
    """Return the alternative text of a figure: its numbers."""
    return {
        "tree": _tree,
        "intervals": _intervals,
        "label_curve": _label_curve,
        "relation": _relation,
        "regret": _regret,
        "confusion": _confusion,
        "learning": _learning,
        "finetuning": _finetuning,
        "lr_ranges": _lr_ranges,
        "pretext": _pretext,
    }[figure](found)


def _tree(found: Summary) -> str:
    table, chains = found.table, found.table.chains
    if table.best is None:
        return "A tree of chains without a score."
    path = map(str, prefixes(table.best.path))
    steps = ", ".join(f"{chain} {number(table.score(chain))}" for chain in path)
    return (
        f"{len(chains)} scored chains from {number(chains[-1].score)} to "
        f"{table.amount(chains[0].score)}. The best path: {steps}."
    )


def _intervals(found: Summary) -> str:
    table = found.table
    listed = "; ".join(
        f"{_scored(row, table)} ({span(row.ci_low, row.ci_high)}), {could(row)}"
        for row in table.scored[:SPOKEN]
    )
    rest = len(table.scored) - SPOKEN
    return f"{listed}{f'; and {rest} more, in the table' if rest > 0 else ''}."


def _label_curve(found: Summary) -> str:
    listed = "; ".join(
        f"{point.chain} at {point.labels:.0%} {number(point.tuned.value)} fine-tuned"
        f"{f', {number(point.probe.value)} by a linear probe' if point.probe else ''}"
        for point in found.label_curve
    )
    return f"Scores by fraction of the labels: {listed}."


def _regret(found: Summary) -> str:
    steps = found.course
    better = [*steps[:1], *(now for last, now in pairwise(steps) if now.regret < last.regret)]
    listed = ", ".join(f"{number(s.regret)} after {s.stages}" for s in better[-SPOKEN:])
    return f"Points behind the best chain, by stages trained: {listed}; {steps[-1].stages} in all."


def _relation(found: Summary) -> str:
    listed = "; ".join(
        f"{row.chain} {row.measures[AIL].value:.1f}" for row in attended(found.table)[:SPOKEN]
    )
    return f"AIL in % of the best: {listed}. {' '.join(map(told, found.relations))}"


def _confusion(found: Summary) -> str:
    listed = ", ".join(f"{one.name} {one.recall:.0f} % of {one.images}" for one in found.recall)
    return f"Recall by class: {listed}."


def _learning(found: Summary) -> str:
    listed = "; ".join(map(sentence, found.learning))
    return f"Macro AUROC of the frozen probe by steps: {listed}."


def _finetuning(found: Summary) -> str:
    table = found.table
    listed = ", ".join(_scored(row, table) for row in table.finalists)
    return f"Training loss and {table.objective.title} by step. The best scores: {listed}."


def _lr_ranges(found: Summary) -> str:
    best, scored = found.table.best, found.table.scored
    chosen = f"{best.lrs}, fine-tuning {best.downstream_lr}" if best else "none"
    return (
        f"Chosen along the best chain: {chosen}. {sum(row.at_edge for row in scored)} of "
        f"{len(scored)} rows chose a rate at the edge of a range (*)."
    )


def _pretext(found: Summary) -> str:
    listed = ", ".join(
        f"{row.chain} {100 * row.pretext_accuracy:.0f} % right"
        for row in found.table.scored
        if row.length == 1 and row.pretext_accuracy is not None
    )
    return f"Confusions of pretext tasks. In their last training steps: {listed}."


def _scored(row: Row, table: Table) -> str:
    return f"{row.title} {table.amount(row.score)}"
