"""MLflow's content after a search: in SQLite, and on a real server with a login."""

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from mlflow.artifacts import download_artifacts
from mlflow.tracking import MlflowClient

from search.chains.chain import Chain
from search.report import duplicates, points
from search.results.records import ChainResult
from search.tracking import tracker as tracking
from search.tracking.mirror import Mirror
from search.tracking.tracker import Tracker
from search.tracking.uri import Address
from trainables.errors import UserError

if TYPE_CHECKING:
    from tests.search.tracking.conftest import Server

ROOT = Path(__file__).resolve().parents[3]
CHILDREN = 17  # 15 chains and two baselines
WINNER = "relative_location>odc>moco"


def _mirror(
    uri: str | None,
    search: Any,
    written: tuple[Path, dict[str, Any]],
    experiment: str = "isic3",
    share_images: bool | None = None,
) -> Tracker:
    out, summary = written
    (out / "report" / duplicates.FILE).write_text("image_a,image_b\nANNA.jpg,OTTO.jpg\n")
    tracker = Tracker(uri, experiment, out, share_images)
    tracker.connect()
    tracker.mirror(search.table, search.plan, search.info, summary, search.store, out)
    return tracker


def _runs(uri: str, experiment: str = "isic3") -> tuple[Any, list[Any]]:
    client = MlflowClient(uri, uri)
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    return parents[0], [run for run in runs if run is not parents[0]]


def _check(uri: str) -> None:
    parent, children = _runs(uri)
    client = MlflowClient(uri, uri)
    assert len(children) == CHILDREN
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert parent.data.tags["recommended"] == WINNER
    assert parent.data.tags["headline"] == f"{WINNER} was better than imagenet on test"
    winner = next(run for run in children if run.info.run_name == "odc>moco")
    assert winner.data.metrics["delta"] == pytest.approx(10.811, abs=1e-3)  # of means over seeds
    assert winner.data.params["label"] == "C"
    assert winner.data.params["lr_2"] == "0.1*"
    curve = client.get_metric_history(winner.info.run_id, "finetune_balanced_accuracy")
    assert [point.step for point in curve] == list(range(12, 12 * 13, 12))
    assert len(client.get_metric_history(winner.info.run_id, "stage_2_moco_loss")) == 12
    artifacts = {file.path for file in client.list_artifacts(parent.info.run_id, "report")}
    assert {"report/index.html", "report/chains.csv", "report/tree.png"} <= artifacts
    assert "report/near_duplicates.csv" not in artifacts  # names of images and patients
    assert client.get_model_version_by_alias("isic3-backbone", "best").tags["chain"] == WINNER


def test_sqlite_by_default_in_this_directory(
    search: Any, written: Any, folder: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    tracker = _mirror(None, search, written)
    assert tracker.command == "mlflow ui"
    uri = database
    _check(uri)
    assert (folder / "mlruns").is_dir()
    before = sorted(run.info.run_id for run in _runs(uri)[1])
    _mirror(None, search, written)
    assert sorted(run.info.run_id for run in _runs(uri)[1]) == before
    assert len(MlflowClient(uri, uri).search_model_versions("name = 'isic3-backbone'")) == 1


@pytest.mark.slow
def test_server(
    search: Any,
    written: Any,
    server: "Server",
    tmp_path: Path,
    said: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    tracker = _mirror(server.uri, search.only(WINNER, "odc", "scratch"), written)
    assert [line for line in said if "waiting" not in line] == []
    assert "secret1234" not in "".join(capfd.readouterr()), "mlflow prints where a run is"
    assert tracker.command == f"open http://admin:***@127.0.0.1:{server.port}"
    parent, children = _runs(server.uri)
    assert parent.info.status == "FINISHED"
    assert {run.info.run_name for run in children} == {WINNER, "odc", "scratch"}
    client = server.client
    assert client.list_artifacts(parent.info.run_id, "report")
    version = client.get_model_version_by_alias("isic3-backbone", "best")
    source = client.get_model_version_download_uri(version.name, version.version)
    got = Path(
        download_artifacts(artifact_uri=source, dst_path=str(tmp_path), tracking_uri=server.uri)
    )
    own = written[0] / "best" / "backbone.safetensors"
    assert next(got.rglob("backbone.safetensors")).read_bytes() == own.read_bytes()
    for secret in (b"a%20b%40secret1234", b"a b@secret1234"):
        assert not server.holds(secret)
        files = (path for path in written[0].rglob("*") if path.is_file())
        assert not any(secret in path.read_bytes() for path in files)


def test_failed_and_pruned_chains(search: Any, written: Any, database: str) -> None:
    small = search.only("moco", "odc", "moco>odc", "moco>relative_location", "imagenet")
    broken = small.without("failed", "loss is NaN at step 3", "moco>odc")
    broken = broken.without("pruned", "falls", "moco>relative_location")
    broken = broken.without("not run", "no weights", "imagenet")
    _mirror(database, broken, written, "broken")
    _, children = _runs(database, "broken")
    failed = next(run for run in children if run.info.run_name == "moco>odc")
    assert (failed.info.status, failed.data.tags["reason"]) == ("FAILED", "loss is NaN at step 3")
    assert {run.info.run_name for run in children} == {"moco", "odc", "moco>odc"}
    _mirror(database, small, written, "broken")
    mended = MlflowClient(database, database).get_run(failed.info.run_id)
    score = mended.data.metrics["balanced_accuracy"]
    assert (mended.info.status, score) == ("FINISHED", pytest.approx(72.587, abs=1e-3))


def test_a_search_that_runs_has_one_child_a_chain(search: Any, written: Any, database: str) -> None:
    """Chains are logged as they are scored, some again, all at the end; each point once."""
    mirror = Mirror(Address.of(database), "live", written[0], "no names")
    mirror.connect()
    mirror.start(search.plan, search.info)
    rows = [row for row in search.table.scored if row.length < 2]
    broken = search.without("failed", "its group died", "moco").table.row("moco")
    mirror.log_chain(broken, [])
    for logged in (rows[:2], rows, [replace(rows[0], linear=12.0)]):
        for row in logged:
            mirror.log_chain(row, points.curves(row, search.store, "balanced_accuracy"))
    parent, children = _runs(database, "live")
    assert parent.info.status == "RUNNING"
    assert sorted(run.info.run_name for run in children) == sorted(row.chain for row in rows)
    _mirror(database, search, written, "live")
    _, children = _runs(database, "live")
    assert len(children) == CHILDREN
    client = MlflowClient(database, database)
    first = next(run for run in children if run.info.run_name == rows[0].chain)
    for metric, count in (("balanced_accuracy", 1), ("finetune_balanced_accuracy", 12)):
        assert len(client.get_metric_history(first.info.run_id, metric)) == count


class Flaky:
    """A client whose server is away while `down`."""

    def __init__(self, client: Any) -> None:
        self.client, self.down, self.refused = client, False, 0

    def __getattr__(self, name: str) -> Any:
        if self.down:
            self.refused += 1
            raise ConnectionError("http://u:pw@h went away")
        return getattr(self.client, name)


@pytest.fixture
def flaky(
    search: Any, written: Any, database: str, quick: None, request: pytest.FixtureRequest
) -> Iterator[tuple[Tracker, Flaky]]:
    """A search that has started, and the client that it is tracked with."""
    del quick
    tracker = Tracker(database, request.node.name, written[0], None)
    tracker.connect()
    client = Flaky(tracker._mirror._client)
    tracker._mirror._client = client  # type: ignore[assignment]
    tracker.start(search.plan, search.info)
    yield tracker, client
    client.down = False
    tracker._outbox._stop = True


def _ask(client: Flaky, more: int = 1) -> None:
    """Wait until the server was asked again, in vain."""
    before, waits = client.refused, iter(range(1000))
    while client.refused < before + more:
        assert next(waits, None) is not None
        _pause()


def _pause() -> None:
    time.sleep(0.01)


def test_updates_reach_mlflow_while_the_search_runs(
    search: Any, database: str, flaky: tuple[Tracker, Flaky]
) -> None:
    tracker, _ = flaky
    results: tuple[ChainResult, ...] = tuple(search.results)
    tracker.update(results, frozenset({Chain.parse("odc")}), search.store)
    tracker.update(
        results, frozenset({Chain.parse("odc>moco"), Chain.parse("scratch")}), search.store
    )
    waits = iter(range(1000))
    while tracker._outbox._busy or tracker._outbox._waiting is not None:
        assert next(waits, None) is not None
        _pause()
    parent, children = _runs(database, tracker.experiment)
    assert parent.info.status == "RUNNING"
    assert {run.info.run_name for run in children} == {"odc", "odc>moco", "scratch"}
    deep = next(run for run in children if run.info.run_name == "odc>moco")
    delta = pytest.approx(10.811, abs=1e-3)
    assert deep.data.metrics["delta"] == delta, "the single it is judged by is known"


class Watched:
    """A store that records which threads read it."""

    def __init__(self, store: Any) -> None:
        self.store, self.threads = store, set[str]()

    def path(self, key: str) -> Path:
        self.threads.add(threading.current_thread().name)
        return self.store.path(key)

    def manifest(self, key: str) -> Any:
        self.threads.add(threading.current_thread().name)
        return self.store.manifest(key)


def test_the_trackers_thread_never_reads_the_store(
    search: Any, written: Any, flaky: tuple[Tracker, Flaky]
) -> None:
    """Reading a damaged stage sets it aside, which only the driver's thread may do."""
    tracker, _ = flaky
    store, (out, summary) = Watched(search.store), written
    tracker.update(tuple(search.results), frozenset({Chain.parse("odc")}), store)
    tracker.mirror(search.table, search.plan, search.info, summary, store, out)
    assert store.threads == {threading.current_thread().name}


def test_what_was_lost_on_the_way_is_sent_later(
    search: Any, written: Any, database: str, flaky: tuple[Tracker, Flaky], said: list[str]
) -> None:
    tracker, client = flaky
    out, summary = written
    client.down = True
    tracker.update(tuple(search.results), frozenset({Chain.parse("odc")}), search.store)
    _ask(client, 3)
    client.down = False
    tracker.mirror(search.table, search.plan, search.info, summary, search.store, out)
    parent, children = _runs(database, tracker.experiment)
    assert (parent.info.status, len(children)) == ("FINISHED", CHILDREN)
    lost, again = [one for one in said if "waiting for its answer" not in one]  # it may be slow
    assert "failed (http://u:***@h went away); tried again, no result is lost" in lost
    assert "works again" in again


def test_a_tracker_that_stays_away_costs_a_bounded_wait_and_one_line(
    search: Any,
    written: Any,
    database: str,
    flaky: tuple[Tracker, Flaky],
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracker, client = flaky
    out, summary = written
    client.down = True
    with monkeypatch.context() as hurried:
        hurried.setattr(tracking, "PATIENCE", 0.2)
        hurried.setattr(tracking, "SLOWEST", 1e9)
        tracker.mirror(search.table, search.plan, search.info, summary, search.store, out)
    assert said[-1] == (
        f"tracking at {database}: not everything was sent; the same command run again sends it"
    )
    _mirror(database, search, written, tracker.experiment)  # the same command run again
    parent, children = _runs(database, tracker.experiment)
    assert (parent.info.status, len(children)) == ("FINISHED", CHILDREN)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"interrupted": True}, "KILLED"),
        ({"incomplete": "disk is full"}, "FAILED"),
        ({}, "FINISHED"),
    ],
    ids=str,
)
def test_how_the_parent_run_ends(
    change: dict[str, Any], status: str, search: Any, written: Any, database: str
) -> None:
    few = search.only("moco", "scratch")
    few = replace(few, info=replace(few.info, **change))
    _mirror(database, few, written, "ends")
    parent, _ = _runs(database, "ends")
    assert parent.info.status == status


@pytest.mark.slow
def test_a_deleted_experiment_is_said_with_the_cure(database: str, server: "Server") -> None:
    for uri in (database, server.uri):
        tracker = Tracker(uri, "thrown away", Path("out"), None)
        tracker.connect()
        client = MlflowClient(uri, uri)
        found = client.get_experiment_by_name("thrown away")
        assert found is not None
        client.delete_experiment(found.experiment_id)
        cure = f"mlflow experiments restore --experiment-id {found.experiment_id}"
        for ask in (tracker.check, tracker.connect, tracker._mirror.connect):
            with pytest.raises(UserError, match=f"name=thrown away: must not .*{cure}"):
                ask()
        client.restore_experiment(found.experiment_id)
        tracker.connect()


CONNECT = """
import sys; sys.path.insert(0, sys.argv[1])
from pathlib import Path
from types import SimpleNamespace
from search.tracking.tracker import Tracker
tracker = Tracker(None, "isic3", Path("out"), None)
print("ready", flush=True)
sys.stdin.readline()
tracker.connect()
from mlflow.telemetry.utils import is_telemetry_disabled
import mlflow.telemetry.utils as telemetry
telemetry._IS_IN_CI_ENV_OR_TESTING = False
assert is_telemetry_disabled(), "telemetry"
"""


@pytest.mark.slow
def test_four_first_searches_at_once(tmp_path: Path) -> None:
    """One of them creates the database in a fresh folder, the others wait. No telemetry."""
    command = [sys.executable, "-c", CONNECT, str(ROOT)]
    plain = {k: v for k, v in os.environ.items() if k != "MLFLOW_DISABLE_TELEMETRY"}
    searches = [
        subprocess.Popen(
            command, cwd=tmp_path, env=plain, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(4)
    ]  # fmt: skip
    for one in searches:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in searches:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    for one in searches:
        _, err = one.communicate(timeout=120)
        assert one.returncode == 0, err
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    names = [found.name for found in MlflowClient(uri, uri).search_experiments()]
    assert sorted(names) == ["Default", "isic3"]


def test_a_database_is_never_half_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever dies while the tables are created leaves none; the next one makes them."""
    from mlflow.store.db import utils

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with monkeypatch.context() as broken:

        def dies(*_: object) -> None:
            raise KeyboardInterrupt

        broken.setattr(utils, "_upgrade_db", dies)
        with pytest.raises(KeyboardInterrupt):
            Tracker(uri, "isic3", tmp_path, None).connect()
    assert not (tmp_path / "mlflow.db").exists()
    Tracker(uri, "isic3", tmp_path, None).connect()
    assert (tmp_path / "mlflow.db").stat().st_size


# -- what leaves the machine -----------------------------------------------------------------------

PICTURE = bytes(range(256)) * 4  # of a patient
NAMES = (b"ANNA_0412.jpg", b"PATIENT-77")


@pytest.fixture
def told(search: Any, written: Any) -> Iterator[tuple[Any, Any]]:
    """A search whose report shows pictures and names of images and patients wherever it can."""
    out, summary = written
    reason = "/data/isic/ANNA_0412.jpg of PATIENT-77: is no image"
    few = search.only("moco", "moco>odc").without("failed", reason, "moco>odc")
    few = replace(few, info=replace(few.info, incomplete=reason))
    summary = summary | {
        "incomplete": reason, "failed": [{"chain": "moco>odc", "reason": reason}],
        "chains": [{"chain": "moco>odc", "reason": reason}],
    }  # fmt: skip
    extra = {"thumbnails.png": PICTURE, "names.txt": b"ANNA_0412.jpg PATIENT-77"}
    page = out / "report" / "index.html"
    before = page.read_bytes()
    page.write_bytes(before + base64.b64encode(PICTURE) + b"ANNA_0412.jpg PATIENT-77 /data/isic")
    for name, content in extra.items():
        (out / "report" / name).write_bytes(content)
    yield few, (out, summary)
    page.write_bytes(before)
    for name in extra:
        (out / "report" / name).unlink()


@pytest.mark.slow
def test_a_remote_tracker_gets_aggregates_only(told: Any, server: "Server", tmp_path: Path) -> None:
    """`share_images=False` is what a remote address means by default, see below."""
    few, report = told
    _mirror(server.uri, few, report, "aggregates", share_images=False)
    for words in (*NAMES, b"ANNA.jpg", PICTURE, base64.b64encode(PICTURE)):
        assert not server.holds(words), words[:20]
    parent, children = _runs(server.uri, "aggregates")
    assert "out" not in parent.data.tags, "a path"
    assert {run.info.run_name for run in children} == {"moco", "moco>odc"}
    client = server.client
    sent = {Path(file.path).name for file in client.list_artifacts(parent.info.run_id, "report")}
    assert {"chains.csv", "summary.json", "tree.png", "finetuning.png", "learning.png"} <= sent
    assert not sent & {"index.html", "thumbnails.png", "names.txt", duplicates.FILE}
    got = client.download_artifacts(parent.info.run_id, "report", str(tmp_path))
    assert json.loads((Path(got) / "summary.json").read_text())["best_chain"] == WINNER
    assert "moco,1," in (Path(got) / "chains.csv").read_text()


@pytest.mark.slow
def test_everything_is_sent_when_asked_for(told: Any, server: "Server") -> None:
    few, report = told
    few = replace(few, info=replace(few.info, started="2026-02-01T00:00:00+00:00"))
    _mirror(server.uri, few, report, "everything", share_images=True)
    for words in (*NAMES, b"ANNA.jpg", PICTURE, base64.b64encode(PICTURE)):
        assert server.holds(words), words[:20]


@pytest.mark.parametrize(
    ("uri", "share", "level"),
    [
        ("http://head:5000", None, "aggregates"), ("postgresql://h/db", None, "aggregates"),
        ("http://head:5000", True, "everything"), ("sqlite:///x.db", None, "no names"),
        ("http://localhost:5000", None, "no names"), ("sqlite:///x.db", False, "aggregates"),
    ],
)  # fmt: skip
def test_what_is_shared_by_default(uri: str, share: bool | None, level: str) -> None:
    assert Tracker(uri, "isic3", Path("out"), share)._mirror.level == level


# -- the alias -------------------------------------------------------------------------------------


class Registry:
    """The calls on models that `_register` makes, in memory."""

    def __init__(self) -> None:
        self.versions: list[Any] = []
        self.aliases: dict[str, str] = {}
        self.tags: dict[str, str] = {}

    def search_model_versions(self, _: str) -> list[Any]:
        return self.versions

    def search_registered_models(self, _: str) -> list[Any]:
        return [1]

    def get_registered_model(self, _: str) -> Any:
        return SimpleNamespace(aliases=self.aliases)

    def get_model_version_by_alias(self, _: str, alias: str) -> Any:
        return next(one for one in self.versions if one.version == self.aliases[alias])

    def log_artifacts(self, *_: str) -> None: ...

    def get_run(self, _: str) -> Any:
        return SimpleNamespace(info=SimpleNamespace(artifact_uri="file:///a"))

    def create_model_version(self, _: str, __: str, run_id: str, tags: dict[str, str]) -> Any:
        made = SimpleNamespace(run_id=run_id, tags=tags, version=str(len(self.versions) + 1))
        self.versions.append(made)
        return made

    def set_model_version_tag(self, _: str, version: str, tag: str, value: str) -> None:
        self.versions[int(version) - 1].tags[tag] = value

    def set_registered_model_alias(self, _: str, alias: str, version: str) -> None:
        self.aliases[alias] = version

    def set_tag(self, _: str, tag: str, value: str) -> None:
        self.tags[tag] = value


def _registered(registry: Registry, search: Any, score: float | None, run: str, **more: Any) -> str:
    """Register the recommended with this fresh-seed score; return the version with the alias."""
    mirror = Mirror(Address.of("sqlite:///x.db"), "isic3", Path("out"), "no names")
    mirror._client = registry  # type: ignore[assignment]
    mirror._parent = SimpleNamespace(info=SimpleNamespace(run_id=run))  # type: ignore[assignment]
    mirror._protocol = points.protocol(more.pop("plan", search.plan))
    rows = [replace(r, fresh_score=score) if r.recommended else r for r in search.table.rows]
    mirror._register(replace(search.table, rows=tuple(rows)), replace(search.info, **more))
    return registry.aliases.get("best", "")


@pytest.mark.slow
def test_the_alias_moves_only_to_a_higher_fresh_score_of_the_same_protocol(judged: Any) -> None:
    registry, space = Registry(), judged.plan.space
    assert _registered(registry, judged, None, "a") == "", "no fresh seeds"
    assert _registered(registry, judged, 90.0, "b", demo=True) == "", "never a demonstration"
    assert _registered(registry, judged, 90.0, "c", profile="smoke") == ""
    assert _registered(registry, judged, 70.0, "d") == "4"
    assert _registered(registry, judged, 69.0, "e") == "4"
    assert registry.tags["alias_best"] == "not moved: version 4 has 70.0 on fresh seeds"
    labels = replace(space, profile=replace(space.profile, label_fraction=1.0))
    for plan in (replace(judged.plan, data_digest="e" * 16), replace(judged.plan, space=labels)):
        assert _registered(registry, judged, 95.0, "f", plan=plan) == "4"
        assert "another data set or protocol" in registry.tags["alias_best"]
    assert _registered(registry, judged, 71.0, "g") == "7"
    assert _registered(registry, judged, 71.0, "g") == "7", "the same version, not a new one"
    assert registry.tags["alias_best"].startswith("not moved") is True
    assert len(registry.versions) == 7


def test_the_protocol_is_that_of_the_fine_tuning_not_of_the_stages(judged: Any) -> None:
    plan, space = judged.plan, judged.plan.space
    known = points.protocol(plan)
    longer = replace(space, profile=replace(space.profile, steps=99), policy=space.policy)
    assert points.protocol(replace(plan, space=longer)) == known
    assert points.protocol(replace(plan, data_digest="e" * 16)) != known
    larger = replace(space, profile=replace(space.profile, image_size=72))
    assert points.protocol(replace(plan, space=larger))["protocol"] != known["protocol"]
