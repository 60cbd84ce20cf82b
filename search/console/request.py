"""The request for a search: a Space, made from the command's options and the machine.

check_given(args)               # before anything is read
asked = request(args, gpus)     # UserError in one line if a value is invalid
"""

import argparse
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from search.policies import chosen
from search.space import Space, hardware, load
from search.space.budget import Budget
from search.space.schema import TIMM, Elsewhere
from trainables.errors import UserError

Set = TypeVar("Set", bound=Elsewhere)


@dataclass(frozen=True)
class Request:
    """One search. gpus: number on this machine, or in the cluster at the address.

    given: the command's arguments.
    """

    space: Space
    gpus: int
    out: Path
    address: str | None = None
    tracking_uri: str | None = None
    given: tuple[str, ...] = ()


def check_given(args: argparse.Namespace) -> None:
    """Raise UserError for an option with an empty value."""
    options = ("data", "out", "policy", "budget", "address", "tracking_uri")
    values = [(option, getattr(args, option)) for option in options]
    for option, given in [*values, *(("data_unlabelled", one) for one in args.data_unlabelled)]:
        if given is not None and not given.strip():
            flag = "--" + option.replace("_", "-")
            raise UserError(f"{flag}={given}: must not be empty; try leaving {flag} out")


def request(args: argparse.Namespace, gpus: int) -> Request:
    """Return the request; UserError, one line, if a value is invalid."""
    Budget.parse(args.budget)
    space = hardware.resolve(load(args.space, _overrides(args, gpus)), gpus)
    root = args.data or space.data.root
    unlabelled = tuple(args.data_unlabelled) or space.data.unlabelled
    if space.data.name == "demo" and (root or unlabelled):
        option = f"--data={root}" if root else f"--data-unlabelled={unlabelled[0]}"
        raise UserError(
            f"{option}: must be left out with data=demo, which draws its images; try data=folder "
            "and --data PATH"
        )
    if space.budget.gpu_hours is not None and not gpus:
        raise UserError(
            f"budget={space.budget}: must be stages or wall time, as there is no GPU; try 8h"
        )
    space = replace(
        space,
        store=os.path.abspath(space.store.removeprefix("file://")),
        cache=os.path.abspath(space.cache.removeprefix("file://")),
        data=replace(
            space.data,
            root=root and os.path.abspath(root),
            unlabelled=tuple(map(os.path.abspath, unlabelled)),
            masks=space.data.masks and os.path.abspath(space.data.masks),
        ),
        starts={k: replace(s, weights=_place(s.weights)) for k, s in space.starts.items()},
        baselines=replace(
            space.baselines,
            features={k: os.path.abspath(v) for k, v in space.baselines.features.items()},
        ),
        external={name: _absolute(one) for name, one in space.external.items()},
        pool=space.pool and _absolute(space.pool),
    )
    out = args.out or f"runs/{space.name}-{data_name(space)}"
    given = tuple(args.given)
    return Request(space, gpus, Path(out).absolute(), args.address, args.tracking_uri, given)


def _place(weights: str | None) -> str | None:
    return weights if weights in (None, TIMM) else os.path.abspath(weights)


def _absolute(one: Set) -> Set:
    return replace(one, root=one.root and os.path.abspath(one.root))


def data_name(space: Space) -> str:
    """Return the data set's name in reports and folder names."""
    root = space.data.root
    return space.data.name if root is None else Path(root).name


def _overrides(args: argparse.Namespace, gpus: int) -> list[str]:
    """Return the given overrides, with those that options and machine stand for."""
    overrides = list(args.overrides)
    given = {override.partition("=")[0] for override in overrides}
    if not (args.data or given & {"data", "data.root"}):
        overrides.insert(0, "data=demo")
    if "profile" not in given:
        profile = "demo" if "data=demo" in overrides else "gpu" if gpus else "cpu"
        overrides.insert(0, f"profile={profile}")
    budget = [] if args.budget is None else [f"budget={args.budget}"]
    return [*overrides, *chosen(args.policy), *budget]
