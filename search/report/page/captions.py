"""The figures in words: title, explanation, and alternative text."""

from collections.abc import Mapping
from typing import Any

from search.chains.chain import name, prefixes
from search.report.figures.forest import MAX_ROWS, TITLES
from search.report.table import Row, Table, number
from search.report.words import against

Summary = Mapping[str, Any]
AT_MOST = f"Only the best {MAX_ROWS} chains are drawn."
SPOKEN = 6  # rows or steps listed in an alternative text
READING = {
    "tree": (
        "The tree of chains",
        "Every box is a chain: the path from the left up to it. Its number is the balanced "
        "accuracy after fine-tuning from there; the darker, the better. The orange path leads to "
        "the best chain. Dashed boxes have no number: stopped, pruned, failed or not run.",
    ),
    "intervals": (
        "How sure the order is",
        "Dots are balanced accuracies, bars their 95 % intervals. Full dots can't be told apart "
        "from the winner, hollow ones are significantly different from it; p, on the right, is the "
        "corrected p-value of that comparison. Bars may overlap although the difference is "
        "significant: all chains are judged on the same images, and the comparison uses that. "
        "Dashed lines are the baselines. A repeated chain is drawn at the mean of its "
        "seeds, which are the small strokes.",
    ),
    "regret": (
        "How soon the winner was found",
        "Chains in the order in which they were scored, from left to right by what the search had "
        "trained until then. The line shows how far the best chain so far was below the best of "
        "all: the sooner it reaches zero, the better the order. Dashed: the same order if "
        "every chain were trained from its first stage.",
    ),
    "confusion": (
        "What the best chain confuses",
        "Validation images. A row is a true class: the fraction of it that was predicted as each "
        "column, with the number of images below. Balanced accuracy is the mean of the diagonal.",
    ),
    "finetuning": (
        "Fine-tuning",
        "Per epoch. The best epoch on validation is kept. Curves that still rise at the end ask "
        f"for more epochs. {AT_MOST}",
    ),
    "lr_ranges": (
        "Learning rates tried",
        "Each line is one stage: the score of a short run at every rate it tried. The marked rate "
        "was best at the end of its run, and was trained in full. A hollow dot is a rate that was "
        "dropped before the end: the score of a shorter run. A triangle is at the edge of "
        "the range: widen the range, the best rate may be outside. Scores of different tasks can't "
        "be compared, nor those of stages that come earlier and later in a chain. "
        f"{AT_MOST}",
    ),
    "pretext": (
        "What pretraining tells apart",
        "Singles whose task has fixed answers, on training images. A row is a true answer; cells "
        "are the percentages of the answers given. Relative Location: the eight places around the "
        "centre, row by row; if its corners (1, 3, 6, 8) stand out far, a border, a vignette or a "
        "marker gives them away. Rotation: quarter turns, counter-clockwise.",
    ),
}


def alt(figure: str, table: Table, summary: Summary) -> str:
    """Return the alternative text of a figure: its numbers."""
    return {
        "tree": _tree,
        "intervals": _intervals,
        "regret": _regret,
        "confusion": _confusion,
        "finetuning": _finetuning,
        "lr_ranges": _lr_ranges,
        "pretext": _pretext,
    }[figure](table, summary)


def _tree(table: Table, summary: Summary) -> str:
    del summary
    chains = [row for row in table.scored if not row.is_baseline]
    if table.best is None:
        return "A tree of chains without a score."
    path = [name(prefix) for prefix in prefixes(table.best.tasks)]
    steps = ", ".join(f"{chain} {number(table.accuracy(chain))}" for chain in path)
    return (
        f"{len(chains)} scored chains from {number(chains[-1].balanced_accuracy)} to "
        f"{number(chains[0].balanced_accuracy)} %. The best path: {steps}."
    )


def _intervals(table: Table, summary: Summary) -> str:
    del summary
    listed = "; ".join(_interval(row, table) for row in table.scored[:SPOKEN])
    rest = len(table.scored) - SPOKEN
    return f"{listed}{f'; and {rest} more, in the table' if rest > 0 else ''}."


def _interval(row: Row, table: Table) -> str:
    return (
        f"{TITLES.get(row.chain, row.chain)} {number(row.balanced_accuracy)} % "
        f"({number(row.ci_low)} to {number(row.ci_high)}), {against(row, table)}"
    )


def _regret(table: Table, summary: Summary) -> str:
    del table
    steps = summary["course"]
    better = [
        now
        for last, now in zip([None, *steps], steps, strict=False)
        if last is None or now["regret"] < last["regret"]
    ]
    listed = ", ".join(f"{number(s['regret'])} after {s['stages']}" for s in better[-SPOKEN:])
    return (
        f"Points below the best chain, by stages trained: {listed}; {steps[-1]['stages']} in all."
    )


def _confusion(table: Table, summary: Summary) -> str:
    del table
    listed = ", ".join(
        f"{one['class']} {one['recall']:.0f} % of {one['images']}" for one in summary["recall"]
    )
    return f"Recall by class: {listed}."


def _finetuning(table: Table, summary: Summary) -> str:
    del summary
    listed = ", ".join(
        f"{TITLES.get(row.chain, row.chain)} {number(row.balanced_accuracy)} %"
        for row in table.scored
        if row == table.best or row.is_baseline
    )
    return f"Training loss and validation accuracy by epoch. The best epochs: {listed}."


def _lr_ranges(table: Table, summary: Summary) -> str:
    del summary
    edges = sum("*" in row.lrs + row.downstream_lr for row in table.scored)
    best = table.best
    chosen = f"{best.lrs}, fine-tuning {best.downstream_lr}" if best else "none"
    return (
        f"Chosen along the best chain: {chosen}. {edges} of {len(table.scored)} rows chose a rate "
        "at the edge of a range (*)."
    )


def _pretext(table: Table, summary: Summary) -> str:
    del summary
    listed = ", ".join(
        f"{row.chain} {100 * row.pretext_accuracy:.0f} % right"
        for row in table.scored
        if row.length == 1 and row.pretext_accuracy is not None
    )
    return f"Confusions of pretext tasks. In their last training steps: {listed}."
