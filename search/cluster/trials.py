"""A trial of Ray Tune: one node of the prefix tree, its results and the files that are kept.

A trial extends a finished chain by one stage and scores it. Each epoch of fine-tuning is one
result; the last one has the score. Tune's folder of a trial holds pickles, too, and is removed with
Ray's files; OUT/tune keeps what is read without unpickling.
"""

import logging
import shutil
from pathlib import Path
from typing import Any, TypeAlias

import ray
from ray import tune

from search.chains.node import Node, Ranges
from search.results.status import Curve, Probed
from search.scheduling.scheduler import METRIC

Reported: TypeAlias = dict[str, float | str]  # a result of a trial, as Tune passes it on
PROBES = "probes"
FOLDER = str.maketrans(">:", "++")  # in the name of a folder
FILES = ("params.json", "result.json", "progress.csv")
log = logging.getLogger(__name__)


class ChainTrial(tune.Trainable):
    """Gets one chain's score from the broker; the actor is reused for the next trial.

    Results: `probes/NAME`, the merit after `epoch` of `epochs`, finally the score's,
    with `measures/NAME`, the chosen rates `lr/TASK`, and `seconds`.
    """

    def setup(self, config: Any, broker: Any, ranges: Ranges) -> None:  # type: ignore[override]
        self.broker, self.ranges = broker, ranges
        self.reset_config(config)

    def reset_config(self, new_config: Any) -> bool:
        self.node = Node.of_config(new_config, self.ranges)
        self.epochs, self.probed = 0, False
        return True

    def step(self) -> Reported:
        answer: Any = ray.get(self.broker.follow.remote(self.node, self.epochs, self.probed))
        if isinstance(answer, Probed):
            self.probed = True
            found = {f"{PROBES}/{name}": value for name, value in answer.found.items()}
            return {METRIC: float("nan"), "done": False, "epoch": 0, "epochs": 0, **found}
        if isinstance(answer, Curve):
            self.epochs = len(answer.values)
            epoch = {"epoch": self.epochs, "epochs": answer.epochs}
            return {METRIC: answer.values[-1], "done": False, **epoch}
        end = {"reason": answer.reason, "state": answer.state, "done": True}
        return {METRIC: answer.value, **end, **answer.found}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Do nothing: the stage store has everything."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Do nothing, see `save_checkpoint`."""


class Kept(tune.Callback):
    """Copies Tune's FILES of a trial that ended to a folder of its node, in place of older ones."""

    def __init__(self, folder: Path, ranges: Ranges) -> None:
        self.folder, self.ranges = folder, ranges

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        if not trial.last_result:
            return
        node = Node.of_config(trial.config, self.ranges)
        own = self.folder / str(node).translate(FOLDER)
        try:
            own.mkdir(parents=True, exist_ok=True)
            for name in FILES:
                shutil.copyfile(Path(trial.local_path, name), own / name)
        except OSError as error:
            log.warning("%s: cannot keep Tune's files (%s)", node, error)
