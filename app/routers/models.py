"""The image-text model: changing it while searches go on. For administrators."""

from fastapi import APIRouter

from app.dependencies import ServicesDep
from app.errors import InvalidRequest
from app.flows import model_changes, status
from app.problems import problem_responses
from app.schemas import ModelChangeIn, ModelChangeOut, ModelState
from app.services.model_choice import checked_name
from app.services.weight_files import WeightsRefused

router = APIRouter(tags=["models"])


@router.get("/models/change")
def get_model_change(services: ServicesDep) -> ModelState:
    """The model in use, and how far the change asked for last is."""
    return status.model_state(services)


@router.post("/models/change", status_code=202, responses=problem_responses(400, 422))
def change_model(services: ServicesDep, wanted: ModelChangeIn) -> ModelChangeOut:
    """Fill the space of another model in the background, then search with it. Replaces a change under way."""
    try:
        model = checked_name(wanted.model)
    except WeightsRefused as error:
        raise InvalidRequest(str(error)) from error
    return ModelChangeOut.of(model_changes.request_change(services.database, model))


@router.post("/models/rollback", status_code=202, responses=problem_responses(400))
def roll_back_model(services: ServicesDep) -> ModelChangeOut:
    """Give up the change under way; without one, change back to the model before the present one."""
    return ModelChangeOut.of(model_changes.roll_back(services.database))
