"""The checkpoint: what was saved comes back bit for bit, and nothing else does."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from trainables.durable import TEMPORARY
from trainables.storage import CHECKPOINT
from trainables.training.checkpoint import Run, Runs

TENSORS = {
    "weight": torch.arange(24.0).reshape(2, 3, 2, 2).to(memory_format=torch.channels_last),
    "half": torch.linspace(-1, 1, 7, dtype=torch.bfloat16),
    "count": torch.tensor(3),
    "mask": torch.tensor([True, False]),
    "none": torch.empty(0, 4),
}


RUN = Run(0.1, step=7, history=[{"loss": 0.1 + 0.2}], scores={"4": None}, tensors=TENSORS)


def saved(folder: Path) -> Path:
    Runs({"full": RUN}).save(folder)
    return folder / CHECKPOINT


def header(path: Path) -> int:
    """Where the tensors begin."""
    return 8 + int.from_bytes(path.read_bytes()[:8], "little")


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    saved(tmp_path)
    run = Runs.load(tmp_path).by_name["full"]
    assert run.plain() == RUN.plain()
    assert run.tensors.keys() == TENSORS.keys()
    for key, value in TENSORS.items():
        assert run.tensors[key].dtype == value.dtype
        assert torch.equal(run.tensors[key], value)


def test_no_checkpoint_is_a_fresh_start(tmp_path: Path) -> None:
    assert Runs.load(tmp_path).by_name == {}


def flipped(at: Callable[[Path], int]) -> Callable[[Path], object]:
    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[at(path)] ^= 1
        path.write_bytes(content)

    return flip


def without(field: str) -> Callable[[Path], object]:
    """Rewrite the file without a field of its metadata."""

    def rewrite(path: Path) -> None:
        with safe_open(path, framework="pt") as file:
            known = {key: value for key, value in file.metadata().items() if key != field}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
        save_file(tensors, path, metadata=known)

    return rewrite


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: os.truncate(path, path.stat().st_size - 1),
    "cut in the header": lambda path: os.truncate(path, 20),
    "empty": lambda path: path.write_bytes(b""),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"0"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "json": lambda path: path.write_text(json.dumps({"runs": {}})),
    "a bit of the length": flipped(lambda path: 1),
    "a bit of the first tensor": flipped(header),
    "a bit of the last tensor": flipped(lambda path: path.stat().st_size - 1),
    "a digit of the progress": flipped(lambda path: path.read_bytes().index(b"0.300000")),
    "no checksum": without("checksum"),
    "of a version before versions": without("format"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_one_is_a_fresh_start_that_is_said(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = saved(tmp_path)
    DAMAGE[kind](path)
    with caplog.at_level(logging.WARNING):
        assert Runs.load(tmp_path).by_name == {}
    (said,) = caplog.messages
    assert said.startswith(f"{path}: damaged (")
    saved(tmp_path)
    assert Runs.load(tmp_path).by_name["full"].step == 7


def test_any_flipped_bit_is_found_or_changes_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    for at in range(0, len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        runs = Runs.load(tmp_path).by_name
        if runs:
            assert runs["full"].plain() == RUN.plain()
            assert all(torch.equal(runs["full"].tensors[key], TENSORS[key]) for key in TENSORS)


def test_what_a_killed_process_left_goes_with_the_next(tmp_path: Path) -> None:
    (tmp_path / f"{TEMPORARY}{CHECKPOINT}-dead").write_text("half")
    saved(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_it_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        events.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append("replace"), replace(a, b))[1])
    path = saved(tmp_path)
    assert events[0].startswith(str(tmp_path / f"{TEMPORARY}{CHECKPOINT}"))
    assert events[1:] == ["replace", str(tmp_path)]
    assert path.exists()
