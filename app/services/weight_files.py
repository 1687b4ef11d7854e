"""Weights that came with a package or with this project: found without importing it, checked before use."""

import hashlib
import importlib.util
import logging
import re
from pathlib import Path

logger = logging.getLogger(__name__)

CHUNK_BYTES = 2**20


class WeightsRefused(Exception):
    """A weights file is missing, or is not the one this version was made with."""


def package_file(package: str, relative: str) -> Path:
    """A file inside an installed package, found without running the package. Raises: WeightsRefused."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsRefused(f"The package {package} is not installed; install requirements.txt.")
    return Path(spec.submodule_search_locations[0]) / relative


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 lower-case hex digits. Raises: OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def checked(path: Path, sha256: str) -> Path:
    """The same path, once its bytes have proved to be the expected ones. Raises: WeightsRefused."""
    try:
        actual = file_sha256(path)
    except OSError as error:
        raise WeightsRefused(f"Cannot read the weights file {path.name}: {error.strerror}.") from error
    if actual != sha256:
        raise WeightsRefused(f"{path.name} has SHA-256 {actual}, expected {sha256}; install it again.")
    return path


def check_weights(path: Path, expected_sha256: str | None, pinned_by: str) -> None:
    """Against the pinned SHA-256, else against the one under whose name the hub's cache keeps the file.

    Without either the log tells which to give in the setting `pinned_by`. Raises: WeightsRefused.
    """
    stored_as = path.resolve().name
    expected = expected_sha256 or (stored_as if re.fullmatch("[0-9a-f]{64}", stored_as) else None)
    if expected:
        checked(path, expected)
    else:
        logger.warning("%s has no known SHA-256; pin it: %s=%s", path.name, pinned_by, file_sha256(path))
