"""How to look for one thing without another, and for a photo with something added.

Exclusion: for all pairs of concepts A and B of which at least 3 photos show both and 5 only A, the query is A's
phrase without B's. Precision@5 counts photos that show A and not B. Compared are no exclusion, B's vector
subtracted, only its part across A's subtracted, and a factor on the scores: how likely it is that a photo does not
show B (Relevance.kept_after), which has no weight to choose.
Addition: the query is a photo that shows only A, with B's phrase; precision@5 counts photos that show both.
Compared are the plain sum and sums after taking each kind's mean away, where texts and pictures lie apart.

    python -m benchmarks.bench_exclusion --photos ../shared/photos
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.services.embedded_encoder import EmbeddedEncoder
from app.services.interfaces import Scores, Vectors
from app.services.query_vector import combined
from app.services.relevance import Relevance
from app.services.tagger import closure, encoded_texts
from benchmarks import results
from benchmarks.captioned_photos import CaptionedPhotos, interval, load, relevance_of
from benchmarks.photo_folder import chosen_folder

LEAST_BOTH, LEAST_ONE = 3, 5
MOST_SHARE = 2 / 3  # of the photos that show B
COUNTED = 5
PHOTOS_A_PAIR = 4
WEIGHTS = (0.25, 0.5, 1.0)
ADDED_WEIGHTS = (0.5, 1.0, 1.5)

Flags = NDArray[np.bool_]


def main() -> None:
    folder = chosen_folder(__doc__)
    if folder is None:
        return
    encoder = EmbeddedEncoder()
    photos = load(encoder, folder)
    phrases = encoded_texts(encoder, [concept.phrase for concept in photos.concepts])
    relevance = relevance_of(encoder, photos.concepts)
    found = list(pairs(photos))
    report = {
        "space": encoder.space,
        "photos": len(photos),
        "pairs": len(found),
        "without": exclusion(photos, phrases, relevance, found),
        "with": addition(photos, phrases, relevance, found),
    }
    show(report)
    results.write("exclusion", report, ["torch", "numpy"])


def pairs(photos: CaptionedPhotos) -> Iterator[tuple[int, int]]:
    """Concepts A and B, neither broader than the other."""
    shows, kin = photos.shows.astype(int), closure(photos.concepts)
    both, counts = shows.T @ shows, shows.sum(axis=0)
    for a, b in np.argwhere(both >= LEAST_BOTH):
        only_a = counts[a] - both[a, b]
        if only_a >= LEAST_ONE and counts[b] <= MOST_SHARE * len(photos) and not (kin[a, b] or kin[b, a]):
            yield int(a), int(b)


def exclusion(
    photos: CaptionedPhotos, phrases: Vectors, relevance: Relevance, found: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    rows: dict[str, list[list[float]]] = defaultdict(list)
    for a, b in found:
        shows_a, shows_b = photos.shows[:, a], photos.shows[:, b]
        for name, scores in _without(photos.vectors, phrases[a], phrases[b], relevance):
            first = np.argsort(-scores)[:COUNTED]
            rows[name].append([float(flags[first].mean()) for flags in (shows_a & ~shows_b, shows_a, shows_b)])
    plain = np.array(rows["no exclusion"])
    return {name: _summary(np.array(values), plain) for name, values in rows.items()}


def _without(photos: Vectors, a: Vectors, b: Vectors, relevance: Relevance) -> Iterator[tuple[str, Scores]]:
    yield "no exclusion", photos @ a
    across = b - (b @ a) * a
    for weight in WEIGHTS:
        yield f"subtracted, {weight:g}", photos @ combined(np.stack([a, b]), [1, -weight])
        yield f"part across A subtracted, {weight:g}", photos @ combined(np.stack([a, across]), [1, -weight])
    kept = relevance.kept_after(photos, b)
    yield "factor", np.maximum(photos @ a, 0) * kept
    yield "factor, and subtracted, 0.25", np.maximum(photos @ combined(np.stack([a, b]), [1, -0.25]), 0) * kept


def _summary(values: NDArray[np.float64], plain: NDArray[np.float64]) -> dict[str, Any]:
    wanted, shows_a, shows_b = values.mean(axis=0)
    return {
        "precision_at_5": round(float(wanted), 3),
        "gain": interval(values[:, 0] - plain[:, 0]),
        "show_a": round(float(shows_a), 3),
        "show_b": round(float(shows_b), 3),
    }


def addition(
    photos: CaptionedPhotos, phrases: Vectors, relevance: Relevance, found: Sequence[tuple[int, int]]
) -> dict[str, float]:
    text_mean, picture_mean = relevance.background["mean"][0], photos.vectors.mean(axis=0)
    rows: dict[str, list[float]] = defaultdict(list)
    for a, b in found:
        both = photos.shows[:, a] & photos.shows[:, b]
        for row in np.flatnonzero(photos.shows[:, a] & ~photos.shows[:, b])[:PHOTOS_A_PAIR]:
            picture, text = photos.vectors[row], phrases[b]
            apart = np.stack([_unit(picture - picture_mean), _unit(text - text_mean)])
            queries = {"the photo alone": picture, "the words alone": text}
            for weight in ADDED_WEIGHTS:
                queries[f"sum, {weight:g}"] = combined(np.stack([picture, text]), [1, weight])
                queries[f"sum without means, {weight:g}"] = combined(apart, [1, weight])
            for name, query in queries.items():
                scores = photos.vectors @ query
                scores[row] = -np.inf
                rows[name].append(float(both[np.argsort(-scores)[:COUNTED]].mean()))
    return {name: round(float(np.mean(values)), 3) for name, values in rows.items()}


def _unit(vector: Vectors) -> Vectors:
    unit: Vectors = vector / np.linalg.norm(vector)
    return unit


def show(report: dict[str, Any]) -> None:
    print(f"{report['pairs']} pairs, {report['photos']} photos, {report['space']}")
    for part in ("without", "with"):
        print(part)
        for name, value in report[part].items():
            print(f"  {name:32} {value}")


if __name__ == "__main__":
    main()
