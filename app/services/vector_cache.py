"""Vectors that follow from a model and fixed words: shipped with the service, or encoded once and kept."""

import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load, save

from app.services.interfaces import Vectors

logger = logging.getLogger(__name__)

# What belongs to the embedded model; training/tag_anchors.py makes it.
SHIPPED = Path(__file__).parent.parent / "weights"

Tensors = dict[str, Vectors]


def kept(
    name: str, folder: Path | None, check: Callable[[Tensors], Tensors], encode: Callable[[], Tensors]
) -> Tensors:
    """The tensors of this file: shipped, else from the folder, else encoded and written there.

    `check` gives back what it is given, or raises ValueError. Raises: EncoderFailed.
    """
    if (SHIPPED / name).is_file():
        return check(load((SHIPPED / name).read_bytes()))
    if folder is None:
        return encode()
    return _cached(folder / name, check, encode)


def _cached(path: Path, check: Callable[[Tensors], Tensors], encode: Callable[[], Tensors]) -> Tensors:
    """A cache that cannot be read or written costs a second or two, never the start."""
    try:
        return check(load(path.read_bytes()))
    except FileNotFoundError:
        pass
    except (OSError, SafetensorError, ValueError) as error:
        logger.warning("%s is made again: %s", path.name, error)
    tensors = encode()
    try:
        _write_whole(path, save(tensors))
    except OSError as error:
        logger.warning("%s could not be written: %s", path.name, error)
    return tensors


def _write_whole(path: Path, data: bytes) -> None:
    """Another process sees no file or all of it. A power cut may damage it, which reading notices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
