"""Before anybody is served: every model loaded, and used once."""

import numpy as np
from PIL import Image

from app.flows.services import Services


def warm_up(services: Services) -> None:
    """One picture and one word through the models and the index, so that nobody's first search is a cold one."""
    image = services.encoder.encode_images([Image.new("RGB", (320, 240))])
    words = services.encoder.encode_texts(["warm-up"])
    if image.shape != (1, services.encoder.dim) or image.shape != words.shape:
        raise RuntimeError(f"The encoder gives {image.shape} for a picture and {words.shape} for a text.")
    services.tagger.suggest(image)
    services.index.search(np.concatenate([image, words]), 1)
