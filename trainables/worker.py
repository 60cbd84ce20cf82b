"""A Ray Train worker group that leases stages and scores, one after another, while it lives.

Starting a TorchTrainer costs 15 s on two cores, a next stage in a warm group 0.02 s. Rank 0 talks
to the broker (an actor that the search side runs: `lease`, `heartbeat`, `finish`, `fail`, `end`);
the other ranks get each lease by broadcast. The only importer of ray in `trainables`
besides rendezvous.py.
"""

import threading
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import torch
import torch.distributed as dist

from trainables import distributed
from trainables.cache import Prepared, open_cache, prepare
from trainables.downstream.finetune import finetune
from trainables.errors import StageFailed, Stopped, UserError
from trainables.job import Job, Lease
from trainables.spec import DataSpec, StageSpec
from trainables.stage import train_stage

HEARTBEAT_SECONDS = 5.0


def serve(config: dict[str, Any]) -> None:
    """The train loop of one worker group: lease, do, answer, until the broker says stop."""
    broker = ray.get_actor(config["broker"], namespace=config["namespace"])
    while True:
        lease = _next(broker, config["group"])
        if lease == "stop":
            return
        if isinstance(lease, Lease):
            _serve_one(broker, config["group"], lease)


def _next(broker: Any, group: str) -> Lease | str | None:
    """Rank 0 asks, all ranks get the answer; None: nothing yet (so that no rank times out)."""
    box = [ray.get(broker.lease.remote(group)) if distributed.rank() == 0 else None]
    if distributed.world_size() > 1:
        dist.broadcast_object_list(box, src=0)
    return box[0]


def _serve_one(broker: Any, group: str, lease: Lease) -> None:
    answer = _Answer(broker, group, lease.number)
    try:
        result = perform(lease.job, answer.report)
    except Stopped:
        answer.end()
    except (StageFailed, UserError) as failed:
        answer.fail(str(failed), final=True)
    except Exception as broken:
        reason = f"{type(broken).__name__}: {broken}".splitlines()[0]
        memory = isinstance(broken, torch.OutOfMemoryError)
        if memory:
            reason += " (make profile.batch smaller, or give runtime.groups_per_gpu=1)"
        answer.fail(reason, final=False, trace=traceback.format_exc())
        hurt = torch.cuda.is_available() and not memory  # nothing may work in it any more
        if distributed.world_size() > 1 or hurt:
            raise  # nor the other ranks, which may hang in a collective: Ray restarts the group
    else:
        answer.finish(result)


def perform(job: Job, report: Any) -> dict[str, Any]:
    """Do the job here and now; returns its result with the place it ran on."""
    runtime = replace(job.runtime, device=_device())
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    parent, out = job.parent_dir and Path(job.parent_dir), Path(job.out_dir)
    report({"phase": "starting"})
    data = _data(job)
    if isinstance(job.spec, StageSpec):
        result = train_stage(job.spec, runtime, data, parent or None, out, report)
    else:
        weights = Path(job.weights) if job.weights else None
        result = finetune(job.spec, runtime, data, parent or None, out, report, weights)
    return result | {"device": _device_name(), "workers": distributed.world_size()}


def _device() -> str:
    return f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"


def _device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _data(job: Job) -> Prepared:
    """StageFailed on every rank if one of them has not the driver's images."""
    found: Prepared | None = None
    problem = f"the images on a node differ from the driver's ({job.data_root})"
    try:
        found = _open(job.spec.data, job.data_root, job.cache_dir)
    except UserError as error:
        problem = str(error)
    good = found is not None and found.digest == job.spec.data_digest
    if problems := [
        said for said in distributed.all_gather_object("" if good else problem) if said
    ]:
        raise StageFailed(problems[0])
    assert found is not None
    return found


def _open(spec: DataSpec, root: str | None, cache_dir: str) -> Prepared:
    key = repr((spec, root, cache_dir))
    if key not in _opened:
        folder = prepare(spec, Path(root) if root else None, Path(cache_dir))
        _opened[key] = open_cache(folder)
    return _opened[key]


_opened: dict[str, Prepared] = {}


class _Answer:
    """What rank 0 tells the broker of one lease; a thread keeps the lease alive meanwhile."""

    def __init__(self, broker: Any, group: str, number: int) -> None:
        self.broker, self.group, self.number = broker, group, number
        self.speaks = distributed.rank() == 0
        self.over = threading.Event()
        self.asked: Any = None  # a heartbeat whose answer has not been read
        if self.speaks:
            threading.Thread(target=self._beat, daemon=True).start()

    def report(self, progress: dict[str, Any]) -> bool:
        """Never waits; True if an earlier report was answered: nobody wants the result."""
        if not self.speaks:
            return False
        unwanted = False
        if self.asked is not None and ray.wait([self.asked], timeout=0)[0]:
            unwanted, self.asked = ray.get(self.asked), None
        sent = self.broker.heartbeat.remote(self.group, self.number, progress)
        self.asked = self.asked or sent
        return unwanted

    def finish(self, result: dict[str, Any]) -> None:
        self._last(self.broker.finish, result)

    def fail(self, reason: str, final: bool, trace: str = "") -> None:
        self._last(self.broker.fail, reason, final, trace)

    def end(self) -> None:
        self._last(self.broker.end)

    def _last(self, method: Any, *values: Any) -> None:
        self.over.set()
        if self.speaks:
            ray.get(method.remote(self.group, self.number, *values))

    def _beat(self) -> None:
        while not self.over.wait(HEARTBEAT_SECONDS):
            self.broker.heartbeat.remote(self.group, self.number, {})
