"""The runs in MLflow: a parent for the search, a child a chain. The only importer of mlflow.

    mirror = Mirror(address, experiment="isic3", out=out, level="aggregates")
    mirror.connect()                   # UserError here, not after hours of training
    mirror.start(plan, info); mirror.log_chain(row, curves)
    list(mirror.finish(table, summary, info))

Each call may raise any of mlflow's exceptions and may be repeated: the keys in the tags identify a
run, so nothing is logged twice.
"""

import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from filelock import FileLock

from search.chains.plan import Plan
from search.report import notes, points
from search.report.best import BACKBONE
from search.report.summary import first_key
from search.report.table import Row, Table
from search.results.records import RunInfo
from search.tracking import sharing
from search.tracking.check import deleted, refusing
from search.tracking.sharing import Level
from search.tracking.uri import Address
from trainables.spec import MeasureType

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

ARTIFACTS = "mlruns"  # beside a database's file
LOCK_SECONDS = 120.0  # creating a database takes about ten
BATCH = 500  # metrics in a request; the server's limit is 1000
PAGE = 5000  # runs in a response
TAG = 500  # characters in a tag or parameter
PARENT, SEARCH_KEY, CHAIN_KEY = "mlflow.parentRunId", "search", "downstream_key"
ALIAS, FRESH = "best", "fresh_score"
TOLD = ("best_chain", "recommended", "recommended_by", "headline")  # tags of a finished search
ENDED = {"done": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
KIND = {"mlflow.experimentKind": "custom_model_development"}  # the UI opens with charts
ENVIRONMENT = {  # read by mlflow when it is imported
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing about the data leaves the machine
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_LOGGING_LEVEL": "ERROR",  # its warnings contain passwords
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # and so does its output after a run
    "GIT_PYTHON_REFRESH": "quiet",
}


class Mirror:
    """One search in one MLflow experiment. Used by one thread at a time; `connect` comes first."""

    _client: "MlflowClient"
    _protocol: Mapping[str, str]

    def __init__(self, address: Address, experiment: str, out: Path, level: Level) -> None:
        self.address, self.experiment, self.out, self.level = address, experiment, out, level
        self._parent: Run | None = None
        self._children: dict[str, Run] = {}  # by the score's key; by chain without one

    def connect(self) -> None:
        """Import mlflow, create the schema and the experiment; UserError if that fails."""
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # reported once, by the outbox
        with refusing(self.address, "a tracker that MLflow can open", "another one"):
            from mlflow.tracking import MlflowClient

            with _only_one(self.address):
                _create_file(self.address)
                self._client = MlflowClient(self.address.uri, self.address.uri)
                self._experiment_id = self._find_experiment()

    @property
    def started(self) -> bool:
        return self._parent is not None

    def forget(self) -> None:
        """Forget the runs: after a failure `start` must read them again."""
        self._parent, self._children = None, {}

    def start(self, plan: Plan, info: RunInfo) -> None:
        """Create the parent run, or find it and its children from an earlier start."""
        key = search_key(plan, info)
        found = self._runs(SEARCH_KEY, key)
        title = f"{info.space} on {info.data}"
        parent = found[0] if found else self._new(title, {SEARCH_KEY: key})
        run_id = parent.info.run_id
        if parent.info.status != "RUNNING":
            self._client.update_run(run_id, "RUNNING")
        if where := sharing.free_text(str(self.out), self.level):
            self._client.set_tag(run_id, "out", where)
        self._children = {}
        for run in self._runs(PARENT, run_id):
            self._remember(run)
        self._log(parent, points.search_params(plan, info), [])
        self._protocol = points.protocol(plan)
        self._client.set_tag(run_id, "mlflow.note.content", points.note(info))
        self._parent = parent

    def log_chain(self, row: Row, curves: Iterable[points.Point]) -> None:
        """Log a child run for a chain that was scored, stopped or failed; ignore others.

        Repeats change its numbers; a curve is logged once.
        """
        if row.status not in ENDED:
            return
        key = row.downstream_key or row.chain
        run = self._children.get(key) or self._children.get(row.chain)
        known = run.data.metrics if run and run.info.status == "FINISHED" else {}
        metrics = [one for one in points.chain_metrics(row) if known.get(one[0]) != one[1]]
        metrics += [one for one in curves if one[0] not in known]
        if run is None:
            run = self._new(row.chain, {PARENT: self._begun.info.run_id, CHAIN_KEY: key})
        changed = self._log(run, points.chain_params(row), metrics)
        why = sharing.free_text(row.reason, self.level)[:TAG]
        for tag, value in ((CHAIN_KEY, key), ("state", row.status), ("reason", why)):
            if run.data.tags.get(tag, "") != value:
                self._client.set_tag(run.info.run_id, tag, value)
                changed = True
        if run.info.status != ENDED[row.status]:
            self._client.set_terminated(run.info.run_id, ENDED[row.status])
            changed = True
        self._remember(self._client.get_run(run.info.run_id) if changed else run)

    def finish(self, table: Table, summary: Mapping[str, Any], info: RunInfo) -> Iterator[None]:
        """Log report and figures and register the best backbone; yields after each step.

        table: with comparisons. The folder `out` holds report/ and best/.
        """
        run_id = self._begun.info.run_id
        self._log(self._begun, {}, list(points.summary_metrics(summary)))
        with tempfile.TemporaryDirectory() as scratch:
            sharing.copy(self.level, self.out / "report", table, summary, Path(scratch))
            self._client.log_artifacts(run_id, scratch, "report")
            yield
        self._client.set_tag(run_id, "mlflow.note.content", points.note(info, summary))
        for tag in TOLD:
            if summary[tag] is not None:
                self._client.set_tag(run_id, tag, str(summary[tag])[:TAG])
        yield
        if table.recommended and (self.out / "best" / BACKBONE).exists():
            self._register(table, info)
            yield
        ended = "KILLED" if info.interrupted else "FAILED" if info.incomplete else "FINISHED"
        self._client.set_terminated(run_id, ended)

    # -- the client ------------------------------------------------------------------------------

    @property
    def _begun(self) -> "Run":
        assert self._parent is not None, "start() comes first"
        return self._parent

    def _find_experiment(self) -> str:
        """Return the experiment's id; another search may create it at the same time."""
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(self.experiment)
        if found is None:
            try:
                return self._client.create_experiment(self.experiment, self._artifacts(), tags=KIND)
            except MlflowException:
                found = self._client.get_experiment_by_name(self.experiment)
                if found is None:
                    raise
        if found.lifecycle_stage == "deleted":
            raise deleted(self.experiment, found.experiment_id, self.address)
        return str(found.experiment_id)

    def _artifacts(self) -> str | None:
        """Return the artifact folder's URI for a database; None for a server, which has its own."""
        if self.address.http:
            return None
        folder = self.address.file.parent if self.address.file else Path.cwd()
        return (folder / ARTIFACTS).as_uri()

    def _runs(self, tag: str, value: str) -> "list[Run]":
        found: list[Run] = []
        page: str | None = None
        while page is None or page:
            some = self._client.search_runs(
                [self._experiment_id], f"tags.`{tag}` = '{value}'",
                max_results=PAGE, page_token=page,
            )  # fmt: skip
            found, page = [*found, *some], some.token or ""
        return found

    def _remember(self, run: "Run") -> None:
        """Remember a chain's run; one without a score is reused once the chain has one."""
        chain, scored = str(run.info.run_name), run.info.status == "FINISHED"
        if scored:
            self._children.pop(chain, None)
        self._children[run.data.tags[CHAIN_KEY] if scored else chain] = run

    def _new(self, name: str, tags: Mapping[str, str]) -> "Run":
        return self._client.create_run(self._experiment_id, run_name=name, tags=dict(tags))

    def _log(self, run: "Run", params: Mapping[str, Any], measured: Sequence[points.Point]) -> bool:
        """Log all metrics and the new parameters (MLflow can't change one); False if none.

        A point's timestamp is the run's start, so sending it twice creates no second point.
        """
        from mlflow.entities import Metric, Param

        fresh = [Param(k, str(v)[:TAG]) for k, v in params.items() if k not in run.data.params]
        metrics = [Metric(key, value, run.info.start_time, at) for key, value, at in measured]
        if fresh or metrics:
            self._client.log_batch(run.info.run_id, metrics=metrics[:BATCH], params=fresh)
        for first in range(BATCH, len(metrics), BATCH):
            self._client.log_batch(run.info.run_id, metrics=metrics[first : first + BATCH])
        return bool(fresh or metrics)

    def _register(self, table: Table, info: RunInfo) -> None:
        """Register the recommended as a version of the experiment's model."""
        row = table.recommended
        assert row is not None
        run_id, name, stage = self._begun.info.run_id, f"{self.experiment}-backbone", _weights(row)
        folder = f"best/{stage}"
        versions = self._client.search_model_versions(f"name = '{name}'")
        same = [v for v in versions if v.run_id == run_id and v.tags.get("stage") == stage]
        if not same:
            self._client.log_artifacts(run_id, str(self.out / "best"), folder)
            if not self._client.search_registered_models(f"name = '{name}'"):
                self._client.create_registered_model(name)
            source = f"{self._client.get_run(run_id).info.artifact_uri}/{folder}"
            same = [self._client.create_model_version(name, source, run_id, {"stage": stage})]
        tags = {"chain": row.chain, **self._protocol, "numbers": notes.mark(info) or "count"}
        tags |= {FRESH: repr(row.fresh_score)} if row.fresh_score is not None else {}
        for tag, value in tags.items():
            if same[0].tags.get(tag) != value:
                self._client.set_model_version_tag(name, same[0].version, tag, value[:TAG])
        stays = notes.mark(info) or self._stays(name, row.fresh_score, table.objective)
        if not stays:
            self._client.set_registered_model_alias(name, ALIAS, same[0].version)
        self._client.set_tag(run_id, f"alias_{ALIAS}", f"not moved: {stays}" if stays else "moved")

    def _stays(self, name: str, score: float | None, objective: MeasureType) -> str:
        """Return why the alias stays where it is; "" if this fresh-seed score is the higher one."""
        if score is None:
            return "no fresh seeds"
        if ALIAS not in self._client.get_registered_model(name).aliases:
            return ""
        known = self._client.get_model_version_by_alias(name, ALIAS)
        same = all(known.tags.get(tag) == value for tag, value in self._protocol.items())
        if not same or FRESH not in known.tags:
            return f"version {known.version} has another data set or protocol"
        higher = objective.merit(score) > objective.merit(float(known.tags[FRESH]))
        return "" if higher else f"version {known.version} has {known.tags[FRESH]} on fresh seeds"


def _weights(row: Row) -> str:
    """Return the key of the stage, or of the score of a start, whose weights are registered."""
    stages = [key for key in (*row.fresh_stage_keys, row.stage_key) if key]
    return stages[0] if stages else str(first_key(row))


def search_key(plan: Plan, info: RunInfo) -> str:
    """Return the key that identifies a search's parent run."""
    from trainables.spec import digest

    return f"{info.space}-{digest(plan.identity())}"


def _only_one(address: Address) -> AbstractContextManager[object]:
    """Return a lock for creating a database, which fails in several processes at once.

    The lock is beside a SQLite file, for all machines that share the folder; else in the temporary
    folder, for this user's processes.
    """
    from trainables.spec import digest

    if address.http:
        return nullcontext()
    name = f"mlflow-{os.getuid()}-{digest({'uri': address.uri})}.lock"
    where = Path(tempfile.gettempdir()) / name
    if path := address.file:
        where = path.with_name(f".{path.name}.lock")
    return FileLock(where, timeout=LOCK_SECONDS, mode=0o666)


def _create_file(address: Address) -> None:
    """Create a SQLite database under another name, so that a kill leaves no partial one."""
    from mlflow.tracking import MlflowClient

    path = address.file
    if path is None or (path.exists() and path.stat().st_size):
        return
    for left in path.parent.glob(f".{path.name}.new-*"):
        left.unlink(missing_ok=True)
    made = path.with_name(f".{path.name}.new-{uuid4().hex[:8]}")
    uri = f"sqlite:///{made}"
    MlflowClient(uri, uri).search_experiments(max_results=1)
    made.replace(path)
