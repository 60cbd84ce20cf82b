"""A machine with a GPU may lack Ray and Hydra: collect there only the tests that need neither."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NEEDS = re.compile(r"^\s*(from|import) (search|ray|optuna|tests\.trainables)\b", re.MULTILINE)
LACKING = any(find_spec(name) is None for name in ("ray", "hydra", "optuna"))
collect_ignore = [
    str(path.relative_to(HERE))
    for path in HERE.rglob("test_*.py")
    if LACKING and NEEDS.search(path.read_text())
]


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A small decoded data set; see small.py."""
    import torch

    from tests.trainables import small

    torch.set_num_threads(1)
    return small.prepared(tmp_path_factory.mktemp("cache"))
