"""Does everything run on this GPU, and how fast? Four parts, each a process with a limit.

  tests/gpu/check.sh --out DIR      # four minutes and a half at most on one H100 with 16 cores
  tests/gpu/check.sh --small        # on a CPU, in a minute: does the check itself work?

tests     the tests marked `gpu`
bench     the throughput benchmark
steps     time, launches and kernels of a training step; several processes on one GPU
stages    one stage of every pretext task and one fine-tuning, as a search trains them
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from table import Table

ROOT = Path(__file__).resolve().parents[2]
LIMITS = {"tests": 45, "bench": 120, "steps": 70, "stages": 60}  # seconds
PATIENCE = 5  # times as long for --small, on whatever machine


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests/gpu/check.sh", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--parts", default=",".join(LIMITS), help="default: %(default)s")
    add("--small", action="store_true", help="a small network and few steps, for a CPU")
    add("--out", type=Path, default=Path("runs/gpu-check"), help="default: %(default)s")
    add("--data", type=Path, help="real images; default: drawn ones")
    add("--dataset", default="isic2019", help="how --data is laid out (default: %(default)s)")
    add("--work", type=Path, help=argparse.SUPPRESS)  # set: this process is one part
    args = parser.parse_args()
    args.parts = args.parts.split(",")
    if wrong := set(args.parts) - set(LIMITS):
        parser.error(f"parts={','.join(wrong)}: must be of {', '.join(LIMITS)}")
    args.profile = "smoke" if args.small else "gpu"
    args.out, args.data = args.out.resolve(), args.data and args.data.resolve()
    return args


def main() -> int:
    args = arguments()
    if args.work:
        return part(args, args.parts[0])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the part ends too
    args.out.mkdir(parents=True, exist_ok=True)
    Table.begin(args.out / "check.json")
    with tempfile.TemporaryDirectory() as work:
        failed = [name for name in args.parts if not limited(args, name, work)]
    print(f"{args.out / 'check.json'}: {'failed: ' + ', '.join(failed) if failed else 'all done'}")
    return bool(failed)


def limited(args: argparse.Namespace, name: str, work: str) -> bool:
    """Run a part and return whether it finished in time with status 0; its rows are kept."""
    table = Table(args.out / "check.json", name)
    limit = LIMITS[name] * (PATIENCE if args.small else 1)
    own = ["--parts", name, "--work", work, "--out", args.out]
    own += ["--data", args.data] if args.data else []
    command = [sys.executable, __file__, *sys.argv[1:], *own]
    threads = {"OMP_NUM_THREADS": "1"} if args.small else {}  # more would wait for busy cores
    known = {**os.environ, **threads}
    process = subprocess.Popen(command, cwd=ROOT, env=known, start_new_session=True)
    try:
        status: int | str = process.wait(limit)
    except subprocess.TimeoutExpired:
        status = f"cut after {limit} s"
    finally:
        with suppress(ProcessLookupError):  # a part that has finished leaves none
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    table.put("status", status)
    return status == 0


def part(args: argparse.Namespace, name: str) -> int:
    table = Table(args.out / "check.json", name)
    if name == "tests":
        return tests(table)
    if name == "bench":
        return bench(args, table)
    if name == "steps":
        import steps

        return steps.measure(args, table)
    import stages

    return stages.train(args, table)


def tests(table: Table) -> int:
    import pytest
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    table.put("GPU", gpu)
    table.put("torch", torch.__version__)

    class Rows:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.when == "call" or report.outcome != "passed":
                table.put(report.nodeid.partition("::")[2], report.outcome)

    # Other packages' plug-ins may need what this machine lacks, and without xdist its options in
    # pyproject.toml and its hook in tests/conftest.py are errors.
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    options = ["-o", "addopts=-q --import-mode=importlib", "-m", "gpu", "-p", "no:cacheprovider"]
    options += ["--confcutdir", "tests/trainables", "tests/trainables"]
    return int(pytest.main(options, [Rows()]))


def bench(args: argparse.Namespace, table: Table) -> int:
    from trainables.bench import __main__ as throughput
    from trainables.bench.figure import ratios
    from trainables.bench.measure import Measured

    seconds = "0.1" if args.small else "0.6"
    given = ["--profile", args.profile, "--seconds", seconds, "--out", str(args.out)]
    given += ["--data", str(args.data), "--dataset", args.dataset] if args.data else []
    given += ["--tasks", "moco"] if args.small else []

    def show(task: str, name: str, found: Measured) -> None:
        table.put(f"{task} {name}", found.images_per_second, "images/s")

    result = throughput.measure(throughput.arguments(given), show)
    for task, measured in result.tasks.items():
        for name, ratio in ratios(measured).items():
            table.put(f"{task} ours over {name}", ratio)
    for task, reason in result.failed.items():
        table.put(task, f"failed: {reason}")
    return int(bool(result.failed))


if __name__ == "__main__":
    sys.exit(main())
