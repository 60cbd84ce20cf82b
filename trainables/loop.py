"""The one training loop: an LR range, then the full run, checkpointed, on one or N ranks.

    outcome = Loop(...).train()

Pretext stages (`stage.py`) and fine-tuning (`downstream/finetune.py`) both run it. All ranks see
the same numbers (means over ranks), so they take the same decisions without talking about them.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from trainables import checkpoint, distributed, lr_range, optim
from trainables.backbone import average_statistics, group_batch_norm
from trainables.cache import Prepared
from trainables.checkpoint import Progress
from trainables.errors import StageFailed, UserError
from trainables.lr_range import Trial
from trainables.pretext import Batch, Context, Draw, Task
from trainables.spec import Runtime, Training

Report = Callable[[dict[str, Any]], None]
SCORE = "balanced_accuracy"  # what `evaluate` is judged by


@dataclass
class Outcome:
    """What the loop leaves: the task (of its best epoch if evaluated) and everything measured."""

    task: Task
    result: dict[str, Any]
    history: dict[str, Any]


@dataclass
class Loop:
    """make: a fresh task, with its start weights. index: cache positions trained on.

    evaluate: called at the end of every epoch of the full run; the epoch with the highest
    `balanced_accuracy` is kept. report: called on rank 0 every `log_every` steps.
    """

    make: Callable[[Context], Task]
    training: Training
    data: Prepared
    index: NDArray[np.int64]
    augment: dict[str, Any]
    seed: int
    runtime: Runtime
    out_dir: Path
    report: Report
    evaluate: Callable[[Task], dict[str, float]] | None = None

    def __post_init__(self) -> None:
        self.context = context(self.training, self.data, len(self.index), self.augment, self.seed)
        self.epoch_steps = self.context.epoch_steps
        self.device = torch.device(self.runtime.device)
        self.progress = Progress.load(self.out_dir)
        self.steps = self.context.steps
        self.trial_steps = _steps(self.training.lr.epochs, self.epoch_steps)
        self.rates = self.training.lr.range

    def train(self) -> Outcome:
        """Every phase that is not behind us; the interrupted one from its checkpoint."""
        progress = self.progress
        trials = len(self.rates) if len(self.rates) > 1 else 0
        while progress.phase < trials:
            rate = self.rates[progress.phase]
            self._phase = f"LR {rate:g} ({progress.phase + 1}/{trials})"
            progress.trials.append(self._trial(rate))
            progress.trial_seconds = progress.seconds
            progress.next_phase()
        position = lr_range.choose(progress.trials) if trials else 0
        self._phase = "training"
        task = self._run(self.rates[position], self.steps)
        self._restore_best(task)
        average_statistics(task)
        return Outcome(task, self._result(position), self._history())

    def _trial(self, rate: float) -> Trial:
        try:
            task = self._run(rate, self.trial_steps)
            score = self.progress.best[SCORE] if self.progress.best else self._score(task)
            reason = ""
        except StageFailed as failed:
            score, reason = -math.inf, str(failed)
        losses = [row["loss"] for row in self.progress.rows]
        if not math.isfinite(score):
            return Trial(rate, None, losses, reason or "its score is not finite")
        return Trial(rate, score, losses)

    def _score(self, task: Task) -> float:
        return task.score(self.progress.history)

    def _run(self, rate: float, steps: int) -> Task:
        """Train one phase to its end."""
        task, optimizer = self._prepare(rate, steps)
        model: nn.Module = task
        if distributed.world_size() > 1:
            model = DistributedDataParallel(task, broadcast_buffers=False)
        self._pending: list[dict[str, Tensor]] = []
        self._since, self._checkpointed = time.perf_counter(), time.perf_counter()
        for step in range(self.progress.step, steps):
            self._step(model, task, optimizer, rate, step, steps)
            last = step + 1 == steps
            epoch_end = (step + 1) % self.epoch_steps == 0 or last
            if last or (step + 1) % self.runtime.log_every == 0 or (epoch_end and self.evaluate):
                due = self._flush(step + 1, steps, optimizer, epoch_end)
                if self.evaluate and (last or (epoch_end and self._phase == "training")):
                    self._evaluate(task)
                if due and not last:
                    self._checkpoint(task, optimizer)
        return task

    def _prepare(self, rate: float, steps: int) -> tuple[Task, torch.optim.Optimizer]:
        """The task and optimiser of this phase, fresh or as the checkpoint left them."""
        torch.manual_seed(self.seed)
        task = self.make(replace(self.context, steps=steps))
        group_batch_norm(task, self.training.bn_groups // distributed.world_size())
        task.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        groups = task.parameter_groups()
        optimizer = optim.build(self.training.optimizer, groups, rate, self.training.weight_decay)
        if self.progress.step:
            tensors = self.progress.tensors
            task.load_state_dict(checkpoint.without_prefix("task", tensors))
            checkpoint.load_optimizer(optimizer, tensors)
        else:
            task.start(self._pixels)
        task.train()
        return task, optimizer

    def _step(
        self,
        model: nn.Module,
        task: Task,
        optimizer: torch.optim.Optimizer,
        rate: float,
        step: int,
        steps: int,
    ) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate * optim.factor(step, steps, self.training.warmup)
        bfloat16 = self.training.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bfloat16):
            loss, metrics = model(self._batch(step))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        task.before_step(step)
        optimizer.step()
        task.after_step(step)
        self._pending.append({"loss": loss.detach(), **metrics})

    def _flush(
        self, done: int, steps: int, optimizer: torch.optim.Optimizer, epoch_end: bool
    ) -> bool:
        """Read the pending numbers, all at once; True if rank 0 says that a checkpoint is due."""
        names = list(self._pending[0])
        values = torch.stack([torch.stack([m[n].float() for n in names]) for m in self._pending])
        waited = time.perf_counter() - self._checkpointed
        due = torch.full_like(values[:1], float(waited > self.runtime.checkpoint_seconds))
        means = distributed.all_mean(torch.cat([values, due])).tolist()
        fresh = [dict(zip(names, row, strict=True)) for row in means[:-1]]
        self.progress.history += fresh
        self._check_finite(fresh, done)
        self._pending = []
        row = {name: sum(one[name] for one in fresh) / len(fresh) for name in names}
        self._tell(row, done, steps, len(fresh), optimizer, epoch_end)
        return means[-1][0] > 0

    def _check_finite(self, fresh: list[dict[str, float]], done: int) -> None:
        for offset, one in enumerate(fresh):
            if not math.isfinite(one["loss"]):
                step = done - len(fresh) + offset + 1
                raise StageFailed(f"loss is {one['loss']} at step {step} ({self._phase})")

    def _tell(
        self,
        row: dict[str, float],
        done: int,
        steps: int,
        count: int,
        optimizer: torch.optim.Optimizer,
        epoch_end: bool,
    ) -> None:
        now = time.perf_counter()
        spent, self._since = now - self._since, now
        progress = self.progress
        progress.step, progress.seconds = done, progress.seconds + spent
        rate = count * self.training.global_batch / spent
        row |= {"step": done, "epoch": done / self.epoch_steps, "images_per_second": rate}
        row["lr"] = optimizer.param_groups[0]["lr"]
        if epoch_end or not self.evaluate:
            progress.rows.append(row)
        if distributed.rank() == 0:
            trials = len(self.rates) if len(self.rates) > 1 else 0
            left = steps - done + (max(trials - progress.phase - 1, 0)) * self.trial_steps
            left += self.steps if progress.phase < trials else 0
            self.report(
                {"phase": self._phase, "step": done, "steps": steps, "images_per_second": rate}
                | {"eta": left * spent / count, "loss": row["loss"]}
            )

    def _evaluate(self, task: Task) -> None:
        """Judge this epoch; remember its weights if it is the best so far."""
        assert self.evaluate is not None
        average_statistics(task)
        measured = self.evaluate(task)
        task.train()
        self.progress.rows[-1] |= measured
        best = self.progress.best
        if best is None or measured[SCORE] > best[SCORE]:
            self.progress.best = {"epoch": self.progress.rows[-1]["epoch"], **measured}
            state = {key: value.clone() for key, value in task.state_dict().items()}
            self.progress.tensors |= checkpoint.prefixed("best", state)
        now = time.perf_counter()
        self.progress.seconds += now - self._since
        self._since = now

    def _restore_best(self, task: Task) -> None:
        if best := checkpoint.without_prefix("best", self.progress.tensors):
            task.load_state_dict(best)

    def _checkpoint(self, task: Task, optimizer: torch.optim.Optimizer) -> None:
        average_statistics(task)
        best = checkpoint.without_prefix("best", self.progress.tensors)
        self.progress.tensors = {
            **checkpoint.prefixed("task", task.state_dict()),
            **checkpoint.optimizer_tensors(optimizer),
            **checkpoint.prefixed("best", best),
        }
        if distributed.rank() == 0:
            self.progress.save(self.out_dir)
        self._checkpointed = time.perf_counter()

    def _batch(self, step: int) -> Batch:
        """This rank's part of the global batch; a pass takes every image at most once."""
        epoch, place = divmod(step, self.epoch_steps)
        if getattr(self, "_order_of", None) != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.index))
            self._order, self._order_of = order, epoch
        size = self.training.global_batch
        local = size // distributed.world_size()
        first = place * size + distributed.rank() * local
        positions = torch.from_numpy(self._order[first : first + local])
        draw = Draw(self.seed, step, local, self.device)
        return Batch(self._pixels(positions), positions.to(self.device), draw, step)

    def _pixels(self, positions: Tensor) -> Tensor:
        """int64 [n] positions among the images trained on -> uint8 [n, channels, side, side]."""
        pixels = torch.from_numpy(self.data.images[self.index[positions.cpu().numpy()]])
        if self.device.type == "cuda":
            pixels = pixels.pin_memory()
        return pixels.permute(0, 3, 1, 2).to(self.device, non_blocking=True)

    def _result(self, position: int) -> dict[str, Any]:
        progress, speeds = self.progress, [row["images_per_second"] for row in self.progress.rows]
        return {
            "loss": progress.rows[-1]["loss"],
            "lr": self.rates[position],
            "lr_index": position,
            "lr_at_edge": lr_range.at_edge(position, self.rates),
            "steps": self.steps,
            "images_per_second": float(np.median(speeds)),
            "seconds": progress.seconds,
            "lr_seconds": progress.trial_seconds,
        }

    def _history(self) -> dict[str, Any]:
        trials = [vars(trial) | {"diverged": trial.diverged} for trial in self.progress.trials]
        return {"lr_range": trials, "train": self.progress.rows}


def context(
    training: Training, data: Prepared, images: int, augment: dict[str, Any], seed: int
) -> Context:
    """What a task may know; steps are those of the full run."""
    epoch_steps = images // training.global_batch
    if epoch_steps == 0:
        raise UserError(
            f"batch of {training.global_batch} images: only {images} to train on; "
            "make profile.batch (or profile.downstream_batch) smaller"
        )
    return Context(
        images=images,
        global_batch=training.global_batch,
        steps=_steps(training.epochs, epoch_steps),
        epoch_steps=epoch_steps,
        image_size=training.image_size,
        channels=data.images.shape[-1],
        mean=data.mean,
        std=data.std,
        augment=augment,
        seed=seed,
    )


def _steps(epochs: float, epoch_steps: int) -> int:
    return max(1, round(epochs * epoch_steps))


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, and back."""
    was = module.training
    module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        module.train(was)
