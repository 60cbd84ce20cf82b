"""From the broker's snapshots to the live view and the tracker, with what only the driver knows."""

import time
from collections.abc import Callable
from typing import Any

from search.live import LiveView
from search.policies import Policy
from search.questions import Questions


class Progress:
    """Called with every snapshot; `mirror` is called when a chain got its score."""

    def __init__(
        self,
        view: LiveView,
        questions: Questions,
        policy: Policy,
        started: float,
        mirror: Callable[[], None],
    ) -> None:
        self.view, self.questions, self.policy = view, questions, policy
        self.started, self.mirror = started, mirror
        self.known = self.mirrored = len(questions.scores)

    def __call__(self, status: dict[str, Any]) -> None:
        done = len(self.questions.scores) + len(self.questions.reasons)
        total = self.policy.planned().maximum + len(self.questions.plan.baselines())
        elapsed = time.monotonic() - self.started
        eta = elapsed / (done - self.known) * (total - done) if done > self.known else None
        status["chains"] = self._scored() | status["chains"]
        self.view.update(status | {"elapsed": elapsed, "done": done, "total": total, "eta": eta})
        if len(self.questions.scores) > self.mirrored:
            self.mirrored = len(self.questions.scores)
            self.mirror()

    def _scored(self) -> dict[str, Any]:
        return {
            str(proposal): {
                "state": "done",
                "score": score.balanced_accuracy,
                "ci": [score.ci_low, score.ci_high],
            }
            for proposal, score in list(self.questions.scores.items())
        }
