"""Read access to the stage store for the report: results, histories, predictions.

predictions(store, row.downstream_key, "val").predicted
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Store(Protocol):
    """The part of `StageStore` that the report needs."""

    def path(self, key: str) -> Path: ...

    def manifest(self, key: str) -> dict[str, Any] | None: ...


@dataclass(frozen=True)
class Predictions:
    """One split's predictions: [n] true class, [n] predicted class, [n] patient group."""

    classes: list[str]
    labels: "NDArray[np.int64]"
    predicted: "NDArray[np.int64]"
    groups: "NDArray[np.str_]"


def manifest(store: Store, key: str | None) -> dict[str, Any] | None:
    """Return the manifest of a finished stage or score."""
    return store.manifest(key) if key else None


def result(store: Store, key: str | None) -> dict[str, Any]:
    """Return the result under a key; {} if there is none."""
    known = manifest(store, key)
    return known["result"] if known else {}


def lineage(store: Store, key: str | None) -> tuple[str, ...]:
    """Return the finished stages that lead to a stage, first to last, with itself."""
    keys: list[str] = []
    while key and (known := store.manifest(key)):
        keys.append(key)
        key = known["spec"]["parent"]
    return tuple(reversed(keys))


def history(store: Store, key: str | None) -> dict[str, Any]:
    """Return `lr_range` and `train` of a stage or score; both empty if there is none."""
    return _json(store, key, "history.json") or {"lr_range": [], "train": []}


def meta(store: Store, key: str | None) -> dict[str, Any]:
    """Return a score's class names and, where recorded, the images' mean and std."""
    return _json(store, key, "meta.json") or {}


def predictions(store: Store, key: str | None, split: Literal["val", "test"]) -> Predictions | None:
    """Return a score's predictions on a split; None if there are none."""
    path = store.path(key) / f"{split}.parquet" if key else None
    if path is None or not path.exists():
        return None
    import numpy as np
    import pyarrow.parquet as pq

    classes = list(meta(store, key)["classes"])
    columns_p = [f"p{k}" for k in range(len(classes))]
    columns = pq.read_table(path, columns=["label", "group", *columns_p], use_threads=False)
    scores = np.stack([columns[p].to_numpy() for p in columns_p], axis=1)
    labels, groups = columns["label"].to_numpy(), columns["group"].to_numpy().astype(str)
    return Predictions(classes, labels, scores.argmax(1), groups)


def _json(store: Store, key: str | None, name: str) -> dict[str, Any] | None:
    path = store.path(key) / name if key else None
    return json.loads(path.read_text()) if path and path.exists() else None
