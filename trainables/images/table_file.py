"""The table of a cache as Parquet, a row an image; metadata of the schema has what has no row.

write(folder / TABLE, {"image": names, "label": labels}, classes=["NV", "MEL"])
table, said = read(folder / TABLE)     # said["classes"] == ["NV", "MEL"]
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainables.durable import sync

TABLE = "table.parquet"


def write(path: Path, columns: Mapping[str, Any], **said: object) -> None:
    """Write and flush columns of one length. said: values of JSON."""
    texts = {key: json.dumps(value, sort_keys=True) for key, value in said.items()}
    pq.write_table(pa.table(dict(columns)).replace_schema_metadata(texts), path)
    sync(path)


def read(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """Return the table and what else `write` was told."""
    table = pq.read_table(path)
    known = table.schema.metadata or {}
    return table, {key.decode(): json.loads(value) for key, value in known.items()}


def texts(table: pa.Table, name: str) -> tuple[str, ...]:
    """Return a column of texts; () if the table has none."""
    return tuple(table[name].to_pylist()) if name in table.column_names else ()


def numbers(table: pa.Table, name: str) -> NDArray[np.int64]:
    """Return a column of whole numbers: [n], or [n, k] where each row has k."""
    column = table[name].combine_chunks()
    if not pa.types.is_list(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False), np.int64)
    flat = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, np.int64).reshape(len(column), -1)
