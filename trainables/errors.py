"""Ways in which a run ends early without a bug: bad input, a failed stage, a machine fault."""


class UserError(ValueError):
    """Bad input, in one line: `WHERE=VALUE: must be ...; try ...`. Exit status 2."""


class NotInstalled(UserError):
    """Input that needs a library which is not there: true of every image, so none is skipped."""


class StageFailed(RuntimeError):
    """A stage that cannot be finished; the message is the reason (`loss is NaN at step 12`).

    Raised on every rank, from values that all ranks share, so the worker group survives.
    """


class Stopped(Exception):
    """A stage or score whose result is no longer wanted. Raised on every rank."""


class MachineFault(RuntimeError):
    """A fault of the machine, in one line with its cure. Never a result; it ends the search."""


def first_line(error: BaseException) -> str:
    """Return the first line of the message, or the type's name if there is none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
