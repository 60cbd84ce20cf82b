"""The published ISIC-2019 table: balanced accuracy of all chains over three pretext tasks."""

SINGLES = {"relative_location": 69.52, "moco": 72.74, "odc": 63.52}

# chain: accuracy, label, delta (accuracy minus that of the first task alone)
CHAINS = {
    "relative_location>odc": (70.68, "AC", 1.16),
    "relative_location>odc>moco": (75.00, "MC", 5.48),
    "relative_location>moco": (74.10, "C", 4.58),
    "relative_location>moco>odc": (74.38, "MC", 4.86),
    "moco>odc": (72.72, "AC", -0.02),
    "moco>odc>relative_location": (67.00, "MC", -5.74),
    "moco>relative_location": (66.72, "AC", -6.02),
    "moco>relative_location>odc": (69.80, "AC", -2.94),
    "odc>relative_location": (68.23, "C", 4.71),
    "odc>relative_location>moco": (73.36, "C", 9.84),
    "odc>moco": (75.44, "C", 11.92),
    "odc>moco>relative_location": (65.73, "MC", 2.21),
}

SCORES = {**SINGLES, **{text: row[0] for text, row in CHAINS.items()}}
