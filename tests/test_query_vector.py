"""Questions of several terms."""

import numpy as np
import pytest

from app.services.embedded_encoder import EmbeddedEncoder
from app.services.query_vector import combined


def test_terms_are_weighed(encoder: EmbeddedEncoder) -> None:
    terms = encoder.encode_texts(["a dog", "a beach"])
    query = combined(terms, [2, 1])
    assert np.linalg.norm(query) == pytest.approx(1, abs=1e-6)
    assert terms[0] @ query > terms[1] @ query > terms[0] @ terms[1]
    assert np.allclose(combined(terms, [0.2, 0.1]), query, atol=1e-6)
    assert np.allclose(combined(terms[:1], [0.3]), terms[0], atol=1e-6)


def test_less_of_something(encoder: EmbeddedEncoder) -> None:
    terms = encoder.encode_texts(["a dog in the snow", "snow"])
    assert terms[1] @ combined(terms, [1, -0.5]) < terms[1] @ terms[0]


def test_terms_that_cancel_each_other_are_no_question(encoder: EmbeddedEncoder) -> None:
    dog = encoder.encode_texts(["a dog"])
    with pytest.raises(ValueError, match="nothing is left"):
        combined(np.concatenate([dog, dog]), [1, -1])
    with pytest.raises(ValueError, match="nothing is left"):
        combined(dog, [0])
