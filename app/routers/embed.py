"""Vectors of pictures and texts, which are not kept: for programs, and for Recollect processes without a model."""

from typing import Annotated, Any

from fastapi import APIRouter, File, Header, UploadFile
from fastapi.responses import Response

from app.dependencies import ServicesDep
from app.drop_in_schemas import EncoderFacts, PictureEmbeddings, TextEmbeddings, TextsIn
from app.flows import embed
from app.flows.services import Services
from app.problems import problem_responses
from app.routers.photos import read_upload
from app.services.decode import ACCEPTED
from app.services.interfaces import Vectors
from app.services.remote_encoder import SPACE_HEADER, VECTORS

router = APIRouter()

MAX_PICTURES = 64
Accept = Annotated[str, Header(include_in_schema=False)]
BINARY = {
    200: {"content": {VECTORS: {"schema": {"type": "string", "format": "binary"}}}},
    **problem_responses(400, 413, 415, 422, 503),
}


@router.get("/encoder", tags=["embeddings"])
def get_encoder(services: ServicesDep) -> EncoderFacts:
    """The image-text model in use, as far as a process that has none needs to know it."""
    encoder = services.encoder
    return EncoderFacts(
        space=encoder.space,
        dim=encoder.dim,
        image_size=encoder.image_size,
        logit_scale=encoder.logit_scale,
        device=encoder.device,
    )


@router.post("/embed-images", tags=["embeddings"], response_model=PictureEmbeddings, responses=BINARY)
def embed_images(
    services: ServicesDep,
    files: Annotated[list[UploadFile], File(min_length=1, max_length=MAX_PICTURES, description=f"{ACCEPTED}.")],
    accept: Accept = "",
) -> PictureEmbeddings | Response:
    """The vectors of pictures; `Accept: application/octet-stream` has them as rows of float32, little-endian."""
    vectors = embed.embed_pictures(services, [read_upload(file, services) for file in files])
    return _binary(services, vectors) if VECTORS in accept else PictureEmbeddings(**_fields(services, vectors))


@router.post("/embed-text", tags=["drop-in"], response_model=TextEmbeddings, responses=BINARY)
def embed_text(services: ServicesDep, asked: TextsIn, accept: Accept = "") -> TextEmbeddings | Response:
    """The vectors of texts, in the space of those of pictures; in binary as those are."""
    vectors = embed.embed_texts(services, asked.texts)
    return _binary(services, vectors) if VECTORS in accept else TextEmbeddings(**_fields(services, vectors))


def _binary(services: Services, vectors: Vectors) -> Response:
    headers = {SPACE_HEADER: services.encoder.space}
    return Response(vectors.astype("<f4").tobytes(), media_type=VECTORS, headers=headers)


def _fields(services: Services, vectors: Vectors) -> dict[str, Any]:
    encoder = services.encoder
    return {"embeddings": vectors.tolist(), "model": encoder.space, "device": encoder.device}
