"""How are cosine similarity and the words that people have written best put together?

Some of the photos get one of their five captions as the owner's; the other captions of all photos are asked for,
and each should find its photo. Weights are chosen on the captions of every other photo, and reported on the rest.
Once more with cosines squeezed to the range of CLIP's, and the scale that belongs to them: the same weights
should do.

    python -m benchmarks.bench_fusion --photos ../shared/photos
"""

import argparse
import csv
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.database import Database
from app.flows import fusion
from app.flows.filters import PhotoFilter
from app.flows.full_text import text_matches
from app.services.embedded_encoder import EmbeddedEncoder
from app.services.interfaces import Scores
from app.tables import Photo
from benchmarks import results
from benchmarks.bench_tags import ROOT, encode

CAPTIONS = 5
SHARES = (0.0, 0.3, 1.0)  # of the photos have a caption
RANKS = (1, 5, 10)
RRF_K = 60  # Cormack, Clarke and Büttcher 2009
WEIGHTS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 14.0, 20.0)  # nats
SQUEEZED, LIFTED = 0.35, 0.12  # cosines × and +: true pairs have then 0.27 on average, others 0.13, as with CLIP

Combined = NDArray[np.floating]
Fusion = Callable[[Scores, Scores, float], Combined]  # cosines and text scores, (queries, photos), and the scale
Recall = dict[str, float]


def main() -> None:
    """Print a table, and write results/fusion.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=ROOT.parent / "shared" / "photos")
    photos: Path = parser.parse_args().photos
    if not photos.is_dir():
        print(f"skipped: {photos}, with images/ and captions.csv, is not here")
        return
    captions = read_captions(photos / "captions.csv")
    encoder = EmbeddedEncoder()
    images = encode(encoder, [photos / "images" / name for name in captions])
    owners, asked = split(list(captions.values()))
    cosine = encoder.encode_texts(asked) @ images.T
    words = {share: text_scores(owners, share, asked) for share in SHARES}
    report = {
        "photos": len(captions),
        "queries": len(asked),
        "chosen": {name: choose(family, cosine, words, encoder.logit_scale) for name, family in FAMILIES.items()},
        "cosines": table(cosine, words, encoder.logit_scale),
        "squeezed": table(cosine * SQUEEZED + LIFTED, words, encoder.logit_scale / SQUEEZED),
    }
    show(report)
    results.write("fusion", report, ["torch"])


def split(captions: list[list[str]]) -> tuple[list[str], list[str]]:
    """One caption of each photo for its owner; the others, CAPTIONS − 1 for each photo in a row, to ask for."""
    own = np.random.default_rng(0).integers(CAPTIONS, size=len(captions)).tolist()
    owners = [texts[i] for texts, i in zip(captions, own, strict=True)]
    asked = [text for texts, i in zip(captions, own, strict=True) for text in texts[:i] + texts[i + 1 :]]
    return owners, asked


def read_captions(path: Path) -> dict[str, list[str]]:
    """Five by file name, sorted."""
    found: dict[str, list[str]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["image_filename"], []).append(row["caption"])
    return dict(sorted(found.items()))


def text_scores(captions: list[str], share: float, queries: list[str]) -> Scores:
    """(queries, photos), through the real full-text search."""
    chosen = set(np.random.default_rng(1).permutation(len(captions))[: round(share * len(captions))].tolist())
    scores = np.zeros((len(queries), len(captions)), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/fusion.db")
        with database.log() as session:
            session.add_all(
                Photo(id=i + 1, caption=text if i in chosen else None) for i, text in enumerate(captions)
            )
        with database.read() as session:
            for row, query in enumerate(queries):
                for photo_id, match in text_matches(session, query, PhotoFilter(), len(captions)).items():
                    scores[row, photo_id - 1] = match.score
        database.dispose()
    return scores


def convex(weight: float, cosine: Scores, words: Scores, scale: float) -> Combined:
    """Bruch, Gai and Ingber 2023, the weight in units of the model's scale."""
    return cosine + weight / scale * words


def noisy_or(weight: float, cosine: Scores, words: Scores, scale: float) -> Combined:
    """app/flows/fusion.py, of any weight."""
    combined: Combined = 1 - (1 - cosine.clip(0, 1)) * (1 - min(1, weight / scale) * words)
    return combined


def reciprocal_ranks(cosine: Scores, words: Scores, _: float) -> Combined:
    """A photo without a match has no rank among the words."""
    of_words: Combined = np.where(words > 0, 1 / (RRF_K + ranks(words)), 0)
    return 1 / (RRF_K + ranks(cosine)) + of_words


def ranks(scores: Scores) -> NDArray[np.int64]:
    """1 for the best of each row."""
    return 1 + np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1, kind="stable")


FAMILIES: dict[str, Callable[[float, Scores, Scores, float], Combined]] = {"convex": convex, "noisy or": noisy_or}
WAYS: dict[str, Fusion] = {
    "cosine alone": lambda cosine, words, scale: cosine,
    "words alone": lambda cosine, words, scale: words,
    "reciprocal ranks": reciprocal_ranks,
    **{f"convex {weight:g}": partial(convex, weight) for weight in WEIGHTS},
    **{f"noisy or {weight:g}": partial(noisy_or, weight) for weight in WEIGHTS},
    "fused": fusion.fused,
}


def recall(combined: Combined, half: int) -> Recall:
    """Shares of the queries of every other photo whose photo is among the first 1, 5 and 10; ties are lost."""
    target = np.repeat(np.arange(combined.shape[1]), CAPTIONS - 1)
    own = np.take_along_axis(combined, target[:, None], axis=1)
    rank = (combined >= own).sum(axis=1)[target % 2 == half]
    return {f"@{k}": round(float((rank <= k).mean()), 3) for k in RANKS}


def choose(
    family: Callable[[float, Scores, Scores, float], Combined],
    cosine: Scores,
    words: dict[float, Scores],
    scale: float,
) -> float:
    """The weight with the best mean recall on the first half of the photos, over all shares."""

    def quality(weight: float) -> float:
        return sum(sum(recall(family(weight, cosine, texts, scale), 0).values()) for texts in words.values())

    return max(WEIGHTS, key=quality)


def table(cosine: Scores, words: dict[float, Scores], scale: float) -> dict[str, dict[str, Recall]]:
    """Of the second half, by way and share."""
    return {
        name: {f"{share:.0%}": recall(way(cosine, texts, scale), 1) for share, texts in words.items()}
        for name, way in WAYS.items()
    }


def show(report: dict[str, Any]) -> None:
    print(f"{report['photos']} photos, {report['queries']} queries; chosen: {report['chosen']}")
    for kind in ("cosines", "squeezed"):
        for name, by_share in report[kind].items():
            cells = (" / ".join(f"{100 * value:.1f}" for value in found.values()) for found in by_share.values())
            print(f"{kind:9} {name:18}", *(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    main()
