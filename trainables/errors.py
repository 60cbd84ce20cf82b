"""The two ways a run goes wrong that are not bugs: the user's input, and a stage that broke."""


class UserError(ValueError):
    """Bad input: where, what came, what is allowed, what to do, in one line. Exit status 2."""


class StageFailed(RuntimeError):
    """A stage that cannot be finished, with its reason (`loss is NaN at step 12`).

    Raised on all ranks alike, from values that all ranks share, so that a worker group
    outlives the stage.
    """
