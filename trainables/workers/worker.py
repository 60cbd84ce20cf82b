"""A Ray Train worker group that leases stages and scores, one after another, while it lives.

Starting a TorchTrainer costs 15 s on two cores, a next stage in a warm group 0.02 s. Rank 0 talks
to the broker (an actor that the search side runs: `lease`, `heartbeat`, `finish`, `end`); the
other ranks get each lease by broadcast. With rendezvous.py the only importer of ray in
`trainables`.
"""

import errno
import socket
import threading
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import torch
import torch.distributed as dist

from trainables.downstream.finetune import finetune
from trainables.errors import MachineFault, StageFailed, Stopped, UserError
from trainables.images.cache import Prepared, open_cache, prepare
from trainables.spec import DataSpec, StageSpec
from trainables.stage import train_stage
from trainables.storage import store_id
from trainables.training import distributed
from trainables.workers.job import Answer, Fault, Heartbeat, Job, Lease, Result

HEARTBEAT_SECONDS = 5.0


def serve(config: dict[str, Any]) -> None:
    """The train loop of one worker group: lease, do, answer, until the broker says stop."""
    broker = ray.get_actor(config["broker"], namespace=config["namespace"])
    nodes = distributed.all_gather_object(ray.get_runtime_context().get_node_id())
    while True:
        lease = _next(broker, config["group"], nodes)
        if lease == "stop":
            return
        if isinstance(lease, Lease):
            _serve_one(broker, config["group"], lease)


def _next(broker: Any, group: str, nodes: list[str]) -> Lease | str | None:
    """Rank 0 asks, all ranks get the answer; None: nothing yet (so that no rank times out)."""
    box = [ray.get(broker.lease.remote(group, nodes)) if distributed.rank() == 0 else None]
    if distributed.world_size() > 1:
        dist.broadcast_object_list(box, src=0)
    return box[0]


def _serve_one(broker: Any, group: str, lease: Lease) -> None:
    """Do the job and send its answer; raises where this process can't be trusted any more."""
    line = _Line(broker, group, lease.number)
    try:
        line.finish(Result(perform(lease.job, line.report)))
    except Stopped:
        line.end()
    except StageFailed as failed:
        line.finish(Result(failed=str(failed)))
    except Exception as broken:
        line.finish(Fault(_reason(broken), traceback.format_exc()))
        if _spoiled(broken):
            raise  # Ray restarts the group


def _reason(broken: Exception) -> str:
    """One line, with the cure where there is one."""
    if isinstance(broken, MachineFault | UserError):
        return str(broken)
    reason = f"{type(broken).__name__}: {broken}".splitlines()[0]
    if isinstance(broken, torch.OutOfMemoryError):
        return f"{reason} (make profile.batch smaller, or give runtime.groups_per_gpu=1)"
    if "No space left" in reason or getattr(broken, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return f"{reason}: the disk is full; free some or give another store="
    return reason


def _spoiled(broken: Exception) -> bool:
    """Whether other ranks may hang in a collective, or CUDA is unusable in this process."""
    if isinstance(broken, MachineFault | UserError):  # raised on all ranks alike
        return False
    cuda_broken = torch.cuda.is_available() and not isinstance(broken, torch.OutOfMemoryError)
    return distributed.world_size() > 1 or cuda_broken


def perform(job: Job, report: Any) -> dict[str, Any]:
    """Do the job here and now; returns its result with the place it ran on."""
    runtime = replace(job.runtime, device=_device())
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    parent, out = job.parent_dir and Path(job.parent_dir), Path(job.out_dir)
    report(Heartbeat("starting"))
    _agree(_store_problem(job))
    data = _data(job)
    if isinstance(job.spec, StageSpec):
        result = train_stage(job.spec, runtime, data, parent or None, out, report)
    else:
        weights = Path(job.weights) if job.weights else None
        result = finetune(job.spec, runtime, data, parent or None, out, report, weights)
    return result | {"device": _device_name(), "workers": distributed.world_size()}


def _agree(problem: str) -> None:
    """MachineFault on every rank if one of them has a problem."""
    if problems := [said for said in distributed.all_gather_object(problem) if said]:
        raise MachineFault(problems[0])


def _store_problem(job: Job) -> str:
    """Why this node's store is not the driver's; "" if it is."""
    store = Path(job.out_dir).parent
    if store_id(store) == job.store_id:
        return ""
    return (
        f"store={store}: must be the same folder on every node, and on {socket.gethostname()} it "
        "is not; mount it there at the same path"
    )


def _device() -> str:
    return f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"


def _device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _data(job: Job) -> Prepared:
    """The images; MachineFault on every rank if one of them does not have the driver's."""
    found: Prepared | None = None
    problem = ""
    try:
        found = _open(job.spec.data, job.data_root, job.cache_dir)
        if found.digest != job.spec.data_digest:
            problem = (
                f"data.root={job.data_root}: must hold the same images on every node, and on "
                f"{socket.gethostname()} they differ; copy them there or mount one folder"
            )
    except UserError as error:
        problem = str(error)
    _agree(problem)
    assert found is not None
    return found


def _open(spec: DataSpec, root: str | None, cache_dir: str) -> Prepared:
    key = repr((spec, root, cache_dir))
    if key not in _opened:
        folder = prepare(spec, Path(root) if root else None, Path(cache_dir))
        _opened[key] = open_cache(folder)
    return _opened[key]


_opened: dict[str, Prepared] = {}


class _Line:
    """What rank 0 tells the broker of one lease; a thread keeps the lease alive meanwhile."""

    def __init__(self, broker: Any, group: str, number: int) -> None:
        self.broker, self.group, self.number = broker, group, number
        self.speaks = distributed.rank() == 0
        self.over = threading.Event()
        self.asked: Any = None  # a heartbeat whose answer has not been read
        if self.speaks:
            threading.Thread(target=self._beat, daemon=True).start()

    def report(self, heartbeat: Heartbeat) -> bool:
        """Never waits; True if an earlier report was answered: nobody wants the result."""
        if not self.speaks:
            return False
        unwanted = False
        if self.asked is not None and ray.wait([self.asked], timeout=0)[0]:
            unwanted, self.asked = ray.get(self.asked), None
        sent = self.broker.heartbeat.remote(self.group, self.number, heartbeat)
        self.asked = self.asked or sent
        return unwanted

    def finish(self, answer: Answer) -> None:
        self._last(self.broker.finish, answer)

    def end(self) -> None:
        """The job was not wanted any more; it has left a checkpoint."""
        self._last(self.broker.end)

    def _last(self, method: Any, *values: Any) -> None:
        self.over.set()
        if self.speaks:
            ray.get(method.remote(self.group, self.number, *values))

    def _beat(self) -> None:
        while not self.over.wait(HEARTBEAT_SECONDS):
            self.broker.heartbeat.remote(self.group, self.number, Heartbeat())
