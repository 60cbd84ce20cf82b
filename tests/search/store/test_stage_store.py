"""The stage store: what is finished stays, what was cut short is not seen, one lock a stage."""

import errno
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from search.store import sealing, stage_store
from search.store.sealing import MANIFEST
from search.store.stage_store import StageStore, full_disk_explained
from trainables import durable
from trainables.errors import UserError
from trainables.spec import FORMAT, digest
from trainables.storage import CHECKPOINT, STAMP, store_id

ROOT = Path(__file__).resolve().parents[3]
SPEC = {"pretext": "odc", "range": (0.1, 0.3), "parent": None}
KEY = f"odc-{digest(SPEC)}"
MODEL = Path("deep", "model.bin")


def key_of(number: int) -> str:
    return f"odc-{digest({'number': number})}"


@pytest.fixture
def store(tmp_path: Path) -> StageStore:
    return StageStore(tmp_path / "store")


def finish(store: StageStore, key: str = KEY, text: str = "weights", spec: object = SPEC) -> dict:
    (store.part(key) / "deep").mkdir(exist_ok=True)
    (store.part(key) / MODEL).write_text(text)
    return store.commit(key, {"spec": spec, "text": text})


def rewrite(store: StageStore, change: Callable[[dict], object]) -> None:
    """Change the manifest of KEY by hand."""
    path = store.path(KEY) / MANIFEST
    known = json.loads(path.read_text())
    change(known)
    path.write_text(json.dumps(known))


def flip(path: Path, at: int = 0) -> None:
    """One bit of a byte, as a disk may; size and length of the file stay."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def spawn(code: str, *arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def output(child: subprocess.Popen) -> str:
    printed, _ = child.communicate(timeout=30)
    return printed


def test_a_stage_is_seen_only_when_finished(store: StageStore) -> None:
    (store.part(KEY) / "half").write_text("half")
    assert store.manifest(KEY) is None
    assert store.keys() == []
    manifest = finish(store)
    assert manifest == store.manifest(KEY) == StageStore(store.root).manifest(KEY)
    assert {name: entry["bytes"] for name, entry in manifest["files"].items()} == {
        "half": 4,
        "deep/model.bin": 7,
    }
    assert (store.path(KEY) / MODEL).read_text() == "weights"
    assert store.keys() == [KEY]
    assert not list(store.root.glob("*.part"))
    assert store.verify() == []


def test_the_digest_is_that_of_sha256sum(store: StageStore) -> None:
    finish(store, text="abc")
    entry = store.manifest(KEY)["files"]["deep/model.bin"]
    assert entry["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_the_checkpoint_goes_when_its_stage_is_finished(store: StageStore) -> None:
    """So a finished stage takes what its manifest lists, and no more."""
    (store.part(KEY) / CHECKPOINT).write_bytes(bytes(1_000_000))
    (store.part(KEY) / f"{durable.TEMPORARY}{CHECKPOINT}-1").write_bytes(bytes(1_000_000))
    listed = sum(entry["bytes"] for entry in finish(store)["files"].values())
    found = [path for path in store.path(KEY).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in found if path.name != MANIFEST) == listed == 7
    assert StageStore(store.root).recheck(KEY)


def test_a_commit_that_is_cut_short_keeps_the_checkpoint(
    store: StageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    (store.part(KEY) / CHECKPOINT).write_text("step 7")
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", None)  # dies here
        with pytest.raises(TypeError):
            finish(store)
    assert (store.part(KEY) / CHECKPOINT).read_text() == "step 7"
    assert finish(store)["files"].keys() == {"deep/model.bin"}


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


def outside(store: StageStore) -> None:
    """A manifest that is whole in itself, but names a file above the stage."""
    (store.root.parent / "x").write_text("x")

    def change(known: dict) -> None:
        known["files"] = {"../../x": 1}
        known["digest"] = digest({k: v for k, v in known.items() if k != "digest"})

    rewrite(store, change)


DAMAGE: dict[str, tuple[str, Callable[[StageStore], object]]] = {
    "bit flip": (
        "deep/model.bin is not what was committed",
        lambda store: flip(store.path(KEY) / MODEL, 3),
    ),
    "truncated": (
        "deep/model.bin has 5 bytes, 7 were committed",
        lambda store: (store.path(KEY) / MODEL).write_text("weigh"),
    ),
    "longer": (
        "deep/model.bin has 8 bytes, 7 were committed",
        lambda store: (store.path(KEY) / MODEL).write_text("weights!"),
    ),
    "missing": (
        "deep/model.bin is missing",
        lambda store: shutil.rmtree(store.path(KEY) / "deep"),
    ),
    "a folder for a file": (
        "deep/model.bin is missing",
        lambda store: ((store.path(KEY) / MODEL).unlink(), (store.path(KEY) / MODEL).mkdir()),
    ),
    "no manifest": (
        "manifest.json is missing",
        lambda store: (store.path(KEY) / MANIFEST).unlink(),
    ),
    "empty manifest": (
        "manifest.json cannot be read",
        lambda store: (store.path(KEY) / MANIFEST).write_text(""),
    ),
    "cut manifest": (
        "manifest.json cannot be read",
        lambda store: os.truncate(store.path(KEY) / MANIFEST, 100),
    ),
    "bytes for a manifest": (
        "manifest.json cannot be read",
        lambda store: (store.path(KEY) / MANIFEST).write_bytes(b"\xff\xfe\x00"),
    ),
    "a list for a manifest": (
        "manifest.json is not a stage's manifest",
        lambda store: (store.path(KEY) / MANIFEST).write_text("[]"),
    ),
    "a foreign manifest": (
        "manifest.json is not a stage's manifest",
        lambda store: (store.path(KEY) / MANIFEST).write_text('{"name": "other"}'),
    ),
    "a number in the manifest": (
        "manifest.json is not what was committed",
        lambda store: rewrite(store, lambda known: known.update(text="weightz")),
    ),
    "no digest of the manifest": (
        "manifest.json is not what was committed",
        lambda store: rewrite(store, lambda known: known.pop("digest")),
    ),
    "another specification": (
        "its specification does not hash to its key",
        lambda store: rewrite(store, lambda known: known["spec"].update(parent="moco-1")),
    ),
    "NaN in the specification": (
        "manifest.json cannot be hashed",
        lambda store: rewrite(store, lambda known: known["spec"].update(parent=float("nan"))),
    ),
    "a name outside": (
        "'../../x' is not inside the stage",
        outside,
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_stage_is_found_set_aside_and_trained_again(
    store: StageStore, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    said, damage = DAMAGE[kind]
    finish(store)
    damage(store)
    assert [line for line in store.verify() if line.startswith(f"{KEY}: {said}")]
    again = StageStore(store.root)
    with caplog.at_level(logging.WARNING):
        assert again.manifest(KEY) is None
    assert again.keys() == []
    assert again.damaged[KEY].startswith(f"stage {KEY}: {said}")
    assert "trained again" in again.damaged[KEY]
    assert caplog.messages == [again.damaged[KEY]]
    assert [path.name.rpartition("-")[0] for path in (again.root / ".damaged").iterdir()] == [KEY]
    assert finish(again, text="new")["text"] == "new"
    assert (again.path(KEY) / MODEL).read_text() == "new"
    assert StageStore(store.root).recheck(KEY)


def test_a_file_in_the_place_of_a_stage_is_set_aside(store: StageStore) -> None:
    store.path(KEY).write_text("")
    assert store.manifest(KEY) is None
    said = "manifest.json cannot be read (Not a directory)"
    assert store.damaged[KEY].startswith(f"stage {KEY}: {said}")
    assert finish(store)["text"] == "weights"


def test_a_sound_stage_is_read_once_and_again_when_asked(
    store: StageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(store)
    read: list[Path] = []
    whole = sealing.file_digest
    monkeypatch.setattr(sealing, "file_digest", lambda path: (read.append(path), whole(path))[1])
    for _ in range(3):
        assert store.manifest(KEY)  # this process wrote it
    again = StageStore(store.root)
    for _ in range(3):
        assert again.manifest(KEY)
    assert read == [store.path(KEY) / MODEL]
    flip(store.path(KEY) / MODEL)
    assert again.manifest(KEY)
    assert not again.recheck(KEY)
    assert again.manifest(KEY) is None
    assert not again.recheck(KEY)


def test_a_rival_that_set_it_aside_first_is_no_fault(
    store: StageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(store)
    flip(store.path(KEY) / MODEL)
    rename = os.rename

    def late(a: Path, b: Path) -> None:
        rename(a, store.root / "elsewhere")
        rename(a, b)

    again = StageStore(store.root)
    monkeypatch.setattr(os, "rename", late)
    assert again.manifest(KEY) is None
    assert "trained again" in again.damaged[KEY]


def test_a_stage_that_is_committed_between_two_looks_is_not_damaged(
    store: StageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = StageStore(store.root)

    def too_early(_: Path) -> bytes:
        monkeypatch.undo()
        finish(store)
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_bytes", too_early)
    assert reader.manifest(KEY)
    assert reader.damaged == {}


def test_a_store_that_may_only_be_read_says_what_is_damaged(
    store: StageStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    finish(store)
    flip(store.path(KEY) / MODEL)
    reader = StageStore(store.root)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "rename", refuse)
    assert [reader.manifest(KEY) for _ in range(3)] == [None] * 3
    assert "cannot be set aside (Read-only file system)" in reader.damaged[KEY]
    assert len(caplog.messages) == 1
    assert reader.keys() == [KEY]


def test_a_fault_in_reading_is_not_damage(
    store: StageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(store)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        with pytest.raises(PermissionError):
            store.manifest(KEY)
    assert store.manifest(KEY)


def test_commit_without_work_is_an_error(store: StageStore) -> None:
    with pytest.raises(FileNotFoundError):
        store.commit(KEY, {"spec": SPEC})


def test_verify_names_everything_and_sets_nothing_aside(store: StageStore) -> None:
    for number in range(4):
        finish(store, key_of(number), spec={"number": number})
    first, second, third, sound = map(key_of, range(4))
    (store.path(first) / MODEL).write_text("short")
    (store.path(second) / MANIFEST).write_text("{")
    shutil.rmtree(store.path(third) / "deep")
    os.rename(store.path(sound), store.root / "odc-renamed")
    assert [line.partition(" (")[0] for line in store.verify()] == sorted(
        [
            f"{first}: deep/model.bin has 5 bytes, 7 were committed",
            f"{second}: manifest.json cannot be read",
            f"{third}: deep/model.bin is missing",
            "odc-renamed: its specification does not hash to its key",
        ]
    )
    assert len(store.keys()) == 4


def test_the_id_is_the_same_for_all_who_see_the_store(store: StageStore, tmp_path: Path) -> None:
    assert store.id == StageStore(store.root).id == store_id(store.root)
    assert len(store.id) == 32
    assert store.id != StageStore(tmp_path / "other").id
    (store.root / STAMP).write_text(json.dumps({"format": FORMAT}))
    assert store_id(store.root) is None
    assert StageStore(store.root).id == store_id(store.root)
    assert store_id(tmp_path / "nowhere") is None
    for text in ("", "[]", '{"id": 1}'):
        (store.root / STAMP).write_text(text)
        assert store_id(store.root) is None


CREATE = """
import sys
from search.store.stage_store import StageStore
print(StageStore(sys.argv[1]).id)
"""


def test_those_who_come_at_once_agree_on_the_id(tmp_path: Path) -> None:
    children = [spawn(CREATE, tmp_path / "store") for _ in range(4)]
    assert {output(child).strip() for child in children} == {store_id(tmp_path / "store")}


def test_another_format_is_refused_in_one_line(store: StageStore) -> None:
    (store.root / STAMP).write_text(json.dumps({"format": FORMAT + 1}))
    with pytest.raises(UserError, match=f"format {FORMAT}, .* not {FORMAT + 1}") as e:
        StageStore(store.root)
    assert str(store.root) in str(e.value)
    assert "\n" not in str(e.value)
    (store.root / STAMP).write_text("no json")
    with pytest.raises(UserError, match="unreadable"):
        StageStore(store.root)


def test_a_root_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"a folder to write to \(Not a directory\); try another one"
    ):
        StageStore(tmp_path / "file" / "store")


@pytest.mark.parametrize("key", ["", "../x", "a/b", "/a", ".hidden", "a.part", "a\n", "a\0"])
def test_a_key_is_one_plain_name(store: StageStore, key: str) -> None:
    for use in (store.part, store.path, store.manifest, store.lock, store.recheck):
        with pytest.raises(UserError, match="must be letters, digits"):
            use(key)


def test_prune_takes_orphans_and_only_what_is_not_kept(store: StageStore) -> None:
    finish(store)
    finish(store, "odc-old")
    store.part("odc-orphan")
    store.part("odc-busy")
    with store.lock("odc-busy"):
        assert store.prune() == ["odc-orphan.part"]
        assert store.prune(keep={KEY}) == ["odc-old"]
    assert store.keys() == [KEY]
    assert [path.name for path in store.root.glob("*.part")] == ["odc-busy.part"]
    assert not list((store.root / ".trash").iterdir())


def test_space_is_checked_and_a_full_disk_explained(
    store: StageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.check_space(1)
    with pytest.raises(UserError, match=r"must have about .* GB free, has"):
        store.check_space(10**18)
    with pytest.raises(UserError, match="disk is full"), full_disk_explained("here"):
        raise OSError(errno.ENOSPC, "no space left on device")
    with pytest.raises(PermissionError), full_disk_explained("here"):
        raise PermissionError(errno.EACCES, "no")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(stage_store, "write_json", full)
    with pytest.raises(UserError, match=r"disk is full; try .*store prune --store \/"):
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


def test_one_holder_at_a_time(store: StageStore) -> None:
    first = store.lock(KEY)
    assert first is not None
    with first:
        assert store.lock(KEY) is None
        assert StageStore(store.root).lock(KEY) is None
        assert store.lock(key_of(1)) is not None
    with store.lock(KEY):
        pass
    assert (store.root / ".locks" / KEY).exists()  # removing it would let two hold it


def test_a_thread_may_release_what_another_took(store: StageStore) -> None:
    held = store.lock(KEY)
    assert held is not None
    with ThreadPoolExecutor(1) as pool:
        pool.submit(held.__exit__, None, None, None).result()
    with store.lock(KEY):
        pass


HOLD = """
import sys, time
from search.store.stage_store import StageStore
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
    with store.lock(KEY):  # released by the kernel
        pass


COMMIT = """
import os, sys
from search.store.stage_store import StageStore
from trainables.spec import digest
store = StageStore(sys.argv[1])
for number in range(10_000):
    key = f"odc-{digest({'number': number})}"
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
            assert [entry["bytes"] for entry in manifest["files"].values()] == [2000] * 3
    assert again.verify() == []
    assert again.damaged == {}
    assert len(list(store.root.glob("*.part"))) <= 1


RACE = """
import sys, time
from search.store.stage_store import StageStore
from trainables.spec import digest
store, me = StageStore(sys.argv[1]), sys.argv[2]
time.sleep(max(0, float(sys.argv[3]) - time.time()))
for number in range(40):
    if lock := store.lock(key := f"odc-{digest({'number': number})}"):
        with lock:
            if store.manifest(key) is None:
                (store.part(key) / me).write_text(me)
                assert [path.name for path in store.part(key).iterdir()] == [me]
                store.commit(key, {"spec": {"number": number}, "by": me})
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

    def synced(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        events.append(path.name.rpartition(f"{MANIFEST}-")[1] or path.name)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", lambda a, b: (events.append("rename"), rename(a, b))[1])
    finish(store)
    before, after = events[: events.index("rename")], events[events.index("rename") :]
    assert sorted(before) == sorted(["deep", "model.bin", f"{MANIFEST}-", f"{KEY}.part"])
    assert before[-1] == f"{KEY}.part"
    assert after == ["rename", store.root.name]
