"""The train loop of a Ray Train worker group, which leases stages one after another.

Starting a TorchTrainer takes 15 s on two cores, the next stage in a warm worker group 0.02 s. Rank
0 calls the broker (an actor of the search: `lease`, `heartbeat`, `finish`, `end`); the other ranks
get each lease by broadcast. Only this module and rendezvous.py import ray in `trainables`.
"""

import errno
import socket
import threading
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import torch
import torch.distributed as dist

from trainables.errors import MachineFault, StageFailed, Stopped, UserError
from trainables.images.cache import Prepared, made_by
from trainables.images.pool import opened
from trainables.kinds import KINDS, Kind, Report, Work
from trainables.plugins import load
from trainables.spec import DataSpec
from trainables.storage import store_id
from trainables.training import distributed
from trainables.workers.job import Answer, Fault, Heartbeat, Job, Lease, Result

HEARTBEAT_SECONDS = 5.0


def serve(config: dict[str, str]) -> None:
    """Lease a job, do it and answer, until the broker says stop.

    config: the broker's name and namespace, and the name of this worker group (`group`).
    """
    broker = ray.get_actor(config["broker"], namespace=config["namespace"])
    nodes = distributed.all_gather_object(ray.get_runtime_context().get_node_id())
    while True:
        lease = _next(broker, config["group"], nodes)
        if lease == "stop":
            return
        if isinstance(lease, Lease):
            _serve_one(broker, config["group"], lease)


def _next(broker: Any, worker_group: str, nodes: list[str]) -> Lease | str | None:
    """Ask on rank 0 and broadcast the answer; None: no job yet (so that no rank times out)."""
    box = [ray.get(broker.lease.remote(worker_group, nodes)) if distributed.rank() == 0 else None]
    if distributed.world_size() > 1:
        dist.broadcast_object_list(box, src=0)
    return box[0]


def _serve_one(broker: Any, worker_group: str, lease: Lease) -> None:
    """Do the job and send its answer; raises if this process is unusable afterwards."""
    reporter = _Reporter(broker, worker_group, lease.number)
    try:
        reporter.finish(perform(lease.job, reporter.report))
    except Stopped:
        reporter.end()
    except StageFailed as failed:
        reporter.finish(Result(failed=str(failed)))
    except Exception as broken:
        reporter.finish(Fault(_reason(broken), traceback.format_exc()))
        if _unusable(broken):
            raise  # Ray restarts the worker group


def _reason(broken: Exception) -> str:
    """Describe the exception in one line, with its cure where there is one."""
    if isinstance(broken, MachineFault | UserError):
        return str(broken)
    reason = f"{type(broken).__name__}: {broken}".splitlines()[0]
    if isinstance(broken, torch.OutOfMemoryError):
        return f"{reason} (make profile.batch smaller, or try runtime.groups_per_gpu=1)"
    if "No space left" in reason or getattr(broken, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return f"{reason}: the disk is full; free some space or try another store="
    return reason


def _unusable(broken: Exception) -> bool:
    """Return whether other ranks may hang in a collective, or CUDA is broken in this process."""
    if isinstance(broken, MachineFault | UserError):  # raised on every rank
        return False
    cuda_broken = torch.cuda.is_available() and not isinstance(broken, torch.OutOfMemoryError)
    return distributed.world_size() > 1 or cuda_broken


def perform(job: Job, report: Report) -> Result:
    """Do the job in this process; return its result with the device and the number of workers."""
    gpu = torch.cuda.is_available()
    runtime = replace(job.runtime, device=f"cuda:{torch.cuda.current_device()}" if gpu else "cpu")
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    report(Heartbeat("starting"))
    _agree(_store_problem(job))
    inputs = {role: Path(folder) for role, folder in job.inputs.items()}
    made = {role: made_by(folder) for role, folder in inputs.items()}
    data = _data(job) | {role: images for role, images in made.items() if images}
    places = {role: Path(place) for role, place in job.places.items()}
    kind: Kind = load(KINDS, job.spec.kind)()
    begun = time.monotonic()
    result = kind.run(Work(job.spec, runtime, Path(job.out_dir), report, data, inputs, places))
    device = torch.cuda.get_device_name() if gpu else "cpu"
    took: dict[str, float | str] = {"seconds": time.monotonic() - begun}
    done_by: dict[str, float | str] = {"device": device, "workers": distributed.world_size()}
    done_by |= {"threads": torch.get_num_threads()}  # with the images: for the next estimate
    done_by |= {"images": max((len(one.split["train"]) for one in data.values()), default=0)}
    return replace(result, values={**took, **result.values, **done_by})


def _agree(problem: str) -> None:
    """Raise MachineFault on every rank if one of them has a problem."""
    if problems := [each for each in distributed.all_gather_object(problem) if each]:
        raise MachineFault(problems[0])


def _store_problem(job: Job) -> str:
    """Return why this node's store is not the driver's, or "" if it is."""
    store = Path(job.out_dir).parent
    if store_id(store) == job.store_id:
        return ""
    return (
        f"store={store}: must be the same folder on every node, and on {socket.gethostname()} it "
        "is not; mount it there at the same path"
    )


def _data(job: Job) -> dict[str, Prepared]:
    """Open the images; MachineFault on every rank if one of them has others than the driver."""
    found: dict[str, Prepared] = {}
    problem = ""
    for role, known in job.spec.data.items():
        root = job.places.get(role)
        further = [job.places.get(f"{role} {k}") for k in range(known.spec.places)]
        try:
            found[role] = _open(known.spec, [root, *further], job.cache_dir)
            if found[role].digest != known.digest:
                problem = (
                    f"data.root={root}: must hold the same images on every node, and on "
                    f"{socket.gethostname()} they differ; copy them there or mount one folder"
                )
        except UserError as error:
            problem = str(error)
    _agree(problem)
    return found


def _open(spec: DataSpec, roots: list[str | None], cache_dir: str) -> Prepared:
    key = repr((spec, roots, cache_dir))
    if key not in _opened:
        places = [Path(root) if root else None for root in roots]
        _opened[key] = opened(spec, places, Path(cache_dir))
    return _opened[key]


_opened: dict[str, Prepared] = {}


class _Reporter:
    """Rank 0's messages about one lease; a thread sends heartbeats that keep the lease alive."""

    def __init__(self, broker: Any, worker_group: str, number: int) -> None:
        self.broker, self.worker_group, self.number = broker, worker_group, number
        self.active = distributed.rank() == 0
        self.over = threading.Event()
        self.pending: Any = None  # a heartbeat whose answer has not been read
        if self.active:
            threading.Thread(target=self._beat, daemon=True).start()

    def report(self, heartbeat: Heartbeat) -> bool:
        """Send a heartbeat without waiting; True if the broker no longer wants the result."""
        if not self.active:
            return False
        unwanted = False
        if self.pending is not None and ray.wait([self.pending], timeout=0)[0]:
            unwanted, self.pending = ray.get(self.pending), None
        sent = self.broker.heartbeat.remote(self.worker_group, self.number, heartbeat)
        self.pending = self.pending or sent
        return unwanted

    def finish(self, answer: Answer) -> None:
        self._last(self.broker.finish, answer)

    def end(self) -> None:
        """Tell the broker that an unwanted job has stopped and left a checkpoint."""
        self._last(self.broker.end)

    def _last(self, method: Any, *values: Any) -> None:
        self.over.set()
        if self.active:
            ray.get(method.remote(self.worker_group, self.number, *values))

    def _beat(self) -> None:
        while not self.over.wait(HEARTBEAT_SECONDS):
            self.broker.heartbeat.remote(self.worker_group, self.number, Heartbeat())
