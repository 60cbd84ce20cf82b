"""What the report reads of the stage store: results, histories, predictions. Reads, never writes.

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
    """The part of `search.store.StageStore` that is enough to report from."""

    def path(self, key: str) -> Path: ...

    def manifest(self, key: str) -> dict[str, Any] | None: ...


@dataclass(frozen=True)
class Predictions:
    """One split's predictions: [n] truth, [n] predicted class, [n] group."""

    classes: list[str]
    labels: "NDArray[np.int64]"
    predicted: "NDArray[np.int64]"
    groups: "NDArray[np.str_]"


def manifest(store: Store, key: str | None) -> dict[str, Any] | None:
    """What is known of a finished stage or score."""
    return store.manifest(key) if key else None


def result(store: Store, key: str | None) -> dict[str, Any]:
    """The finished result under a key; empty if there is none."""
    known = manifest(store, key)
    return known["result"] if known else {}


def lineage(store: Store, key: str | None) -> tuple[str, ...]:
    """The finished stages that lead to a stage, first to last, itself included."""
    keys: list[str] = []
    while key and (known := store.manifest(key)):
        keys.append(key)
        key = known["spec"]["parent"]
    return tuple(reversed(keys))


def history(store: Store, key: str | None) -> dict[str, Any]:
    """`lr_range` and `train` of a finished stage or score; both empty if there is none."""
    return _json(store, key, "history.json") or {"lr_range": [], "train": []}


def meta(store: Store, key: str | None) -> dict[str, Any]:
    """Class names and, where recorded, the mean and deviation of the images of a score."""
    return _json(store, key, "meta.json") or {}


def predictions(store: Store, key: str | None, split: Literal["val", "test"]) -> Predictions | None:
    """What a score's classifier said on a split; None if nothing was written."""
    path = store.path(key) / f"{split}.parquet" if key else None
    if path is None or not path.exists():
        return None
    import numpy as np
    import pyarrow.parquet as pq

    classes = list(meta(store, key)["classes"])
    shares = [f"p{k}" for k in range(len(classes))]
    columns = pq.read_table(path, columns=["label", "group", *shares], use_threads=False)
    scores = np.stack([columns[share].to_numpy() for share in shares], axis=1)
    labels, groups = columns["label"].to_numpy(), columns["group"].to_numpy().astype(str)
    return Predictions(classes, labels, scores.argmax(1), groups)


def _json(store: Store, key: str | None, name: str) -> dict[str, Any] | None:
    path = store.path(key) / name if key else None
    return json.loads(path.read_text()) if path and path.exists() else None
