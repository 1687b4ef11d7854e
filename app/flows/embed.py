"""Vectors for whoever has a use for them elsewhere; nothing is kept."""

from collections.abc import Sequence

import numpy as np

from app.flows.mixed import picture_vector
from app.flows.services import Services
from app.services.interfaces import Vectors
from app.telemetry import StepTimer


def embed_picture(services: Services, data: bytes) -> Vectors:
    """(dim,). Raises: what decoding a picture raises, Overloaded, EncoderFailed."""
    return picture_vector(services, data, StepTimer(services.telemetry))


def embed_pictures(services: Services, pictures: Sequence[bytes]) -> Vectors:
    """(len(pictures), dim). Raises: what decoding a picture raises, Overloaded, EncoderFailed."""
    timer = StepTimer(services.telemetry)
    with timer("decode"):
        images = [services.decode(data).image for data in pictures]
    with timer("encode"):
        return services.encoder.encode_images(images)


def embed_texts(services: Services, texts: Sequence[str]) -> Vectors:
    """(len(texts), dim), for at least one text. Raises: Overloaded, EncoderFailed.

    One batch after the other, so that searches that come meanwhile need not wait for all of them.
    """
    size = services.settings.encode_batch_size
    with StepTimer(services.telemetry)("encode"):
        return np.concatenate(
            [services.encoder.encode_texts(texts[i : i + size]) for i in range(0, len(texts), size)]
        )
