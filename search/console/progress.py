"""The live view's input: the broker's status and the driver's snapshot, put together."""

from search.console.live_tree import LiveView
from search.results.status import Progress, Snapshot, Status
from search.space.budget import Meter


class Show:
    """Updates the view; called with every status, in its own thread.

    snapshot: replaced as a whole by the driver's thread.
    """

    def __init__(self, view: LiveView, meter: Meter, snapshot: Snapshot) -> None:
        self.view, self.meter = view, meter
        self.snapshot = snapshot
        self.known = snapshot.done

    def __call__(self, status: Status) -> None:
        self.view.update(together(status, self.snapshot, self.meter, self.known))


def together(status: Status, snapshot: Snapshot, meter: Meter, known: int) -> Progress:
    """Combine both; the ETA is in seconds. known: number of scores at the start."""
    elapsed, done, total = meter.elapsed(), snapshot.done, snapshot.total
    eta = elapsed / (done - known) * (total - done) if done > known else None
    if eta is not None and (left := meter.left()) is not None:
        eta = min(eta, left)
    return Progress(
        elapsed=elapsed,
        done=done,
        total=total,
        eta=eta,
        stages_trained=len(status.trained),
        stages_reused=len(status.reused),
        chains={**snapshot.chains, **status.chains},
        groups=status.groups,
        notices=(*filter(None, [snapshot.notice]), *status.notices),
    )
