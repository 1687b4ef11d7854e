"""How the service is doing: counts from the rows, facts from the workers and from the process."""

import time
from collections.abc import Sequence

import numpy as np
import psutil
from sqlmodel import Session, col, func, select

from app.flows import imports, model_changes
from app.flows.reindex import count_missing
from app.flows.services import Services
from app.flows.text_reader import count_unread
from app.schemas import (
    FeedbackStats,
    Health,
    IndexStats,
    LatencyPercentiles,
    ModelChangeOut,
    ModelState,
    QueryStats,
    Stats,
)
from app.tables import ChangeState, Feedback, Photo, SearchQuery

LATENCY_WINDOW = 1000  # queries
MB = 2**20

_process = psutil.Process()


def health(services: Services, *, ready: bool, version: str) -> Health:
    """True of the workers: a dead one makes the service unhealthy even while the process answers."""
    problems = stopped(services)
    importing = services.serving.importing
    return Health(
        status="unhealthy" if problems else "healthy",
        ready=ready and not problems,
        version=version,
        model=services.encoder.space,
        model_choice=services.model_choice.reason,
        model_loaded=all(worker.alive for worker in services.encoder.workers),
        device=services.encoder.device,
        encoders=services.remote_encoder.states() if services.remote_encoder else {},
        index_loaded=True,
        image_count=len(services.index),
        imports_waiting=imports.depth(services, services.owner),
        imports_paused=importing.paused if importing else None,
        waiting_for_vector=count_missing(services),
        model_change=brief_change(services),
        whisper_available=services.transcriber is not None and services.transcriber.worker.alive,
        whisper_model=services.transcriber.model if services.transcriber else "none",
        ocr_available=services.ocr is not None,
        ocr_waiting=count_unread(services, services.owner),
        reranker=services.reranker.name if services.reranker else None,
        problems=problems,
    )


def stopped(services: Services) -> list[str]:
    """The workers that ought to live and do not, each in words."""
    found = [f"{worker.name} has stopped" for worker in services.encoder.workers if not worker.alive]
    if services.transcriber and not services.transcriber.worker.alive:
        found.append("Whisper has stopped")
    if not services.live_index.alive:
        found.append("photos added by other processes are not noticed")
    if services.serving.importing and not services.serving.importing.alive:
        found.append("imports have stopped")
    if services.remote_encoder and "ok" not in services.remote_encoder.states().values():
        found.append("no encoder answers")
    return found


def brief_change(services: Services) -> ModelChangeOut | None:
    """The change that is under way or that failed; None when the newest one has been made."""
    change = model_changes.last_asked(services.database)
    if change is None or (change.state is ChangeState.CANCELLED and not change.error):
        return None
    made = change.state is ChangeState.DONE and change.space == services.encoder.space
    return None if made else ModelChangeOut.of(change)


def model_state(services: Services) -> ModelState:
    """The model in use, the change asked for last, and where a roll-back would lead."""
    change = model_changes.last_asked(services.database)
    before = model_changes.previous(services.database)
    return ModelState(
        space=services.encoder.space,
        change=None if change is None else ModelChangeOut.of(change),
        previous=None if before is None else before.model,
    )


def stats(services: Services) -> Stats:
    """Counts, latencies and what the process uses."""
    memory = _process.memory_info()
    mine = Photo.owner == services.owner
    with services.database.read() as session:
        totals = select(func.count(), func.coalesce(func.sum(col(Photo.bytes)), 0)).where(mine)
        photos, stored = session.exec(totals).one()
        return Stats(
            total_photos=photos,
            stored_bytes=stored,
            index=IndexStats(
                type=services.index.kind,
                size=len(services.index),
                dim=services.index.dim,
                memory_mb=services.index.memory_bytes / MB,
            ),
            queries=_query_stats(session, services.owner),
            feedback=_feedback_stats(session, services.owner),
            model=services.encoder.space,
            device=services.encoder.device,
            memory_rss_mb=memory.rss / MB,
            memory_vms_mb=memory.vms / MB,
            cpu_percent=_process.cpu_percent(),
            threads=_process.num_threads(),
            uptime_s=time.time() - _process.create_time(),
        )


def _query_stats(session: Session, owner: str) -> QueryStats:
    mine = SearchQuery.owner == owner
    kinds = select(SearchQuery.kind, func.count()).where(mine).group_by(col(SearchQuery.kind))
    newest = select(SearchQuery.latency_ms).where(mine).order_by(col(SearchQuery.id).desc()).limit(LATENCY_WINDOW)
    counts = {str(kind): count for kind, count in session.exec(kinds)}
    return QueryStats(
        total=sum(counts.values()), by_kind=counts, latency_ms=_percentiles(session.exec(newest).all())
    )


def _percentiles(latencies: Sequence[float]) -> LatencyPercentiles | None:
    if not latencies:
        return None
    p50, p95, p99 = np.percentile(latencies, [50, 95, 99]).tolist()
    return LatencyPercentiles(p50=p50, p95=p95, p99=p99)


def _feedback_stats(session: Session, owner: str) -> FeedbackStats:
    votes = select(Feedback.vote, func.count()).where(Feedback.owner == owner).group_by(col(Feedback.vote))
    counts = dict(session.exec(votes).all())
    return FeedbackStats(up=counts.get(1, 0), down=counts.get(-1, 0))
