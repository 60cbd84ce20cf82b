"""MLflow: a parent run for the search, a child run for every chain. The only importer of mlflow.

    tracker = Tracker(uri=None, experiment="isic3", out=out)    # UserError if nothing is there
    tracker.connect()                  # UserError now, rather than after hours of training
    tracker.mirror(table, plan, info, summary, store, out)     # or start, log_chain, finish

MLflow mirrors, the store owns: a tracker that is lost in mid-run costs one warning and no result.
What is logged twice is logged once: a run is found again by the keys in its tags.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from search.plan import Plan
from search.report import duplicates, points
from search.report.stored import Store
from search.report.table import Row, Table
from search.results import RunInfo
from trainables.errors import UserError

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

log = logging.getLogger(__name__)
DATABASE, ARTIFACTS = "mlflow.db", "mlruns"  # in the current directory, where `mlflow ui` looks
REACH_SECONDS = 4.0
BATCH = 500  # metrics a request; the server's limit is 1000
PAGE = 5000  # runs a request
PARENT, SEARCH_KEY, CHAIN_KEY = "mlflow.parentRunId", "search", "downstream_key"
ALIAS = "best"
ENDED = {"done": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
KIND = {"mlflow.experimentKind": "custom_model_development"}  # opens as training runs and charts
HTTP = ("http://", "https://")
SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql")
ENVIRONMENT = {  # read by mlflow when it is imported
    "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing about anyone's data leaves the machine
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "GIT_PYTHON_REFRESH": "quiet",
}
Arguments = ParamSpec("Arguments")


def _optional(
    method: Callable[Concatenate["Tracker", Arguments], None],
) -> Callable[Concatenate["Tracker", Arguments], None]:
    """After the first failure: one warning, then nothing more is sent."""

    def guarded(self: "Tracker", /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        if self.lost:
            return
        try:
            method(self, *args, **kwargs)
        except Exception as error:  # whatever a client library raises; the results are in the store
            self.lost = True
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            log.warning("tracking at %s stopped: %s; no result is lost", self.uri, reason)

    return guarded


class Tracker:
    """One search in one MLflow experiment. `lost`: it failed, and says no more."""

    def __init__(self, uri: str | None, experiment: str, out: Path) -> None:
        self.uri = uri or f"sqlite:///{Path.cwd() / DATABASE}"
        _check_reachable(self.uri)
        self.local = uri is None
        self.experiment, self.out = experiment, out
        self.lost = False
        self._client: MlflowClient | None = None
        self._parent: Run | None = None
        self._children: dict[str, Run] = {}  # by the key of the score; by chain if there is none

    @property
    def command(self) -> str:
        """What shows this tracker in a browser."""
        if self.uri.startswith(HTTP):
            return f"open {self.uri}"
        return "mlflow ui" if self.local else f"mlflow ui --backend-store-uri {self.uri}"

    def connect(self) -> None:
        """Import mlflow, create the schema and the experiment; UserError if that fails."""
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            from mlflow.tracking import MlflowClient

            self._client = MlflowClient(self.uri, self.uri)
            found = self._client.get_experiment_by_name(self.experiment)
            self._experiment_id = found.experiment_id if found else self._create()
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(f"--tracking-uri {self.uri}: {reason}") from None

    def mirror(
        self,
        table: Table,
        plan: Plan,
        info: RunInfo,
        summary: Mapping[str, Any],
        store: Store,
        out: Path,
    ) -> None:
        """A finished search, all of it."""
        self.start(plan, info)
        for row in table.rows:
            self.log_chain(row, store)
        self.finish(table, summary, out / "best", out / "report")

    @_optional
    def start(self, plan: Plan, info: RunInfo) -> None:
        """The parent run and its children, found again if this search was mirrored before."""
        key = search_key(plan, info)
        found = self._runs(SEARCH_KEY, key)
        self._parent = (
            found[0] if found else self._new(f"{info.space} on {info.data}", {SEARCH_KEY: key})
        )
        self._open.set_tag(self._parent.info.run_id, "out", str(self.out))
        self._children = {}
        for run in self._runs(PARENT, self._parent.info.run_id):
            self._remember(run)
        self._log(self._parent, points.search_params(plan, info), [])
        self._open.set_tag(self._parent.info.run_id, "mlflow.note.content", points.note(info))

    @_optional
    def log_chain(self, row: Row, store: Store) -> None:
        """A child run for a chain with a score, a stop or a failure; nothing for the others.

        Its numbers change when it is repeated; a curve, once there, does not.
        """
        if row.status not in ENDED or self._parent is None:
            return
        key = row.downstream_key or row.chain
        run = self._children.get(key) or self._children.get(row.chain)
        known = run.data.metrics if run and run.info.status == "FINISHED" else {}
        metrics = [one for one in points.chain_metrics(row) if known.get(one[0]) != one[1]]
        metrics += [one for one in points.curves(row, store) if one[0] not in known]
        if run is None:
            run = self._new(row.chain, {PARENT: self._parent.info.run_id, CHAIN_KEY: key})
        self._log(run, points.chain_params(row), metrics)
        for tag, value in ((CHAIN_KEY, key), ("state", row.status), ("reason", row.reason)):
            if run.data.tags.get(tag, "") != value:
                self._open.set_tag(run.info.run_id, tag, value)
        ended = ENDED[row.status]
        if run.info.status != ended:
            self._open.set_terminated(run.info.run_id, ended)
        self._remember(self._open.get_run(run.info.run_id))

    @_optional
    def finish(
        self, table: Table, summary: Mapping[str, Any], best_dir: Path, report_dir: Path
    ) -> None:
        """Report and figures on the parent run; the best backbone as a model version."""
        if self._parent is None:
            return
        run_id = self._parent.info.run_id
        self._log(self._parent, {}, list(points.summary_metrics(summary)))
        for path in sorted(report_dir.iterdir()):
            if path.name != duplicates.FILE:  # names of images and patients stay here
                self._open.log_artifact(run_id, str(path), "report")
        if table.best:
            self._open.set_tag(run_id, "best_chain", table.best.chain)
            self._register(table.best, best_dir)
        self._open.set_terminated(run_id, "KILLED" if summary["interrupted"] else "FINISHED")

    # -- the client ------------------------------------------------------------------------------

    @property
    def _open(self) -> "MlflowClient":
        assert self._client is not None, "connect() comes first"
        return self._client

    def _create(self) -> str:
        """Artifacts of a local database lie beside it, by absolute path; a server knows its own."""
        folder = _database_folder(self.uri)
        where = (folder / ARTIFACTS).as_uri() if folder else None
        return self._open.create_experiment(self.experiment, where, tags=KIND)

    def _runs(self, tag: str, value: str) -> "list[Run]":
        found: list[Run] = []
        page: str | None = None
        while page is None or page:
            some = self._open.search_runs(
                [self._experiment_id], f"tags.`{tag}` = '{value}'",
                max_results=PAGE, page_token=page,
            )  # fmt: skip
            found, page = [*found, *some], some.token or ""
        return found

    def _remember(self, run: "Run") -> None:
        """A chain's run; one without a score is taken up by the chain's success."""
        chain, scored = str(run.info.run_name), run.info.status == "FINISHED"
        if scored:
            self._children.pop(chain, None)
        self._children[run.data.tags[CHAIN_KEY] if scored else chain] = run

    def _new(self, name: str, tags: Mapping[str, str]) -> "Run":
        return self._open.create_run(self._experiment_id, run_name=name, tags=dict(tags))

    def _log(self, run: "Run", params: Mapping[str, Any], measured: Sequence[points.Point]) -> None:
        """Parameters that are not there yet (MLflow refuses to change one) and everything measured.

        Their time is the run's start, so that a point that is sent twice stays one point.
        """
        from mlflow.entities import Metric, Param

        fresh = [Param(k, str(v)[:500]) for k, v in params.items() if k not in run.data.params]
        metrics = [Metric(key, value, run.info.start_time, at) for key, value, at in measured]
        if fresh or metrics:
            self._open.log_batch(run.info.run_id, metrics=metrics[:BATCH], params=fresh)
        for first in range(BATCH, len(metrics), BATCH):
            self._open.log_batch(run.info.run_id, metrics=metrics[first : first + BATCH])

    def _register(self, best: Row, best_dir: Path) -> None:
        """The best chain's backbone as a version of the experiment's model, alias `best`."""
        assert self._parent is not None
        run_id, name = self._parent.info.run_id, f"{self.experiment}-backbone"
        folder = f"best/{best.stage_key}"
        versions = self._open.search_model_versions(f"name = '{name}'")
        same = [v for v in versions if v.run_id == run_id and v.tags.get("stage") == best.stage_key]
        if same:
            version = same[0].version
        else:
            self._open.log_artifacts(run_id, str(best_dir), folder)
            version = self._version(name, folder, run_id, best)
        self._open.set_registered_model_alias(name, ALIAS, version)

    def _version(self, name: str, folder: str, run_id: str, best: Row) -> str:
        if not self._open.search_registered_models(f"name = '{name}'"):
            self._open.create_registered_model(name)
        made = self._open.create_model_version(
            name,
            source=f"{self._open.get_run(run_id).info.artifact_uri}/{folder}",
            run_id=run_id,
            tags={"chain": best.chain, "stage": str(best.stage_key)},
        )
        return str(made.version)


def search_key(plan: Plan, info: RunInfo) -> str:
    """What makes a search this search, for finding its parent run again."""
    from trainables.spec import digest

    return f"{info.space}-{digest(plan.identity())}"


def _database_folder(uri: str) -> Path | None:
    """Where a SQLite file lies: `sqlite:///relative` or `sqlite:////absolute`; None: elsewhere."""
    parts = urlsplit(uri)
    if parts.scheme != "sqlite":
        return None
    return Path(parts.path.removeprefix("/")).absolute().parent


def _check_reachable(uri: str) -> None:
    """Ask before mlflow does: its own retries take minutes."""
    folder = _database_folder(uri)
    if folder and not folder.is_dir():
        raise UserError(f"--tracking-uri {uri}: there is no folder {folder}")
    if (scheme := urlsplit(uri).scheme.partition("+")[0]) not in SCHEMES:
        raise UserError(
            f"--tracking-uri {uri}: came {scheme or 'no'} scheme; allowed {', '.join(SCHEMES)}: as "
            "sqlite:///mlflow.db or http://head:5000"
        )
    if not uri.startswith(HTTP):
        return
    try:
        urlopen(f"{uri.rstrip('/')}/health", timeout=REACH_SECONDS).close()
    except HTTPError:
        return  # it answers; what it refuses, the client says better
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"--tracking-uri {uri}: no answer within {REACH_SECONDS:g} s ({reason}); "
            "start the server (mlflow/README.md) or leave it out"
        ) from None
