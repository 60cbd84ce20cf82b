"""The command: search the chains of a space, or run another verb (see console/commands.py).

python search/run.py --space isic3                    # built-in demonstration images
python search/run.py --space isic3 --data PATH        # your images
python search/run.py --space isic3 --dry-run          # the plan, nothing trained
python search/run.py list
"""

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from search.console.commands import BAD_INPUT, FAILED, parse
from trainables.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status; bad input is one line on stderr."""
    try:
        args = parse(sys.argv[1:] if argv is None else argv)
        return int(args.run(args))
    except (UserError, OSError) as error:
        from search.console.printable import printable
        from search.tracking.uri import masked

        print(f"error: {printable(masked(str(error)))}", file=sys.stderr)
        return BAD_INPUT if isinstance(error, UserError) else FAILED


def command() -> int:
    """Return the exit status, whatever `main` raises."""
    from search.console import exit
    from search.tracking.uri import masked

    try:
        return main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else FAILED
    except KeyboardInterrupt:  # a second Ctrl-C, during the answer to the first
        return exit.status()
    except BaseException:
        print(masked(traceback.format_exc()), file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    from search.console import exit

    exit.leave(command())
