"""How are cosine similarity and the words that people have written best put together?

Some of the photos get one of their five captions as the owner's; the other captions of all photos are asked for,
and each should find its photo. Weights are chosen on one half of the photos, and reported on the other.
Once more with cosines squeezed to the range of CLIP's, and the scale that belongs to them: the same weights
should do.

    python -m benchmarks.bench_fusion --photos ../shared/photos
"""

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
from benchmarks.bench_tags import encode
from benchmarks.photo_folder import chosen_folder

CAPTIONS = 5
SHARES = (0.0, 0.3, 1.0)  # of the photos have a caption
RANKS = (1, 5, 10)
SPLITS = 20  # into halves
RRF_K = 60  # Cormack, Clarke and Büttcher 2009
WEIGHTS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 14.0, 20.0)  # nats
SQUEEZED, LIFTED = 0.35, 0.12  # cosines × and +: true pairs have then 0.27 on average, others 0.13, as with CLIP

Combined = NDArray[np.floating]
Fusion = Callable[[Scores, Scores, float], Combined]  # cosines and text scores, (queries, photos), and the scale


def main() -> None:
    """Print a table, and write results/fusion.json."""
    photos = chosen_folder(__doc__)
    if photos is None:
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
        "cosines": compare(cosine, words, encoder.logit_scale),
        "squeezed": compare(cosine * SQUEEZED + LIFTED, words, encoder.logit_scale / SQUEEZED),
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
    "fused": lambda cosine, words, scale: fusion.fused(cosine, words, fusion.text_weight(scale)),
    **{f"{name} {weight:g}": partial(way, weight) for name, way in FAMILIES.items() for weight in WEIGHTS},
}


def halves(photos: int) -> list[NDArray[np.bool_]]:
    """Queries of a random half of the photos, SPLITS times."""
    photo = np.repeat(np.arange(photos), CAPTIONS - 1)
    orders = [np.random.default_rng(seed).permutation(photos) for seed in range(SPLITS)]
    return [np.isin(photo, order[: photos // 2]) for order in orders]


def hits(combined: Combined) -> NDArray[np.bool_]:
    """(queries, 3): whether the photo is among the first 1, 5 and 10; ties are lost."""
    photo = np.repeat(np.arange(combined.shape[1]), CAPTIONS - 1)[:, None]
    rank = (combined >= np.take_along_axis(combined, photo, axis=1)).sum(axis=1)
    return np.stack([rank <= k for k in RANKS], axis=1)


def compare(cosine: Scores, words: dict[float, Scores], scale: float) -> dict[str, Any]:
    """Recall@1, 5 and 10 by way and share, and, for each family, of the weight that the other half likes best."""
    found = {
        name: {share: hits(way(cosine, text, scale)) for share, text in words.items()}
        for name, way in WAYS.items()
    }
    report: dict[str, Any] = {
        name: {f"{share:.0%}": mean(one) for share, one in by.items()} for name, by in found.items()
    }
    for family in FAMILIES:
        best: list[float] = []
        others: dict[float, list[Any]] = {share: [] for share in words}
        for half in halves(cosine.shape[1]):
            liking = {w: sum(one[half].mean() for one in found[f"{family} {w:g}"].values()) for w in WEIGHTS}
            best.append(max(liking, key=lambda weight: liking[weight]))
            for share in words:
                others[share].append(found[f"{family} {best[-1]:g}"][share][~half].mean(axis=0))
        report[f"{family}, chosen"] = {"weight": float(np.median(best))}
        report[f"{family}, chosen"] |= {f"{share:.0%}": mean(np.stack(each)) for share, each in others.items()}
    return report


def mean(values: NDArray[Any]) -> list[float]:
    """%, of each column."""
    return [round(100 * float(value), 1) for value in values.mean(axis=0)]


def show(report: dict[str, Any]) -> None:
    print(
        f"{report['photos']} photos, {report['queries']} queries; recall@1 / 5 / 10 by share of photos with words"
    )
    for kind in ("cosines", "squeezed"):
        for name, found in report[kind].items():
            cells = [
                f"{value}" if key == "weight" else " / ".join(map(str, value)) for key, value in found.items()
            ]
            print(f"{kind:9} {name:18}", *(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    main()
