"""What keeps this installation from working, or soon will, and what to do about it. Nothing is changed."""

import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import psutil
from PIL import Image
from sqlalchemy import Connection, create_engine, inspect, make_url, text
from sqlalchemy.exc import DatabaseError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from app.dependencies import connect_encoder, load_encoder, load_ocr, load_transcriber, pick_device
from app.errors import AppError, CapabilityMissing
from app.migrations import NEWEST, version_of
from app.postgres import engine_options, is_postgres
from app.services.audio import missing_decoders
from app.services.blip_reranker import NONE, weights_folder
from app.services.model_choice import DOWNLOAD_HINT, ModelChoice, choose_model
from app.services.photo_store import MARK, LocalPhotoStore
from app.services.transcriber import PACKAGED_MODEL
from app.services.weight_files import WeightsRefused
from app.settings import Settings

MB = 2**20
MIN_FREE_MB = 1024
SERVER_MB = 1300  # resident, with the embedded model and Whisper tiny.en
OCR_MB = 550
BYTES_A_PHOTO = 2560  # a vector of 512 numbers, and its codes with RECOLLECT_INDEX=flat8
INSTALL = "Install the packages again: pip install --force-reinstall -r requirements.txt"
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 — addresses that a server listens on, and nobody can call
EXTRAS = {"jxl": ("pillow_jxl", "JPEG XL"), "raw": ("rawpy", "camera RAW")}


class State(StrEnum):
    OK = "ok"
    NOTE = "note"  # worth knowing
    PROBLEM = "problem"  # something must be done


@dataclass(frozen=True)
class Diagnosis:
    """What was looked at and found, and what to do, if anything."""

    subject: str
    state: State
    found: str
    advice: str = ""


def ok(subject: str, found: str) -> Diagnosis:
    return Diagnosis(subject, State.OK, found)


def note(subject: str, found: str, advice: str = "") -> Diagnosis:
    return Diagnosis(subject, State.NOTE, found, advice)


def problem(subject: str, found: str, advice: str) -> Diagnosis:
    return Diagnosis(subject, State.PROBLEM, found, advice)


def examine(settings: Settings) -> Iterator[Diagnosis]:
    """Every part in turn, as it is looked at; the models take some seconds."""
    photos = count_photos(settings.database_url)
    yield examine_database(settings.database_url)
    yield examine_uploads(settings.uploads_dir, photos)
    yield from examine_disks(settings)
    yield examine_memory(settings, photos)
    yield from examine_models(settings)
    yield examine_sound()
    yield from examine_extras()
    yield examine_server(settings)


def examine_database(url: str) -> Diagnosis:
    """That it can be written to, is whole, and is of a version that this one knows."""
    subject, path = "database", sqlite_path(url)
    if path is not None:
        if not path.exists():
            return _examine_new(subject, path)
        if not (os.access(path, os.R_OK | os.W_OK) and os.access(path.parent, os.W_OK)):
            return problem(subject, f"{path} cannot be written to", f"chown {_user()} {path.parent} {path}")
    try:
        with _read_only(url) as connection:
            return _examine_rows(subject, connection)
    except DatabaseError as error:
        advice = "Fill a new one: recollect restore FOLDER" if path else "Check RECOLLECT_DATABASE_URL."
        return problem(subject, f"cannot be used: {error.orig}", advice)
    except (SQLAlchemyError, ImportError, CapabilityMissing) as error:
        return problem(subject, f"cannot be used: {error}", "Check RECOLLECT_DATABASE_URL.")


def _examine_new(subject: str, path: Path) -> Diagnosis:
    if not os.access(path.parent, os.W_OK):
        return problem(subject, f"{path.parent} is missing or cannot be written to", f"mkdir -p {path.parent}")
    return ok(subject, f"{path} will be made by the first start")


def _examine_rows(subject: str, connection: Connection) -> Diagnosis:
    if connection.dialect.name == "sqlite":
        [damage] = connection.execute(text("PRAGMA integrity_check(1)")).scalars()
        if damage != "ok":
            return problem(subject, f"damaged: {damage}", "Fill a new one: recollect restore FOLDER")
    version = version_of(connection) or NEWEST
    if version > NEWEST:
        return problem(subject, f"of version {version}; known up to {NEWEST}", "Install a newer Recollect.")
    if version < NEWEST:
        return note(subject, f"whole, of version {version}", f"The next start brings it to version {NEWEST}.")
    return ok(subject, f"whole, of version {version}")


def examine_uploads(folder: Path, photos: int) -> Diagnosis:
    """That the folder is the library's, and can be written to."""
    subject = "uploads"
    if not photos and not folder.exists():
        return ok(subject, f"{folder} will be made by the first start")
    if not LocalPhotoStore(folder).is_set_up() and photos:
        advice = f"Mount its disk. If it is the right folder all the same: touch {folder / MARK}"
        return problem(
            subject, f"{folder} is missing, or has no mark {MARK}; the library has {photos} photos", advice
        )
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return problem(subject, f"{folder} cannot be written to", f"chown -R {_user()} {folder}")
    return ok(subject, f"{folder}, {photos} photos")


def examine_disks(settings: Settings) -> Iterator[Diagnosis]:
    """That there is room for more photos, and for the database."""
    folders = {"disk of uploads": settings.uploads_dir, "disk of database": sqlite_path(settings.database_url)}
    for subject, folder in folders.items():
        if folder is None:
            continue
        there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.is_dir())
        free = shutil.disk_usage(there).free // MB
        if free < MIN_FREE_MB:
            yield problem(subject, f"{free:,} MB free", f"Make room on the disk of {there}, or use a larger one.")
        else:
            yield ok(subject, f"{free:,} MB free")


def examine_memory(settings: Settings, photos: int) -> Diagnosis:
    """Of the machine or the container, against what a server takes."""
    subject = "memory"
    needed = SERVER_MB + OCR_MB * settings.ocr + photos * BYTES_A_PHOTO // MB
    total = min(psutil.virtual_memory().total, _container_limit()) // MB
    free = psutil.virtual_memory().available // MB
    if total < needed:
        advice = "RECOLLECT_OCR=false saves 550 MB, RECOLLECT_WHISPER_MODEL=none 200 MB."
        return problem(subject, f"{total:,} MB in all, about {needed:,} MB needed", advice)
    if free < needed:
        advice = "Unless a server is running already, stop other programs."
        return note(subject, f"{free:,} MB free, a server needs about {needed:,} MB", advice)
    return ok(subject, f"{free:,} MB free, a server needs about {needed:,} MB")


def examine_models(settings: Settings) -> Iterator[Diagnosis]:
    """Each model is loaded, with its SHA-256 checked; nothing is fetched."""
    device = pick_device(settings)
    try:
        if settings.encoder_url:
            yield _examine_remote(settings)
        else:
            choice = choose_model(settings.model, settings.model_sha256, fetch=False)
            yield _examine_encoder(choice, device, settings.precision)
    except (WeightsRefused, RuntimeError) as error:  # RuntimeError: the device is not there, or has no room
        here = DOWNLOAD_HINT not in str(error)
        advice = INSTALL if here else f"recollect models download {settings.model}"
        yield problem("image-text model", str(error), advice)
    yield _examine_whisper(settings.whisper_model, device)
    if settings.ocr and load_ocr() is None:
        yield problem("text in pictures", "its models are missing", f"{INSTALL}, or RECOLLECT_OCR=false")
    if settings.reranker != NONE:
        try:
            folder = weights_folder(settings.reranker, settings.reranker_sha256, fetch=False)
            yield ok("reranker", f"{settings.reranker}, {folder}")
        except WeightsRefused as error:
            yield note("reranker", str(error), "The next start tries to fetch it.")


def _examine_encoder(choice: ModelChoice, device: str, precision: str) -> Diagnosis:
    """Raises: WeightsRefused, RuntimeError."""
    encoder = load_encoder(choice, device, precision)
    encoder.encode_texts(["a dog"])
    encoder.encode_images([Image.new("RGB", (encoder.image_size, encoder.image_size))])
    return ok("image-text model", f"{choice.space} on {device} ({choice.reason})")


def _examine_remote(settings: Settings) -> Diagnosis:
    subject = "image-text model"
    try:
        encoder = connect_encoder(settings, wait_s=0)
    except AppError as error:
        return problem(subject, error.detail, "Start the servers of RECOLLECT_ENCODER_URL.")
    encoder.close()
    return ok(subject, f"{encoder.space} at {settings.encoder_url}")


def _examine_whisper(model: str, device: str) -> Diagnosis:
    subject = "voice search"
    if model == "none":
        return note(subject, "switched off by RECOLLECT_WHISPER_MODEL=none")
    if model != PACKAGED_MODEL:
        return note(subject, f"Whisper {model}", "If it is not here, the next start tries to fetch it.")
    if load_transcriber(model, device) is None:
        return problem(subject, f"Whisper {model} cannot be loaded", INSTALL)
    return ok(subject, f"Whisper {model} on {device}")


def examine_sound() -> Diagnosis:
    """PyAV brings its own decoders, so that no ffmpeg is needed."""
    if missing := missing_decoders():
        return problem("sound", f"cannot be decoded: {', '.join(missing)}", INSTALL)
    return ok("sound", "WebM, Ogg, MP3, M4A, WAV and FLAC can be decoded")


def examine_extras() -> Iterator[Diagnosis]:
    """What only some people need."""
    for extra, (module, kind) in EXTRAS.items():
        if importlib.util.find_spec(module) is None:
            yield note("pictures", f"{kind} is refused", f'pip install "recollect[{extra}]"')
        else:
            yield ok("pictures", f"{kind} can be decoded")


def examine_server(settings: Settings) -> Diagnosis:
    """Who listens where this one would."""
    subject, port = "server", settings.port
    health = _health(settings.host, port)
    if health is None:
        return note(subject, f"none runs at port {port}", "recollect serve")
    if "image_count" not in health:
        advice = f"Stop it, or choose another port: RECOLLECT_PORT={port + 1}"
        return problem(subject, f"another program has port {port}", advice)
    if health["problems"]:
        return problem(subject, "; ".join(health["problems"]), "Start it again; its log has the reasons.")
    return ok(subject, f"version {health['version']} runs at port {port}")


def _health(host: str, port: int) -> dict[str, Any] | None:
    """What is answered there; empty if that is nothing of Recollect's, None if nobody listens."""
    connection = HTTPConnection("127.0.0.1" if host in EVERYWHERE else host, port, timeout=5)
    try:
        connection.request("GET", "/health")
        answer = json.load(connection.getresponse())
    except ConnectionRefusedError:
        return None
    except (OSError, HTTPException, ValueError):
        return {}
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else {}


def count_photos(url: str) -> int:
    """0 also where the database is missing, new or damaged."""
    try:
        with _read_only(url) as connection:
            if inspect(connection).has_table("photos"):
                return int(connection.scalar(text("SELECT count(*) FROM photos WHERE sha256 IS NOT NULL")) or 0)
    except (SQLAlchemyError, ImportError, CapabilityMissing):
        pass
    return 0


def sqlite_path(url: str) -> Path | None:
    """The file of a database on this machine; None of another one."""
    with suppress(SQLAlchemyError):
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            return Path(parsed.database)
    return None


def _read_only(url: str) -> Connection:
    """A file that is not there is not made. Raises: SQLAlchemyError, ImportError, CapabilityMissing."""
    if is_postgres(url):
        return create_engine(**engine_options(url), poolclass=NullPool).connect()
    path = sqlite_path(url)
    return create_engine(f"sqlite:///file:{path}?mode=ro&uri=true" if path else url).connect()


def _container_limit() -> int:
    """Bytes that this control group may use; without a limit, more than any machine has."""
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text())
    except (OSError, ValueError):
        return 2**63


def _user() -> str:
    return psutil.Process().username()
