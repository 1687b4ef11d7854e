"""From a model's tensor to the vectors that the rest of the service works with."""

from typing import cast

import numpy as np
from torch import Tensor

from app.errors import EncoderFailed
from app.services.interfaces import Vectors


def finite(vectors: Tensor) -> Vectors:
    """The tensor as float32 in main memory. Raises: EncoderFailed if anything in it is NaN or infinite."""
    array = vectors.float().cpu().numpy()
    if not np.isfinite(array).all():
        raise EncoderFailed("The model gave a vector that is not finite.")
    return cast(Vectors, array)
