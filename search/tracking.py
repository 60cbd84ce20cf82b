"""MLflow: a parent run for the search, a child run for every chain. The only importer of mlflow.

    tracker = Tracker(uri=None, experiment="isic3", out=out)
    tracker.connect()                  # UserError now, rather than after hours of training
    tracker.mirror(plan, results, info, summary, store, out)     # or start, log_chain, finish

MLflow mirrors, the store owns: a tracker that is lost in mid-run costs one warning and no result.
What is logged twice is logged once: a run is found again by the keys in its tags.
"""

import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec
from urllib.parse import urlsplit

from search.plan import Plan
from search.report import stored
from search.report import table as tables
from search.report.stored import Store
from search.report.table import Row, Table
from search.results import ChainResult, RunInfo
from trainables.errors import UserError

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.tracking import MlflowClient

log = logging.getLogger(__name__)
DATABASE, ARTIFACTS = "mlflow.db", "mlruns"  # in the current directory, where `mlflow ui` looks
REACH_SECONDS = 4.0
BATCH = 500  # metrics a request; the server's limit is 1000
PARENT, SEARCH_KEY, CHAIN_KEY = "mlflow.parentRunId", "search", "downstream_key"
ALIAS = "best"
METRICS = ("balanced_accuracy", "ci_low", "ci_high", "delta", "linear", "knn", "train_seconds")
SUMMARY_METRICS = (
    "best_score", "scratch", "imagenet", "stages_trained", "stages_reused", "stages_pruned",
    "stages_naive", "wall_seconds",
)  # fmt: skip
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
        self.local = uri is None
        self.experiment, self.out = experiment, out
        self.lost = False
        self._client: MlflowClient | None = None
        self._parent: Run | None = None

    @property
    def command(self) -> str:
        """What shows this tracker in a browser."""
        if self.uri.startswith(("http://", "https://")):
            return f"open {self.uri}"
        return "mlflow ui" if self.local else f"mlflow ui --backend-store-uri {self.uri}"

    def connect(self) -> None:
        """Reach the server, create the schema and the experiment; UserError if that fails."""
        _check_reachable(self.uri)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
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
        plan: Plan,
        results: Sequence[ChainResult],
        info: RunInfo,
        summary: Mapping[str, Any],
        store: Store,
        out: Path,
    ) -> None:
        """A finished search, all of it."""
        table = tables.build(results, store)
        self.start(plan, info)
        for result in results:
            row = table.row(">".join(result.chain))
            assert row is not None
            self.log_chain(result, row, store)
        self.finish(table, summary, out / "best", out / "report")

    @_optional
    def start(self, plan: Plan, info: RunInfo) -> None:
        """The parent run, found again if this search was mirrored before."""
        search = search_key(plan, info)
        self._parent = self._find(SEARCH_KEY, search) or self._new(
            f"{info.space} on {info.data}", {SEARCH_KEY: search}
        )
        self._log_params(self._parent, _search_params(plan, info))
        self._open.set_tag(self._parent.info.run_id, "mlflow.note.content", _note(info))

    @_optional
    def log_chain(self, result: ChainResult, row: Row, store: Store) -> None:
        """A child run for a chain with a score or a failure; nothing for the others."""
        if result.status not in ("done", "failed") or self._parent is None:
            return
        key = result.downstream_key or row.chain
        run = self._find(CHAIN_KEY, key, self._parent.info.run_id)
        if run is not None and run.info.status == "FINISHED":
            return
        tags = {CHAIN_KEY: key, PARENT: self._parent.info.run_id, "status": result.status}
        run = run or self._new(row.chain, tags)
        self._log_params(run, _chain_params(row))
        self._log_metrics(run, [*_chain_metrics(row), *_curves(row, store)])
        if result.reason:
            self._open.set_tag(run.info.run_id, "reason", result.reason)
        done = "FINISHED" if result.status == "done" else "FAILED"
        self._open.set_terminated(run.info.run_id, done)

    @_optional
    def finish(
        self, table: Table, summary: Mapping[str, Any], best_dir: Path, report_dir: Path
    ) -> None:
        """Report and figures on the parent run; the best backbone as a model version."""
        if self._parent is None:
            return
        run_id = self._parent.info.run_id
        self._log_metrics(self._parent, _summary_metrics(summary))
        self._open.log_artifacts(run_id, str(report_dir), "report")
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
        """Local artifacts by absolute path: Ray and others change the directory."""
        where = (Path.cwd() / ARTIFACTS).as_uri() if self.local else None
        return self._open.create_experiment(self.experiment, artifact_location=where)

    def _find(self, tag: str, value: str, parent: str | None = None) -> "Run | None":
        query = f"tags.`{tag}` = '{value}'"
        query += f" and tags.`{PARENT}` = '{parent}'" if parent else ""
        found = self._open.search_runs([self._experiment_id], query, max_results=1)
        return found[0] if found else None

    def _new(self, name: str, tags: Mapping[str, str]) -> "Run":
        return self._open.create_run(self._experiment_id, run_name=name, tags=dict(tags))

    def _log_params(self, run: "Run", params: Mapping[str, Any]) -> None:
        """Those that are not there yet: MLflow refuses to change a parameter."""
        from mlflow.entities import Param

        fresh = {key: value for key, value in params.items() if key not in run.data.params}
        self._open.log_batch(
            run.info.run_id, params=[Param(key, str(value)[:500]) for key, value in fresh.items()]
        )

    def _log_metrics(self, run: "Run", metrics: Iterable["Metric"]) -> None:
        every = list(metrics)
        for first in range(0, len(every), BATCH):
            self._open.log_batch(run.info.run_id, metrics=every[first : first + BATCH])

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


def _check_reachable(uri: str) -> None:
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return
    address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    try:
        socket.create_connection(address, REACH_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"--tracking-uri {uri}: no answer within {REACH_SECONDS:g} s "
            f"({error.strerror or error}); start the server (mlflow/README.md) or leave it out"
        ) from None


def _search_params(plan: Plan, info: RunInfo) -> dict[str, Any]:
    space, profile = plan.space, plan.space.profile
    return {
        "space": info.space,
        "data": info.data,
        "data_digest": plan.data_digest,
        "demo": info.demo,
        "policy": info.policy,
        "profile": info.profile,
        "backbone": profile.backbone,
        "image_size": profile.image_size,
        "epochs": profile.epochs,
        "max_length": space.max_length,
        "seed": space.seed,
        **{f"lr_range.{task.name}": task.lr_range for task in space.tasks.values()},
        "lr_range.fine-tuning": space.downstream.lr_range,
    }


def _note(info: RunInfo) -> str:
    return "Built-in demonstration images: says nothing about your data." if info.demo else ""


def _chain_params(row: Row) -> dict[str, Any]:
    params: dict[str, Any] = {"chain": row.chain, "length": row.length, "label": row.label}
    for place, task in enumerate(row.tasks, 1):
        params[f"task_{place}"] = task
    for place, rate in enumerate(filter(None, row.lrs.split(", ")), 1):
        params[f"lr_{place}"] = rate.split()[-1]
    return params | {"downstream_lr": row.downstream_lr, "last_task": (row.tasks or ("",))[-1]}


def _chain_metrics(row: Row) -> "Iterator[Metric]":
    values = asdict(row)
    yield from (_metric(name, values[name]) for name in METRICS if values[name] is not None)


def _summary_metrics(summary: Mapping[str, Any]) -> "Iterator[Metric]":
    known = (name for name in SUMMARY_METRICS if summary[name] is not None)
    yield from (_metric(name, summary[name]) for name in known)


def _curves(row: Row, store: Store) -> "Iterator[Metric]":
    """The loss of each stage by step; loss and validation accuracy of fine-tuning by epoch."""
    keys = stored.lineage(store, row.stage_key)
    for place, (task, key) in enumerate(zip(row.tasks, keys, strict=False), 1):
        for point in stored.history(store, key)["train"]:
            yield _metric(f"stage_{place}_{task}_loss", point["loss"], round(point["step"]))
    for point in stored.history(store, row.downstream_key)["train"]:
        for name in ("loss", "balanced_accuracy"):
            if name in point:
                yield _metric(f"finetune_{name}", point[name], round(point["epoch"]))


def _metric(name: str, value: float, step: int = 0) -> "Metric":
    from mlflow.entities import Metric

    return Metric(name, float(value), int(time.time() * 1000), step)
