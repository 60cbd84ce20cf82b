"""How a run ends early without a bug: bad input, a stage that broke, a fault of the machine."""


class UserError(ValueError):
    """Bad input: where, what came, what is allowed, what to do, in one line. Exit status 2."""


class StageFailed(RuntimeError):
    """A stage that cannot be finished, with its reason (`loss is NaN at step 12`).

    Raised on all ranks alike, from values that all ranks share, so that a worker group
    outlives the stage.
    """


class Stopped(Exception):
    """A stage or score that nobody wants any more. Raised on all ranks alike."""


class MachineFault(RuntimeError):
    """A fault of the machine, in one line with its cure; never a result. Ends a search."""
