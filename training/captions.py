"""Captions of photos, as the datasets publish them."""

import csv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Captions:
    """texts[i] describes the photo files[i] (a file name without folder); a photo may have several."""

    files: tuple[str, ...]
    texts: tuple[str, ...]


def read_flickr8k(path: Path) -> Captions:
    """Flickr8k.token.txt (Hodosh et al. 2013): `name.jpg#number`, a tab, the caption.

    Raises: OSError; ValueError, with the line's number, where a line has another form.
    """
    files, texts = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        key, tab, text = line.partition("\t")
        name, hash_sign, _ = key.partition("#")
        if not (tab and hash_sign and name and text.strip()):
            raise ValueError(f"{path.name}, line {number}: expected `name.jpg#number`, a tab and a caption")
        files.append(name)
        texts.append(text.strip())
    return Captions(tuple(files), tuple(texts))


def read_csv(path: Path) -> Captions:
    """A table with the columns image_filename and caption, one caption a row.

    Raises: OSError; ValueError if a column or a value is missing.
    """
    files, texts = [], []
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        if not {"image_filename", "caption"} <= set(table.fieldnames or ()):
            raise ValueError(f"{path.name}: expected the columns image_filename and caption")
        for row in table:
            name, text = (row["image_filename"] or "").strip(), (row["caption"] or "").strip()
            if not (name and text):
                raise ValueError(f"{path.name}, line {table.line_num}: a value is missing")
            files.append(name)
            texts.append(text)
    return Captions(tuple(files), tuple(texts))


def read_names(path: Path) -> frozenset[str]:
    """File names, one a line, as in Flickr_8k.testImages.txt. Raises: OSError."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return frozenset(line.strip() for line in lines if line.strip())
