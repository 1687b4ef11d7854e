"""How are the cosine of the vectors and the words that an owner has written best put together?

A share of the photos gets one of its captions as the owner's; queries are the four others. Ways to fuse:
reciprocal ranks (Cormack et al. 2009, k = 60), and a sum with the text's score weighed by w (convex combination,
Bruch et al. 2023). w is chosen on one half of the photos; the recalls are of the other, over SPLITS random halves.

    python -m benchmarks.bench_fusion --photos ../shared/photos
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.database import Database
from app.flows.evaluation import read_questions
from app.flows.filters import PhotoFilter
from app.flows.full_text import text_matches
from app.services.embedded_encoder import EmbeddedEncoder
from app.tables import Photo
from benchmarks import results

ROOT = Path(__file__).parent.parent
SHARES = (0.0, 0.3, 1.0)  # of photos with a caption of their owner's
WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
KS = (1, 5, 10)
SPLITS = 20
RRF_K = 60

Scores = NDArray[Any]  # (queries, photos)
Fusion = Callable[[Scores, Scores], Scores]


def reciprocal_ranks(cosine: Scores, text: Scores) -> Scores:
    """A photo without any of the words has no rank among texts."""
    by_text = np.where(text > 0, 1 / (RRF_K + ranks(text)), 0)
    return 1 / (RRF_K + ranks(cosine)) + by_text


def weighted(weight: float) -> Fusion:
    return lambda cosine, text: np.maximum(cosine, 0) + weight * text


def ranks(scores: Scores) -> Scores:
    """(queries, photos) → 1 for the best of each row."""
    return np.asarray(np.argsort(np.argsort(-scores, axis=1), axis=1) + 1)


def text_scores(captions: list[list[str]], queries: list[str], given: list[bool]) -> Scores:
    """(queries, photos), with the first caption of some photos as the owner's."""
    found = np.zeros((len(queries), len(captions)), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/r.db")
        with database.write() as session:
            for row, (own, has) in enumerate(zip(captions, given, strict=True)):
                session.add(Photo(id=row + 1, caption=own[0] if has else None))
        with database.read() as session:
            for row, query in enumerate(queries):
                for photo_id, match in text_matches(session, query, PhotoFilter(), len(captions)).items():
                    found[row, photo_id - 1] = match.score
        database.dispose()
    return found


def recalls(scores: Scores, right: NDArray[Any], rows: NDArray[Any]) -> dict[str, float]:
    """%, among these queries."""
    place = ranks(scores)[np.arange(len(right)), right][rows]
    return {f"recall@{k}": round(100 * float((place <= k).mean()), 1) for k in KS}


def compare(cosine: Scores, text: Scores, right: NDArray[Any]) -> dict[str, dict[str, float]]:
    """Means over random halves of the photos; w is the one that the other half likes best."""
    ways: dict[str, Fusion] = {"cosine": lambda c, _: c, "text": lambda _, t: t, "ranks": reciprocal_ranks}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in (*ways, "sum")}
    for seed in range(SPLITS):
        half = np.random.default_rng(seed).permutation(cosine.shape[1])[: cosine.shape[1] // 2]
        chosen = np.isin(right, half)
        for name, way in ways.items():
            found[name].append(recalls(way(cosine, text), right, ~chosen))
        tried = {w: sum(recalls(weighted(w)(cosine, text), right, chosen).values()) for w in WEIGHTS}
        best = max(tried, key=lambda w: tried[w])
        found["sum"].append(recalls(weighted(best)(cosine, text), right, ~chosen) | {"w": best})
    return {
        name: {key: round(float(np.mean([one[key] for one in many])), 2) for key in many[0]}
        for name, many in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=ROOT.parent / "shared" / "photos")
    questions = read_questions(parser.parse_args().photos / "captions.csv")
    captions: list[list[str]] = [[] for _ in questions.photos]
    for caption, row in zip(questions.captions, questions.right, strict=True):
        captions[row].append(caption)
    queries = [caption for own in captions for caption in own[1:]]
    right = np.array([row for row, own in enumerate(captions) for _ in own[1:]])
    encoder = EmbeddedEncoder()
    folder = parser.parse_args().photos / "images"
    images = [encoder.encode_images([Image.open(folder / Path(name).name)])[0] for name in questions.photos]
    cosine = np.concatenate([encoder.encode_texts([query]) for query in queries]) @ np.stack(images).T
    found = {}
    for share in SHARES:
        given = (np.random.default_rng(0).random(len(captions)) < share).tolist()
        text = text_scores(captions, queries, given)
        found[f"{share:.0%}"] = compare(cosine, text, right)
        for name, numbers in found[f"{share:.0%}"].items():
            print(f"{share:.0%} captioned  {name:8} {numbers}")
        for w in WEIGHTS:
            print(f"   w {w}", recalls(weighted(w)(cosine, text), right, np.arange(len(right))))
    results.write("fusion", {"recall": found}, ["torch"])


if __name__ == "__main__":
    main()
