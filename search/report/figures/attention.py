"""The grid of class-activation maps: images down, networks across, the region's outline."""

from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from search.chains.chain import SCRATCH
from search.report import attention, stored
from search.report.figures import style
from search.report.stored import Looked, Predictions, Store
from search.report.table import Row, Table

if TYPE_CHECKING:
    from trainables.images.cache import Prepared

LETTERS = 30  # of a title's line, as wide as an image
HEAT = 0.55  # opacity of a map at its maximum
Network = tuple[Row, Predictions, Looked]


def draw(table: Table, store: Store, data: "Prepared", masks: "Prepared | None") -> Figure | None:
    """Draw the grid; None where no network has maps."""
    networks = list(_networks(table, store))
    if not networks:
        return None
    judge = next((one for one in networks if one[0].recommended), networks[-1])
    recommended, answers, looked = judge
    examples = attention.examples(answers, looked.rows)
    shape = len(examples), len(networks)
    figure = Figure(figsize=(1.9 * shape[1] + 0.6, 2.05 * shape[0] + 0.8))
    grid = figure.subplots(*shape, squeeze=False)
    for down, example in enumerate(examples):
        row = int(looked.rows[example.at])
        image = int(data.split["val"][row])
        for axes, (one, said, seen) in zip(grid[down], networks, strict=True):
            _cell(axes, data.images[image], seen.of(row), _mask(masks, data.names[image]))
            _title(axes, said, row, "" if down else f"{one.title}\n")
        grid[down, 0].set_ylabel(example.why, fontsize=8)
    figure.supxlabel(
        fill(attention.RULE.format(chain=recommended.chain), 28 * shape[1]), fontsize=7
    )
    return figure


def _networks(table: Table, store: Store) -> "list[Network]":
    """Return scratch, ImageNet, the best single, the best chain, another recommended: with maps."""
    single = next((row for row in table.chains if row.length == 1), None)
    wanted = [table.row(SCRATCH), table.row("imagenet"), single, table.best, table.recommended]
    found = dict[str, Network]()
    for row in (row for row in wanted if row):
        said = stored.predictions(store, row.downstream_key, "val")
        seen = stored.looked(store, row.downstream_key)
        if said and seen and len(seen.rows):
            found[row.chain] = row, said, seen
    return [*found.values()]


def _cell(
    axes: Axes,
    image: NDArray[np.uint8],
    heat: NDArray[np.floating],
    mask: NDArray[np.uint8] | None,
) -> None:
    side = image.shape[0]
    axes.imshow(image if image.shape[2] == 3 else image[..., 0], cmap="gray", vmin=0, vmax=255)
    smooth = Image.fromarray(heat.astype(np.float32)).resize(
        (side, side), Image.Resampling.BILINEAR
    )
    shown = np.asarray(smooth).clip(0, 1)
    axes.imshow(shown, cmap="inferno", vmin=0, vmax=1, alpha=HEAT * shown)
    if mask is not None:
        outline = Image.fromarray(mask).resize((side, side), Image.Resampling.BILINEAR)
        axes.contour(np.asarray(outline), levels=[127.5], colors="white", linewidths=0.8)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _title(axes: Axes, said: Predictions, row: int, above: str) -> None:
    """Say what was predicted, how surely, and what is true."""
    likely, right = said.likeliest[row], said.right[row]
    true = [label for k, label in enumerate(said.classes) if said.having(k)[row]]
    sure = f"{said.classes[likely]} {100 * said.probabilities[row, likely]:.0f} %"
    text = sure if right else f"{sure}, true {', '.join(true) or 'none'}"
    colour = style.INK if right else style.WINNER
    axes.set_title(above + fill(text, LETTERS), fontsize=7, color=colour, parse_math=False)


def _mask(masks: "Prepared | None", name: str) -> NDArray[np.uint8] | None:
    if masks is None or name not in masks.names:
        return None
    return masks.images[masks.names.index(name)][..., 0]
