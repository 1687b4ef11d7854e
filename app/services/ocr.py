"""Text in pictures, read by PP-OCRv6 on onnxruntime, with the models that the package rapidocr brings along."""

import importlib.util
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.services.weight_files import WeightsRefused, package_file

# px. A longer side costs time, 1.3 s at 1280 and 3.1 s at 2000, and finds hardly more: of a photo of 12 megapixels
# letters that are 24 px high. A shorter one costs text: of small photos a quarter of the lines.
LONG_SIDE, SHORT_SIDE = 1280, 736
MIN_CONFIDENCE = 0.8  # below it most lines are leaves, bricks and fur
SURE = 0.95  # a line below it is read turned, too; four looks at a leaf see more than one does, so that a
TURNED_CONFIDENCE = 0.9  # line that is read turned must have more
TURNS = (1, 2, 3)  # quarters
MOST_TURNED = 50  # lines of one picture

Pixels = NDArray[np.uint8]  # (height, width, 3), blue first


class PpOcr:
    """Reads pictures one at a time, on one core, and holds some 400 MB from the first one on.

    Raises: WeightsRefused (a package or its models are missing); nothing is ever fetched.
    """

    def __init__(self) -> None:
        self._files = {
            f"{step}.model_path": str(_model_file(f"PP-OCRv6_{step.lower()}_small.onnx"))
            for step in ("Det", "Rec")
        }
        self._engine: Any = None
        self._lock = threading.Lock()

    def read_text(self, image: Image.Image) -> str:
        """Its lines of upright, lying or upside-down text, top to bottom; '' if there is none."""
        with self._lock:
            self._engine = self._engine or self._load()
            lines = self._lines(_pixels(image))
        return "\n".join(line for line, confidence in lines if confidence >= MIN_CONFIDENCE and line.strip())

    def _load(self) -> Any:
        import cv2
        from rapidocr import RapidOCR

        cv2.setNumThreads(1)
        one_core = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
        size = {"Det.limit_type": "max", "Det.limit_side_len": LONG_SIDE}
        # With the files named, it looks for none on the internet.
        return RapidOCR(params={"Global.log_level": "error", **self._files, **one_core, **size})

    def _lines(self, pixels: Pixels) -> list[tuple[str, float]]:
        """Every line with its confidence.

        The package's own classifier of lines that stand upside down is left out: it turned as many the wrong way.
        """
        from rapidocr.main import RapidOCRError

        try:
            crops, _ = self._engine.detect_and_crop(pixels, {})
        except RapidOCRError:  # no text
            return []
        best = self._read(crops)
        unsure = [i for i, (_, confidence) in enumerate(best) if confidence < SURE][:MOST_TURNED]
        for turn in TURNS if unsure else ():
            for i, line in zip(unsure, self._read([_turned(crops[i], turn) for i in unsure]), strict=True):
                if line[1] >= max(best[i][1], TURNED_CONFIDENCE):
                    best[i] = line
        return best

    def _read(self, crops: Sequence[Pixels]) -> list[tuple[str, float]]:
        result = self._engine.recognize_txt(list(crops))
        return list(zip(result.txts, result.scores, strict=True))


def _model_file(name: str) -> Path:
    """Raises: WeightsRefused."""
    for package in ("onnxruntime", "cv2"):
        if importlib.util.find_spec(package) is None:
            raise WeightsRefused(f"The package {package} is not installed; install requirements.txt.")
    path = package_file("rapidocr", f"models/{name}")
    if not path.is_file():
        raise WeightsRefused(f"{path} is missing; install rapidocr again.")
    return path


def _pixels(image: Image.Image) -> Pixels:
    """As large as it is read best."""
    factor = min(LONG_SIDE / max(image.size), max(1.0, SHORT_SIDE / min(image.size)))
    size = [max(1, round(side * factor)) for side in image.size]
    scaled = image.convert("RGB").resize((size[0], size[1]), Image.Resampling.LANCZOS)
    return np.ascontiguousarray(np.asarray(scaled)[:, :, ::-1])


def _turned(crop: Pixels, quarters: int) -> Pixels:
    return np.ascontiguousarray(np.rot90(crop, quarters))
