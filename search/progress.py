"""From the broker's snapshots to the live view and the tracker, with what only the driver knows."""

from collections.abc import Callable, Collection
from typing import Any

from search.budget import Meter
from search.chain import Chain
from search.live import LiveView
from search.policies import Policy
from search.questions import Questions
from search.repeats import schedule

LATE = 90.0  # seconds until a worker group should have come up


class Progress:
    """Called with every snapshot; `mirror` is called with the chains that got a score since."""

    def __init__(
        self,
        view: LiveView,
        questions: Questions,
        policy: Policy,
        meter: Meter,
        mirror: Callable[[Collection[Chain]], None],
    ) -> None:
        self.view, self.questions, self.policy = view, questions, policy
        self.meter, self.mirror = meter, mirror
        self.known = len(questions.scores) + len(questions.stops)
        self.mirrored = set(questions.scores)

    def __call__(self, status: dict[str, Any]) -> None:
        self.meter.leased = status["leased"]
        asked = self.questions
        done = len(asked.scores) + len(asked.stops) + len(asked.reasons)
        total = self._total()
        elapsed = self.meter.elapsed()
        eta = elapsed / (done - self.known) * (total - done) if done > self.known else None
        if eta is not None and (left := self.meter.left()) is not None:
            eta = min(eta, left)
        late = not status["came"] and status["elapsed"] > LATE
        status["offset"] = elapsed - status["elapsed"]
        status["chains"] = self._scored() | self._stopped() | status["chains"]
        status |= {"elapsed": elapsed, "done": done, "total": total, "eta": eta}
        if late:
            status["notice"] = (
                f"no worker group has come up in {LATE:.0f} s: is the program installed on every "
                "node, with the same versions? Ray's logs say more: /tmp/ray/session_latest/logs"
            )
        if asked.over:
            status["notice"] = f"{asked.over}: what is in flight is finished, nothing more is begun"
        self.view.update(status)
        if fresh := set(self.questions.scores) - self.mirrored:
            self.mirrored |= fresh
            self.mirror({proposal.chain for proposal in fresh})

    def _total(self) -> int:
        """Scores in all, as far as is known now."""
        plan, chains = self.questions.plan, self.policy.planned().maximum
        seeds = plan.space.repeats
        return chains + sum(schedule(chains, seeds)) + seeds * len(plan.baselines())

    def _scored(self) -> dict[str, Any]:
        return {
            str(proposal): {
                "state": "done",
                "score": score.balanced_accuracy,
                "ci": [score.ci_low, score.ci_high],
            }
            for proposal, score in list(self.questions.scores.items())
        }

    def _stopped(self) -> dict[str, Any]:
        stops = list(self.questions.stops.items())
        return {str(p): {"state": "stopped", "reason": stop.reason} for p, stop in stops}
