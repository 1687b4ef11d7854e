"""Do votes on a few results help to find the rest, for the same query and for similar ones, and for no others?

A concept is one of the tag vocabulary with 8 photos or more and not more than a quarter of all. It is asked for by
its phrase ("a cat") and by captions that name it. Of the first 20 results the first three right ones are voted up
and the first three wrong ones down. Then recall@10 is measured on the concept's other photos, with all voted ones
taken out of the results. Concepts are split into halves, 40 times: each method's constants are those that are best
on one half, and its gain is measured on the other.

    python -m benchmarks.bench_learning --photos ../shared/photos
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from app.flows.learning import DOWN, UP, damped_mean
from app.flows.voted_queries import ALIKE
from app.services.embedded_encoder import EmbeddedEncoder
from app.services.interfaces import ImageTextEncoder, Vectors
from app.services.relevance import Relevance
from app.services.tagger import encoded_texts
from benchmarks import results
from benchmarks.captioned_photos import CAPTIONS, CaptionedPhotos, interval, load, relevance_of
from benchmarks.photo_folder import chosen_folder

LEAST, MOST_SHARE = 8, 0.25
NOT_ASKED = (
    "person",
    "man",
    "woman",
    "child",
    "people",
    "couple",
    "animal",
    "food",
    "vehicle",
    "sport",
    "furniture",
)
CAPTIONS_A_CONCEPT = 5
LOOKED_AT, VOTES, COUNTED = 20, 3, 10
SPLITS = 40
PARAPHRASES = ("{tag}", "pictures of {tag}", "a photo of {phrase}", "show me {phrase}")
LOGISTIC_SLOPE = 10.0

Flags = NDArray[np.bool_]
Move = Callable[[Vectors, Vectors, Vectors], Vectors]  # query, photos voted up, photos voted down → query


@dataclass(frozen=True)
class Asked:
    concept: int
    query: Vectors  # (dim,)
    right: Flags  # (n,)


def main() -> None:
    folder = chosen_folder(__doc__)
    if folder is None:
        return
    encoder = EmbeddedEncoder()
    photos = load(encoder, folder)
    relevance = relevance_of(encoder, photos.concepts)
    asked = questions(encoder, photos)
    report = {
        "space": encoder.space,
        "photos": len(photos),
        "concepts": len({one.concept for one in asked}),
        "queries": len(asked),
        "methods": compared(photos, asked),
        "shipped": effect(photos, asked, rocchio(UP, DOWN)),
        "similar": similar(encoder, photos, relevance, asked),
        "likeness": likeness(encoder, photos, relevance),
    }
    show(report)
    results.write("learning", report, ["torch", "numpy"])


def questions(encoder: ImageTextEncoder, photos: CaptionedPhotos) -> list[Asked]:
    """The phrase of each concept first, then some of its captions."""
    random = np.random.default_rng(0)
    counts = photos.shows.sum(axis=0)
    found = []
    for i, concept in enumerate(photos.concepts):
        if concept.tag in NOT_ASKED or not LEAST <= counts[i] <= MOST_SHARE * len(photos):
            continue
        captions = random.permutation(np.flatnonzero(photos.said[:, i]))[:CAPTIONS_A_CONCEPT]
        queries = [*encoder.encode_texts([concept.phrase]), *photos.texts[captions]]
        found += [Asked(i, query, photos.shows[:, i]) for query in queries]
    return found


def compared(photos: CaptionedPhotos, asked: Sequence[Asked]) -> dict[str, Any]:
    """Gain in recall@10 of each method, with constants from the other half of the concepts."""
    families = {
        "Rocchio, damped": [rocchio(*c) for c in product((0.5, 1.0, 1.5, 2.0), (0.0, 0.3, 0.7, 1.0))],
        "Ide dec-hi": [ide_dec_hi(*c) for c in product((0.1, 0.2, 0.3, 0.5), (0.0, 0.1, 0.2, 0.3))],
        "logistic, prior at the query": [logistic(weight) for weight in (3.0, 10.0, 30.0, 100.0)],
    }
    concepts = np.array([one.concept for one in asked])
    before = np.array([recall(photos, one, one.query) for one in asked])
    found: dict[str, Any] = {"none": {"recall_at_10": round(float(before.mean()), 3)}}
    for name, family in families.items():
        gains = np.array([[recall(photos, one, _voted(photos, one, move)) for one in asked] for move in family])
        found[name] = {"gain": _cross_validated(gains - before, concepts)}
    return found


def _cross_validated(gains: NDArray[np.float64], concepts: NDArray[np.int64]) -> list[float]:
    """Mean and interval over concepts, of (methods, queries): each concept's gain with what others chose."""
    all_of_them = np.unique(concepts)
    measured: dict[int, list[float]] = {int(concept): [] for concept in all_of_them}
    for seed in range(SPLITS):
        choosing = np.isin(concepts, np.random.default_rng(seed).permutation(all_of_them)[::2])
        best = gains[:, choosing].mean(axis=1).argmax()
        for concept in np.unique(concepts[~choosing]):
            measured[int(concept)].append(float(gains[best, concepts == concept].mean()))
    return interval([float(np.mean(values)) for values in measured.values()])


def effect(photos: CaptionedPhotos, asked: Sequence[Asked], move: Move) -> dict[str, Any]:
    """What the service does, for phrases and for captions."""
    first = {one.concept: one for one in reversed(asked)}
    phrases = [one for one in asked if one is first[one.concept]]
    captions = [one for one in asked if one is not first[one.concept]]
    found = {}
    for name, part in (("phrases", phrases), ("captions", captions)):
        before = np.array([recall(photos, one, one.query) for one in part])
        after = np.array([recall(photos, one, _voted(photos, one, move)) for one in part])
        found[name] = {"before": interval(before), "after": interval(after), "gain": interval(after - before)}
    return found


def similar(
    encoder: ImageTextEncoder, photos: CaptionedPhotos, relevance: Relevance, asked: Sequence[Asked]
) -> dict[str, Any]:
    """Votes on a concept's phrase: what they do for paraphrases, and for the phrases of all other concepts."""
    phrases = list({one.concept: one for one in reversed(asked)}.values())
    gains, moved_others, kept_first = [], [], []
    for one in phrases:
        up, down = votes(photos, one)
        concept = photos.concepts[one.concept]
        texts = encoder.encode_texts([p.format(tag=concept.tag, phrase=concept.phrase) for p in PARAPHRASES])
        for text, weight in zip(texts, _weights(relevance, one.query, texts), strict=True):
            after = rocchio(UP, DOWN, weight)(text, photos.vectors[up], photos.vectors[down])
            again = Asked(one.concept, text, one.right)
            gains.append(recall(photos, again, after, up + down) - recall(photos, again, text, up + down))
        others = np.stack([other.query for other in phrases if other is not one])
        for other, weight in zip(others, _weights(relevance, one.query, others), strict=True):
            after = rocchio(UP, DOWN, weight)(other, photos.vectors[up], photos.vectors[down])
            moved_others.append(weight > 0)
            kept_first.append(_overlap(photos, other, after))
    return {
        "paraphrases_gain": interval(gains),
        "other_queries_moved": round(float(np.mean(moved_others)), 4),
        "other_queries_first_10_kept": round(float(np.mean(kept_first)), 4),
    }


def likeness(encoder: ImageTextEncoder, photos: CaptionedPhotos, relevance: Relevance) -> dict[str, Any]:
    """Quantiles of what tells similar queries from others."""
    phrases = encoded_texts(encoder, [concept.phrase for concept in photos.concepts])
    again = [
        encoded_texts(encoder, [p.format(tag=c.tag, phrase=c.phrase) for c in photos.concepts])
        for p in PARAPHRASES
    ]
    same = np.array(
        [
            [relevance.likeness_of_texts(q, t[None])[0] for q, t in zip(phrases, texts, strict=True)]
            for texts in again
        ]
    )
    between = np.stack([relevance.likeness_of_texts(phrase, phrases) for phrase in phrases])
    captions = np.stack([relevance.likeness_of_texts(text, photos.texts) for text in photos.texts])
    photo = np.arange(len(captions)) // CAPTIONS
    nothing_shared = photos.said.astype(int) @ photos.said.T.astype(int) == 0
    return {
        "paraphrases": _quantiles(same, (1, 5, 25, 50)),
        "captions_of_one_photo": _quantiles(
            captions[(photo[:, None] == photo) & (captions < 0.999)], (1, 5, 25, 50)
        ),
        "other_concepts": _quantiles(between[~np.eye(len(between), dtype=bool)], (50, 95, 99, 99.9)),
        "captions_with_nothing_in_common": _quantiles(captions[nothing_shared], (50, 95, 99, 99.9)),
    }


def _quantiles(values: NDArray[Any], percents: Sequence[float]) -> dict[str, float]:
    return {f"{percent:g}%": round(float(np.percentile(values, percent)), 3) for percent in percents}


def _weights(relevance: Relevance, query: Vectors, texts: Vectors) -> list[float]:
    likeness = relevance.likeness_of_texts(query, texts)
    return [max(0.0, float(value)) for value in (likeness - ALIKE) / (1 - ALIKE)]


def votes(photos: CaptionedPhotos, one: Asked) -> tuple[list[int], list[int]]:
    """Rows of the photos voted up and down."""
    first = np.argsort(-(photos.vectors @ one.query))[:LOOKED_AT]
    return [i for i in first if one.right[i]][:VOTES], [i for i in first if not one.right[i]][:VOTES]


def _voted(photos: CaptionedPhotos, one: Asked, move: Move) -> Vectors:
    up, down = votes(photos, one)
    return move(one.query, photos.vectors[up], photos.vectors[down])


def recall(photos: CaptionedPhotos, one: Asked, query: Vectors, voted: Sequence[int] | None = None) -> float:
    """Of the concept's photos that were not voted on, the share among the first ten that were not."""
    if voted is None:
        up, down = votes(photos, one)
        voted = up + down
    scores, right = photos.vectors @ query, one.right.copy()
    scores[voted], right[voted] = -np.inf, False
    return float(right[np.argsort(-scores)[:COUNTED]].sum() / max(1, min(COUNTED, right.sum())))


def _overlap(photos: CaptionedPhotos, before: Vectors, after: Vectors) -> float:
    first, then = (set(np.argsort(-(photos.vectors @ query))[:COUNTED].tolist()) for query in (before, after))
    return len(first & then) / COUNTED


def rocchio(towards: float, away: float, weight: float = 1.0) -> Move:
    def move(query: Vectors, up: Vectors, down: Vectors) -> Vectors:
        sides = (damped_mean(part, np.full(len(part), weight, np.float32)) for part in (up, down))
        near, far = sides
        return _unit(query + towards * near - away * far)

    return move


def ide_dec_hi(towards: float, away: float) -> Move:
    """All that is right, and only the first that is wrong (Ide 1971)."""

    def move(query: Vectors, up: Vectors, down: Vectors) -> Vectors:
        return _unit(query + towards * up.sum(axis=0) - away * down[:1].sum(axis=0))

    return move


def logistic(prior: float) -> Move:
    """The likeliest linear model of the votes, with a Gaussian prior at the query."""

    def move(query: Vectors, up: Vectors, down: Vectors) -> Vectors:
        photos, sign = np.concatenate([up, down]), np.repeat([1.0, -1.0], [len(up), len(down)])
        middle = (photos @ query).mean()

        def loss(weights: Vectors) -> tuple[float, Vectors]:
            logits = LOGISTIC_SLOPE * sign * (photos @ weights - middle)
            apart = weights - query
            slope = -(LOGISTIC_SLOPE * sign * expit(-logits)) @ photos + prior * apart
            return float(np.logaddexp(0, -logits).sum() + prior / 2 * apart @ apart), slope

        return _unit(minimize(loss, query, jac=True, method="L-BFGS-B").x)

    return move


def _unit(vector: Vectors) -> Vectors:
    unit: Vectors = vector / np.linalg.norm(vector)
    return unit


def show(report: dict[str, Any]) -> None:
    print(f"{report['concepts']} concepts, {report['queries']} queries, {report['space']}")
    for part in ("methods", "shipped", "similar", "likeness"):
        print(part)
        for name, value in report[part].items():
            print(f"  {name:32} {value}")


if __name__ == "__main__":
    main()
