"""Does the relevance tell whether anything in the library is what was asked for, better than any fixed cosine?

Photos, words and questions are split into halves. On one half everything is chosen: the best fixed cosine, and the
two constants of each logistic function. On the other half it is measured; so 40 times, and both ways would be the
same. In each half the library is one half of its photos, and the queries are
- captions of all its photos: of those that are not in the library some have a match nonetheless (two photos of
  pizza), which is judged by the concepts that captions name: a match shows all of them, what shows less than half
  is none, and what lies between is left out;
- words for animals, vehicles, sports, music and food, whose absence captions tell best;
- questions that no photo answers (ABSENT).
Pictures as queries are a smaller, a cropped and a mirrored copy of each photo; a match is the photo itself or one
that shares a concept which most of its captions name and which not more than an eighth of the photos have. With
one of these copies nearly every library has a match, so the constants for pictures are chosen, and the methods
compared, by single results; for words it is by "does anything match?", which a user sees first.

    python -m benchmarks.bench_relevance --photos ../shared/photos
"""

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy.optimize import minimize
from scipy.special import expit

from app.services.embedded_encoder import EmbeddedEncoder
from app.services.interfaces import ImageTextEncoder, Vectors
from app.services.relevance import MATCH, MIDDLE, SLOPE, QueryForm, Relevance
from app.services.tagger import encoded_texts
from benchmarks import results
from benchmarks.captioned_photos import CAPTIONS, CaptionedPhotos, Grades, interval, load, relevance_of
from benchmarks.photo_folder import chosen_folder

SPLITS = 40
SHOWN = 10  # results of a query
COMMON = 1 / 8
JUDGED = ("animals", "vehicles", "sports", "music", "food")
TOO_BROAD = ("food", "meal", "drink", "vehicle", "sport", "dessert")
ABSENT = """a spaceship on mars; quarterly tax form; x-ray of a knee; asdf qwer; an astronaut floating in space;
a submarine under the ice; a black hole; the surface of the moon; a microscope slide of bacteria;
ultrasound of a baby; a circuit diagram; an organ pipe in a cathedral; a medieval knight in armour;
a dinosaur skeleton in a museum; a coral reef with tropical fish; a camel caravan in the desert;
penguins on an iceberg; a volcano erupting at night; a wedding dress in a shop window; a violin on a chair;
a chess tournament; northern lights over a fjord; a hot air balloon over a valley; an oil tanker in a storm;
a blacksmith hammering iron; sumo wrestlers; a swarm of bees on a hive; a spider in its web; a jellyfish;
a kangaroo with its young; an octopus; a nuclear power plant; wind turbines in a field; a space shuttle launch;
a tank on a battlefield; a swimming competition; a boxing match; ballet dancers on stage;
a rock concert with fireworks; an orchestra playing; an igloo; a pyramid in egypt; the eiffel tower; mount fuji;
a printed circuit board; a spreadsheet of numbers; a handwritten letter; a bank statement; a passport page;
a crossword puzzle; a chemical formula on a blackboard; a fingerprint; a barcode; xkcd plugh zork;
lorem ipsum dolor sit amet; qqqq zzzz; blorp frimble; jfkdls sldkf; 42; the meaning of life; democracy;
last tuesday; error 404 page not found; invoice number 2231; why is the sky blue; how to change a tyre;
a snail on a leaf; a hedgehog; an owl at night; a lion hunting"""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Queries:
    """q queries on n photos. A query goes to the half that its `source` goes to."""

    cosines: Values  # (q, n)
    evidence: Values  # (q, n), of which the relevance is a logistic function
    grades: Grades  # (q, n): 1 is a match, less than half is none
    sources: NDArray[np.int64]  # (q,): row of a photo, or a number beyond them
    kinds: NDArray[np.str_]  # (q,)
    compared: str  # "f1" of whole answers or "result_f1" of single results: by this everything is chosen


@dataclass(frozen=True)
class Shown:
    """The results of the queries of one half."""

    scores: dict[str, Values]  # (q, SHOWN) by method
    right: Values  # (q, SHOWN): 1, 0, or NaN where it is not judged
    any_right: Values  # (q,): whether the library has a match at all; NaN where it is not judged
    kinds: NDArray[np.str_]
    compared: str

    def labelled(self, method: str) -> tuple[Values, Values]:
        """Scores and whether they are right, of all that everything is chosen by and that is judged."""
        scores, right = self.scores[method], self.right
        if self.compared == "f1":
            scores, right = scores.max(axis=1), self.any_right
        known = ~np.isnan(right)
        return scores[known], right[known]


def main() -> None:
    folder = chosen_folder(__doc__)
    if folder is None:
        return
    encoder = EmbeddedEncoder()
    photos = load(encoder, folder)
    relevance = relevance_of(encoder, photos.concepts)
    asked = {
        QueryForm.WORDS: words(encoder, photos, relevance),
        QueryForm.PICTURE: pictures(encoder, photos, relevance),
    }
    report: dict[str, Any] = {"space": encoder.space, "photos": len(photos), "splits": SPLITS}
    for form, queries in asked.items():
        report[form.value] = measured(queries, len(photos)) | {
            "constants_of_all": constants(queries),
            "shipped": {"slope": SLOPE[form], "middle": MIDDLE[form]},
        }
    report["ms_for_1000_photos"] = cost_ms(relevance, photos.vectors)
    show(report)
    results.write("relevance", report, ["torch", "numpy"])


def words(encoder: ImageTextEncoder, photos: CaptionedPhotos, relevance: Relevance) -> Queries:
    judged = [i for i, c in enumerate(photos.concepts) if c.category in JUDGED and c.tag not in TOO_BROAD]
    tags = [photos.concepts[i].tag for i in judged]
    absent = [" ".join(words.split()) for words in ABSENT.split(";")]
    asked = encoded_texts(encoder, [*tags, *(f"pictures of {tag}" for tag in tags), *absent])
    shown = photos.shows[:, judged].T.astype(np.float32)
    count, nothing = len(photos), np.zeros((len(absent), len(photos)), np.float32)
    return Queries(
        cosines=np.concatenate([photos.texts, asked]) @ photos.vectors.T,
        evidence=np.stack(
            [relevance.evidence(q, photos.vectors, QueryForm.WORDS) for q in [*photos.texts, *asked]]
        ),
        grades=np.concatenate([photos.grades, shown, shown, nothing]),
        sources=np.concatenate(
            [
                np.arange(count).repeat(CAPTIONS),
                np.tile(np.arange(len(tags)), 2) + count,
                np.arange(len(absent)) + count + len(tags),
            ]
        ),
        kinds=np.repeat(["caption", "word", "absent"], [CAPTIONS * count, 2 * len(tags), len(absent)]),
        compared="f1",
    )


def pictures(encoder: ImageTextEncoder, photos: CaptionedPhotos, relevance: Relevance) -> Queries:
    copies = np.concatenate([_encoded(encoder, photos.paths, change) for change in (_small, _cropped, _mirrored)])
    often = photos.said.reshape(len(photos), CAPTIONS, -1).sum(axis=1)
    telling = photos.shows.mean(axis=0) <= COMMON
    main, any_of = ((often >= least) & telling for least in (CAPTIONS // 2 + 1, 1))
    shared = main.astype(int) @ any_of.T.astype(int) > 0
    nothing_shared = any_of.astype(int) @ any_of.T.astype(int) == 0
    grades = np.where(shared | shared.T | np.eye(len(photos), dtype=bool), 1, np.where(nothing_shared, 0, 0.5))
    return Queries(
        cosines=copies @ photos.vectors.T,
        evidence=np.stack([relevance.evidence(q, photos.vectors, QueryForm.PICTURE) for q in copies]),
        grades=np.tile(grades.astype(np.float32), (3, 1)),
        sources=np.tile(np.arange(len(photos)), 3),
        kinds=np.repeat(["smaller", "cropped", "mirrored"], len(photos)),
        compared="result_f1",
    )


def _encoded(
    encoder: ImageTextEncoder, paths: list[Path], change: Callable[[Image.Image], Image.Image]
) -> Vectors:
    return np.concatenate([encoder.encode_images([change(Image.open(path).convert("RGB"))]) for path in paths])


def _small(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.resize((image.width // 2, image.height // 2)).save(buffer, "JPEG", quality=50)
    return Image.open(buffer).convert("RGB")


def _cropped(image: Image.Image) -> Image.Image:
    left, top = image.width // 10, image.height // 10
    return image.crop((left, top, image.width - left, image.height - top))


def _mirrored(image: Image.Image) -> Image.Image:
    return ImageOps.mirror(image)


def measured(queries: Queries, photos: int) -> dict[str, Any]:
    """Over all splits: what was chosen on one half, on the other half."""
    rows = [_one_split(queries, photos, seed) for seed in range(SPLITS)]
    table = {name: {key: interval([row[name][key] for row in rows]) for key in rows[0][name]} for name in rows[0]}
    gain = [row["relevance"][queries.compared] - row["best fixed cosine"][queries.compared] for row in rows]
    return {
        "compared": queries.compared,
        "methods": table,
        "gain": interval(gain),
        "splits_won": float(np.mean(np.array(gain) > 0)),
    }


def _one_split(queries: Queries, photos: int, seed: int) -> dict[str, dict[str, float]]:
    chosen_on, measured_on = halves(queries, photos, seed)
    best = best_threshold(*chosen_on.labelled("cosine"))
    fixed = np.where(measured_on.scores["cosine"] >= best, 1.0, 0.0)
    found = {"best fixed cosine": decisions(fixed, measured_on)}
    for name, method in (("logistic of the cosine", "cosine"), ("relevance", "evidence")):
        slope, middle = fitted(chosen_on, method)
        probabilities = expit(slope * (measured_on.scores[method] - middle))
        found[name] = decisions(probabilities, measured_on) | calibration(probabilities, measured_on)
    return found


def halves(queries: Queries, photos: int, seed: int) -> list[Shown]:
    """Two halves that share no photo, no word and no question."""
    random = np.random.default_rng(seed)
    others = np.unique(queries.sources[queries.sources >= photos])
    own, other = random.permutation(photos), random.permutation(others)
    found = []
    for half in (0, 1):
        library = np.sort(own[half::2][: photos // 4])
        asked = np.isin(queries.sources, np.concatenate([own[half::2], other[half::2]]))
        found.append(_shown(queries, asked, library))
    return found


def _shown(queries: Queries, asked: NDArray[np.bool_], library: NDArray[np.int64]) -> Shown:
    part = np.ix_(asked, library)
    cosines, evidence, grades = queries.cosines[part], queries.evidence[part], queries.grades[part]
    best = np.argsort(-cosines, axis=1)[:, :SHOWN]
    first = {"cosine": np.take_along_axis(cosines, best, 1), "evidence": np.take_along_axis(evidence, best, 1)}
    right = np.take_along_axis(grades, best, 1)
    return Shown(first, _judged(right), _judged(grades.max(axis=1)), queries.kinds[asked], queries.compared)


def _judged(grades: NDArray[np.float32]) -> Values:
    return np.where(grades >= 1, 1.0, np.where(grades < 0.5, 0.0, np.nan))


def best_threshold(scores: Values, right: Values) -> float:
    """With the highest F1."""
    order = np.argsort(-scores, kind="stable")
    true, said = np.cumsum(right[order]), np.arange(1, len(scores) + 1)
    return float(scores[order][np.argmax(2 * true / (said + right.sum()))])


def fitted(half: Shown, method: str) -> tuple[float, float]:
    """Slope and middle. Of single results less than half are right, so that the likeliest middle asks for more
    than serves a search best; there it is where F1 is best."""
    scores, right = half.labelled(method)
    slope, middle = logistic_fit(scores, right)
    return slope, middle if half.compared == "f1" else best_threshold(scores, right)


def logistic_fit(scores: Values, right: Values) -> tuple[float, float]:
    """Slope and middle with the highest likelihood."""
    scale = scores.std()

    def loss(parameters: Values) -> float:
        logits = parameters[0] * scores / scale + parameters[1]
        return float(np.logaddexp(0, np.where(right == 1, -logits, logits)).mean())

    slope, offset = minimize(loss, np.array([1.0, 0.0])).x
    return float(slope / scale), float(-offset * scale / slope)


def decisions(probabilities: Values, shown: Shown) -> dict[str, float]:
    """For "something matches" over queries, and for single results (`result_f1`)."""
    known, judged = ~np.isnan(shown.any_right), ~np.isnan(shown.right)
    said = probabilities.max(axis=1) >= MATCH
    found = f1(said[known], shown.any_right[known])
    found["result_f1"] = f1(probabilities[judged] >= MATCH, shown.right[judged])["f1"]
    if (absent := shown.kinds == "absent").any():
        found["absent_told"] = float((~said[absent]).mean())
    return found


def f1(said: NDArray[np.bool_], right: Values) -> dict[str, float]:
    true = float((said & (right == 1)).sum())
    precision, recall = true / max(1, said.sum()), true / max(1, (right == 1).sum())
    return {"precision": precision, "recall": recall, "f1": 2 * true / max(1, said.sum() + (right == 1).sum())}


def calibration(probabilities: Values, shown: Shown) -> dict[str, float]:
    """Brier score and expected calibration error (ten bins of as many), for queries and for single results."""
    found = {}
    for name, p, right in (
        ("query", probabilities.max(axis=1), shown.any_right),
        ("result", probabilities, shown.right),
    ):
        known = ~np.isnan(right)
        error = p[known] - right[known]
        bins = np.array_split(error[np.argsort(p[known])], 10)
        found[f"{name}_brier"] = float((error**2).mean())
        found[f"{name}_ece"] = float(sum(abs(part.sum()) for part in bins) / len(error))
    return found


def constants(queries: Queries) -> dict[str, float]:
    """What the service uses: the mean of the fits on both halves of all splits."""
    fits = [
        fitted(half, "evidence")
        for seed in range(SPLITS)
        for half in halves(queries, int(queries.cosines.shape[1]), seed)
    ]
    slope, middle = np.mean(fits, axis=0)
    return {"slope": round(float(slope), 3), "middle": round(float(middle), 3)}


def cost_ms(relevance: Relevance, vectors: Vectors) -> dict[str, float]:
    """Median of 30 calls."""
    many = np.resize(vectors, (1000, vectors.shape[1]))
    found = {}
    for form in QueryForm:
        times = []
        for _ in range(30):
            start = time.perf_counter()
            relevance.of(vectors[0], many, form)
            times.append(1000 * (time.perf_counter() - start))
        found[form.value] = round(float(np.median(times)), 2)
    return found


def show(report: dict[str, Any]) -> None:
    print(f"{report['photos']} photos, {report['space']}, {report['ms_for_1000_photos']} ms for 1,000 photos")
    for form in QueryForm:
        found = report[form.value]
        print(f"{form.value}: gain in {found['compared']} {found['gain']}, won {found['splits_won']:.0%}")
        print(f"  {found['constants_of_all']}")
        for name, row in found["methods"].items():
            print(f"  {name:24}", "  ".join(f"{key} {value[0]:.3f}" for key, value in row.items()))


if __name__ == "__main__":
    main()
