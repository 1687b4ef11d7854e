"""Encode the tag vocabulary and the captions made of it with the embedded model, so that no first start has to.

Run after a change of the vocabulary, the prompts or the heads: python -m training.tag_anchors
"""

from safetensors.numpy import save_file

from app.dependencies import VOCABULARY
from app.services.embedded_encoder import EmbeddedEncoder
from app.services.relevance import background_captions, background_file, encode_background
from app.services.tagger import anchors_file, encode_anchors, read_vocabulary
from app.services.vector_cache import SHIPPED


def main() -> None:
    """Write the files into app/weights, and take the ones before them away."""
    encoder = EmbeddedEncoder()
    phrases = [concept.phrase for concept in read_vocabulary(VOCABULARY)]
    captions = background_captions(phrases)
    for old in [*SHIPPED.glob("tags-*.safetensors"), *SHIPPED.glob("background-*.safetensors")]:
        old.unlink()
    save_file(encode_anchors(encoder, phrases), SHIPPED / anchors_file(encoder, phrases))
    save_file(encode_background(encoder, captions), SHIPPED / background_file(encoder, captions))


if __name__ == "__main__":
    main()
