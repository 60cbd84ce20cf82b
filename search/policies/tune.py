"""Ray Tune's own searchers over the tree of chains: `--policy tune:optuna`, `tune:hyperopt`.

A chain is one conditional choice: a start where there are several, a task, the window of its LR
range, then to stop or another of the tasks left, and so on. As in `tpe`, the node asked is the
first stage without a score of the chain suggested. The searcher is made anew for every `ask`: the
nodes known are its points to evaluate, those in flight without a result, stopped ones with their
bound, which is behind the best.
So the policy is a function of (seed, asked, told).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import count
from typing import TYPE_CHECKING, Any

from search.chains.chain import Chain
from search.chains.node import Node
from search.policies import tpe
from trainables.errors import UserError

if TYPE_CHECKING:
    from ray.tune.search import Searcher

SEARCHERS = ("hyperopt", "optuna")  # Tune's others take no conditional space
METRIC, STOP, START = "merit", "", "start"
Options = Mapping[str, Callable[[], Any]]
Pick = Callable[[str, Options], Any]


class Plugin(tpe.Plugin):
    """params: searcher (see SEARCHERS), and those of `tpe`."""

    @dataclass(frozen=True)
    class Params(tpe.Plugin.Params):
        searcher: str = "optuna"

    def prepare(self) -> None:
        super().prepare()
        name = self.params["searcher"]
        if name not in SEARCHERS:
            raise UserError(
                f"policy=tune:{name}: must be a searcher of Tune that takes a conditional space "
                f"({', '.join(SEARCHERS)}); try tune:optuna"
            )
        if find_spec(name) is None:
            raise UserError(
                f"policy=tune:{name}: must have its package, which is not installed; try "
                f"uv sync --extra {name}"
            )

    def suggestions(self) -> Iterator[Node]:
        known = self.known()
        searcher = self._searcher([self._point(node) for node in known])
        for number, node in enumerate(known):
            searcher.suggest(str(number))
            value, bound = self.value(node), self.bound(node)
            if not self._new(node):
                merit = bound if value is None else value
                searcher.on_trial_complete(str(number), {METRIC: merit})
        for number in count(len(known)):
            suggested: Any = searcher.suggest(str(number))
            yield _node(*suggested["chain"])

    def _searcher(self, points: list[dict[str, int]]) -> "Searcher":
        """Return Tune's searcher, which suggests these points first, in this order."""
        from ray.tune.search import hyperopt, optuna  # Ray is slow to import

        if self.params["searcher"] == "optuna":
            return optuna.OptunaSearch(
                lambda trial: {"chain": self._whole(partial(_by_optuna, trial))},
                METRIC, "max", points, sampler=self.sampler(),
            )  # fmt: skip
        labels: dict[str, object] = {}
        searcher = hyperopt.HyperOptSearch(
            {"chain": self._whole(partial(_by_hyperopt, labels))},
            METRIC, "max", points, self.params["startup"], self.rng("sampler").getrandbits(32),
        )  # fmt: skip
        for trial in searcher.get_state()["hyperopt_trials"].trials:
            for part in ("idxs", "vals"):  # HyperOpt expects labels that are not chosen, too
                trial["misc"][part] = {label: [] for label in labels} | trial["misc"][part]
        return searcher

    def _point(self, node: Node) -> dict[str, int]:
        """Return the node's choices: their places among the options, by name."""
        point: dict[str, int] = {}
        tasks = iter((*node.chain.tasks, STOP))

        def pick(name: str, options: Options) -> Any:
            kind, _, task = name.partition(" ")
            if kind == START:
                chosen = node.chain.start
            else:
                chosen = node.window(task) if kind == "window" else next(tasks)
            point[name] = list(options).index(chosen)
            return options[chosen]()

        self._whole(pick)
        return point

    def _whole(self, pick: Pick) -> Any:
        """Return a start and the nested chain from it."""
        starts = [start for start in self.starts if start not in self._behind]
        chains = {start: partial(self._from, pick, start) for start in starts}
        return pick(START, chains) if len(starts) > 1 else chains[starts[0]]()

    def _from(self, pick: Pick, start: str) -> Any:
        return start, self._chain(pick, self.tasks)

    def _chain(self, pick: Pick, left: tuple[str, ...]) -> Any:
        """Return the rest of a chain, nested: a task, its window, the rest after it; () at its end.

        pick: makes a choice, by name, among options, of which it calls those that are possible.
        """
        if (length := len(self.tasks) - len(left)) == self.max_length:
            return ()
        longer = {task: partial(self._stage, pick, task, left) for task in left}
        return pick(f"next {','.join(left)}", {STOP: tuple, **longer} if length else longer)

    def _stage(self, pick: Pick, task: str, left: tuple[str, ...]) -> Any:
        windows = {window: partial(str, window) for window in self.windows(task)}
        rest = tuple(other for other in left if other != task)
        return task, pick(f"window {task}", windows), self._chain(pick, rest)


def _by_optuna(trial: Any, name: str, options: Options) -> Any:
    chosen = trial.suggest_categorical(name, range(len(options)))
    return list(options.values())[chosen]()


def _by_hyperopt(labels: dict[str, object], name: str, options: Options) -> Any:
    """Return the choice among all options; one name is one label, wherever it stands."""
    from hyperopt import hp

    if name not in labels:
        labels[name] = hp.choice(name, [make() for make in options.values()])
    return labels[name]


def _node(start: str, chain: Any) -> Node:
    """Return the node of a start and a nested chain."""
    windows: dict[str, str] = {}
    while chain:
        task, windows[task], chain = chain
    return Node.of(Chain(tuple(windows), start), windows)
