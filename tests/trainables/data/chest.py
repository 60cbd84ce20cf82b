"""Public chest X-ray sets on disk, as their makers lay them out, of a few given pictures.

Picture i, counted from 0, is of patient `i // 2`, but of SIIM's `i // 4`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pictures = Sequence[NDArray[np.uint8]]  # grey, [h, w] each
ENTRIES = (  # its brackets hold commas, and it ends with one
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)
CHEXPERT = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,"
    "Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,"
    "Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
APPEARANCES = (
    "Negative for Pneumonia,Typical Appearance,Indeterminate Appearance,Atypical Appearance"
)


def chestxray14(root: Path, pictures: Pictures, labels: Sequence[str], name: str = "") -> Path:
    """Two folders of images; the last fifth of the patients is the official test list.

    labels: of each picture. name: of the table, if it is not the first version's.
    """
    rows, lists = [ENTRIES], {"train_val_list.txt": list[str](), "test_list.txt": list[str]()}
    for i, (pixels, label) in enumerate(zip(pictures, labels, strict=True)):
        image = f"{i // 2 + 1:08}_{i % 2:03}.png"
        _save(root / f"images_{1 + i % 2:03}" / "images" / image, pixels)
        rows.append(f"{image},{label},{i % 2},{i // 2 + 1},58,M,PA,2682,2749,0.143,0.143,")
        tested = i // 2 >= 0.8 * len(pictures) // 2
        lists["test_list.txt" if tested else "train_val_list.txt"].append(image)
    (root / (name or "Data_Entry_2017.csv")).write_text("\n".join(rows) + "\n")
    for file, images in lists.items():
        (root / file).write_text("\n".join(images) + "\n")
    return root


def chexpert(root: Path, pictures: Pictures, cells: Sequence[str], folder: str) -> Path:
    """A frontal and a lateral view of every patient; the last fifth is valid.csv.

    cells: of the last four columns, by patient. folder: what the paths begin with.
    """
    parts = {"train": [CHEXPERT], "valid": [CHEXPERT]}
    for i, pixels in enumerate(pictures):
        part = "valid" if i // 2 >= 0.8 * len(pictures) // 2 else "train"
        view = ("Lateral", "Frontal")[i % 2]
        path = f"{part}/patient{i // 2 + 1:05}/study1/view{1 + i % 2}_{view.lower()}.jpg"
        _save(root / folder / path, pixels)
        side = "AP" if i % 2 else ""
        parts[part].append(f"{folder}/{path},Female,68,{view},{side},{',' * 10}{cells[i // 2]}")
    for part, rows in parts.items():
        (root / folder / f"{part}.csv").write_text("\n".join(rows) + "\n")
    return root


def siim_covid19(
    root: Path, pictures: Pictures, labels: Sequence[int], boxed: Sequence[bool]
) -> Path:
    """DICOM files: two views a study, two studies a patient.

    labels: appearance of each study. boxed: whether a picture has a box.
    """
    studies = [f"id,{APPEARANCES}"]
    images = ["id,boxes,label,StudyInstanceUID"]
    for i, pixels in enumerate(pictures):
        study, image = f"study{i // 2:03}", f"image{i:03}"
        _save_dicom(root / "train" / study / f"series{i}" / f"{image}.dcm", pixels, i)
        box = "[{'x': 7.5, 'y': 5.0, 'width': 9.0, 'height': 9.0}]"
        row = f'"{box}",opacity 1 7.5 5.0 16.5 14.0' if boxed[i] else ",none 1 0 0 1 1"
        images.append(f"{image}_image,{row},{study}")
    for k, label in enumerate(labels):
        studies.append(f"study{k:03}_study,{','.join(str(int(label == at)) for at in range(4))}")
    (root / "train_study_level.csv").write_text("\n".join(studies) + "\n")
    (root / "train_image_level.csv").write_text("\n".join(images) + "\n")
    return root


def _save(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _save_dicom(path: Path, pixels: NDArray[np.uint8], i: int) -> None:
    """Write a file of patient `i // 4`, who has two studies, with a UID of its own."""
    import pydicom

    path.parent.mkdir(parents=True, exist_ok=True)
    header: Any = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", f"1.2.{i + 1}"
    header.PatientID, header.Modality = f"patient{i // 4:03}", "DX"
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit = 8, 8, 7
    header.PixelRepresentation, header.PixelData = 0, pixels.tobytes()
    header.save_as(path, enforce_file_format=True)
