"""Kinds of stages: their interface. One file here, or one in another package, makes one kind.

    kind = load(KINDS, "classify")()
    kind.check(spec, {"images": source})        # UserError before anything starts
    result = kind.run(Work(spec, ...))          # writes files to work.out

A kind that makes a backbone writes it with `save_backbone`, one that makes a data set writes it to
`out / DATA` (see images/cache.py): stages that have it as input get it as `work.data[role]`. A
kind that scores declares its measures, the choices for a space's objective, and has a file in
spaces/downstream/ that names it. The report compares its rows if it writes every image's answers as
`classify` does, or every measure of each as `segment` does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from trainables.schema import Schema
from trainables.spec import MeasureType, Runtime, StageSpec
from trainables.workers.job import Heartbeat, Result

if TYPE_CHECKING:
    from trainables.images.cache import Prepared, Source

Report = Callable[[Heartbeat], object]
KINDS = "trainables.kinds"


@dataclass(frozen=True)
class Work:
    """A stage to do. By role: images, folders of finished stages, places on this machine.

    report: called on rank 0 with the progress; if it answers True, the stage is to raise Stopped.
    """

    spec: StageSpec
    runtime: Runtime
    out: Path
    report: Report
    data: "Mapping[str, Prepared]" = field(default_factory=dict)
    inputs: Mapping[str, Path] = field(default_factory=dict)
    places: Mapping[str, Path] = field(default_factory=dict)


class Kind:
    """Base of kinds: a subclass is named `Plugin`, states its version and writes `run`."""

    @dataclass(frozen=True)
    class Params(Schema):
        """No parameters; a kind declares its own here."""

    version: ClassVar[str]  # a literal, raised when an unchanged specification gives other numbers
    measures: ClassVar[Mapping[str, MeasureType]] = {}
    shown: ClassVar[tuple[str, ...]] = ()  # measures that stand in the table beside the objective
    only_told: ClassVar[frozenset[str]] = frozenset()  # measures that chains are not judged by

    def check(self, spec: StageSpec, tables: "Mapping[str, Source]") -> None:
        """Raise UserError if this can't be done with these images; `tables` lacks made ones."""

    def run(self, work: Work) -> Result:
        """Do the stage on every rank; raises StageFailed, UserError, MachineFault or Stopped."""
        raise NotImplementedError
