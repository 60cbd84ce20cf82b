"""Faults of the machine, at random, against a real search: does the same command still end right?

    python tests/chaos.py --seed 0 --faults 30          # under a minute a fault on two cores

A search over four chains is run undisturbed. Then the same command is run again and again, and to
every run one fault is done at a random moment of its training: a process is killed, a signal is
sent, the store's disk is full, the tracker goes away, the power is cut (files keep what was flushed
to the disk), a stage, a checkpoint or the cache is damaged. A run goes on from what the one before
it left; where nothing is left to train, some of the finished stages are taken away first. Whenever
a run ends with 0 (but for SIGUSR1, which ends a search early), and in any case at the end, the
table and the weights must be those of the undisturbed one, bit for bit. Prints a table; exit status
1 if anything differs.

The store lies on a tmpfs of its own where the user may mount one; else the disk is not filled.
"""

import argparse
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import urlopen

import psutil

ROOT = Path(__file__).resolve().parent.parent
SEARCH = [
    sys.executable, str(ROOT / "search" / "run.py"), "--space", "isic3", "profile=smoke",
    "~tasks.relative_location", "max_length=2", "policy=exhaustive", "early_stop=null",
    "data.params.n=320", "profile.batch=16", "profile.downstream_batch=16",
    "profile.label_fraction=0.5", "downstream.lr_range=[0.01,0.03]",
    "downstream.lr_range_later=null", "runtime.threads=1",
    "runtime.checkpoint_seconds=0.3", "--out", "out", "store=store/here",
]  # fmt: skip
LONG = ("profile.steps=130", "runtime.groups=2")
QUICK = ("profile.steps=65", "runtime.groups=1")
STORE_BYTES = 1500 << 20
TIMEOUT = 600.0
TRIES = 5  # runs until a fault comes in time

# Wraps os.fsync in every Python process of the search, so that a power cut can be played after it.
RECORDER = """
import os
_fsync = os.fsync
def fsync(descriptor):
    _fsync(descriptor)
    stat = os.fstat(descriptor)
    log = os.open(os.environ["CHAOS_FLUSHED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(log, f"{stat.st_dev} {stat.st_ino} {stat.st_size}\\n".encode())
    os.close(log)
os.fsync = fsync
"""


@dataclass
class Bench:
    """Where the search runs, and what an undisturbed run gave."""

    folder: Path
    tracker: str
    size: tuple[str, ...]
    table: dict[str, str] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)
    server: subprocess.Popen[bytes] | None = None

    @property
    def store(self) -> Path:
        return self.folder / "store" / "here"

    @property
    def ballast(self) -> Path:
        return self.folder / "store" / "ballast"

    def start(self) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder / "recorder"),
            "CHAOS_FLUSHED": str(self.folder / "flushed"),
        }
        return subprocess.Popen(
            [*SEARCH, *self.size, "--tracking-uri", self.tracker], cwd=self.folder,
            env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip

    def found(self) -> tuple[dict[str, str], dict[str, str]]:
        """Scores by chain; digests of all stages' backbones and of the delivered one."""
        with (self.folder / "out/report/chains.csv").open() as file:
            rows = {row["chain"]: row["balanced_accuracy"] for row in csv.DictReader(file)}
        files = [
            *self.store.glob("*/backbone.safetensors"),
            self.folder / "out/best/backbone.safetensors",
        ]
        return rows, {f.parent.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}

    def files(self) -> dict[Path, int]:
        """The files of the store and when they were changed: a training soon changes them."""
        while True:
            with suppress(OSError):  # a folder that is renamed just now
                return {path: path.stat().st_mtime_ns for path in self.store.glob("*-*/*")}

    def forget(self, chance: random.Random) -> None:
        """Take away at least half of what is finished, children with their parents."""
        stages = {
            p.parent.name: json.loads(p.read_text()) for p in self.store.glob("*/manifest.json")
        }
        gone = set(chance.sample(sorted(stages), k=max(1, len(stages) // 2)))
        while (
            more := {k for k, m in stages.items() if gone & {*m["spec"]["inputs"].values()}} - gone
        ):
            gone |= more
        for key in gone:
            shutil.rmtree(self.store / key)

    def serve(self) -> None:
        """A real tracking server; returns when it answers what needs its database, too."""
        if self.server is None:
            port = self.tracker.rpartition(":")[2]
            self.server = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port,
                 "--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db",
                 "--artifacts-destination", str(self.folder / "artifacts")],
                cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            )  # fmt: skip
        known = f"{self.tracker}/api/2.0/mlflow/experiments/get?experiment_id=0"
        for _ in range(600):
            with suppress(OSError), urlopen(known, timeout=30):
                return
            time.sleep(0.1)
        raise RuntimeError("the tracking server did not come up")

    def end_server(self) -> None:
        if self.server is not None:
            for process in [*psutil.Process(self.server.pid).children(recursive=True), self.server]:
                with suppress(psutil.Error):
                    process.kill()
            self.server.wait()
            self.server = None


@dataclass(frozen=True)
class Fault:
    """do: to the search that trains; before: to what it finds; statuses: how it may end itself.

    early: it may end with 0 before everything is tried.
    """

    name: str
    statuses: set[int]
    do: Callable[[Bench, psutil.Process, random.Random], None] | None = None
    before: Callable[[Bench, random.Random], None] | None = None
    early: bool = False


def kill(title: str) -> Callable[[Bench, psutil.Process, random.Random], None]:
    """SIGKILL to one of the search's processes whose command line begins so."""

    def do(_: Bench, search: psutil.Process, chance: random.Random) -> None:
        for _ in range(100):
            found = [p for p in search.children(recursive=True) if title in _title(p)]
            if found:
                chance.choice(found).kill()
                return
            time.sleep(0.1)

    return do


def _title(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return process.cmdline()[0].rpartition("/")[2] if process.cmdline() else ""
    return ""


def send(number: signal.Signals) -> Callable[[Bench, psutil.Process, random.Random], None]:
    return lambda bench, search, chance: search.send_signal(number)


def fill_the_disk(bench: Bench, *_: object) -> None:
    with suppress(OSError), bench.ballast.open("wb") as file:
        while True:
            file.write(bytes(1 << 16))
            file.flush()


def stop_the_tracker(bench: Bench, *_: object) -> None:
    bench.end_server()


def cut_the_power(bench: Bench, search: psutil.Process, _: random.Random) -> None:
    """Kill everything, then cut every file to what was flushed of it."""
    for process in [search, *search.children(recursive=True)]:
        with suppress(psutil.Error):
            process.kill()
    time.sleep(1)
    flushed: dict[tuple[int, int], int] = {}
    for line in (bench.folder / "flushed").read_text().splitlines():
        device, inode, size = map(int, line.split())
        flushed[device, inode] = size
    for folder in (bench.store, bench.folder / "out", bench.folder / "runs"):
        for path in folder.rglob("*"):
            if path.is_file() and "report" not in path.parts and "best" not in path.parts:
                stat = path.stat()
                kept = flushed.get((stat.st_dev, stat.st_ino), 0)
                if kept < stat.st_size:
                    os.truncate(path, kept)


def damage(*patterns: str) -> Callable[[Bench, random.Random], None]:
    """Flip a bit in, cut or remove one of these files."""

    def before(bench: Bench, chance: random.Random) -> None:
        found = sorted(
            p for pattern in patterns for p in bench.folder.glob(pattern) if p.stat().st_size
        )
        if not found:
            return
        path = chance.choice(found)
        way = chance.choice(("flip", "cut", "remove"))
        if way == "remove":
            path.unlink()
        elif way == "cut":
            os.truncate(path, chance.randrange(path.stat().st_size))
        else:
            place = chance.randrange(path.stat().st_size)
            with path.open("r+b") as file:
                file.seek(place)
                byte = file.read(1)[0]
                file.seek(place)
                file.write(bytes([byte ^ 1 << chance.randrange(8)]))

    return before


def kill_in_work_and_damage_a_checkpoint(
    bench: Bench, search: psutil.Process, chance: random.Random
) -> None:
    for process in [search, *search.children(recursive=True)]:
        with suppress(psutil.Error):
            process.kill()
    time.sleep(1)
    damage("store/here/*.part/*")(bench, chance)


FAULTS = [
    Fault("driver killed", {-9}, lambda b, search, c: search.kill()),
    Fault("worker killed", {0}, kill("ray::RayTrainWorker")),
    Fault("trial killed", {0}, kill("ray::ChainTrial")),
    Fault("broker killed", {1}, kill("ray::Broker")),
    Fault("raylet killed", {1}, kill("raylet")),
    Fault("gcs killed", {1}, kill("gcs_server")),
    Fault("SIGINT", {130}, send(signal.SIGINT)),
    Fault("SIGTERM", {143}, send(signal.SIGTERM)),
    Fault("SIGHUP", {129}, send(signal.SIGHUP)),
    Fault("SIGUSR1", {0}, send(signal.SIGUSR1), early=True),
    Fault("disk full", {1, 2}, fill_the_disk),
    Fault("tracker gone", {0}, stop_the_tracker),
    Fault("power cut", {-9}, cut_the_power),
    Fault("stage damaged", {0}, before=damage("store/here/*/*")),
    Fault("cache damaged", {0}, before=damage("runs/cache/*/*")),
    Fault("checkpoint damaged", {-9}, kill_in_work_and_damage_a_checkpoint),
]


@dataclass
class Tally:
    """Of one kind of fault. alone: the run it was done to ended with 0."""

    done: int = 0
    alone: int = 0
    wrong: list[str] = field(default_factory=list)


def disturb(
    bench: Bench, fault: Fault, chance: random.Random, tally: Tally, over: bool
) -> tuple[int, bool]:
    """The command with this fault done to it; over: nothing is left to train. Status and over."""
    struck, tries = False, 0
    while not struck and tries < TRIES:  # a run may end before anything is done to it
        tries += 1
        if over:
            bench.forget(chance)
        if fault.before:
            fault.before(bench, chance)
        status, error, struck = _run(bench, fault, chance)
        struck = struck and (status != 0 or 0 in fault.statuses)
        bench.ballast.unlink(missing_ok=True)
        bench.serve()
        right = status == 0 and bench.found() == (bench.table, bench.weights)
        over = right or (status == 0 and not fault.early)
        if status not in {*fault.statuses, 0}:  # 0: it ended before the fault could tell
            tally.wrong.append(f"ended with {status}: {error[-600:]}")
        if status in (0, 1) and "Traceback" in error:
            tally.wrong.append(f"a traceback: {error[-600:]}")
        if over and not right:
            tally.wrong.append("table or weights differ")
    if not struck:
        tally.wrong.append(f"changed nothing in {TRIES} runs")
    tally.done, tally.alone = tally.done + 1, tally.alone + over
    return status, over


def _run(
    bench: Bench, fault: Fault | None = None, chance: random.Random | None = None
) -> tuple[int, str, bool]:
    """Exit status, stderr, whether the fault was done: at a random moment after training began."""
    found = bench.files()
    process = bench.start()
    struck = not (fault and fault.do)
    if fault and fault.do and chance:
        while process.poll() is None and bench.files() == found:
            time.sleep(0.05)
        time.sleep(chance.uniform(0, 4))
        if struck := process.poll() is None:  # else the run was over before
            with suppress(psutil.NoSuchProcess):
                fault.do(bench, psutil.Process(process.pid), chance)
    try:
        _, error = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return -1, f"still running after {TIMEOUT:.0f} s: {process.communicate()[1]}", struck
    _wait_for_children(process.pid)
    return process.returncode, error, struck


def _wait_for_children(session: int) -> None:
    """Ray's own processes follow a killed driver within seconds."""
    for _ in range(100):
        if not any(_session(p.pid) == session for p in psutil.process_iter()):
            return
        time.sleep(0.1)


def _session(pid: int) -> int:
    with suppress(OSError):
        return os.getsid(pid)
    return -1


@contextmanager
def bench_in(folder: Path, size: tuple[str, ...]) -> Iterator[tuple[Bench, bool]]:
    """A bench in a fresh folder, and whether its disk can be filled."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bench = Bench(folder, f"http://127.0.0.1:{port}", size)
    (folder / "store").mkdir()
    (folder / "recorder").mkdir()
    (folder / "recorder" / "sitecustomize.py").write_text(RECORDER)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={STORE_BYTES}", "tmpfs", str(folder / "store")]
    small = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    try:
        yield bench, small
    finally:
        bench.end_server()
        if small:
            subprocess.run(["umount", "-l", str(folder / "store")], check=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faults", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="one worker group, short stages")
    parser.add_argument("--only", help="a kind of fault, as in the table")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it,
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and this one after nohup
    chance, tallies = random.Random(args.seed), {}
    size = QUICK if args.quick else LONG
    with tempfile.TemporaryDirectory() as place, bench_in(Path(place), size) as (bench, small):
        kinds = [
            f for f in FAULTS if (small or f.name != "disk full") and args.only in (None, f.name)
        ]
        bench.serve()
        status, error, _ = _run(bench)
        assert status == 0, error
        bench.table, bench.weights = bench.found()
        rounds = -(-args.faults // len(kinds))
        order = [f for _ in range(rounds) for f in chance.sample(kinds, len(kinds))]
        over = True
        for number, fault in enumerate(order[: args.faults], 1):
            began, tally = time.monotonic(), tallies.setdefault(fault.name, Tally())
            status, over = disturb(bench, fault, chance, tally, over)
            verdict = "; ".join(tally.wrong) or f"ok (ended with {status})"
            print(
                f"{number:3} {fault.name}: {verdict} ({time.monotonic() - began:.0f} s)", flush=True
            )
        if not over:
            status, error, _ = _run(bench)
            if status != 0:
                tally.wrong.append(f"run again, ended with {status}: {error[-600:]}")
            elif bench.found() != (bench.table, bench.weights):
                tally.wrong.append("run again, table or weights differ")
    print("\n| fault | times | its run ended with 0 | wrong |\n| --- | --- | --- | --- |")
    for name, tally in sorted(tallies.items()):
        print(f"| {name} | {tally.done} | {tally.alone} | {len(tally.wrong)} |")
    for name, tally in tallies.items():
        for wrong in tally.wrong:
            print(f"{name}: {wrong}")
    return int(any(tally.wrong for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
