"""What the networks attend to: attention inside the region (AIL), and which images show it.

    for row in attended(table): row.measures[AIL]
    sentences(table)                            # how to read it, what speaks against it
    chosen = examples(predictions, rows)        # of one network, by a fixed rule

Nothing is chosen by hand: of the images that a network answers rightly, and of those that it
answers wrongly, those at fixed percentiles of its confidence are shown.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from search.report import stored
from search.report.stored import Predictions, Store
from search.report.table import Row, Table, number, span

AIL, TRUE, AREA, RATIO = "ail", "ail_true", "region_area", "ail_ratio"  # measures of `classify`
MOST, RANDOM, EMPTY = "ail_most", "ail_random", "empty_maps"
WHOLE, INSIDE, OUTSIDE = "accuracy_whole", "accuracy_inside_blanked", "accuracy_outside_blanked"
COLUMNS = {  # heads of the page's table
    AIL: "#AIL, %", TRUE: "#true|class", AREA: "#area,|%", RATIO: "#AIL /|area",
    MOST: "#most|possible", RANDOM: "#random|network", EMPTY: "#empty|maps, %",
    WHOLE: "#accuracy,|%", INSIDE: "#region|blanked", OUTSIDE: "#outside|blanked",
}  # fmt: skip
HEADS = ["chain", COLUMNS[AIL], "#95 % interval", *[*COLUMNS.values()][1:]]
COARSE = 0.5  # of the way from the area to 100 %: if maps can go no further, AIL says little
FIGURE = "attention.png"  # in the report's folder: it shows patients, so no page has it inside
PERCENTILES = (90, 50, 10)
RULE = (
    "Rows: of the validation images with a region that {chain} answers rightly, those at the "
    "90th, 50th and 10th percentile of its confidence; then the same of those that it answers "
    "wrongly. Nothing is chosen by hand. Bright: much attention; white: the region."
)

WITHOUT_MASKS = (
    "These images have no masks, so the region of AIL is all but a border of an eighth of the "
    "side; data.masks=PATH names masks, or a segmenter that draws them."
)


class Example(NamedTuple):
    """An image to show: its place in `rows`, and how it was chosen."""

    at: int
    why: str


def attended(table: Table) -> tuple[Row, ...]:
    """Return the scored rows whose attention was measured."""
    return tuple(row for row in table.scored if AIL in row.measures)


def examples(shown: Predictions, rows: NDArray[np.int64]) -> list[Example]:
    """Choose images by RULE. rows: positions of the images with a region in the predictions."""
    confidence = shown.probabilities[rows].max(1)
    right = shown.right[rows]
    found = list[Example]()
    for word, some in (("right", np.flatnonzero(right)), ("wrong", np.flatnonzero(~right))):
        ranked = some[np.argsort(confidence[some], kind="stable")]
        places = {round(p / 100 * (len(ranked) - 1)): p for p in PERCENTILES} if len(ranked) else {}
        found += [Example(int(ranked[at]), f"{word}, {p}th") for at, p in places.items()]
    return found


def looked_at(table: Table, store: Store) -> int:
    """Return on how many validation images attention was measured; 0 for none."""
    keys = [row.downstream_key for row in attended(table)]
    seen = next(filter(None, (stored.looked(store, key) for key in keys)), None)
    return len(seen.rows) if seen else 0


def sentences(table: Table) -> Iterator[str]:
    """Yield what the attention of the recommended, or else of the best row, says."""
    rows = attended(table)
    row = next((one for one in rows if one.recommended), rows[0] if rows else None)
    if row is None:
        return
    ail, area, random = (row.measures.get(name) for name in (AIL, AREA, RANDOM))
    assert ail
    if area:
        inside = "more" if ail.low > area.value else "less" if ail.high < area.value else "as much"
        yield (
            f"{row.chain} has {ail.value:.1f} % of its attention inside the region "
            f"({ail.low:.1f} to {ail.high:.1f}), whose area is {area.value:.1f} % of the image: "
            f"{inside} {'as' if inside == 'as much' else 'than'} by chance."
        )
    yield from _coarse(row)
    if random and ail.low <= random.value <= ail.high:
        yield (
            f"A network with random weights has {random.value:.1f} %: attention alone does not "
            "tell the two apart."
        )
    blanked, whole = row.measures.get(INSIDE), row.measures.get(WHOLE)
    if blanked and whole and blanked.value >= whole.low:
        yield (
            f"With the region blanked its accuracy is {number(blanked.value)} %, against "
            f"{number(whole.value)} % ({span(whole.low, whole.high)}): it may not need the region "
            "to answer."
        )


def _coarse(row: Row) -> Iterator[str]:
    """Yield a warning where the cells of the maps are too large for the region."""
    most, area = row.measures.get(MOST), row.measures.get(AREA)
    if most and area and most.value - area.value < COARSE * (100 - area.value):
        yield (
            f"The cells of its maps are too coarse to measure attention: the best of them has "
            f"{most.value:.1f} % inside the region, where the area alone has {area.value:.1f} %. "
            "Use a larger profile.image_size, or a profile.backbone with finer last maps such as "
            "resnet18_small."
        )
