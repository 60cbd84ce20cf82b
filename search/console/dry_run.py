"""The forecast of a search as lines: its chains, their stages and their cost.

for line in lines(space, forecast): print(line)
"""

from collections.abc import Iterator

from search.console.printable import clock
from search.console.screen import data_line, headline
from search.scheduling.forecast import Forecast
from search.space import Space


def lines(space: Space, found: Forecast) -> Iterator[str]:
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
        yield f"repeats   {rounds}; the baselines {space.repeats} times"
    stage, score, total = found.stage_seconds, found.score_seconds, found.total_seconds
    yield (
        f"cost      about {clock(stage)} a stage, {clock(score)} a score "
        f"on one worker; {clock(total)} of one worker in all, at most (an estimate)"
    )
    if (seconds := space.budget.worker_seconds) is not None:
        enough = min(int(seconds / (stage + score)), found.stages_maximum)
        yield f"budget    {space.budget}: about {enough} of these stages on one worker"
    yield "nothing was trained (--dry-run)"
