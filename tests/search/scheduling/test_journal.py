"""The journal: cut and damaged lines cost themselves alone, and every line is on the disk."""

import logging
import os
import threading
from pathlib import Path

import pytest

from search.chains.node import Node
from search.scheduling import journal as journal_module
from search.scheduling.early_stopping import Stop
from search.scheduling.journal import Journal
from tests.measures import scored
from trainables.errors import UserError

MOCO, ODC, BOTH = (Node.parse(text) for text in ("moco", "odc", "odc>moco#1"))
SCORE = scored(70.5, 68.0, 73.0)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    written = Journal(tmp_path / "out", {"space": "isic3"})
    written.asked(MOCO)
    written.told(MOCO, SCORE)
    written.asked(ODC)
    return written


def again(journal: Journal) -> Journal:
    return Journal(journal.path.parent, {"space": "isic3"})


def test_what_was_written_comes_back(journal: Journal) -> None:
    journal.told(BOTH, None)
    assert again(journal).replay()[:2] == ([MOCO, ODC, BOTH], {MOCO: SCORE})


@pytest.mark.parametrize("left", [1, 5, 20])
def test_a_cut_last_line_is_dropped_and_the_next_starts_on_its_own(
    journal: Journal, left: int, caplog: pytest.LogCaptureFixture
) -> None:
    before = journal.path.read_bytes()
    journal.asked(BOTH)
    os.truncate(journal.path, len(before) + left)
    assert again(journal).replay()[:2] == ([MOCO, ODC], {MOCO: SCORE})
    again(journal).told(ODC, SCORE)
    assert again(journal).replay()[:2] == ([MOCO, ODC], {MOCO: SCORE, ODC: SCORE})
    assert journal.path.read_bytes().startswith(before + b'{"proposal": "odc", "score"')
    assert caplog.messages == []


def test_a_rival_that_dies_meanwhile_costs_its_own_line(journal: Journal) -> None:
    with journal.path.open("ab") as file:
        file.write(b'{"proposal": "od')
    journal.told(ODC, SCORE)
    assert again(journal).replay()[1] == {MOCO: SCORE, ODC: SCORE}


def test_a_first_line_that_was_cut(tmp_path: Path) -> None:
    empty = Journal(tmp_path, {})
    empty.path.write_text('{"propo')
    empty.asked(MOCO)
    assert empty.replay()[:2] == ([MOCO], {})


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{", b"[]", b"null", b"7", b"{}", b"\xff\xfe", b'{"proposal": 3}',
        b'{"proposal": "odc>odc"}', b'{"proposal": "odc", "score": {"accuracy": 1}}',
        b'{"proposal": "odc", "score": 7}', b'{"proposal": "odc", "stop": {}, "score": [1]}',
    ],
)  # fmt: skip
def test_an_unreadable_line_is_skipped_and_named(
    journal: Journal, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    first, *rest = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(b"".join([first, line + b"\n", *rest]))
    with caplog.at_level(logging.WARNING):
        assert again(journal).replay()[:2] == ([MOCO, ODC], {MOCO: SCORE})
    (said,) = caplog.messages
    assert said.startswith(f"{journal.path}, row 2: cannot be read (")


def test_a_stop_holds_until_there_is_a_score(journal: Journal) -> None:
    stop = Stop(3, 12, 41.5, 50.0, "behind", 3.0)
    journal.stopped(ODC, stop)
    assert again(journal).replay()[2] == {ODC: stop}
    journal.told(ODC, SCORE)
    assert again(journal).replay()[2] == {}


def test_two_searches_do_not_share_a_folder(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever they search: each would overwrite the other's report."""
    monkeypatch.setattr(journal_module, "PATIENCE", 0.1)
    other = Journal(journal.path.parent, {"another": "search"})
    with journal.alone():
        with pytest.raises(UserError, match="must be a folder in which no other search runs"):
            other.alone().__enter__()
    with other.alone():
        pass


def test_a_lock_that_a_dead_machine_held_is_waited_for(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """As a file server frees it late."""
    other = Journal(journal.path.parent, {"another": "search"})
    held = journal.alone()
    held.__enter__()
    threading.Timer(0.3, held.__exit__, (None, None, None)).start()
    with other.alone():
        assert "in use by another search; waiting for it" in caplog.text


def test_a_folder_without_locks_is_refused(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: object) -> None:
        raise NotImplementedError("flock is not there")

    monkeypatch.setattr("trainables.durable.UnixFileLock._acquire", unable)
    with pytest.raises(UserError, match=r"\(no lock: flock is not there\)"):
        journal.alone().__enter__()


def test_every_line_is_on_the_disk(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda f: (flushed.append(os.fstat(f).st_size), sync(f))[1])
    journal.asked(BOTH)
    assert flushed == [journal.path.stat().st_size]
