"""Chains, singles and starts trained through `trainables` alone, then what is better than what.

A graph of stages is built for every seed: the pretext stages of each chain, of which equal prefixes
are trained once, and fine-tunings with each fraction of the labels. Lengths are those of --steps
and --tune-steps, or what fits into --minutes on this machine, where 12 steps of every task are
timed first, in as many processes as will train. Predictions on the test images are written, and
read by --table --look only.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from search.chains.lengths import SHORT, too_short
from trainables.architectures import TRANSFORMER, is_transformer, precision
from trainables.bench.recipes import TASK, Recipes, read
from trainables.durable import write_json
from trainables.errors import StageFailed
from trainables.images.cache import Prepared, open_cache, prepare
from trainables.kinds import KINDS, Work
from trainables.plugins import load, version
from trainables.processor import cores
from trainables.spec import (
    BACKBONE,
    CLASSIFY,
    IMAGES,
    POOL,
    PRETEXT,
    START,
    WEIGHTS,
    DataSpec,
    LRPolicy,
    Runtime,
    StageSpec,
)  # fmt: skip
from trainables.timing import Question, Timed, answer

SEEDS = 1000  # the first: seeds that no search has seen
SCRATCH = "scratch"
DONE, ROWS = "done.json", "rows.jsonl"
TRIAL = 0.1  # of a fine-tuning: the trial of a rate, of which all together cost EXTRA
EXTRA = 0.3
SHARE = 0.5  # of a stage's steps: those of a fine-tuning, where --minutes sizes them
CURVE = 4  # frozen probes of a pretext stage on its way, in its history.json
PATCHED = 256  # px of the cache's images, of whose small parts Relative Location takes its patches
USED = 0.75  # of the time left after timing: for training steps, beside evaluations and idle ends
CHAINS = "relative_location,moco,odc,moco>odc,relative_location>moco"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests/gpu/pays.sh", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    gpu = torch.cuda.is_available()
    add("--chains", default=CHAINS, help="START:TASK>TASK,...; starts come by themselves "
        "(default: %(default)s)")  # fmt: skip
    add("--start", action="append", default=[], metavar="NAME=FILE", help="weights of --backbone")
    add("--backbone", default="resnet18", help="default: %(default)s")
    add("--size", type=int, default=64, help="side of a view, px (default: %(default)s)")
    add("--cache-size", type=int, help="side of an image in the cache, px "
        "(default: 1.5 times a view's, at least 256 for relative_location)")  # fmt: skip
    add("--batch", type=int, default=256 if gpu else 32, help="default here: %(default)s")
    add("--seeds", type=int, default=3, help="default: %(default)s")
    add("--fractions", default="0.1,1", help="of the labels (default: %(default)s)")
    add("--rates", type=json.loads, default={}, metavar="JSON", help="by task, and of classify; "
        "default: the middle of a task's range, and all of classify's in turn")  # fmt: skip
    add("--minutes", type=float, default=6.0, help="default: %(default)s")
    add("--steps", type=int, help="of a stage, in place of --minutes")
    add("--tune-steps", type=int, help="of a fine-tuning (default: half of a stage's)")
    add("--processes", type=int, default=min(8, cores()) if gpu else 1, help="at once")
    add("--data", type=Path, help="real images; default: drawn ones")
    add("--dataset", default="isic2019", help="how --data is laid out (default: %(default)s)")
    add("--modality", default="dermoscopy", help="of its images (default: %(default)s)")
    add("--cache", type=Path, default=Path("runs/cache"), help="default: %(default)s")
    add("--out", type=Path, default=Path("runs/pays"), help="default: %(default)s")
    add("--small", action="store_true", help="a few steps on drawn images, for a CPU")
    add("--table", action="store_true", help="train nothing; print the rows with intervals")
    add("--look", action="store_true", help="with --table: on test images; say so in the ledger")
    add("--figure", type=Path, metavar="FILE", help="with --table: draw the rows, too, as PNG")
    args = parser.parse_args()
    if (args.look or args.figure) and not args.table:
        parser.error("--look and --figure: must come with --table; train without them first")
    if args.small:
        args.backbone, args.size, args.batch, args.seeds = "resnet10", 32, 32, 2
        args.chains, args.fractions, args.steps, args.tune_steps = "moco", "1", 4, 4
    args.starts = dict(one.split("=", 1) for one in args.start)
    least = PATCHED if "relative_location" in args.chains else 96
    args.cache_size = args.cache_size or max(least, args.size * 3 // 2)
    args.fractions = [float(one) for one in args.fractions.split(",")]
    return args


@dataclass(frozen=True)
class Job:
    """One stage and where it stands. row: of a fine-tuning, what its score is a row of."""

    spec: StageSpec
    weights: str | None = None
    row: tuple[str, int, float] | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(self.spec.inputs.values())


@dataclass(frozen=True)
class Graph:
    """The jobs of all chains, in the order of seeds, inputs first."""

    args: argparse.Namespace
    data: DataSpec
    prepared: Prepared
    recipes: Recipes

    def jobs(self, steps: int, tune_steps: int) -> list[Job]:
        found = {}
        for seed in range(SEEDS, SEEDS + self.args.seeds):
            for name in self.names:
                for job in self._chain(name, seed, steps, tune_steps):
                    found.setdefault(job.spec.key(), job)
        return list(found.values())

    @property
    def names(self) -> list[str]:
        """The chains, whose weights a lost folder takes with it, then the starts."""
        chains = self.args.chains.split(",")
        return [*chains, *dict.fromkeys([SCRATCH, *self.args.starts])]

    def _chain(self, name: str, seed: int, steps: int, tune_steps: int) -> Iterator[Job]:
        start, tasks = parsed(name, (SCRATCH, *self.args.starts))
        last = None
        if start != SCRATCH:
            last = self._start(start)
            yield Job(last, self.args.starts[start])
        for task in tasks:
            last = self.stage(task, steps, seed, last)
            yield Job(last)
        for fraction in self.args.fractions:
            yield Job(self.tuned(fraction, tune_steps, seed, last), row=(name, seed, fraction))

    def _start(self, name: str) -> StageSpec:
        params = {"sha256": _digest(self.args.starts[name]), "backbone": self.args.backbone}
        params["channels"] = self.data.channels
        return StageSpec(START, name, params, version(KINDS, START), None, {}, {}, 0)

    def stage(self, task: str, steps: int, seed: int, last: StageSpec | None = None) -> StageSpec:
        """Return a pretext stage that goes on from `last`, or from scratch."""
        spec = self.recipes.stage(task, self.data, self.prepared)
        given = self._read("task", task)
        rates = self._rates(task, given, last)
        probed = {**spec.data, IMAGES: spec.data[POOL]}
        training = replace(
            spec.trained, optimizer=given["optimizer"], weight_decay=given["weight_decay"],
            curve=CURVE,
        )  # fmt: skip
        spec = replace(spec, training=training, data=probed)
        middle = LRPolicy(rates[len(rates) // 2 :][:1], 1)
        return self._sized(spec, middle, steps, seed, last)

    def tuned(
        self, fraction: float, steps: int, seed: int, last: StageSpec | None = None
    ) -> StageSpec:
        given = self._read("downstream", CLASSIFY)
        tried = LRPolicy(self._rates(CLASSIFY, given, last), max(1, round(TRIAL * steps)))
        spec = self._sized(self.stage("moco", steps, seed), tried, steps, seed, last)
        training = replace(
            spec.trained, fraction=fraction, optimizer=given["optimizer"],
            weight_decay=given["weight_decay"], curve=0,
            layer_decay=TRANSFORMER.layer_decay if is_transformer(self.args.backbone) else 1.0,
        )  # fmt: skip
        return replace(
            spec, kind=CLASSIFY, name=CLASSIFY, version=version(KINDS, CLASSIFY),
            params={**given["params"], "objective": "balanced_accuracy"}, training=training,
            data={IMAGES: spec.data[POOL]},
        )  # fmt: skip

    def _read(self, folder: str, name: str) -> dict[str, Any]:
        """Return how a task trains the backbone, as a search has it."""
        given = TASK | read(folder, name)
        if not is_transformer(self.args.backbone) or given["optimizer"] == TRANSFORMER.optimizer:
            return given
        return given | TRANSFORMER.values(folder == "downstream")

    def _rates(
        self, name: str, given: Mapping[str, Any], last: StageSpec | None
    ) -> tuple[float, ...]:
        if name in self.args.rates:
            return (self.args.rates[name],)
        later = given["lr_range_later"] if last else None
        return tuple(later or given["lr_range"])

    def _sized(
        self, spec: StageSpec, lr: LRPolicy, steps: int, seed: int, last: StageSpec | None
    ) -> StageSpec:
        training = replace(
            spec.trained, backbone=self.args.backbone, image_size=self.args.size,
            precision=precision(self.args.backbone, self.recipes.device.type == "cuda"),
            global_batch=self.args.batch, steps=steps, warmup=0.1, lr=lr,
        )  # fmt: skip
        return replace(spec, training=training, seed=seed, inputs=_input(last))


def parsed(name: str, starts: Sequence[str]) -> tuple[str, list[str]]:
    """Return start and tasks of `imagenet:moco>odc`, `moco` or `imagenet`."""
    if name in starts:
        return name, []
    start, _, tasks = name.rpartition(":")
    return start or SCRATCH, tasks.split(">")


def _input(last: StageSpec | None) -> Mapping[str, str]:
    return {BACKBONE: last.key()} if last else {}


def _digest(path: str) -> str:
    import hashlib

    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def main() -> int:
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.table:
        return table(args)
    begun = time.monotonic()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of BLAS in each process
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # as the search's workers have it
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    profile = "smoke" if args.small else "gpu" if device.type == "cuda" else "cpu"
    recipes = Recipes(profile, device, args.modality)
    data = replace(recipes.data(args.dataset), size=args.cache_size)
    if not args.data:
        data = replace(data, name="demo", params={"n": 280 if args.small else 4000, "size": 64})
    cache = prepare(data, args.data, args.cache)
    graph = Graph(args, data, open_cache(cache), recipes)
    limit = None if args.steps else begun + 60 * args.minutes
    steps, tune_steps = lengths(graph, device, limit)
    say_if_short(steps, tune_steps)
    jobs = graph.jobs(steps, tune_steps)
    finished = run(jobs, args, cache, str(device), limit)
    print(f"{finished} of {len(jobs)} stages done, {time.monotonic() - begun:.0f} s: "
          f"{args.out / ROWS}")  # fmt: skip
    return int(finished < len(jobs))


def lengths(graph: Graph, device: torch.device, limit: float | None) -> tuple[int, int]:
    """Return the steps of a stage and of a fine-tuning; kept, so that a second run goes on."""
    args, known = graph.args, graph.args.out / "lengths.json"
    if limit is None:
        return args.steps, args.tune_steps or max(1, round(SHARE * args.steps))
    if known.exists():
        steps, tune_steps = json.loads(known.read_text())
        return steps, args.tune_steps or tune_steps
    probes = {name: graph.stage(name, 12, SEEDS) for name in _tasks(graph)}
    specs = (*probes.values(), graph.tuned(1.0, 12, SEEDS))
    question = Question(specs, graph.data.size, graph.data.channels, _threads(args, device))
    with ProcessPoolExecutor(args.processes, multiprocessing.get_context("spawn")) as pool:
        answers = [*pool.map(_timed, [question] * args.processes)]
    cost = {spec.name: max(one[k].step for one in answers) for k, spec in enumerate(specs)}
    trained = [job for job in graph.jobs(2, 1) if job.spec.training]
    staged, tuned = (
        sum(cost[j.spec.name] for j in trained if bool(j.row) is w) for w in (False, True)
    )
    found = fitting(
        USED * (limit - time.monotonic()) * args.processes, staged, tuned, args.tune_steps
    )
    write_json(known, found)
    speeds = ", ".join(f"{name} {args.batch / one:.0f}" for name, one in cost.items())
    print(f"images/s of one of {args.processes} processes: {speeds}; {found[0]} steps a stage, "
          f"{found[1]} a fine-tuning", flush=True)  # fmt: skip
    return found


def fitting(seconds: float, staged: float, tuned: float, tune_steps: int | None) -> tuple[int, int]:
    """Return the steps of a stage and of a fine-tuning that fit into the seconds.

    staged, tuned: seconds of one step of every stage, of every fine-tuning. tune_steps: of a
    fine-tuning, else SHARE of a stage's.
    """
    tuned *= 1 + EXTRA
    if tune_steps:
        fit = (seconds - tune_steps * tuned) / staged if staged else tune_steps / SHARE
        return max(1, int(fit)), tune_steps
    steps = max(1, int(seconds / (staged + SHARE * tuned)))
    return steps, max(1, round(SHARE * steps))


def say_if_short(steps: int, tune_steps: int) -> None:
    """Print a line on stages, and one on fine-tunings, that are too short to matter."""
    settings = "--minutes or --steps", "--minutes or --tune-steps"
    for said in too_short({"stages": steps}, {"fine-tunings": tune_steps}, settings):
        print(said, flush=True)


def _tasks(graph: Graph) -> list[str]:
    starts = (SCRATCH, *graph.args.starts)
    return [*dict.fromkeys(task for name in graph.names for task in parsed(name, starts)[1])]


def _timed(question: Question) -> list[Timed]:
    with tempfile.TemporaryDirectory() as folder:
        found = answer(question, Path(folder))
    assert all(isinstance(one, Timed) for one in found), found
    return found  # type: ignore[return-value]


def _threads(args: argparse.Namespace, device: torch.device) -> int:
    return 1 if device.type == "cuda" else max(1, cores() // args.processes)


def run(
    jobs: Sequence[Job], args: argparse.Namespace, cache: Path, device: str, limit: float | None
) -> int:
    """Do what is missing, in as many processes as --processes; return how many are done."""
    left = missing(jobs, args.out)
    done = {job.spec.key() for job in jobs} - left.keys()
    flying: dict[Future[object], str] = {}
    runtime = Runtime(device, _threads(args, torch.device(device)), 50)
    with ProcessPoolExecutor(args.processes, multiprocessing.get_context("spawn")) as pool:
        while left or flying:
            ready = [key for key, job in left.items() if done >= {*job.needs}]
            # a seed after the other, and stages first, as others wait for them
            ready.sort(key=lambda key: (left[key].spec.seed, left[key].row is not None))
            for key in ready[: args.processes - len(flying)]:
                given = (left.pop(key), runtime, cache, args.out)
                flying[pool.submit(do, *given)] = key
            if not flying:
                break
            remaining = None if limit is None else max(0.0, limit - time.monotonic())
            ended, _ = wait(flying, remaining, FIRST_COMPLETED)
            if not ended:
                _stop(pool)
                break
            for one in ended:
                if _succeeded(one):
                    done.add(flying[one])
                del flying[one]
    return len(done)


def missing(jobs: Sequence[Job], out: Path) -> dict[str, Job]:
    """Return the jobs left to do; a stage is none where every row that needs it is finished."""
    left: dict[str, Job] = {}
    needed: set[str] = set()
    for job in reversed(jobs):
        key = job.spec.key()
        if (job.row or key in needed) and not (out / key / DONE).exists():
            left[key] = job
            needed |= {*job.needs}
    return dict(reversed(left.items()))


def _succeeded(one: Future[object]) -> bool:
    """Return whether a stage is done; say why it failed. What needs it is not tried."""
    try:
        one.result()
    except StageFailed as error:
        print(f"failed: {error}", flush=True)
        return False
    return True


def _stop(pool: ProcessPoolExecutor) -> None:
    """End the processes; what they trained so far is in their checkpoints."""
    for process in list(pool._processes.values()):
        process.kill()
    pool.shutdown(cancel_futures=True)


def do(job: Job, runtime: Runtime, cache: Path, out: Path) -> None:
    """Do one stage in this process; a row is appended where it is a fine-tuning."""
    spec = job.spec
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    folder = out / spec.key()
    folder.mkdir(exist_ok=True)
    data = dict.fromkeys(spec.data, open_cache(cache))
    inputs = {role: out / key for role, key in spec.inputs.items()}
    places = {WEIGHTS: Path(job.weights)} if job.weights else {}
    begun = time.perf_counter()
    kind = load(KINDS, spec.kind)()
    result = kind.run(Work(spec, runtime, folder, lambda _: None, data, inputs, places))
    seconds = time.perf_counter() - begun
    if result.failed:
        raise StageFailed(f"{spec.key()}: {result.failed}")
    if job.row:
        chain, seed, fraction = job.row
        assert result.score
        row = {"chain": chain, "seed": seed, "fraction": fraction, "key": spec.key()}
        row |= {"validation": result.score.value, "seconds": round(seconds, 1)}
        with (out / ROWS).open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        print(json.dumps(row), flush=True)
    write_json(folder / DONE, {"spec": asdict(spec), "seconds": seconds})


class Folder:
    """What is in --out, as the report reads a store."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: str) -> Path:
        return self.root / key

    def manifest(self, key: str) -> None:  # noqa: ARG002
        return None


def table(args: argparse.Namespace) -> int:
    """Print every row's mean over its seeds and its difference to its own start, with intervals."""
    from search.report.statistics.scored import noise_of, observe
    from tests.gpu import figure

    rows = [json.loads(line) for line in (args.out / ROWS).read_text().splitlines()]
    rows.sort(key=lambda row: row["chain"] not in (SCRATCH, *args.starts))
    stages, tunings = (_lengths(args.out, kind) for kind in (PRETEXT, CLASSIFY))
    if len(stages) > 1 or len(tunings) > 1:
        several = sorted(stages if len(stages) > 1 else tunings)
        print(f"--out={args.out}: must hold trainings of one length, and has those of "
              f"{' and '.join(f'{n:,}' for n in several)} steps; try another --out for each",
              file=sys.stderr)  # fmt: skip
        return 2
    if args.look and not _record(rows, args.out):
        return 1
    split = "test" if args.look else "val"
    on = split.replace("val", "validation")
    starts = frozenset(row["chain"] for row in rows if row["chain"] in (SCRATCH, *args.starts))
    say_if_short(min(stages, default=SHORT), min(tunings, default=SHORT))
    print(f"| labels | row | seeds | balanced accuracy on {on} | over its start |")
    print("| ---: | --- | ---: | ---: | ---: |")
    panels: dict[float, list[figure.Row]] = {}
    for fraction in sorted({row["fraction"] for row in rows}):
        keys: dict[str, dict[int, str | None]] = {}
        for row in rows:
            if row["fraction"] == fraction:
                keys.setdefault(row["chain"], {})[row["seed"]] = row["key"]
        observed = observe(keys, Folder(args.out), split, "balanced_accuracy", starts)
        assert observed
        scored, values = observed.scored(noise_of([observed])), iter(observed.values[:, 0].tolist())
        for name, seeds in zip(observed.chains, observed.seeds, strict=True):
            own, start = scored.estimate(name), parsed(name, [*starts])[0]
            apart = scored.difference(name, start) if name != start else None
            more = f"{apart.value:+.1f} ({apart.low:+.1f} to {apart.high:+.1f})" if apart else "–"
            print(f"| {100 * fraction:g} % | {name} | {len(seeds)} | {own.value:.1f} "
                  f"({own.low:.1f} to {own.high:.1f}) | {more} |")  # fmt: skip
            row = figure.Row(name, own, [*islice(values, len(seeds))], name in starts)
            panels.setdefault(fraction, []).append(row)
    if args.figure:
        figure.write(panels, f"balanced accuracy on {on}, %", args.figure)
    return 0


def _lengths(out: Path, kind: str) -> set[int]:
    """Return the steps of the finished trainings of a kind."""
    specs = [json.loads(file.read_text())["spec"] for file in out.glob(f"*/{DONE}")]
    return {spec["training"]["steps"] for spec in specs if spec["kind"] == kind}


def _record(rows: Sequence[Mapping[str, object]], out: Path) -> bool:
    """Write the look at test images into the ledger of the benchmarks; return whether it could."""
    from datetime import UTC, datetime

    from search.report.ledger import FILE, Use, record
    from search.report.stored import images

    done = json.loads((out / str(rows[0]["key"]) / DONE).read_text())
    parts = done["spec"]["data"][IMAGES]["spec"]
    now, where = datetime.now(UTC).isoformat(timespec="seconds"), Path(__file__).parents[1]
    split = f"val {parts['val']:g}, test {parts['test']:g}, seed {parts['seed']}"
    chains, keys = (" ".join(str(row[name]) for row in rows) for name in ("chain", "key"))
    tested = images(Folder(out), str(rows[0]["key"]), "test")
    seen = record(Use(now, "pays", tested, split, chains, out.name, keys), where / "benchmarks")
    if seen.unrecorded:
        print(f"{FILE}: must be writable for a look at the test images ({seen.unrecorded}); "
              "nothing of them is shown", file=sys.stderr)  # fmt: skip
        return False
    print(f"{FILE}: {seen.earlier} earlier looks at these test images")
    return True


if __name__ == "__main__":
    sys.exit(main())
