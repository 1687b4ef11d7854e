"""Questions of several parts: words, photos of the library and pictures sent along, each with a weight."""

import hashlib
from collections.abc import Sequence

from PIL import Image

from app.errors import InvalidRequest
from app.flows.photos import get_embedding, get_photo
from app.flows.questions import Part
from app.flows.services import OVERSAMPLING, Services
from app.search_schemas import Crop, MixedTerm
from app.services.interfaces import Vectors
from app.services.relevance import QueryForm
from app.telemetry import StepTimer


def term_parts(
    services: Services, terms: Sequence[MixedTerm], pictures: Sequence[bytes], timer: StepTimer
) -> list[Part]:
    """`pictures` are those that terms name by number.

    Raises: InvalidRequest (no such picture, or a photo without a vector yet), PhotoNotFound, what decoding a
    picture raises, Overloaded, EncoderFailed.
    """
    forms = [QueryForm.PICTURE if term.text is None else QueryForm.WORDS for term in terms]
    return [
        Part(_vector(services, term, pictures, timer), term.weight, form)
        for term, form in zip(terms, forms, strict=True)
    ]


def _vector(services: Services, term: MixedTerm, pictures: Sequence[bytes], timer: StepTimer) -> Vectors:
    if term.text is not None:
        with timer("encode"):
            words: Vectors = services.encoder.encode_texts([term.text])[0]
        return words
    if term.photo_id is not None:
        return photo_vector(services, term.photo_id, timer, term.crop)
    if term.image is None or term.image >= len(pictures):
        raise InvalidRequest(f"There is no picture {term.image}: {len(pictures)} were sent.")
    return picture_vector(services, pictures[term.image], timer, term.crop)


def picture_vector(services: Services, data: bytes, timer: StepTimer, crop: Crop | None = None) -> Vectors:
    """Of a picture, or of a part of it. Raises: what decoding a picture raises, Overloaded, EncoderFailed."""
    with timer("decode"):
        image = services.decode(data).image if crop is None else _part(services, data, crop)
    with timer("encode"):
        vector: Vectors = services.encoder.encode_images([image])[0]
    return vector


def _part(services: Services, data: bytes, crop: Crop) -> Image.Image:
    least = OVERSAMPLING * services.encoder.image_size / min(crop.width, crop.height)
    image = services.decoder.decode(data, at_least=round(least)).image
    left, top = crop.x * image.width, crop.y * image.height
    right, bottom = left + crop.width * image.width, top + crop.height * image.height
    return image.crop((left, top, right, bottom))


def photo_vector(services: Services, photo_id: int, timer: StepTimer, crop: Crop | None = None) -> Vectors:
    """Of a stored photo, or of a part of it.

    Raises: PhotoNotFound, InvalidRequest (no vector yet); for a part FileNotStored and what picture_vector raises.
    """
    with timer("database"), services.database.read() as session:
        photo = get_photo(session, photo_id, services.owner)
        vector = get_embedding(session, photo_id, services.encoder.space)
    if crop is not None:
        if photo.sha256 is None:
            raise InvalidRequest(f"Item {photo_id} has no picture to take a part of.")
        with services.store.open(photo.sha256) as file:
            return picture_vector(services, file.read(), timer, crop)
    if vector is None:
        raise InvalidRequest(f"Photo {photo_id} has no vector of the present model yet; try again in a while.")
    return vector


def name_of(terms: Sequence[MixedTerm], pictures: Sequence[bytes]) -> str:
    """What the query is called: `dog + 0.5 photo:7 − people`. Votes on its results are kept under it."""
    parts: list[str] = []
    for term in terms:
        sign = "− " if term.weight < 0 else "+ " if parts else ""
        weight = "" if abs(term.weight) == 1 else f"{abs(term.weight):g} "
        parts.append(f"{sign}{weight}{_name(term, pictures)}")
    return " ".join(parts)


def _name(term: MixedTerm, pictures: Sequence[bytes]) -> str:
    if term.text is not None:
        return term.text
    part = f"[{term.crop.x:g},{term.crop.y:g},{term.crop.width:g},{term.crop.height:g}]" if term.crop else ""
    if term.photo_id is not None:
        return f"photo:{term.photo_id}{part}"
    return f"image:{hashlib.sha256(pictures[term.image or 0]).hexdigest()}{part}"
