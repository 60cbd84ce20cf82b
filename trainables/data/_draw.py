"""Drawing of one dermoscopy-like image of `demo`: a lesion on skin, with light and hairs.

    lesion = Lesion("MEL", np.random.default_rng([0, 1]))
    pixels, mask = picture(lesion, np.random.default_rng([0, 2]), size=96)

Pigments absorb light as in skin (Beer-Lambert): an image is white light times exp(-density). A
lesion is a function of its own coordinates (its border is at radius 1), so another view shows the
same structures turned, shifted and scaled. All is drawn in float64: processors round float32
functions differently, and a value near a half would become another grey level.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from trainables.data._kinds import COMMON, KINDS
from trainables.data._patterns import CELLS, Field, Patterns, bump, step

ABSORBED = {  # density of red, green, blue at strength 1
    "melanin": (0.55, 1.0, 1.35),
    "blood": (0.15, 0.95, 0.75),
    "blue": (1.15, 0.85, 0.45),
    "clear": (-0.35, -0.55, -0.7),
}
SCATTERED = {"white": (0.93, 0.86, 0.86), "yellow": (0.9, 0.77, 0.5)}  # opaque colours
LAMP = -0.12  # mean gradient of light downwards: lit from above, so an image has an up
HARMONICS = np.arange(1, 13)


class Lesion:
    """Everything that the views of one lesion have in common."""

    def __init__(self, kind: str, rng: np.random.Generator) -> None:
        recipe = KINDS[kind]
        present = [layer for layer in (*recipe.layers, *COMMON) if rng.random() < layer.probability]
        wave = rng.normal(size=(2, len(HARMONICS))) / (1.5 + HARMONICS**1.3)
        angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.6)
        self.spot = far * np.cos(angle), far * np.sin(angle)
        self.aspect = rng.uniform(*recipe.aspect)
        self.soft = rng.uniform(*recipe.soft)
        # [2, harmonics]: cosine and sine amplitudes
        self.outline = wave * rng.uniform(*recipe.irregular) * 2
        self.layers = [(layer, rng.uniform(*layer.strength)) for layer in present]
        table = rng.random((3, CELLS, CELLS), np.float32)
        self.table = table.astype(np.float64)  # positions of cells, their values
        self.frequency = rng.uniform(3.0, 5.0)  # cells per radius
        densities = rng.gamma(4, 0.02), rng.gamma(6, 0.025), rng.uniform(0.3, 0.8)
        self.skin = np.array(densities)  # of melanin, blood and unevenness
        self.hairs = rng.gamma(0.5, 2)  # mean number
        self.radius = rng.uniform(0.4, 0.85)  # in half image sides


def picture(
    lesion: Lesion, rng: np.random.Generator, size: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw one view: pixels [size, size, 3] and the lesion's mask [size, size]."""
    line = (np.arange(size) + 0.5) * 2 / size - 1
    u, v = np.meshgrid(line, line)
    x, y = _view(lesion, rng, u, v)
    edge = _edge(lesion, x, y)
    colour = _skin(lesion, rng, size)
    near = edge < 1.7  # no layer is visible further out
    colour[:, near] = _paint(colour[:, near], lesion, x[near], y[near], edge[near])
    colour = _hairs(colour, lesion, rng, size)
    colour = _lit(colour, rng, u, v)
    return np.clip(colour * 255 + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0), edge < 1


def _view(lesion: Lesion, rng: np.random.Generator, u: Field, v: Field) -> tuple[Field, Field]:
    """Return lesion coordinates of every pixel for a random turn, scale and shift."""
    angle = rng.uniform(0, 2 * np.pi)
    radius = min(lesion.radius * rng.uniform(0.8, 1.25), 0.95)
    reach = max(0.1, 0.9 - radius)
    du, dv = rng.uniform(-reach, reach, 2)
    c, s = np.cos(angle) / radius, np.sin(angle) / radius
    x = (u - du) * c + (v - dv) * s
    y = (v - dv) * c - (u - du) * s
    return x, y


def _edge(lesion: Lesion, x: Field, y: Field) -> Field:
    """Return the distance from the middle relative to the border there: 1 on the border."""
    stretch = lesion.aspect**0.5
    x, y = x / stretch, y * stretch
    angles = np.linspace(-np.pi, np.pi, 181)
    waves = HARMONICS[:, None] * angles
    border = 1 + lesion.outline[0] @ np.cos(waves) + lesion.outline[1] @ np.sin(waves)
    border = np.maximum(border, 0.4)
    return np.hypot(x, y) / np.interp(np.arctan2(y, x), angles, border)


def _skin(lesion: Lesion, rng: np.random.Generator, size: int) -> Field:
    """Draw the reflectance of the surrounding skin: [3, size, size]."""
    melanin, blood, uneven = lesion.skin
    coarse = _noise(rng, 4, size) * uneven
    fine = _noise(rng, max(8, size // 3), size)
    melanin = melanin * (1 + 0.3 * coarse + 0.25 * fine) + 0.05
    blood = blood * (1 + 0.3 * _noise(rng, 5, size) * uneven) + 0.08
    density = _density("melanin", melanin) + _density("blood", blood)
    return np.exp(-density) * np.array([0.97, 0.93, 0.92])[:, None, None]


def _noise(rng: np.random.Generator, cells: int, size: int) -> Field:
    """Draw smooth noise of mean 0 and about unit variance, with `cells` bumps along a side."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells), np.float32) * np.float32(1.3))
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float64)


def _density(pigment: str, amount: Field) -> Field:
    return np.multiply.outer(ABSORBED[pigment], amount)


def _paint(colour: Field, lesion: Lesion, x: Field, y: Field, edge: Field) -> Field:
    """Paint the lesion's layers on a list of pixels; colour: [3, pixels], x, y, edge: [pixels]."""
    patterns = Patterns(lesion.table, lesion.frequency, x, y)
    inside = step((1 - edge) / lesion.soft)
    for layer, strength in lesion.layers:
        place = _place(layer.place, lesion, x, y, edge, inside)
        amount = patterns.get(layer.pattern) * place * strength
        if layer.pigment in ABSORBED:
            colour = colour * np.exp(-_density(layer.pigment, amount))
        else:
            cover = np.minimum(amount, 1) * 0.8
            white = np.array(SCATTERED[layer.pigment])[:, None]
            colour = colour + (white - colour) * cover
    return colour


def _place(name: str, lesion: Lesion, x: Field, y: Field, edge: Field, inside: Field) -> Field:
    """Return the density of a layer at each pixel, 0..1."""
    px, py = lesion.spot
    if name == "rim":
        return inside * bump((edge - 0.82) / 0.2)
    if name == "centre":
        return inside * bump(edge / 0.5)
    if name == "side":
        return inside * step((x * px + y * py) / (np.hypot(px, py) * 0.35))
    if name == "spot":
        return inside * bump(np.hypot(x - px, y - py) / 0.45)
    if name == "halo":
        return (1 - inside) * bump((edge - 1) / 0.35)
    return inside


def _hairs(colour: Field, lesion: Lesion, rng: np.random.Generator, size: int) -> Field:
    """Draw dark curved lines at twice the size and shrink them, for smooth edges."""
    count = min(rng.poisson(lesion.hairs), 25)
    if not count:
        return colour
    sheet = Image.new("L", (2 * size, 2 * size))
    pen = ImageDraw.Draw(sheet)
    along = np.linspace(0, 1, 9)[:, None]
    for start, bend, end in rng.uniform(-0.2, 2.2, (count, 3, 2)) * size:
        line = (1 - along) ** 2 * start + 2 * along * (1 - along) * bend + along**2 * end
        pen.line(
            [tuple(point) for point in line.tolist()], fill=int(rng.integers(90, 220)), width=2
        )
    cover = np.asarray(sheet.reduce(2)) / 255
    return colour * (1 - cover) + 0.12 * cover


def _lit(colour: Field, rng: np.random.Generator, u: Field, v: Field) -> Field:
    """Apply light, lens and sensor: white balance, gradient, vignette, gamma and noise."""
    balance = np.exp(rng.normal(0, 0.03, 3))[:, None, None]
    gu, gv = rng.normal((0, LAMP), 0.05)
    dark = rng.uniform(0, 0.3) if rng.random() < 0.6 else 0
    light = rng.uniform(0.92, 1.08) * (1 + gu * u + gv * v)
    light = light * (1 - dark * np.maximum(u * u + v * v - 0.4, 0))
    lit = np.clip(colour * balance * light, 0, 1.1) ** rng.uniform(0.85, 1.15)
    grain = rng.standard_normal(lit.shape, np.float32)
    return lit + grain * rng.uniform(0.005, 0.015)
