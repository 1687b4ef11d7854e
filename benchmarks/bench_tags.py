"""How often are suggested tags right, and how many photos get one?

A tag counts as right if it, its plural or a word of SYNONYMS stands in one of the photo's five captions, or if
that is so for a tag that is narrower. Captions leave things out, so this is a little too strict; a toilet in
a field still counts as `bathroom`, so it is also a little too kind.

    python -m benchmarks.bench_tags --photos ../shared/photos
"""

import csv
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.services.embedded_encoder import EmbeddedEncoder
from app.services.interfaces import ImageTextEncoder, Scores, Vectors
from app.services.tagger import Concept, Tagger, closure, concept_vectors, softmax
from benchmarks import results
from benchmarks.photo_folder import chosen_folder

ROOT = Path(__file__).parent.parent
VOCABULARY = ROOT / "app" / "weights" / "tag_vocabulary.csv"
THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7)
MAX_COUNT = 5
WANTED_PRECISION = 0.9
IMAGES_PER_BATCH = 16

SYNONYMS = """
person: people player pitcher rider skier skateboarder
man: men guy guys player batter pitcher gentleman
woman: women lady girl girls female
child: children kid kids boy boys girl girls toddler
baby: toddler infant
people: group men women
crowd: spectators audience
man in a suit: suit
cook: baker chef
bird: gull geese turkeys
seagull: gull gulls
cow: cattle bull
sheep: lamb lambs
horse: horseback
dog: poodle
meal: lunch dinner
hamburger: burger burgers
french fries: fries
noodles: pasta spaghetti
pasta: noodles spaghetti
vegetables: veggies
coffee: mug latte
vehicle: vehicles traffic scooter
bus: buses
bicycle: bike bikes
cycling: bicycle bike bikes
motorcycle: motorbike
airplane: plane planes jet jets airliner jetliner biplane aircraft
skiing: skis ski skier skiers
snowboarding: snowboard snowboarder
surfing: surf surfer surfboard
skateboarding: skateboard skateboarder skateboards skating
baseball: batter pitcher
soccer: football
horse riding: horseback
video game: wii controller nintendo
bathroom: restroom toilet washroom shower
kitchen: kitchenette
room: hallway closet classroom office indoors
dining table: table
furniture: table tables
sofa: couch
toilet: commode urinal
bathtub: tub whirlpool
refrigerator: fridge icebox
stove: oven
houseplant: plant plants
cup: mug
landscape: hill hills hillside mountains meadow fields
mountain: hill hillside
snow: snowy skis
water: pond harbor
beach: shore sand
sea: ocean
waves: wave
forest: woods
flower: floral blooms blossoms
tree: bush
clouds: cloudy
sunset: dusk
street: intersection road sidewalk crosswalk
street sign: sign signs
stop sign: stop
road: street highway
city: downtown metropolitan
airport: tarmac runway
railway: tracks track
traffic light: stoplight
fire hydrant: hydrant
parking meter: meter
computer: monitor monitors macbook
laptop: macbook
phone: cellphone cellphones
telephone: phone
television: tv
birthday: cake cupcake
conference: presentation lecture audience
suitcase: luggage baggage
handbag: purse purses
toy: lego
building blocks: lego
statue: sculpture
building: skyscraper
"""

Flags = NDArray[np.bool_]
Row = dict[str, float]


def main() -> None:
    photos = chosen_folder(__doc__)
    if photos is None:
        return
    encoder = EmbeddedEncoder()
    tagger = Tagger(encoder, VOCABULARY, min_probability=0, max_count=MAX_COUNT)
    captions = read_captions(photos / "captions.csv")
    vectors = encode(encoder, [photos / "images" / name for name in captions])
    right = right_tags(tagger.concepts, list(captions.values()))
    phrases = [concept.phrase for concept in tagger.concepts]
    flat = softmax(encoder.logit_scale * (vectors @ concept_vectors(encoder, phrases).T))
    report = {
        "space": encoder.space,
        "photos": len(captions),
        "concepts": len(phrases),
        "chosen": table(tagger.probabilities(vectors), right),
        "plain_softmax": table(flat, right),
        "halves": cross_check(tagger.probabilities(vectors), right),
    }
    show(report)
    results.write("tags", report, ["torch"])


def read_captions(path: Path) -> dict[str, str]:
    """All captions of a photo as one string of lower-case words between spaces, by file name, sorted."""
    words: dict[str, str] = defaultdict(lambda: " ")
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            words[row["image_filename"]] += plain_words(row["caption"])[1:]
    return dict(sorted(words.items()))


def plain_words(caption: str) -> str:
    """Lower-case words, each between spaces."""
    return f" {' '.join(re.findall('[a-z]+', caption.lower()))} "


def encode(encoder: ImageTextEncoder, paths: Sequence[Path]) -> Vectors:
    return np.concatenate(
        [
            encoder.encode_images([Image.open(path).convert("RGB") for path in batch])
            for batch in _batches(paths, IMAGES_PER_BATCH)
        ]
    )


def right_tags(concepts: Sequence[Concept], captions: Sequence[str]) -> Flags:
    """(photos, concepts): the captions say this concept or a narrower one."""
    synonyms = dict(line.split(": ") for line in SYNONYMS.strip().splitlines())
    unknown = set(synonyms) - {concept.tag for concept in concepts}
    if unknown:
        raise ValueError(f"Synonyms for what is no tag: {sorted(unknown)}")
    words = [_forms(concept.tag) + synonyms.get(concept.tag, "").split() for concept in concepts]
    said = np.array([[any(f" {w} " in text for w in forms) for forms in words] for text in captions])
    right: Flags = (said.astype(int) @ closure(concepts).astype(int)) > 0
    return right


def _forms(tag: str) -> list[str]:
    return [tag, f"{tag}s", f"{tag}es"]


def _kept(probabilities: Scores, threshold: float) -> Flags:
    """At most MAX_COUNT a photo, the likeliest."""
    ranks = np.argsort(np.argsort(-probabilities, axis=1), axis=1)
    return (probabilities >= threshold) & (ranks < MAX_COUNT)


def measure(probabilities: Scores, right: Flags, threshold: float) -> Row:
    kept = _kept(probabilities, threshold)
    return {
        "threshold": threshold,
        "precision": round(float(right[kept].mean()), 3) if kept.any() else 1.0,
        "photos_with_a_tag": round(float(kept.any(axis=1).mean()), 3),
        "tags_per_photo": round(float(kept.sum() / len(kept)), 2),
    }


def table(probabilities: Scores, right: Flags) -> list[Row]:
    return [measure(probabilities, right, threshold) for threshold in THRESHOLDS]


def cross_check(probabilities: Scores, right: Flags) -> list[Row]:
    """The lowest threshold that is precise enough on one half of the photos, measured on the other half."""
    halves = [(slice(0, None, 2), slice(1, None, 2)), (slice(1, None, 2), slice(0, None, 2))]
    rows = []
    for choose, report in halves:
        fitting = [
            row["threshold"]
            for row in table(probabilities[choose], right[choose])
            if row["precision"] >= WANTED_PRECISION
        ]
        rows.append(measure(probabilities[report], right[report], min(fitting)))
    return rows


def show(report: dict[str, object]) -> None:
    print(f"{report['photos']} photos, {report['concepts']} concepts, {report['space']}")
    for name in ("chosen", "plain_softmax", "halves"):
        rows = report[name]
        assert isinstance(rows, list)
        print(f"{name:14} threshold  precision  photos with a tag  tags per photo")
        for row in rows:
            values = (row["threshold"], row["precision"], row["photos_with_a_tag"], row["tags_per_photo"])
            print("{:>14} {:>9.2f} {:>10.3f} {:>18.3f} {:>15.2f}".format("", *values))


def _batches(paths: Sequence[Path], size: int) -> list[Sequence[Path]]:
    return [paths[i : i + size] for i in range(0, len(paths), size)]


if __name__ == "__main__":
    main()
