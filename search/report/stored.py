"""Read access to the stage store for the report: results, histories, predictions.

predictions(store, row.downstream_key, "val").predicted
scored(store, row.downstream_key, "val").values(resamples, "dice")     # of any kind of score
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict

from search.space.schema import OBJECTIVES
from trainables.spec import BACKBONE, PRETEXT, Measure, Score, digest

# What probes are compared with: the same measures of fine-tuned networks, by labels an image.
PROBED, PROBED_MANY = OBJECTIVES["one"], OBJECTIVES["many"]

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from trainables.downstream.metrics import Floats, GroupBootstrap

Split = Literal["val", "test"]
LABEL = re.compile(r"label|y\d+")  # a column of a file of predictions


class Store(Protocol):
    """The part of `StageStore` that the report needs."""

    def path(self, key: str) -> Path: ...

    def manifest(self, key: str) -> Mapping[str, Any] | None: ...


class Result(TypedDict, total=False):
    """What the report reads of a manifest's `result`.

    accuracy, chance_level: of pretext tasks. controlled_accuracy: of one that has a control;
    control_accuracy: without what its answers should need.
    """

    lr: float
    lr_at_edge: bool
    seconds: float
    steps: int
    accuracy: float
    chance_level: float
    controlled_accuracy: float
    control_accuracy: float


class Trial(TypedDict):
    """A learning rate that was tried; scores: by step, None where it diverged or collapsed."""

    lr: float
    steps: int
    scores: dict[str, float | None]


class History(TypedDict, total=False):
    """`history.json`.

    train: a record every few steps of a stage, every evaluation of fine-tuning. confusion: counts
    [true, answered] of a task with fixed answers. probes: of the frozen backbone along a stage.
    """

    lr_range: list[Trial]
    probes: list[dict[str, float]]
    train: list[dict[str, float]]
    confusion: list[list[int]] | None


class Meta(TypedDict, total=False):
    """`meta.json` of a score; the images' mean and std are missing in old stores."""

    classes: list[str]
    mean: list[float]
    std: list[float]
    labels: str  # "many": several an image


@dataclass(frozen=True)
class Predictions:
    """One split's predictions: [n] true class, [n, classes] probabilities, [n] patient group.

    Of several labels an image, [n, classes] whether it has each: 1, 0, or -1 if it is not known.

    sources: hospital or camera of each image, [n]; None where the data set has none.
    """

    classes: list[str]
    labels: "NDArray[np.int64]"
    probabilities: "NDArray[np.floating]"
    groups: "NDArray[np.str_]"
    sources: "NDArray[np.str_] | None" = None

    @property
    def many(self) -> bool:
        return self.labels.ndim == 2

    @property
    def predicted(self) -> "NDArray[np.int64]":
        assert not self.many
        return self.likeliest

    @property
    def likeliest(self) -> "NDArray[np.int64]":
        """[n] the class of the highest probability, also where an image may have several."""
        return self.probabilities.argmax(1)

    @property
    def right(self) -> "NDArray[np.bool_]":
        """[n] whether an image has its likeliest class."""
        if not self.many:
            return self.predicted == self.labels
        import numpy as np

        return self.labels[np.arange(len(self.labels)), self.likeliest] == 1

    def having(self, k: int) -> "NDArray[np.bool_]":
        """Return [n] which images have class k."""
        found: NDArray[np.bool_] = self.labels[:, k] == 1 if self.many else self.labels == k
        return found

    def recognised(self, k: int) -> "NDArray[np.bool_]":
        """Return [n] which images are said to have class k."""
        found: NDArray[np.bool_]
        found = self.probabilities[:, k] >= 0.5 if self.many else self.predicted == k
        return found

    def at(self, rows: "NDArray[np.bool_]") -> "Predictions":
        """Return the predictions of some images."""
        known = self.labels[rows], self.probabilities[rows], self.groups[rows]
        return Predictions(self.classes, *known)

    @property
    def rarest(self) -> int:
        """The number of images of the rarest class that has one."""
        counts = [int(self.having(k).sum()) for k in range(len(self.classes))]
        return min((count for count in counts if count), default=0)

    def resamples(self, count: int = 2000) -> "GroupBootstrap":
        from trainables.downstream.metrics import GroupBootstrap

        return GroupBootstrap(self.labels, self.groups, len(self.classes), count)

    def values(self, resamples: "GroupBootstrap", measure: str) -> "Floats":
        """Return a measure of the split and of every resample: [1 + resamples]."""
        import numpy as np

        from trainables.downstream.measures import judge

        assert np.array_equal(self.labels, resamples.labels)  # one data set
        return judge(resamples, self.probabilities).values(measure)


@dataclass(frozen=True)
class Overlaps:
    """One split's images with a mask: [n] patient group, and by measure [n] its overlap, 0..1."""

    groups: "NDArray[np.str_]"
    by_measure: "Mapping[str, NDArray[np.floating]]"

    @property
    def rarest(self) -> int:
        """The number of images, as they have no classes."""
        return len(self.groups)

    def resamples(self, count: int = 2000) -> "GroupBootstrap":
        import numpy as np

        from trainables.downstream.metrics import GroupBootstrap

        return GroupBootstrap(np.zeros(len(self.groups), np.int64), self.groups, 1, count)

    def values(self, resamples: "GroupBootstrap", measure: str) -> "Floats":
        """Return a measure of the split and of every resample: [1 + resamples], in percent."""
        return 100 * resamples.means(self.by_measure[measure][:, None])[:, 0]


@dataclass(frozen=True)
class Looked:
    """Class-activation maps of a score: rows of the validation images, [n]; maps [n, 2, h, w]."""

    rows: "NDArray[np.int64]"
    maps: "NDArray[np.floating]"

    def of(self, row: int) -> "NDArray[np.floating]":
        """Return the map of the class predicted of a validation image: [h, w]."""
        return self.maps[self.rows.tolist().index(row), 0]


def looked(store: Store, key: str | None) -> Looked | None:
    """Return a score's maps; None if there are none."""
    path = store.path(key) / "attention.npz" if key else None
    if path is None or not path.exists():
        return None
    import numpy as np

    with np.load(path) as found:
        return Looked(found["rows"], found["maps"])


def result(store: Store, key: str | None) -> Result:
    """Return the result under a key; {} if there is none."""
    known = store.manifest(key) if key else None
    return known["result"] if known else {}


def measures(store: Store, key: str | None) -> Mapping[str, Measure]:
    """Return the measures under a key; {} if there are none."""
    known = store.manifest(key) if key else None
    return Score.parse(known["score"]).measures if known and known.get("score") else {}


def lr_policy(store: Store, key: str) -> Mapping[str, Any]:
    """Return how a finished stage's learning rate was chosen, see `LRPolicy`; {} if unknown."""
    known = store.manifest(key)
    return known["spec"]["training"]["lr"] if known else {}


def backbone(store: Store, key: str | None) -> str | None:
    """Return the key of the stage whose backbone this one began with; None for a fresh one."""
    known = store.manifest(key) if key else None
    return known["spec"]["inputs"].get(BACKBONE) if known else None


def lineage(store: Store, key: str | None) -> tuple[str, ...]:
    """Return the finished pretext stages that lead to a stage, first to last, with itself."""
    keys: list[str] = []
    while key and (known := store.manifest(key)) and known["spec"]["kind"] == PRETEXT:
        keys.append(key)
        key = known["spec"]["inputs"].get(BACKBONE)
    return tuple(reversed(keys))


def history(store: Store, key: str | None) -> History:
    """Return `lr_range` and `train` of a stage or score; both empty if there is none."""
    known: History | None = _json(store, key, "history.json")
    return known or {"lr_range": [], "train": []}


def meta(store: Store, key: str | None) -> Meta:
    """Return a score's class names and, where recorded, the images' mean and std."""
    known: Meta | None = _json(store, key, "meta.json")
    return known or {}


def scored(store: Store, key: str | None, split: Split) -> Predictions | Overlaps | None:
    """Return what a score of any kind is made from on a split; None if there is nothing."""
    return predictions(store, key, split) or overlaps(store, key, split)


def images(store: Store, key: str, split: Split) -> str:
    """Return the digest of the names and labels of the images that a score is of."""
    import pyarrow.parquet as pq

    files = (store.path(key) / f"{kind}{split}.parquet" for kind in ("", "overlaps_"))
    path = next(file for file in files if file.exists())
    told = [name for name in pq.read_schema(path).names if LABEL.fullmatch(name)]
    columns = pq.read_table(path, columns=["image", *told], use_threads=False).to_pydict()
    return digest(sorted(zip(*columns.values(), strict=True)))


def overlaps(store: Store, key: str | None, split: Split) -> Overlaps | None:
    """Return a segmentation's overlaps on a split; None if there are none."""
    path = store.path(key) / f"overlaps_{split}.parquet" if key else None
    if path is None or not path.exists():
        return None
    import pyarrow.parquet as pq

    columns = pq.read_table(path, use_threads=False)
    measures = set(columns.column_names) - {"image", "group"}
    groups = columns["group"].to_numpy().astype(str)
    return Overlaps(groups, {name: columns[name].to_numpy() for name in measures})


def predictions(store: Store, key: str | None, split: Split) -> Predictions | None:
    """Return a score's predictions on a split; None if there are none."""
    path = store.path(key) / f"{split}.parquet" if key else None
    if path is None or not path.exists():
        return None
    import numpy as np
    import pyarrow.parquet as pq

    known_meta = meta(store, key)
    classes, many = known_meta["classes"], known_meta.get("labels") == "many"
    columns_p = [f"p{k}" for k in range(len(classes))]
    columns_y = [f"y{k}" for k in range(len(classes))] if many else ["label"]
    known = "source" in pq.read_schema(path).names
    wanted = [*columns_y, "group", *columns_p, *(["source"] if known else [])]
    columns = pq.read_table(path, columns=wanted, use_threads=False)
    scores, truth = (
        np.stack([columns[one].to_numpy() for one in some], axis=1)
        for some in (columns_p, columns_y)
    )
    labels, groups = truth if many else truth[:, 0], columns["group"].to_numpy().astype(str)
    sources = columns["source"].to_numpy().astype(str) if known else None
    return Predictions(classes, labels, scores, groups, sources)


def _json(store: Store, key: str | None, name: str) -> Any:
    path = store.path(key) / name if key else None
    return json.loads(path.read_text()) if path and path.exists() else None
