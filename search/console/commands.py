"""The command's verbs: how each is parsed and what it does.

    args = parse(["--space", "isic3", "--dry-run"])     # args.verb == "search"
    args = parse(["store", "verify", "--store", "DIR"])
    status = args.run(args)

A new verb is a description, its options and a function here, which imports what it needs.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from search import shell
from search.shell import PROGRAM
from trainables.errors import MachineFault, UserError
from trainables.plugins import unknown

if TYPE_CHECKING:
    from search.scheduling.forecast import Forecast
    from search.session import Session

DONE, FAILED, BAD_INPUT = 0, 1, 2
DISTRIBUTION = "ssl-curriculum-search"
Add = Callable[..., argparse.Action]


def parse(given: Sequence[str]) -> argparse.Namespace:
    """Parse the command; a first argument without `=`, `-` or `~` is the verb, else `search`."""
    first = given[0] if given else "-"
    named = "=" not in first and not first.startswith(("-", "~"))
    verb, rest = (first, given[1:]) if named else ("search", given)
    if verb not in VERBS:
        raise UserError(unknown("verb", verb, list(VERBS)))
    description, options, run = VERBS[verb]
    parser = argparse.ArgumentParser(
        prog=f"{PROGRAM} {verb}" if named else PROGRAM,
        description=description,
        epilog=EPILOG if verb == "search" else "exit status: 0 done, 1 failed, 2 bad input",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options(parser.add_argument)
    chosen = argparse.Namespace(verb=verb, given=list(given), run=run)
    return parser.parse_intermixed_args(rest, chosen)


class Version(argparse.Action):
    """Print the installed version, which takes time to read."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(DISTRIBUTION, version(DISTRIBUTION))
        parser.exit()


def _search_options(add: Add) -> None:
    add("--space", required=True, metavar="NAME", help="what to search: a file in spaces/")
    add("--data", metavar="PATH", help="the data set's root; without it: built-in images")
    add("--data-unlabelled", action="append", default=[], metavar="PATH",
        help="a folder of images without labels for pretext tasks; repeatable")  # fmt: skip
    add("--out", metavar="DIR", help="where the report goes (default runs/SPACE-DATA)")
    add("--policy", metavar="NAME", help="order of trials: see `list`, or tune:SEARCHER")
    add("--budget", metavar="N", help="to spend at most: 20 (stages), 90m, 8h, 2d, or 12gpuh")
    add("--dry-run", action="store_true", help="print the plan and train nothing")
    add("--address", metavar="ADDR", help="a Ray cluster's HOST:PORT, or auto")
    add("--tracking-uri", metavar="URI", help="MLflow (default sqlite:///mlflow.db here)")
    add("--json", action="store_true", help="print the summary (the plan, with --dry-run) as JSON, "
        "the last line of stdout")  # fmt: skip
    add("--version", action=Version, nargs=0, help="print the version and exit")
    add("overrides", nargs="*", metavar="key=value", help="e.g. profile=smoke seed=1 max_length=2")


def _search(args: argparse.Namespace) -> int:
    from search.console import exit

    exit.listen()
    try:
        return _searched(args)
    except (MachineFault, OSError) as fault:
        return _failed(str(fault), args)
    except KeyboardInterrupt:
        exit.heard()
        _say_again("\ninterrupted; finished stages are kept. To go on, run again:", args)
        return exit.status()


def _searched(args: argparse.Namespace) -> int:
    started = time.monotonic()
    from search.cluster.start import join
    from search.console import dry_run
    from search.console.request import check_given, request
    from search.console.screen import Screen
    from search.session import Session
    from search.space import hardware

    check_given(args)
    cluster = join(args.address) if args.address and not args.dry_run else None
    gpus = int(cluster.connect().get("GPU", 0)) if cluster else hardware.gpus()
    asked, screen = request(args, gpus), Screen()
    session = Session(asked, screen, started, cluster)
    if args.dry_run:
        forecast, understood, found = _checked(session), session.understand(), session.estimate()
        as_json = [json.dumps(asdict(forecast) | asdict(found) | understood.as_json())]
        lines = dry_run.lines(asked.space, forecast, found, args.given)
        return _print(as_json if args.json else [*lines, *understood.lines()])
    summary = session.search()
    if args.json:
        print(json.dumps(summary))
    if summary["incomplete"]:
        return _failed(summary["incomplete"], args)
    return DONE if summary["best_chain"] or summary["budget_spent"] else FAILED


def _checked(session: "Session") -> "Forecast":
    """Check the search; what the images are is shown even if a task can't be trained on them."""
    try:
        return session.check()
    except UserError:
        if session.listed:
            _print(session.understand().lines())
        raise


def _failed(fault: str, args: argparse.Namespace) -> int:
    _say_again(f"error: {fault}; the search is incomplete. Once mended, run again:", args)
    return FAILED


def _say_again(text: str, args: argparse.Namespace) -> None:
    """Print the text, and the command as it was given without its passwords."""
    from search.tracking.uri import masked

    again = shell.search(*map(masked, args.given))
    print(f"{masked(text)}\n    {again}", file=sys.stderr)


def _list_options(add: Add) -> None:
    add("--store", action="append", default=[], metavar="DIR", help="another store to list")


def _list(args: argparse.Namespace) -> int:
    from search.console.listing import lines

    return _print([*lines(args.store)])


def _show_options(add: Add) -> None:
    add("--space", required=True, metavar="NAME", help="a file in spaces/")
    add("overrides", nargs="*", metavar="key=value", help="as for a search")


def _show(args: argparse.Namespace) -> int:
    from search.space.origins import explained

    return _print(explained(args.space, args.overrides))


def _store_options(add: Add) -> None:
    add("action", choices=("verify", "prune", "size", "list"),
        help="verify: read every file; prune: remove unfinished and damaged stages; "
        "size: bytes on disk; list: finished stages")  # fmt: skip
    add("--store", required=True, metavar="DIR", help="the store's folder")


def _store(args: argparse.Namespace) -> int:
    """Return status 1 if a stage is damaged."""
    from search.console.listing import opened, sizes

    store = opened(args.store)
    actions: dict[str, Callable[[], list[str]]] = {
        "verify": store.verify, "prune": store.prune, "size": partial(sizes, store),
        "list": store.keys,
    }  # fmt: skip
    found = actions[args.action]()
    _print(found)
    return FAILED if args.action == "verify" and found else DONE


def _print(lines: Iterable[str]) -> int:
    from search.console.printable import printable

    with suppress(BrokenPipeError):  # as in `| head`
        for line in lines:
            print(printable(line))
    return DONE


Verb = tuple[str, Callable[[Add], None], Callable[[argparse.Namespace], int]]
FIND = "Find the best chain of self-supervised pretext tasks for your images."
LIST = "List spaces, tasks, data sets, policies, profiles, modalities and stores."
SHOW = "Print a space's composed YAML and where each value comes from."
CARE = "Look after a store of finished stages."
VERBS: dict[str, Verb] = {
    "search": (FIND, _search_options, _search),
    "list": (LIST, _list_options, _list),
    "show": (SHOW, _show_options, _show),
    "store": (CARE, _store_options, _store),
}
EPILOG = (
    "exit status: 0 done, 1 search failed, 2 bad input; 130, 143, 129 after SIGINT, SIGTERM, SIGHUP"
    f"\n\nother verbs ({PROGRAM} VERB --help):\n"
    + "\n".join(f"  {verb:8}{about}" for verb, (about, *_) in VERBS.items() if verb != "search")
)
