"""What a classifier attends to: the fraction of its class-activation maps inside a region.

    found = attend(task, data, masks, "resnet18", seed, Runtime())
    found.measures(data)["ail"]           # Measure(value=61.0, low=58.2, high=63.9, ...), in %
    found.write(folder)

The region is the mask of each image (attention inside lungs, AIL; or the lesion). Where a data set
has no masks it is all but a border ring. Beside it stand what it must be read against: the region's
area, the most that any map of as many cells can have, a network with random weights, its BatchNorm
statistics fitted, and the accuracy with the region or its outside blanked. Maps that are zero
everywhere have no fraction: they are counted.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from trainables.backbone import Backbone
from trainables.downstream.cam import grad_cam
from trainables.downstream.classifier import Classifier
from trainables.downstream.metrics import Floats, GroupBootstrap, interval
from trainables.downstream.ranking import ratio
from trainables.images.cache import Prepared
from trainables.images.splits import Index
from trainables.spec import Measure, MeasureType, Runtime
from trainables.training.evaluation import fit, over_rows, pixels

FILE = "attention.npz"
RING = 1 / 8  # of the side: width of the border ring
AIL, TRUE, AREA, RATIO = "ail", "ail_true", "region_area", "ail_ratio"
MOST, RANDOM, EMPTY = "ail_most", "ail_random", "empty_maps"
WHOLE, INSIDE, OUTSIDE = "accuracy_whole", "accuracy_inside_blanked", "accuracy_outside_blanked"
ATTENTION = {
    one.name: one
    for one in (
        MeasureType(AIL, "attention inside (AIL)"),
        MeasureType(TRUE, "AIL of the true class"),
        MeasureType(AREA, "AIL by chance (area)"),
        MeasureType(RATIO, "AIL over area", unit=""),
        MeasureType(MOST, "AIL, the most that maps of these cells can have"),
        MeasureType(RANDOM, "AIL of a network with random weights"),
        MeasureType(EMPTY, "maps that are zero everywhere", higher_is_better=False),
        MeasureType(WHOLE, "accuracy on images with a region"),
        MeasureType(INSIDE, "accuracy, inside of the region blanked"),
        MeasureType(OUTSIDE, "accuracy, outside of the region blanked"),
    )
}
COLUMNS = (AIL, TRUE, AREA, MOST, RANDOM, WHOLE, INSIDE, OUTSIDE)


@dataclass(frozen=True)
class Attention:
    """What was found on validation images with a region.

    rows: their positions among the validation images, [n]. values: COLUMNS as fractions, [n,
    columns]; NaN where one is undefined. maps: float16 [n, 2, h, w], of the predicted and of the
    true class, each with maximum 1.
    """

    rows: Index
    values: NDArray[np.floating]
    maps: NDArray[np.float16]

    def measures(self, data: Prepared) -> dict[str, Measure]:
        """Return every measure that is defined, with its interval over patient groups."""
        if not len(self.rows):
            return {}
        val = data.split["val"][self.rows]
        groups = np.asarray(data.groups)[val]
        split = GroupBootstrap(data.labels[val], groups, len(data.classes))
        known = np.isfinite(self.values)
        sums = split.sums(np.where(known, self.values, 0.0))
        counts = split.sums(known)
        columns = dict(zip(COLUMNS, 100 * ratio(sums, counts).T, strict=True))
        columns[EMPTY] = 100 * (1 - counts[:, 0] / counts[:, COLUMNS.index(AREA)])
        columns[RATIO] = ratio(columns[AIL], columns[AREA])
        return {name: _measure(kind, columns[name]) for name, kind in ATTENTION.items()
                if np.isfinite(columns[name][0])}  # fmt: skip

    def write(self, folder: Path) -> None:
        np.savez_compressed(folder / FILE, rows=self.rows, maps=self.maps, values=self.values)


def _measure(kind: MeasureType, values: Floats) -> Measure:
    values = np.where(np.isnan(values), values[0], values)
    return kind.measure(float(values[0]), *interval(values[1:]))


def attend(
    task: Classifier,
    data: Prepared,
    masks: Prepared | None,
    backbone: str,
    seed: int,
    runtime: Runtime,
) -> Attention:
    """Explain the classifier on the validation images that have a mask; on all without masks.

    Explains none if views are so small that a map has one cell: it would be everywhere. backbone:
    the network's name, for one with random weights, drawn by the seed.
    """
    val = data.split["val"]
    at = _matched(data, masks, val)
    one_cell = task.context.image_size <= task.backbone.stride
    rows = np.flatnonzero(at >= 0)
    if one_cell or not len(rows):
        none = np.zeros((0, len(COLUMNS))), np.zeros((0, 2, 1, 1), np.float16)
        return Attention(rows[:0], *none)
    random = _random(task, backbone, seed).to(runtime.device)
    fit(random[0], lambda x: random[0](task.full(x)), data, data.split["train"], runtime)

    def explain(some: Index) -> Tensor:
        with torch.inference_mode(False):
            images = pixels(data, val[some], runtime)
            labels = torch.from_numpy(data.labels[val[some]]).to(runtime.device)
            inside = _regions(masks, at[some], task.context.image_size, runtime)
            return _explained(task, random, images, labels, inside)

    random.eval()
    found = over_rows(rows, task, explain).numpy()
    values, maps = np.split(found, [len(COLUMNS)], axis=1)
    side = round((maps.shape[1] / 2) ** 0.5)
    return Attention(rows, values, maps.reshape(-1, 2, side, side).astype(np.float16))


def _matched(data: Prepared, masks: Prepared | None, val: Index) -> Index:
    """Return the row of each validation image's mask, -1 for none; without masks their own."""
    if masks is None:
        return val
    known = {name: row for row, name in enumerate(masks.names)}
    return np.array([known.get(data.names[i], -1) for i in val], np.int64)


def _random(task: Classifier, backbone: str, seed: int) -> nn.ModuleList:
    """Return a fresh network and head of the classifier's shape."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = Backbone(backbone, task.context.channels)
        return nn.ModuleList([fresh, nn.Linear(fresh.width, task.head.out_features)])


def _regions(masks: Prepared | None, rows: Index, side: int, runtime: Runtime) -> Tensor:
    """Return the fraction of each pixel of a view that is in the region: [n, side, side]."""
    if masks is None:
        inner = torch.zeros(side, side, device=runtime.device)
        ring = round(RING * side)
        inner[ring : side - ring, ring : side - ring] = 1
        return inner.expand(len(rows), -1, -1)
    return _resized(pixels(masks, rows, runtime).float() / 255, side)[:, 0]


def _resized(maps: Tensor, side: int) -> Tensor:
    """Resize [n, k, h, w] to squares; without antialiasing an enlargement is the same."""
    return F.interpolate(maps, (side, side), mode="bilinear", antialias=True, align_corners=False)


def _explained(
    task: Classifier, random: nn.ModuleList, images: Tensor, labels: Tensor, inside: Tensor
) -> Tensor:
    """Return the columns and the maps of a batch, flat: [n, columns + 2 * h * w]."""
    views = task.full(images)

    def choose(logits: Tensor) -> list[Tensor]:
        likely = logits.argmax(1)
        if not task.many:
            return [likely, labels]
        own, some = logits.masked_fill(labels != 1, -torch.inf).argmax(1), (labels == 1).any(1)
        return [likely, own.where(some, -1)]

    logits, maps = grad_cam(task.backbone, task.head, views, choose)
    predicted = logits.argmax(1)
    _, drawn = grad_cam(random[0], random[1], views, lambda _: [predicted])  # type: ignore[arg-type]
    fractions = [fraction_inside(one, inside) for one in (*maps, *drawn)]
    blank = (inside >= 0.5)[:, None]
    seen = [_answers(task, view) for view in (views * ~blank, views * blank)]  # 0: a mean pixel
    ordered = [*fractions[:2], inside.mean((1, 2)), most_inside(maps[0], inside), fractions[2]]
    ordered += [_right(task, answers, labels) for answers in (predicted, *seen)]
    scaled = [one / one.amax((1, 2), keepdim=True).clamp(min=1e-30) for one in maps]
    return torch.cat([torch.stack(ordered, 1), torch.stack(scaled, 1).flatten(1)], 1)


def fraction_inside(maps: Tensor, inside: Tensor) -> Tensor:
    """Return the fraction of each map's mass inside: [n, h, w], [n, side, side] -> [n].

    NaN for a map that is zero everywhere.
    """
    whole = _resized(maps[:, None], inside.shape[-1])[:, 0]
    return (whole * inside).sum((1, 2)) / whole.sum((1, 2))


def most_inside(maps: Tensor, inside: Tensor) -> Tensor:
    """Return the most that `fraction_inside` can be with maps of these cells: that of one cell.

    Any map is a sum of cells, so its fraction is a mean of theirs.
    """
    cells = torch.eye(maps[0].numel(), device=maps.device).view(-1, *maps.shape[1:])
    each = _resized(cells[:, None], inside.shape[-1])[:, 0].flatten(1)
    found: Tensor = (inside.flatten(1) @ each.T / each.sum(1)).amax(1)
    return found


@torch.no_grad()
def _answers(task: Classifier, views: Tensor) -> Tensor:
    return task.head(task.backbone(views)).argmax(1)


def _right(task: Classifier, answers: Tensor, labels: Tensor) -> Tensor:
    """Return whether an image has the likeliest class: float [n].

    NaN for an image that has none of several labels.
    """
    if not task.many:
        return (answers == labels).float()
    own = labels.gather(1, answers[:, None])[:, 0] == 1
    return own.float().masked_fill(~(labels == 1).any(1), torch.nan)
