"""Appearance of `demo`'s drawn lesions: one `Kind` per class, after dermatologists' signs.

A kind is an outline and layers. A layer puts a pigment, in a pattern, at a place of the lesion,
with a strength drawn from a range, with some probability: few lesions show all signs.
"""

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class Layer:
    pigment: str  # melanin, blood, blue, white, yellow, clear (removes melanin)
    pattern: str  # flat, blotch, network, globules, dots, ridges, vessels, lacunae
    place: str  # all, rim, centre, side, spot, halo
    strength: Range
    probability: float = 1.0


@dataclass(frozen=True)
class Kind:
    frequency: float  # fraction of the lesions
    aspect: Range  # long to short axis
    irregular: Range  # of the outline
    soft: Range  # width of the border, in radii
    layers: tuple[Layer, ...]


COMMON = (  # in any lesion, so that no single colour reveals the class
    Layer("melanin", "blotch", "all", (0.1, 0.6), 0.35),
    Layer("melanin", "flat", "side", (0.1, 0.5), 0.2),
    Layer("blood", "flat", "all", (0.1, 0.6), 0.35),
    Layer("blood", "blotch", "all", (0.1, 0.5), 0.25),
    Layer("blood", "flat", "halo", (0.1, 0.4), 0.25),
    Layer("white", "blotch", "all", (0.1, 0.4), 0.2),
    Layer("yellow", "blotch", "spot", (0.1, 0.5), 0.15),
    Layer("clear", "flat", "centre", (0.1, 0.4), 0.15),
    Layer("melanin", "dots", "all", (0.2, 0.7), 0.12),
)

# fmt: off
KINDS = {
    "MEL": Kind(0.17, (1.0, 1.5), (0.12, 0.3), (0.03, 0.12), (
        Layer("melanin", "blotch", "all", (0.30, 1.02)),
        Layer("melanin", "flat", "side", (0.2, 1.1), 0.8),
        Layer("melanin", "network", "side", (0.30, 0.94), 0.6),
        Layer("blue", "flat", "spot", (0.5, 1.1), 0.55),
        Layer("melanin", "dots", "rim", (0.36, 1.27), 0.5),
        Layer("clear", "blotch", "spot", (0.18, 0.68), 0.3),
        Layer("blood", "blotch", "side", (0.12, 0.51), 0.4),
    )),
    "NV": Kind(0.33, (1.0, 1.4), (0.02, 0.14), (0.05, 0.25), (
        Layer("melanin", "flat", "all", (0.3, 0.9)),
        Layer("melanin", "network", "all", (0.18, 0.85), 0.65),
        Layer("melanin", "globules", "all", (0.24, 0.85), 0.4),
        Layer("melanin", "flat", "centre", (0.2, 0.8), 0.4),
        Layer("melanin", "blotch", "all", (0.06, 0.42), 0.5),
        Layer("blood", "flat", "all", (0.1, 0.5), 0.4),
    )),
    "BCC": Kind(0.13, (1.0, 1.5), (0.06, 0.22), (0.1, 0.35), (
        Layer("blood", "flat", "all", (0.1, 0.45)),
        Layer("white", "blotch", "all", (0.06, 0.38), 0.6),
        Layer("blood", "vessels", "all", (0.48, 1.44), 0.8),
        Layer("blue", "globules", "side", (0.36, 1.19), 0.5),
        Layer("melanin", "blotch", "rim", (0.12, 0.68), 0.4),
        Layer("blood", "flat", "spot", (0.3, 1.0), 0.35),
    )),
    "AK": Kind(0.07, (1.0, 1.6), (0.1, 0.3), (0.3, 0.6), (
        Layer("blood", "blotch", "all", (0.21, 0.68)),
        Layer("blood", "network", "all", (0.18, 0.77), 0.8),
        Layer("white", "globules", "all", (0.24, 0.77), 0.7),
        Layer("yellow", "blotch", "spot", (0.18, 0.68), 0.5),
        Layer("melanin", "blotch", "all", (0.06, 0.42), 0.4),
    )),
    "BKL": Kind(0.14, (1.0, 1.7), (0.06, 0.22), (0.02, 0.1), (
        Layer("melanin", "flat", "all", (0.3, 0.8)),
        Layer("melanin", "ridges", "all", (0.24, 0.94), 0.7),
        Layer("white", "dots", "all", (0.36, 0.94), 0.6),
        Layer("melanin", "dots", "centre", (0.30, 1.10), 0.4),
        Layer("clear", "blotch", "rim", (0.12, 0.51), 0.4),
        Layer("yellow", "blotch", "all", (0.06, 0.51), 0.4),
    )),
    "DF": Kind(0.05, (1.0, 1.3), (0.02, 0.14), (0.15, 0.4), (
        Layer("melanin", "flat", "all", (0.15, 0.5)),
        Layer("melanin", "network", "rim", (0.30, 0.94), 0.8),
        Layer("white", "flat", "centre", (0.4, 0.95), 0.85),
        Layer("blood", "flat", "all", (0.1, 0.5), 0.6),
        Layer("blood", "flat", "halo", (0.1, 0.3), 0.4),
    )),
    "VASC": Kind(0.05, (1.0, 1.5), (0.03, 0.16), (0.02, 0.12), (
        Layer("blood", "flat", "all", (0.3, 0.8)),
        Layer("blood", "lacunae", "all", (0.36, 1.27), 0.9),
        Layer("blue", "lacunae", "spot", (0.24, 1.02), 0.5),
        Layer("white", "network", "all", (0.12, 0.42), 0.35),
        Layer("blood", "flat", "halo", (0.1, 0.4), 0.5),
    )),
    "SCC": Kind(0.06, (1.0, 1.5), (0.06, 0.25), (0.1, 0.35), (
        Layer("blood", "flat", "all", (0.25, 0.7)),
        Layer("yellow", "blotch", "centre", (0.30, 0.85), 0.8),
        Layer("blood", "dots", "rim", (0.42, 1.27), 0.75),
        Layer("white", "globules", "centre", (0.18, 0.68), 0.4),
        Layer("blood", "blotch", "spot", (0.18, 0.94), 0.5),
        Layer("blood", "flat", "halo", (0.1, 0.4), 0.5),
    )),
}
