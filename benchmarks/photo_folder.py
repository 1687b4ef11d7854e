"""The captioned photos that benchmarks measure by: images/ and captions.csv, which are no part of the project."""

import argparse
from pathlib import Path

FOLDER = Path(__file__).parent.parent.parent / "shared" / "photos"


def chosen_folder(description: str | None) -> Path | None:
    """What the command line names, else FOLDER; None, which is told, where it is not there."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--photos", type=Path, default=FOLDER)
    folder: Path = parser.parse_args().photos
    if folder.is_dir():
        return folder
    print(f"skipped: {folder}, with images/ and captions.csv, is not here")
    return None
