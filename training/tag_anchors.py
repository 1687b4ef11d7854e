"""Encode the tag vocabulary with the embedded model, so that no first start has to.

Run after a change of the vocabulary, the prompts or the heads: python -m training.tag_anchors
"""

from safetensors.numpy import save_file

from app.dependencies import VOCABULARY
from app.services.embedded_encoder import EmbeddedEncoder
from app.services.tagger import SHIPPED, anchors_file, encode_anchors, read_vocabulary


def main() -> None:
    """Write the file into app/weights, and take the ones before it away."""
    encoder = EmbeddedEncoder()
    phrases = [concept.phrase for concept in read_vocabulary(VOCABULARY)]
    for old in SHIPPED.glob("tags-*.safetensors"):
        old.unlink()
    save_file(encode_anchors(encoder, phrases), SHIPPED / anchors_file(encoder, phrases))


if __name__ == "__main__":
    main()
