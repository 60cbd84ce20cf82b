"""The tree figure: every chain is a path from its start, a root, coloured by its score.

A box is a chain, labelled with its last task and its score. The best branch is on top.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from search.chains.chain import Chain, prefixes
from search.report.figures import style
from search.report.table import Row, Table, number

MAX_LEAVES = 60  # above that, pruned chains are left out
BEST = 30  # chains drawn if there are still too many
LINE = 0.5  # inches a leaf
COLUMNS = 5  # that fit into style.WIDTH with the longest task name
HALF_WIDTH = 0.36  # of a box, in columns
Place = tuple[float, float]


@dataclass
class Box:
    """A chain with those that extend it. merit: of its score. winning: on the recommended path."""

    chain: Chain
    row: Row | None
    merit: float | None
    winning: bool
    children: list["Box"] = field(default_factory=list)
    y: float = 0.0

    @property
    def best(self) -> float:
        """The highest merit of this branch; -inf without a score."""
        own = -math.inf if self.merit is None else self.merit
        return max(own, *(child.best for child in self.children), -math.inf)

    @property
    def leaves(self) -> int:
        return sum(child.leaves for child in self.children) or 1


def draw(table: Table) -> Figure:
    """Draw the tree, without pruned chains if there are too many to read."""
    roots, left_out = build(table.rows, table), ""
    if _leaves(roots) > MAX_LEAVES:
        roots = build((row for row in table.rows if row.status != "pruned"), table)
        left_out = "chains that were pruned are left out"
    if _leaves(roots) > MAX_LEAVES:
        roots = build(table.scored[:BEST], table)
        left_out = f"only the best {BEST} chains are shown, and what leads to them"
    top = 0.0
    for root in roots:
        top = _place(root, top)
    depth = max((len(row.tasks) for row in table.rows), default=1)
    width = style.WIDTH * max(1.0, (depth + 1) / COLUMNS)
    figure = Figure(figsize=(width, max(_leaves(roots) * LINE + 1.4, 3.0)))
    axes = figure.subplots()
    colours = _colours(table)
    for root in roots:
        _draw(axes, root, colours)
    _frame(axes, _leaves(roots), depth, left_out)
    bar = figure.colorbar(
        colours, ax=axes, orientation="horizontal", shrink=0.4, aspect=40, pad=0.02
    )
    bar.set_label(f"{table.objective.with_unit}, on validation")
    bar.outline.set_visible(False)  # type: ignore[operator]
    return figure


def build(shown: Iterable[Row], table: Table) -> list[Box]:
    """Build the prefix trees of the rows' chains: a start at each root, best branch first."""
    known = {row.chain: row for row in table.rows}
    chosen = table.recommended or table.best
    winner = {*prefixes(chosen.path), Chain((), chosen.start)} if chosen else set()
    nodes: dict[Chain, Box] = {}
    drawn = [row.path for row in shown] + [Chain((), start) for start in table.start_names]
    for chain in sorted(drawn, key=lambda chain: len(chain.tasks)):
        for part in (Chain((), chain.start), *prefixes(chain)):
            if part not in nodes:
                row = known.get(str(part))
                nodes[part] = Box(part, row, table.merit(row), part in winner)
                if part.tasks:
                    nodes[part.parent].children.append(nodes[part])
    for node in nodes.values():
        node.children.sort(key=lambda child: -child.best)
    roots = [node for node in nodes.values() if node.chain.is_baseline]
    return sorted(roots, key=lambda root: (-root.best, root.chain.start))


def _leaves(roots: Sequence[Box]) -> int:
    return sum(root.leaves for root in roots)


def _place(node: Box, top: float) -> float:
    """Place leaves below each other, parents level with their first child; return next y."""
    node.y = top
    for child in node.children:
        top = _place(child, top)
    return top if node.children else top + 1


def _colours(table: Table) -> ScalarMappable:
    """Return the colours of scores, of the chains' range, as low baselines would stretch it."""
    rows = table.chains or table.scored
    scores = [row.score for row in rows if row.score is not None]
    low, high = (min(scores), max(scores)) if scores else (0.0, 100.0)
    colours = style.score_colours()
    darker = colours if table.objective.higher_is_better else colours.reversed()
    return ScalarMappable(Normalize(low, max(high, low + 1), clip=True), darker)


def _draw(axes: Axes, node: Box, colours: ScalarMappable) -> None:
    """Draw a box, the lines to its children, and these."""
    column = len(node.chain.tasks)
    title = node.chain.tasks[-1] if column else node.row.title if node.row else node.chain.start
    _box(axes, (column, node.y), title, node.row, node.winning, colours)
    for child in node.children:
        start, end = column + HALF_WIDTH, column + 1 - HALF_WIDTH
        middle = (start + end) / 2
        axes.plot(
            [start, middle, middle, end], [node.y, node.y, child.y, child.y],
            color=style.WINNER if child.winning else style.FAINT,
            linewidth=2.6 if child.winning else 1.1,
            linestyle=":" if child.best == -math.inf else "-",  # not tried
            zorder=2 if child.winning else 1,
            solid_capstyle="round",
        )  # fmt: skip
        _draw(axes, child, colours)


def _box(
    axes: Axes, at: Place, title: str, row: Row | None, bold: bool, colours: ScalarMappable
) -> None:
    score = row.score if row else None
    fill = np.ones(4) if score is None else colours.to_rgba(np.asarray(score))
    ink = style.MUTED if score is None else style.ink_on(fill)
    edge = style.WINNER if bold else style.FAINT
    axes.add_patch(
        FancyBboxPatch(
            (at[0] - HALF_WIDTH, at[1] - 0.36), 2 * HALF_WIDTH, 0.72,
            boxstyle="round,pad=0,rounding_size=0.08", facecolor=fill, edgecolor=edge,
            linewidth=2.2 if bold else 0.8, linestyle="--" if score is None else "-", zorder=3,
        )
    )  # fmt: skip
    below = number(score) if score is not None else row.status if row else "not tried"
    axes.text(
        *at, f"{title}\n{below}", ha="center", va="center", color=ink, fontsize=8.5, zorder=4,
        fontweight="bold" if bold else "normal", linespacing=1.15, parse_math=False,
    )  # fmt: skip


def _frame(axes: Axes, leaves: int, depth: int, left_out: str) -> None:
    axes.set(xlim=(-0.45, depth + 0.45), ylim=(max(leaves, 2) - 0.4, -0.95))
    for column in range(depth + 1):
        text = f"stage {column}" if column else "start"
        axes.text(column, -0.75, text, ha="center", color=style.MUTED, fontsize=9)
    if left_out:
        axes.set_title(left_out, fontweight="normal", fontsize=9)
    axes.axis("off")
