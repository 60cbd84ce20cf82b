"""The augmentations that a modality allows. No torch here: the search checks spaces with it."""

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated

from pydantic import Field

from trainables.schema import Crop, Fraction, Name, Schema, Section, read
from trainables.spec import Settings

Mean = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1, max_length=3)]
Std = Annotated[list[Annotated[float, Field(ge=0.001, le=1)]], Field(min_length=1, max_length=3)]
WHERE = "data.augment"


@dataclass(frozen=True)
class Preset(Schema):
    """A modality's augmentations (`spaces/modality/*.yaml`) in torchvision's units.

    crop, small_crop: the least and the largest fraction of an image's area in a view; None: the
    task's own. tasks: what a task changes of all this, by its name.
    """

    hflip: bool = False
    vflip: bool = False
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0  # degrees to either side; 180: any angle
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0  # turns to either side
    planckian: bool = False  # the light's colour in place of saturation, hue and grayscale
    grayscale: Fraction = 0.0
    blur: Fraction = 0.0
    solarise: Fraction = 0.0  # of one view of BYOL
    crop: Crop | None = None
    small_crop: Crop | None = None
    mean: Mean | None = None  # 0..1, one per channel; None: measured on the training images
    std: Std | None = None
    tasks: dict[Name, Section] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.tasks:
            self.of_task(name)

    @classmethod
    def of(cls, preset: Settings) -> "Preset":
        return read(cls, preset, WHERE)

    def of_task(self, name: str) -> "Preset":
        """Return the preset with what a task changes; UserError for a key that no task has."""
        usual = replace(self, tasks={})
        given = {**asdict(usual), **self.tasks.get(name, {})}
        return read(Preset, given, f"{WHERE}.tasks.{name}", lambda: asdict(usual))

    def mild(self) -> "Preset":
        """Return the preset of fine-tuning: half the colour changes, no other light, no blur."""
        halves = {n: getattr(self, n) / 2 for n in ("brightness", "contrast", "saturation", "hue")}
        return Preset(self.hflip, self.vflip, self.rotate, **halves)


AUGMENTATIONS = frozenset(f.name for f in fields(Preset)) - {"mean", "std", "tasks"}
OF_TWO_VIEWS = AUGMENTATIONS - {"small_crop"}
OF_ONE_VIEW = OF_TWO_VIEWS - {"solarise"}


def augment_of(augment: Settings, task: str) -> Settings:
    """Return the augmentations of one task, as they enter its key."""
    return {k: v for k, v in asdict(Preset.of(augment).of_task(task)).items() if k != "tasks"}
