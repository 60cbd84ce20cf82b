"""The stage store: what is finished stays, what was cut short is not seen, one lock a stage."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import search.store
from search.store import MANIFEST, STAMP, StageStore, full_disk_explained, main
from trainables.errors import UserError
from trainables.spec import FORMAT, digest

ROOT = Path(__file__).resolve().parents[2]
SPEC = {"pretext": "odc", "range": (0.1, 0.3), "parent": None}
KEY = f"odc-{digest(SPEC)}"


@pytest.fixture
def store(tmp_path: Path) -> StageStore:
    return StageStore(tmp_path / "store")


def finish(store: StageStore, key: str = KEY, text: str = "weights") -> dict:
    (store.part(key) / "deep").mkdir(exist_ok=True)
    (store.part(key) / "deep" / "model.bin").write_text(text)
    return store.commit(key, {"spec": SPEC, "text": text})


def spawn(code: str, *arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def output(child: subprocess.Popen) -> str:
    printed, _ = child.communicate(timeout=30)
    return printed


def test_a_stage_is_seen_only_when_finished(store: StageStore) -> None:
    (store.part(KEY) / "checkpoint").write_text("half")
    assert store.manifest(KEY) is None
    assert store.keys() == []
    manifest = finish(store)
    assert manifest == store.manifest(KEY)
    assert manifest["files"] == {"checkpoint": 4, "deep/model.bin": 7}
    assert (store.path(KEY) / "deep" / "model.bin").read_text() == "weights"
    assert store.keys() == [KEY]
    assert not list(store.root.glob("*.part"))
    assert store.verify() == []


def test_another_object_on_the_same_root_sees_it(store: StageStore) -> None:
    finish(store)
    assert StageStore(str(store.root)).keys() == [KEY]


def test_the_part_of_an_interrupted_stage_is_kept(store: StageStore) -> None:
    (store.part(KEY) / "checkpoint").write_text("step 7")
    again = StageStore(store.root)
    assert (again.part(KEY) / "checkpoint").read_text() == "step 7"


def test_a_finished_stage_is_never_overwritten(store: StageStore) -> None:
    finish(store, text="first")
    assert finish(store, text="second")["text"] == "first"
    assert (store.path(KEY) / "deep" / "model.bin").read_text() == "first"
    assert not list(store.root.glob("*.part"))


@pytest.mark.parametrize("damage", ["", "{", "[]"])
def test_a_damaged_manifest_is_no_stage_and_is_replaced(store: StageStore, damage: str) -> None:
    finish(store, text="old")
    (store.path(KEY) / MANIFEST).write_text(damage)
    assert store.manifest(KEY) is None
    assert finish(store, text="new")["text"] == "new"
    assert (store.path(KEY) / "deep" / "model.bin").read_text() == "new"


def test_commit_without_work_is_an_error(store: StageStore) -> None:
    with pytest.raises(FileNotFoundError):
        store.commit(KEY, {"spec": SPEC})


def test_verify_names_what_is_wrong(store: StageStore) -> None:
    finish(store)
    finish(store, "odc-other")
    finish(store, "odc-broken")
    (store.path(KEY) / "deep" / "model.bin").write_text("short")
    (store.path("odc-broken") / MANIFEST).write_text("{")
    assert (
        store.verify()
        == [
            f"{KEY}: deep/model.bin has 5 bytes, 7 were committed",
            "odc-broken: no readable manifest.json",
            "odc-other: its specification does not hash to its key",
        ]
        or sorted(store.verify()) == store.verify()
    )
    shutil.rmtree(store.path(KEY) / "deep")
    assert f"{KEY}: deep/model.bin is missing" in store.verify()


def test_another_format_is_refused_in_one_line(store: StageStore) -> None:
    (store.root / STAMP).write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(UserError, match=f"format {FORMAT + 1}, this version writes {FORMAT}") as e:
        StageStore(store.root)
    assert str(store.root) in str(e.value)
    assert "\n" not in str(e.value)
    (store.root / STAMP).write_text("no json")
    with pytest.raises(UserError, match="unreadable"):
        StageStore(store.root)


def test_a_root_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="give another store="):
        StageStore(tmp_path / "file" / "store")


def test_a_root_is_a_path_or_a_file_uri(tmp_path: Path) -> None:
    assert StageStore(tmp_path.as_uri()).root == tmp_path
    with pytest.raises(UserError, match="mount the bucket"):
        StageStore("s3://bucket/store")


@pytest.mark.parametrize("key", ["", "../x", "a/b", ".hidden", "a.part"])
def test_a_key_is_one_plain_name(store: StageStore, key: str) -> None:
    with pytest.raises(AssertionError):
        store.part(key)


def test_prune_takes_orphans_and_only_what_is_not_kept(store: StageStore) -> None:
    finish(store)
    finish(store, "odc-old")
    store.part("odc-orphan")
    store.part("odc-busy")
    with store.lock("odc-busy"):
        assert store.orphans() == ["odc-orphan"]
        assert store.prune() == ["odc-orphan.part"]
        assert store.prune(keep={KEY}) == ["odc-old"]
    assert store.keys() == [KEY]
    assert [path.name for path in store.root.glob("*.part")] == ["odc-busy.part"]
    assert not list((store.root / ".trash").iterdir())


def test_space_is_checked_and_a_full_disk_explained(
    store: StageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.check_space(1)
    with pytest.raises(UserError, match="GB free, about"):
        store.check_space(10**18)
    with pytest.raises(UserError, match="disk is full"), full_disk_explained("here"):
        raise OSError(errno.ENOSPC, "no space left on device")
    with pytest.raises(PermissionError), full_disk_explained("here"):
        raise PermissionError(errno.EACCES, "no")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(search.store, "write_json", full)
    with pytest.raises(UserError, match="disk is full"):
        finish(store)
    assert store.manifest(KEY) is None


def test_listing_opens_no_stage(store: StageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that ten thousand stages are listed in a tenth of a second."""
    for number in range(100):
        (store.root / f"odc-{number:02d}").mkdir()
    listings: list[Path] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (listings.append(path), scandir(path))[1])
    monkeypatch.setattr(os, "stat", None)
    monkeypatch.setattr("builtins.open", None)
    assert len(store.keys()) == 100
    assert listings == [store.root]


def test_command_line(store: StageStore, capsys: pytest.CaptureFixture[str]) -> None:
    finish(store)
    store.part("odc-orphan")
    assert main(["list", "--store", str(store.root)]) == 0
    assert main(["verify", "--store", str(store.root)]) == 0
    assert main(["prune", "--store", str(store.root)]) == 0
    assert capsys.readouterr().out.split() == [KEY, "odc-orphan.part"]
    (store.path(KEY) / "deep" / "model.bin").unlink()
    assert main(["verify", "--store", str(store.root)]) == 1
    assert main(["list", "--store", str(store.root / "nowhere")]) == 2
    assert not (store.root / "nowhere").exists()


def test_one_holder_at_a_time(store: StageStore) -> None:
    first = store.lock(KEY)
    assert first is not None
    assert store.lock(KEY) is None
    assert store.lock(KEY, wait=0.05) is None
    first.release()
    first.release()
    with store.lock(KEY, wait=None):
        assert store.lock(KEY) is None
    assert store.lock(KEY) is not None


HOLD = """
import sys, time
from search.store import StageStore
lock = StageStore(sys.argv[1]).lock(sys.argv[2])
print("held", flush=True)
time.sleep(60)
"""


def test_a_killed_holder_lets_go(store: StageStore) -> None:
    child = spawn(HOLD, store.root, KEY)
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    assert store.lock(KEY) is None
    child.send_signal(signal.SIGKILL)
    output(child)
    assert store.lock(KEY) is not None


COMMIT = """
import os, sys
from search.store import StageStore
store = StageStore(sys.argv[1])
for number in range(10_000):
    key = f"odc-{number:05d}"
    if store.manifest(key) is None:
        part = store.part(key)
        for name in range(3):
            (part / f"{name}.bin").write_bytes(os.urandom(2000))
        store.commit(key, {"spec": {"number": number}})
        print(key, flush=True)
"""


def test_sigkill_at_any_moment_leaves_whole_stages_only(store: StageStore) -> None:
    delays, done = random.Random(0), set[str]()
    for _ in range(8):
        child = spawn(COMMIT, store.root)
        assert child.stdout is not None
        done.add(child.stdout.readline().strip())
        time.sleep(delays.uniform(0, 0.03))
        child.send_signal(signal.SIGKILL)
        done |= set(output(child).split())
        again = StageStore(store.root)
        assert done <= set(again.keys())  # what was reported finished is finished
        for key in again.keys():
            manifest = again.manifest(key)
            assert manifest is not None
            assert sorted(manifest["files"].values()) == [2000] * 3
    assert not [problem for problem in again.verify() if "hash" not in problem]
    assert len(list(store.root.glob("*.part"))) <= 1


RACE = """
import sys, time
from search.store import StageStore
store, me = StageStore(sys.argv[1]), sys.argv[2]
time.sleep(max(0, float(sys.argv[3]) - time.time()))
for number in range(40):
    if lock := store.lock(key := f"odc-{number}"):
        with lock:
            if store.manifest(key) is None:
                (store.part(key) / me).write_text(me)
                assert [path.name for path in store.part(key).iterdir()] == [me]
                store.commit(key, {"spec": {}, "by": me})
                print(key)
"""


def test_two_searches_train_each_stage_once(store: StageStore) -> None:
    start = time.time() + 0.5
    children = [spawn(RACE, store.root, me, start) for me in ("a", "b")]
    trained = [key for child in children for key in output(child).split()]
    assert [child.returncode for child in children] == [0, 0]
    assert len(trained) == len(set(trained))
    assert sorted(trained) == store.keys()


def test_everything_is_on_the_disk_before_the_name(
    store: StageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    sync, rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda f: (events.append("sync"), sync(f))[1])
    monkeypatch.setattr(os, "rename", lambda a, b: (events.append("rename"), rename(a, b))[1])
    finish(store)
    assert events == ["sync"] * 3 + ["rename", "sync"]  # file, manifest, folder; root
