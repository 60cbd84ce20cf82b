"""The lines of a dry run, and the first line of a long search.

for text in lines(space, forecast, estimate, given): print(text)
"""

from collections.abc import Iterator, Sequence

from search import shell
from search.chains.lengths import words
from search.console.printable import clock
from search.scheduling.estimate import Estimate
from search.scheduling.forecast import Forecast
from search.space import Space
from search.tracking.uri import masked


def lines(space: Space, found: Forecast, expected: Estimate, given: Sequence[str]) -> Iterator[str]:
    """Yield the chains, their stages and their time. given: the command's arguments."""
    if warning := long_search(expected, given):
        yield warning
    yield headline(space)
    yield f"data      {data_line(space)}, {found.images} images to train on"
    yield f"chains    {len(found.chains)} of up to {space.max_length} tasks"
    yield from (f"            {chain}" for chain in found.chains)
    span = str(found.stages_maximum)
    if found.stages_minimum != found.stages_maximum:
        span = f"{found.stages_minimum} to {found.stages_maximum}"
    yield (
        f"stages    {found.stages_naive} naive, {found.stages_shared} with shared prefixes, "
        f"{span} under the policy {found.policy}"
    )
    if found.repeats:
        rounds = ", ".join(f"the best {n} {k} times" for k, n in enumerate(found.repeats, 2))
        yield f"repeats   {rounds}; the starts {space.repeats} times"
    yield from _cost(expected)
    yield from (f"length    {said}" for said in expected.too_short)
    yield from (f"patches   {said}" for said in expected.coarse)
    if space.budget.text:
        yield f"budget    {space.budget}"
    yield "nothing was trained (--dry-run)"


def _cost(expected: Estimate) -> Iterator[str]:
    """Yield a line for every task: its seconds and what they are known from; then the time."""
    title = "cost"
    for name, seconds in expected.seconds.items():
        known = "from finished stages of this store"
        if name in expected.timed:
            known = f"timed ten steps of {name}: {expected.timed[name]:.1f} s"
        elif name in expected.measured:
            known = f"timed {name} on random images"
        lengths = " or ".join(f"{n:,}" for n in expected.steps.get(name, ()))
        steps = f"{lengths} steps; " if lengths else ""
        yield f"{title:10}{name:18}{clock(seconds):>8}   {steps}{known}"
        title = ""
    for name, reason in expected.unknown.items():
        yield f"{title:10}{name:18}       ?   {reason}"
        title = ""
    if expected.span is None:
        yield "time      unknown, as a task has no rate"
    else:
        yield (
            f"time      {_range(expected)} with {expected.groups} worker groups, from the command "
            "to the report (an estimate)"
        )


def _range(expected: Estimate) -> str:
    """Return the wall time in words."""
    assert expected.span
    low, high = clock(expected.span.minimum), clock(expected.span.maximum)
    return low if low == high else f"{low} to {high}"


def long_search(expected: Estimate, given: Sequence[str]) -> str:
    """Return the first line of a search of more than half an hour; "" for a shorter one."""
    if not expected.shorter or expected.span is None:
        return ""
    low, high = (max(1, round(s / 60)) for s in (expected.span.minimum, expected.span.maximum))
    minutes = f"{high}" if low == high else f"{low} to {high}"
    return f"this takes about {minutes} minutes; shorter: {shorter(given, expected.shorter)}"


def shorter(given: Sequence[str], settings: Sequence[str]) -> str:
    """Return the command with these settings instead of its own, without passwords."""
    keys, kept, skip = {one.partition("=")[0] for one in settings}, list[str](), False
    for one in given:
        budget = one.startswith("--b") and "--budget".startswith(one.partition("=")[0])
        option = budget and "budget" in keys
        if not (skip or one.partition("=")[0] in keys or one == "--dry-run" or option):
            kept.append(one)
        skip = option and "=" not in one
    return shell.search(*map(masked, kept), *settings)


def headline(space: Space) -> str:
    profile = space.profile
    return (
        f"{space.name}: {', '.join(space.tasks)}; profile {profile.name} "
        f"({profile.backbone}, {profile.image_size} px, {profile.precision}, "
        f"{words(profile.steps)} steps); policy {space.policy}"
    )


def data_line(space: Space) -> str:
    if space.data.name == "demo":
        return "DEMONSTRATION images, drawn by the program (use --data for your own)"
    return f"{space.data.name} at {space.data.root}"
