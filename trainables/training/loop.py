"""The one training loop: an LR range, then the full run, checkpointed, on one or N ranks.

    outcome = Loop(...).train()

Pretext stages (kinds/pretext.py) and fine-tuning (kinds/classify.py) both use it. All ranks see
the same numbers (means over ranks), so they take the same decisions without communicating.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainables.backbone import average_statistics
from trainables.errors import StageFailed, Stopped, UserError
from trainables.images.cache import Prepared
from trainables.images.splits import Index
from trainables.kinds import Report
from trainables.modality import Preset
from trainables.spec import Runtime, StageSpec
from trainables.task import Context, PerChannel, Task
from trainables.training import checkpoint, distributed, lengths, lr_range
from trainables.training.checkpoint import FULL, Run, Runs
from trainables.training.evaluation import evaluating
from trainables.training.feed import Feed
from trainables.training.frozen import MACRO_AUROC, Probed, collapse
from trainables.training.partners import PairedFeed
from trainables.training.step import Step, place
from trainables.workers.job import Heartbeat

FULL_RUN = "training"  # its phase
SCORE = "objective"  # what `evaluate` returned, in the rows of a history
CONFUSION_BATCHES = 8
PATIENCE = 30  # the next checkpoint waits at least this many times the last one's duration


class Trial(TypedDict):
    """One learning rate of the range, or beyond it; loss: one per report, scores: by step."""

    lr: float
    steps: int
    scores: dict[str, float | None]
    loss: list[float]
    diverged: bool
    reason: str


class History(TypedDict):
    """The file history.json; train: the full run's rows, one per report or evaluation.

    probes: the full run's learning curve, see `training.frozen`; step 0 is the start.
    """

    lr_range: list[Trial]
    train: list[dict[str, float]]
    confusion: list[list[int]] | None
    probes: list[dict[str, float]]


@dataclass
class Outcome:
    """The trained task, its result and its history."""

    task: Task
    result: dict[str, float]
    history: History


@dataclass
class Loop:
    """One stage's training, resumed from the checkpoint in `out_dir` if there is one.

    make: builds a fresh task with its start weights. index: cache positions to train on. report:
    called on rank 0 before a run's first step, every `log_every` steps, and after every evaluation
    with the `curve` so far. If it answers True, all ranks write a checkpoint and raise Stopped at
    the next reported step. evaluate: judges a fine-tuning as often as `lengths` says; a trial of
    the LR range by its last evaluation. merit: signs what `evaluate` returns, so that higher is
    better. probe: judges a pretext task's trials or makes its learning curve. patient_groups: of
    each image, where batches need partners.
    """

    make: Callable[[Context], Task]
    spec: StageSpec
    data: Prepared
    index: Index
    runtime: Runtime
    out_dir: Path
    report: Report
    evaluate: Callable[[Task], float] | None = None
    merit: Callable[[float], float] = float
    probe: Callable[[Task], Probed] | None = None
    patient_groups: Index | None = None

    def __post_init__(self) -> None:
        spec, data = self.spec, self.data
        self.training, self.seed = spec.trained, spec.seed
        repeated = self.evaluate is not None
        classes, groups = len(data.classes), self.patient_groups
        known = context(spec, len(self.index), data.mean, data.std, repeated, classes)
        numbers = None if groups is None else tuple(groups.tolist())
        self.context = replace(known, patient_groups=numbers)
        sizes = len(self.index), self.training.global_batch
        self.epoch_steps = lengths.epoch_steps(*sizes)
        self.device = torch.device(self.runtime.device)
        self.runs = Runs.load(self.out_dir)
        self.steps, self.trial_steps = self.training.steps, self.training.lr.steps
        self.period = lengths.period(self.steps, *sizes)
        self.rates = self.training.lr.range
        self._started: dict[str, Tensor] = {}  # the task's state after `start`, before step 0
        self._at_start: Probed = {}  # what the probe tells of that state
        curve = self.training.curve
        self._curve = {max(1, round(self.steps * k / curve)) for k in range(1, curve + 1)}
        feed = data, self.index, self.training.global_batch, self.seed, self.device
        if groups is None:
            self.feed = Feed(*feed)
        else:
            self.feed = PairedFeed(*feed, patient_groups=groups)
        self._unwanted = False  # known only to rank 0
        self._saved = self._trained()
        self._interval = self.runtime.checkpoint_seconds  # seconds between checkpoints

    def train(self) -> Outcome:
        """Train the runs of the LR range, then the full one.

        Finished runs are loaded from the checkpoint, not repeated. Raises StageFailed or Stopped.
        """
        rate = self.rates[0]
        if len(self.rates) > 1:
            policy = self.training.lr
            rate = lr_range.choose(policy, self.trial_steps, self._advance, self._forget)
            lr_range.refuse_all_failed({run.lr: run.failed for run in self.runs.trials()})
        full = self.runs.entry(FULL, rate)
        task = self._run(full, FULL_RUN, self.steps, self.steps)
        average_statistics(task)
        history: History = {
            "lr_range": [_trial(run) for run in self.runs.trials()],
            "train": full.rows,
            "confusion": self._confusion(task),
            "probes": full.probes if self._curve else [],
        }
        return Outcome(task, self._result(full, task), history)

    def _advance(self, rate: float, until: int) -> float:
        """Continue a trial of the LR range to the step `until` and return its score there."""
        run = self.runs.entry(f"{rate:g}", rate)
        if str(until) not in run.scores:
            score = self._trial(run, until)
            if not math.isfinite(score) and not run.failed:
                run.failed = "its score is not finite"
            run.scores[str(until)] = None if run.failed else score
        known = run.scores[str(until)]
        return -math.inf if known is None else known

    def _trial(self, run: Run, until: int) -> float:
        if run.failed:
            return -math.inf
        try:
            task = self._run(run, f"LR {run.lr:g}", self.trial_steps, until)
        except StageFailed as failed:
            run.failed = str(failed)
            return -math.inf
        return self._judged(run, task)

    def _judged(self, run: Run, task: Task) -> float:
        """Return the score of a trial as far as it has run."""
        if self.evaluate:
            return self.merit(run.rows[-1][SCORE])
        if self.training.lr.judge == "pretext":
            return task.score(run.history)
        self._probe(run, task)
        run.failed = collapse(run.probes)
        return run.probes[-1][MACRO_AUROC]

    def _probe(self, run: Run, task: Task) -> None:
        assert self.probe, "a stage that is probed needs the labelled images"
        run.probes.append({"step": run.step, **self.probe(task)})
        self._spend(run)

    def _forget(self, rate: float) -> None:
        self.runs.by_name[f"{rate:g}"].tensors = {}

    def _run(self, run: Run, phase: str, steps: int, until: int) -> Task:
        """Continue a run, whose schedule has `steps` steps, to the step `until`."""
        self._phase = phase
        task, optimizer = self._prepare(run, steps)
        self._spend(run)
        model: nn.Module = task
        if distributed.world_size() > 1:
            model = DistributedDataParallel(task, broadcast_buffers=False)
        trial, due = phase != FULL_RUN, False
        advance = Step(model, task, optimizer, self.training, run.lr, steps, decays=not trial)
        self._pending: list[dict[str, Tensor]] = []
        self._checkpointed = time.perf_counter()
        unwanted = False
        for step in range(run.step, until):
            self._pending.append(advance(self.feed.batch(step)))
            last = step + 1 == until
            epoch_end = (step + 1) % self.period == 0 or last
            probed = not trial and step + 1 in self._curve
            told = last or probed or (epoch_end and self.evaluate)
            if told or (step + 1) % self.runtime.log_every == 0:
                due, unwanted = self._flush(run, advance, step + 1, epoch_end)
                if self.evaluate and (last or (epoch_end and not trial)):
                    self._evaluate(run, task)
                if probed:
                    self._probe(run, task)
                if unwanted or (due and not last):
                    run.tensors = self._tensors(task, optimizer)
                    self._checkpoint()
                if unwanted:  # at the last step too: the evaluation to come may take long
                    raise Stopped(f"at step {step + 1} ({phase})")
        if trial:
            parked = self._tensors(task, optimizer)
            run.tensors = {key: value.to("cpu", copy=True) for key, value in parked.items()}
            if due:
                self._checkpoint()
        return task

    def _prepare(self, run: Run, steps: int) -> tuple[Task, torch.optim.Optimizer]:
        """Return the run's task and optimiser, fresh or from its checkpoint."""
        torch.manual_seed(self.seed)
        task = self.make(replace(self.context, steps=steps))
        optimizer = place(task, self.training, run.lr, self.device)
        self._since = time.perf_counter()
        if distributed.rank() == 0:
            self._beat(Heartbeat(self._phase, run.step, steps, saved=self._saved))
        if run.step:
            task.load_state_dict(checkpoint.without_prefix("task", run.tensors))
            checkpoint.load_optimizer(optimizer, run.tensors)
            run.tensors = {}  # the memory of odc has a gigabyte for a million images
        elif self._started:
            task.load_state_dict(self._started)
        else:
            task.start(self.feed.pixels)
            self._started = {key: value.clone() for key, value in task.state_dict().items()}
        if self._phase == FULL_RUN:
            self._started = {}
        if self.probe and not run.probes:
            self._at_start = self._at_start or {"step": 0, **self.probe(task)}
            run.probes = [self._at_start]
        task.train()
        return task, optimizer

    def _flush(self, run: Run, advance: Step, done: int, epoch_end: bool) -> tuple[bool, bool]:
        """Read all pending metrics in one transfer and report them.

        Returns rank 0's decisions: whether a checkpoint is due, whether the job is unwanted.
        """
        names = list(self._pending[0])
        values = torch.stack([torch.stack([m[n].float() for n in names]) for m in self._pending])
        means = distributed.all_mean(values).tolist()
        fresh = [dict(zip(names, row, strict=True)) for row in means]
        if self._phase != FULL_RUN:
            run.history += fresh  # of which its score is made; as long as the run
        for step, one in enumerate(fresh, done - len(fresh) + 1):
            if not math.isfinite(one["loss"]):
                raise StageFailed(f"loss is {one['loss']} at step {step} ({self._phase})")
        self._pending = []
        row = {name: sum(one[name] for one in fresh) / len(fresh) for name in names}
        row["lr"] = advance.rate_at(done - 1)
        self._tell(run, row, done, advance.steps, len(fresh), epoch_end)
        waited = time.perf_counter() - self._checkpointed
        due = waited > self._interval and not distributed.rank()
        decisions = torch.tensor([due, self._unwanted], dtype=values.dtype, device=values.device)
        due, unwanted = distributed.all_mean(decisions).tolist()
        return due > 0, unwanted > 0

    def _tell(
        self, run: Run, row: dict[str, float], done: int, steps: int, count: int, epoch_end: bool
    ) -> None:
        spent = self._spend(run)
        run.step = done
        speed = count * self.training.global_batch / spent
        row |= {"step": done, "epoch": done / self.epoch_steps, "images_per_second": speed}
        if epoch_end or not self.evaluate:
            run.rows.append(row)
        if distributed.rank() == 0:
            more = max(0, len(self.runs.trials()) - len(self.rates))
            whole = lr_range.planned(self.training.lr, self.trial_steps, more) + self.steps
            eta = max(whole - self._trained(), 0) * spent / count
            loss, saved = row["loss"], self._saved
            self._beat(Heartbeat(self._phase, done, steps, speed, eta, loss, saved))

    def _beat(self, heartbeat: Heartbeat) -> None:
        """Report on rank 0 and remember whether the result is still wanted."""
        self._unwanted = self.report(heartbeat) is True or self._unwanted

    def _trained(self) -> int:
        """Return the steps trained so far, trials of the LR range included."""
        return sum(run.step for run in self.runs.by_name.values())

    def _spend(self, run: Run) -> float:
        """Add the time since the last call to the run's seconds and return it."""
        now = time.perf_counter()
        spent, self._since = now - self._since, now
        run.seconds += spent
        return spent

    def _evaluate(self, run: Run, task: Task) -> None:
        assert self.evaluate is not None
        run.rows[-1][SCORE] = self.evaluate(task)
        task.train()
        if self._phase == FULL_RUN and distributed.rank() == 0:
            epochs = math.ceil(self.steps / self.period)
            merits = tuple(self.merit(row[SCORE]) for row in run.rows)
            self._beat(Heartbeat(curve=merits, epochs=epochs))
        self._spend(run)

    def _tensors(self, task: Task, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        """Return the tensors that the run needs to resume."""
        average_statistics(task)
        return {
            **checkpoint.prefixed("task", task.state_dict()),
            **checkpoint.optimizer_tensors(optimizer),
        }

    def _checkpoint(self) -> None:
        begun = time.perf_counter()
        if distributed.rank() == 0:
            self.runs.save(self.out_dir)
            self._saved = self._trained()
        self._checkpointed = time.perf_counter()
        took = self._checkpointed - begun
        self._interval = max(self.runtime.checkpoint_seconds, PATIENCE * took)

    def _confusion(self, task: Task) -> list[list[int]] | None:
        """Return the task's confusion matrix over the next few batches, None if it has none."""
        with evaluating(task):
            batches = (self.feed.batch(self.steps + k) for k in range(CONFUSION_BATCHES))
            counted = [c for batch in batches if (c := task.confusion(batch)) is not None]
        if not counted:
            return None
        return distributed.all_gather(torch.stack(counted)).sum(0).tolist()

    def _result(self, full: Run, task: Task) -> dict[str, float]:
        trials = self.runs.trials()
        tried = sorted({*self.rates, *(run.lr for run in trials)})
        return {
            "loss": full.rows[-1]["loss"],
            "accuracy": full.rows[-1]["accuracy"],
            "chance_level": task.chance_level(),
            "lr": full.lr,
            "lr_at_edge": lr_range.at_edge(full.lr, tried),
            "steps": self.steps,
            "lr_steps": sum(run.step for run in trials),
            "images_per_second": float(np.median([r["images_per_second"] for r in full.rows])),
            "seconds": full.seconds + sum(run.seconds for run in trials),
            "lr_seconds": sum(run.seconds for run in trials),
        }


def _trial(run: Run) -> Trial:
    losses, failed = [row["loss"] for row in run.rows], run.failed
    return Trial(lr=run.lr, steps=run.step, scores=run.scores, loss=losses,
                 diverged=bool(failed), reason=failed)  # fmt: skip


def context(
    spec: StageSpec,
    images: int,
    mean: PerChannel,
    std: PerChannel,
    repeated: bool = False,
    classes: int = 0,
) -> Context:
    """Build the context of a full run; UserError if the images do not fill one batch.

    images: how many are trained on. mean, std: of these images, 0..1, one per channel; those of the
    modality, if it has any, replace them. repeated: a batch may hold an image more than once.
    """
    training = spec.trained
    epoch_steps = lengths.epoch_steps(images, training.global_batch)
    if epoch_steps < 1 and not repeated:
        raise UserError(
            f"profile.batch={training.global_batch}: must be at most the {images} images to train "
            f"on; try {max(1, images // training.bn_groups) * training.bn_groups} or less"
        )
    preset = Preset.of(training.augment)
    mean, std = tuple(preset.mean or mean), tuple(preset.std or std)
    return Context(
        images=images, global_batch=training.global_batch,
        steps=training.steps, epoch_steps=max(1, int(epoch_steps)),
        image_size=training.image_size, channels=len(mean), mean=mean, std=std,
        augment=preset, seed=spec.seed, classes=classes, bn_groups=training.bn_groups,
    )  # fmt: skip
