"""What a benchmark found, kept beside the machine, the commit and the versions that it was found with."""

import json
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from app.services.inference_thread import available_cores

FOLDER = Path(__file__).parent / "results"


def write(name: str, found: dict[str, Any], packages: Sequence[str]) -> None:
    """results/<name>.json, with the versions of these packages."""
    FOLDER.mkdir(exist_ok=True)
    report = {"machine": machine(packages), **found}
    (FOLDER / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")


def read(name: str) -> dict[str, Any] | None:
    """None: that benchmark has not been run."""
    path = FOLDER / f"{name}.json"
    report: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return report


def machine(packages: Sequence[str]) -> dict[str, Any]:
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit(),
        "processor": processor(),
        "cores": available_cores(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in packages},
    }


def commit() -> str:
    """The checked-out commit, with a + if files have been changed since."""
    command = ["git", "-C", str(FOLDER.parent), "describe", "--always", "--dirty=+"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def processor() -> str:
    """Its name, and its widest units for matrices."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    units = [unit for unit in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if re.search(rf"\b{unit}\b", text)]
    return f"{name.group(1) if name else platform.machine()} ({units[0] if units else 'no AVX2'})"


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"
