"""What /metrics tells beside counts and times: the state of queues, index, model, workers and disk."""

import math
import shutil
from collections.abc import Callable

from app.flows import imports
from app.flows.reindex import count_missing
from app.flows.services import Services, Serving
from app.flows.status import stopped
from app.flows.text_reader import count_unread
from app.telemetry import Telemetry


def _voice_depth(services: Services) -> int:
    return services.transcriber.worker.depth if services.transcriber else 0


def _imports_paused(services: Services) -> bool:
    return services.serving.importing is not None and services.serving.importing.paused is not None


def _disk_free(services: Services) -> float:
    try:
        return shutil.disk_usage(services.settings.uploads_dir).free
    except OSError:
        return math.nan


GAUGES: dict[str, tuple[str, Callable[[Services], float]]] = {
    "photos": ("Photos that a search can find.", lambda now: len(now.live_index)),
    "photos_without_vector": ("Photos that no search can find yet.", count_missing),
    "image_queue": ("Pictures that wait for the encoder.", lambda now: now.encoder.images.depth),
    "text_queue": ("Texts that wait for the encoder.", lambda now: now.encoder.texts.depth),
    "voice_queue": ("Recordings that wait for Whisper.", _voice_depth),
    "import_queue": ("Items of imports that wait or are in work.", imports.depth),
    "imports_paused": ("1 while imports cannot go on.", _imports_paused),
    "ocr_queue": ("Photos whose text is not read yet.", count_unread),
    "stopped_workers": ("Workers that ought to live and do not.", lambda now: len(stopped(now))),
    "index_bytes": ("Memory of the vector indexes.", lambda now: now.live_index.memory_bytes),
    "disk_free_bytes": ("Room for more photos; NaN: the disk is not there.", _disk_free),
}


def measured(serving: Serving) -> Telemetry:
    """With gauges that read the bundle which serves at that moment."""
    telemetry = Telemetry()

    def gauge(name: str, help_text: str, read: Callable[[Services], float]) -> None:
        telemetry.gauge(name, help_text, lambda: float(read(serving.current)))

    for name, (help_text, read) in GAUGES.items():
        gauge(name, help_text, read)
    telemetry.info("model", "The image-text model in use.", lambda: _model(serving.current))
    telemetry.info("index", "The vector index.", lambda: _index(serving.current))
    return telemetry


def _model(services: Services) -> dict[str, str]:
    whisper = services.transcriber.model if services.transcriber else "none"
    return {"space": services.encoder.space, "device": services.encoder.device, "whisper": whisper}


def _index(services: Services) -> dict[str, str]:
    return {"type": services.index.kind, "dim": str(services.index.dim)}
