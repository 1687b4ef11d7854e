"""Health, statistics, metrics, and the page."""

from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from prometheus_client import CONTENT_TYPE_LATEST

from app import __version__
from app.dependencies import PublicServicesDep, ServicesDep
from app.flows import status
from app.problems import problem, problem_responses
from app.schemas import Health, Liveness, Readiness, ServiceInfo, Stats

router = APIRouter(tags=["status"])

WEB_DIR = Path(__file__).parent.parent / "web"


@router.get("/health", responses={503: {"model": Health, "description": "A worker has stopped."}})
def get_health(services: ServicesDep, request: Request, response: Response) -> Health:
    """Whether the service works, with what model and why."""
    health = status.health(services, ready=request.app.state.ready, version=__version__)
    response.status_code = 200 if health.status == "healthy" else 503
    return health


@router.get("/health/live")
async def get_liveness() -> Liveness:
    """200 while the process lives, also when all its threads are busy. Whoever gets none may start it again."""
    return Liveness(status="alive")


@router.get("/health/ready", response_model=Readiness, responses=problem_responses(503))
def get_readiness(services: PublicServicesDep, request: Request) -> Readiness | Response:
    """200 once the first search would be a warm one, and while every worker lives."""
    problems = status.stopped(services)
    if request.app.state.ready and not problems:
        return Readiness(ready=True)
    reasons = "; ".join(problems) or "still starting"
    return problem(request, 503, "not-ready", "Not ready", reasons, headers={"Retry-After": "1"})


@router.get("/stats")
@router.get("/stats/", include_in_schema=False)
def get_stats(services: ServicesDep) -> Stats:
    """Counts, latency percentiles, and what the process uses."""
    return status.stats(services)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def get_metrics(services: ServicesDep) -> Response:
    """The same for Prometheus."""
    return Response(services.telemetry.exposition(), media_type=CONTENT_TYPE_LATEST)


@router.get("/status", response_class=FileResponse, responses={200: {"content": {"text/html": {}}}})
def get_status_page() -> FileResponse:
    """A page for people that shows the same over time."""
    return FileResponse(WEB_DIR / "status.html", headers={"Cache-Control": "no-cache"})


@router.get("/", response_model=ServiceInfo, responses={200: {"content": {"text/html": {}}}})
def get_root(request: Request) -> ServiceInfo | Response:
    """The page for a browser; service information for anything else."""
    if "text/html" in request.headers.get("accept", ""):
        return FileResponse(WEB_DIR / "index.html", headers={"Cache-Control": "no-cache", "Vary": "Accept"})
    return ServiceInfo(
        name="recollect", version=__version__, docs="/docs", openapi="/openapi.json", health="/health"
    )
