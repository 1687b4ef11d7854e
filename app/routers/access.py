"""Access keys, and signing in to the page with one."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app.dependencies import CallerDep, PublicServicesDep, ServicesDep
from app.flows.access import SIGNED_IN_FOR
from app.guard import COOKIE
from app.problems import problem_responses
from app.schemas import MAX_ID, KeyIn, KeyMade, KeyOut, Keys, SessionIn, SessionOut

router = APIRouter(tags=["access"])


@router.get("/keys")
def list_keys(services: ServicesDep) -> Keys:
    """All access keys, by name; the keys themselves are kept nowhere."""
    return Keys(keys=[KeyOut.model_validate(row, from_attributes=True) for row in services.access.all()])


@router.post("/keys", status_code=201, responses=problem_responses(400, 409, 422))
def make_key(services: ServicesDep, wanted: KeyIn) -> KeyMade:
    """A new access key, which is shown only now."""
    row, token = services.access.make(wanted.name, wanted.owner, wanted.scopes)
    return KeyMade(**KeyOut.model_validate(row, from_attributes=True).model_dump(), key=token)


@router.delete("/keys/{key_id}", status_code=204, responses=problem_responses(404, 422))
def revoke_key(services: ServicesDep, key_id: Annotated[int, Path(ge=1, le=MAX_ID)]) -> None:
    """From now on this key opens nothing, and who has signed in with it is out."""
    services.access.revoke(key_id)


@router.get("/session")
def get_session(request: Request, caller: CallerDep) -> SessionOut:
    """Who is signed in, and what they may do."""
    if caller is None:
        return SessionOut(signed_in=False, key_needed=True)
    return SessionOut(
        signed_in=COOKIE in request.cookies,
        key_needed=caller.key is not None,
        key=caller.key,
        owner=caller.owner,
        scopes=sorted(caller.scopes),
    )


@router.post("/session", status_code=204, responses=problem_responses(400, 401, 422, 429))
def sign_in(services: PublicServicesDep, request: Request, response: Response, given: SessionIn) -> None:
    """Sign this browser in with an access key: it gets a cookie in its place."""
    cookie = services.access.sign_in(given.key.get_secret_value())
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=int(SIGNED_IN_FOR.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


@router.delete("/session", status_code=204)
def sign_out(services: PublicServicesDep, request: Request, response: Response) -> None:
    """This browser's cookie is worth nothing any more."""
    if cookie := request.cookies.get(COOKIE):
        services.access.sign_out(cookie)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
