"""Search the chains of a space: the command. Wiring only.

python search/run.py --space isic3                    # built-in demonstration images
python search/run.py --space isic3 --data PATH        # your images
python search/run.py --space isic3 --dry-run          # the plan, nothing trained
"""

import argparse
import json
import shlex
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

DONE, FAILED, BAD_INPUT = 0, 1, 2


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="search/run.py",
        description="Find the best chain of self-supervised pretext tasks for your images.",
        epilog="exit status: 0 done, 1 search failed, 2 bad input; 130, 143, 129 after SIGINT, "
        "SIGTERM, SIGHUP",
    )
    add = parser.add_argument
    add("--space", required=True, metavar="NAME", help="what to search: a file in spaces/")
    add("--data", metavar="PATH", help="the data set's root; without it: built-in images")
    add("--out", metavar="DIR", help="where the report goes (default runs/SPACE-DATA)")
    add("--policy", metavar="NAME", help="order of trials: a file in search/policies/")
    add("--budget", metavar="N", help="to spend at most: 20 (stages), 90m, 8h, 2d, or 12gpuh")
    add("--dry-run", action="store_true", help="print the plan and train nothing")
    add("--address", metavar="ADDR", help="a Ray cluster's HOST:PORT, or auto")
    add("--tracking-uri", metavar="URI", help="MLflow (default sqlite:///mlflow.db here)")
    add("--json", action="store_true", help="print the summary as the last line of stdout")
    add("overrides", nargs="*", metavar="key=value", help="e.g. profile=smoke seed=1 max_length=2")
    return parser.parse_intermixed_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    started = time.monotonic()
    args = parse(argv)
    from search.console import exit
    from search.console.printable import printable
    from search.session import Session
    from search.tracking.uri import masked
    from trainables.errors import MachineFault, UserError

    exit.listen()
    try:
        session = Session(args, started)
        if args.dry_run:
            session.print_plan()
            return DONE
        summary = session.search()
    except UserError as error:
        print(f"error: {printable(masked(str(error)))}", file=sys.stderr)
        return BAD_INPUT
    except (MachineFault, OSError) as fault:
        return failed(str(fault), argv)
    except KeyboardInterrupt:
        exit.heard()
        print("\ninterrupted; finished stages are kept. To go on, run again:", file=sys.stderr)
        print(f"    {again(argv)}", file=sys.stderr)
        return exit.status()
    if args.json:
        print(json.dumps(summary))
    if summary["incomplete"]:
        return failed(summary["incomplete"], argv)
    return DONE if summary["best_chain"] or summary["budget_spent"] else FAILED


def failed(fault: str, argv: Sequence[str] | None) -> int:
    from search.tracking.uri import masked

    print(
        f"error: {masked(fault)}; the search is incomplete. Once mended, run again:",
        file=sys.stderr,
    )
    print(f"    {again(argv)}", file=sys.stderr)
    return FAILED


def again(argv: Sequence[str] | None) -> str:
    """The command as it was given, without its passwords."""
    from search.tracking.uri import masked

    return shlex.join(["python", "search/run.py", *map(masked, argv or sys.argv[1:])])


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from search.console import exit
    from search.tracking.uri import masked

    try:
        status = main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else FAILED
    except KeyboardInterrupt:  # once more, while the first one was answered
        status = exit.status()
    except BaseException:
        print(masked(traceback.format_exc()), file=sys.stderr)
        status = FAILED
    exit.leave(status)
