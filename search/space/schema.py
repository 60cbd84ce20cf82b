"""The schema of a space: frozen dataclasses whose fields state the allowed values."""

from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    TypeAdapter,
    WithJsonSchema,
)

from search.chains.chain import SCRATCH, Chain, enumerate_chains
from search.chains.lengths import PUBLISHED
from search.chains.node import Range
from search.space.budget import Budget
from search.space.checks import check
from trainables.modality import Preset
from trainables.schema import Name, Place, Schema, Section

MOST = 100_000_000  # steps
TABLE = "a table of images to steps such as {1000:3000,5000:10000}"


def _rising(rates: tuple[float, ...]) -> tuple[float, ...]:
    if list(rates) != sorted(set(rates)):
        raise ValueError("must be rates that rise")
    return rates


def _whole(augment: Section) -> Section:
    """Return the augmentations with those that a modality leaves out: it does without them."""
    return asdict(Preset.of(augment))


def _apart(window: tuple[float, ...]) -> tuple[float, ...]:
    if window[0] >= window[1]:
        raise ValueError("must be two numbers that rise")
    return window


def _step_table(given: object) -> dict[int, int]:
    """Return a table with numbers for keys, which JSON writes as texts."""
    pairs = given.items() if isinstance(given, dict) else ()
    found = {int(k): v for k, v in pairs if str(k).isdecimal() and int(k) and _is_steps(v)}
    if not found or len(found) < len(pairs):
        raise ValueError(f"must be {TABLE}")
    return found


def _length(given: object) -> object:
    if given == PUBLISHED or _is_steps(given):
        return given
    with suppress(ValueError):
        return _step_table(given)
    raise ValueError(f"must be a whole number of steps from 1 to {MOST}, {TABLE} or {PUBLISHED}")


def _is_steps(given: object) -> bool:
    return type(given) is int and 1 <= given <= MOST


Window = Annotated[
    tuple[float, ...], Field(min_length=2, max_length=2), AfterValidator(_apart)
]  # black and white
Augment = Annotated[
    Section, AfterValidator(_whole), WithJsonSchema(TypeAdapter(Preset).json_schema())
]
Rates = Annotated[
    tuple[Annotated[float, Field(ge=1e-8, le=100)], ...],
    Field(min_length=1, max_length=32),
    AfterValidator(_rising),
]
WeightDecay = Annotated[float, Field(ge=0, le=1)]
SplitFraction = Annotated[float, Field(gt=0, lt=1)]
Steps = Annotated[int, Field(ge=1, le=MOST)]
StepTable = Annotated[
    dict[int, int], PlainValidator(_step_table), WithJsonSchema({"description": TABLE})
]
Length = Annotated[
    int | dict[int, int] | Literal["published"],
    PlainValidator(_length),
    WithJsonSchema({"description": f"a whole number of steps, {TABLE} or {PUBLISHED}"}),
]
Images = Annotated[int, Field(ge=1, le=1 << 20)]  # in a batch
Count = Annotated[int, Field(ge=1, le=4096)]
Seeds = Annotated[int, Field(ge=1, le=100)]
Judge = Literal["pretext", "probe"]


@dataclass(frozen=True)
class TaskChoice(Schema):
    """One pretext task. params: the task's own parameters.

    lr_range: learning rates to try, for a batch of 256 (they are scaled with the batch), in a
    chain's first stage from scratch. lr_range_later: in all other stages; null: the same.

    steps: the length by the number of images, put together from papers, for a backbone that has
    learnt before; from scratch it is four times as long. null: the profile must give the length.
    """

    name: Name
    params: Section = field(default_factory=dict)
    lr_range: Rates = (0.03, 0.1, 0.3)
    lr_range_later: Rates | None = None
    optimizer: Literal["sgd", "adamw", "lars"] = "sgd"
    weight_decay: WeightDecay = 1e-4
    steps: StepTable | None = None


@dataclass(frozen=True)
class Made(Schema):
    """A data set that a stage of this kind makes."""

    kind: Name
    params: Section = field(default_factory=dict)


@dataclass(frozen=True)
class Data(Schema):
    """A data set: plug-in, root folder, fractions of the splits, modality (`augment`).

    pool: what makes the images of the pretext tasks; null: they see the training images. fit: how
    any shape becomes a square. trim: cut dark or light borders first. window: black and white of
    values of more than 8 bits; null: a DICOM file's own, else robust ones (images/levels.py).
    unlabelled: folders of further images for the pretext tasks, as --data-unlabelled. masks: a
    folder of masks, a CSV file of run-lengths, or the file of a segmenter that draws them; null:
    those that lie with the images.
    """

    name: Name
    root: Place | None
    channels: Literal[1, 3]
    val: SplitFraction
    test: SplitFraction
    merge_duplicates: bool
    params: Section = field(default_factory=dict)
    pool: Made | None = None
    fit: Literal["crop", "pad", "stretch"] = "crop"
    trim: bool = False
    window: Window | None = None
    unlabelled: tuple[Place, ...] = ()
    masks: Place | None = None
    augment: Augment = field(default_factory=lambda: _whole({}))

    @property
    def many(self) -> bool:
        """Whether an image may have several labels."""
        return self.params.get("labels") == "many"


@dataclass(frozen=True)
class Elsewhere(Schema):
    """A further data set, decoded as the main one.

    channels, val, test, merge_duplicates, pool and augment may stand in a file of spaces/data/, and
    change nothing here.
    """

    name: Name
    root: Place | None = None
    params: Section = field(default_factory=dict)
    channels: Literal[1, 3] | None = None
    val: SplitFraction | None = None
    test: SplitFraction | None = None
    merge_duplicates: bool | None = None
    pool: Made | None = None
    augment: Section | None = None


# What chains are judged by where a space names no objective; by labels an image.
OBJECTIVES = {"one": "balanced_accuracy", "many": "macro_auroc"}


@dataclass(frozen=True)
class External(Elsewhere):
    """A data set for testing only. classes: its names -> the main ones.

    Nothing is split or trained here, and channels must be the main ones.
    """

    classes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Downstream(Schema):
    """The downstream task. kind: a file in trainables/kinds/; params: its own parameters.

    objective: the measure that chains are judged by. lr_range, lr_range_later, steps: see
    `TaskChoice`.
    """

    kind: Name = "classify"
    objective: Name = OBJECTIVES["one"]
    lr_range: Rates = (0.03, 0.1, 0.3)
    lr_range_later: Rates | None = None
    optimizer: Literal["sgd", "adamw"] = "sgd"
    weight_decay: WeightDecay = 5e-4
    params: Section = field(default_factory=dict)
    steps: StepTable | None = None


@dataclass(frozen=True)
class Profile(Schema):
    """Model and training size. Sizes in pixels, batches over all workers.

    steps: a stage's length: a number, a table of images to steps, or `published`. lr_steps: of the
    trial of a learning rate; null: a tenth of the stage, at least 500. downstream_...: the same of
    fine-tuning, by labelled images. curve: frozen probes of every stage on its way; 0: no learning
    curves.
    """

    name: Name
    backbone: Name
    image_size: Annotated[int, Field(ge=16, le=1024)]
    cache_size: Annotated[int, Field(ge=16, le=4096)]
    precision: Literal["auto", "float32", "bfloat16"]
    bn_groups: Count
    batch: Images
    steps: Length
    lr_steps: Steps | None
    warmup: Annotated[float, Field(ge=0, lt=1)]
    downstream_batch: Images
    downstream_steps: Length
    downstream_lr_steps: Steps | None
    label_fraction: Annotated[float, Field(gt=0, le=1)]
    curve: Annotated[int, Field(ge=0, le=100)]
    # what the space takes unless it says otherwise
    lr_judge: Judge
    repeats: Seeds
    controls: bool
    label_curve: bool
    budget: str | None


@dataclass(frozen=True)
class Policy(Schema):
    """The policy, which chooses the chains to try and their order."""

    name: Name
    params: Section = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the name as `--policy` takes it, e.g. tune:optuna."""
        searcher = self.params.get("searcher")
        return f"{self.name}:{searcher}" if searcher else self.name


@dataclass(frozen=True)
class RuntimeChoice(Schema):
    """Distribution: worker groups, `workers` in each, CPU `threads` a worker; null: what fits."""

    workers: Count
    groups: Count | None
    groups_per_gpu: Annotated[int, Field(ge=1, le=64)] | None
    threads: Count | None
    log_every: Annotated[int, Field(ge=1, le=1_000_000)]
    checkpoint_seconds: Annotated[float, Field(ge=0, le=86_400)]
    attempts: Annotated[int, Field(ge=1, le=1000)]


TIMM = "timm"  # in place of a file: its own weights of the backbone


@dataclass(frozen=True)
class Start(Schema):
    """Where chains begin. A path, `timm` or null alone stands for `weights`.

    weights: a file, or `timm` for its own; null: none, which only `scratch` can be run with.
    chains: false leaves it a baseline. trainable: what of the backbone is trained, by stages and by
    fine-tuning: all, or last_blocks=N.
    """

    weights: Place | None = None
    chains: bool = True
    trainable: Annotated[
        str, Field(pattern=r"^(all|last_blocks=[1-9]\d*)$", description="all or last_blocks=N")
    ] = "all"


def _start(given: object) -> object:
    """Return the section that a path, `timm` or null stands for."""
    return given if isinstance(given, dict | Start) else {"weights": given}


@dataclass(frozen=True)
class Baselines(Schema):
    """Baselines without a network. features: Parquet files of columns image and vector, by name."""

    features: dict[Name, Place] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportChoice(Schema):
    """What the report shows, and who may see it.

    share_images: send images and names to the tracker; null: see tracking/sharing.py. measures: of
    every chain, beside the objective, where they are measured; null: those that its kind shows.
    """

    share_images: bool | None = None
    measures: tuple[Name, ...] | None = None


@dataclass(frozen=True)
class Space(Schema):
    """The complete configuration of one search, in plain values.

    lr_judge: what chooses among the learning rates of a stage, its own score or a frozen probe on
    labelled training images; `full_range` always takes the score, as published.
    early_stop: standard deviations of the training noise, as seeds measure it; a fine-tuning whose
    ceiling is that far below the best chain is stopped (search/scheduling/early_stopping.py). None:
    off. probe: probe every chain's frozen backbone before it is fine-tuned. starts: see `Start`;
    those without weights are not run. max_starts: chains grow from at most this many, those
    with the best frozen probe; null: from all.
    controls: train also the best single's task as often in a row as the winning chain has stages,
    and the winner's tasks in reverse. label_curve: score the recommended, its runner-up and the
    starts with 1, 10 and 100 % of the labels. test: score the test images at the end. external:
    test sets from elsewhere by name, scored once and never used to choose. pool: a data set whose
    images, whatever their label, the pretext tasks see besides the training images and those
    without a label. published: a CSV file of known results of this space, shown beside the search's
    own (report/published.py).
    """

    name: Name
    tasks: Annotated[
        dict[Name, TaskChoice],
        Field(min_length=1, description="a section of tasks, as +task@tasks.moco=moco adds one"),
    ]
    max_length: Annotated[int, Field(ge=1, le=16)]
    lr_policy: Literal["halving", "full_range", "optuna"]
    lr_judge: Judge
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)]
    repeats: Seeds  # of contenders and starts; as many fresh ones for the best chain and the starts
    controls: bool
    label_curve: bool
    test: bool
    budget: Annotated[Budget, BeforeValidator(Budget.parse)]
    early_stop: Annotated[float, Field(gt=0, le=100)] | None
    store: Place
    cache: Place
    data: Data
    downstream: Downstream
    profile: Profile
    policy: Policy
    runtime: RuntimeChoice
    probe: bool
    starts: dict[Name, Annotated[Start, BeforeValidator(_start)]]
    report: ReportChoice = ReportChoice()
    external: dict[Name, External] = field(default_factory=dict)
    pool: Elsewhere | None = None
    baselines: Baselines = Baselines()
    published: Place | None = None
    max_starts: Annotated[int, Field(ge=1, le=1000)] | None = None

    @property
    def run_starts(self) -> tuple[str, ...]:
        """The starts that can be run: scratch and those with weights."""
        return tuple(k for k, one in self.starts.items() if k == SCRATCH or one.weights)

    @property
    def grown_starts(self) -> tuple[str, ...]:
        """The starts that chains may grow from."""
        return tuple(name for name in self.run_starts if self.starts[name].chains)

    @property
    def baseline_names(self) -> tuple[str, ...]:
        """All baselines: the starts, run or not, and features from elsewhere."""
        return (*self.starts, *self.baselines.features)

    @property
    def judge(self) -> Judge:
        """What chooses among the learning rates of a stage; that of `full_range` is published."""
        return "pretext" if self.lr_policy == "full_range" else self.lr_judge

    @property
    def ranges(self) -> dict[str, Range]:
        """The LR ranges by task."""
        return {
            name: Range(task.lr_range, task.lr_range_later or task.lr_range)
            for name, task in self.tasks.items()
        }

    def chains(self) -> list[Chain]:
        """Return every chain of the space, shorter ones first."""
        return list(enumerate_chains(tuple(self.tasks), self.max_length, self.grown_starts))

    def __post_init__(self) -> None:
        check(self)
