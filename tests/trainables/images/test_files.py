"""What is not a file is refused before it is opened: opening a pipe may never return."""

import os
import socket
from pathlib import Path

import pytest

from trainables.data._csv import read_csv
from trainables.data._files import decode
from trainables.data._walk import walk
from trainables.errors import UserError
from trainables.images.files import regular
from trainables.images.fingerprint import contents


def make(kind: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind == "named pipe":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(path.parent)  # a socket's path has at most 108 bytes
        with socket.socket(socket.AF_UNIX) as opened:
            opened.bind(path.name)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()


@pytest.mark.parametrize("kind", ["named pipe", "socket", "device", "folder"])
def test_every_reader_refuses_it_in_one_line(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.jpg"
    make(kind, path, monkeypatch)
    for read in (
        lambda: regular(path),
        lambda: decode(path),
        lambda: read_csv(path),
        lambda: contents([path, path], tmp_path),
        lambda: walk(tmp_path),
    ):
        with pytest.raises(UserError) as refused:
            read()
        assert (
            str(refused.value)
            == f"{path}: must be a file, is a {kind}; try moving it out of the data"
        )


def test_a_broken_link_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"1 are links to files that are not there \(x.png\); try"):
        walk(tmp_path)


def test_a_link_to_a_file_is_one(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("abc")
    (tmp_path / "y.png").symlink_to(tmp_path / "x.png")
    assert walk(tmp_path).images == ("x.png", "y.png")
    assert regular(tmp_path / "y.png").st_size == 3
