"""Step 1: sentences about the 1000 ImageNet classes, from their names and from WordNet 3.0 (Miller 1995).

python -m training.class_prompts /usr/share/wordnet/data.noun features/class_prompts.json
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import typer

Kind = Literal["name", "lemma", "gloss", "hypernym"]

# {name} is a class name, {a} the same with its article.
TEMPLATES = (
    "{name}",
    "{a}",
    "a photo of {a}",
    "a photo of the {name}",
    "a close-up photo of {a}",
    "a picture of {a}",
    "{a} in the photo",
    "an image showing {a}",
)
HYPERNYM_TEMPLATES = TEMPLATES[:4]
LEMMAS_PER_HYPERNYM = 3
MAX_CLASSES_PER_HYPERNYM = 350  # what is true of more than a third of all classes tells nothing about a photo
NAMES_PER_CLASS = 2  # ImageNet's own and open_clip's; the rest of the synset are lemmas

# Words of WordNet's upper levels, and some that mislead: nobody looks for a photo with them.
# fmt: off
TOO_GENERAL = frozenset({
    "abstract entity", "abstraction", "article", "artifact", "attribute", "being", "causal agent",
    "chordate", "commodity", "conveyance", "covering", "craniate", "device", "entity", "equipment",
    "eutherian", "group", "hunting dog", "implement", "instrumentality", "item", "living thing",
    "matter", "measure", "natural object", "object", "organism", "part", "physical entity", "piece",
    "placental", "psychological feature", "relation", "solid", "structure", "substance", "thing",
    "unit", "vascular plant", "vertebrate", "ware", "way", "whole",
})
# fmt: on


@dataclass(frozen=True)
class Synset:
    """One meaning: its words, the offsets of the meanings right above it, and the first clause of its gloss."""

    lemmas: tuple[str, ...]
    hypernyms: tuple[str, ...]
    gloss: str


@dataclass(frozen=True)
class ImageNetClass:
    """`offset` (8 digits) is the class's synset in WordNet 3.0, `name` what open_clip calls it."""

    offset: str
    name: str


@dataclass(frozen=True)
class Prompt:
    """A sentence that is true of a photo of any of these classes (indices in ImageNet's order)."""

    text: str
    classes: tuple[int, ...]
    kind: Kind


def read_synsets(path: Path) -> dict[str, Synset]:
    """Synsets by offset, from WordNet's data.noun (format: wndb(5WN)). Raises: OSError."""
    lines = path.read_text(encoding="latin-1").splitlines()
    return dict(_synset(line) for line in lines if line and not line.startswith("  "))


def imagenet_classes() -> list[ImageNetClass]:
    """The 1000 classes in the order of the classifier's logits."""
    from open_clip import IMAGENET_CLASSNAMES
    from timm.data import ImageNetInfo

    wnids = ImageNetInfo().label_names()
    return [ImageNetClass(wnid[1:], name) for wnid, name in zip(wnids, IMAGENET_CLASSNAMES, strict=True)]


def class_prompts(synsets: Mapping[str, Synset], classes: Sequence[ImageNetClass]) -> list[Prompt]:
    """Prompts with different texts (case apart). Raises: KeyError if a class is not among the synsets."""
    prompts = [
        prompt for i, each in enumerate(classes) for prompt in _prompts_of_class(i, each, synsets[each.offset])
    ]
    for offset, below in sorted(_classes_below(synsets, classes).items()):
        prompts += _prompts_of_hypernym(synsets[offset], below)
    return _merged(prompts)


def _synset(line: str) -> tuple[str, Synset]:
    fields, _, gloss = line.partition("|")
    offset, _, _, word_count, *rest = fields.split()
    words = 2 * int(word_count, 16)  # each word is followed by its lex_id
    pointers = rest[words + 1 : words + 1 + 4 * int(rest[words])]  # symbol, offset, part of speech, source/target
    above = [to for symbol, to in zip(pointers[::4], pointers[1::4], strict=True) if symbol in ("@", "@i")]
    lemmas = tuple(word.replace("_", " ") for word in rest[:words:2])
    return offset, Synset(lemmas, tuple(above), gloss.strip().split(";")[0])


def _prompts_of_class(index: int, each: ImageNetClass, synset: Synset) -> Iterator[Prompt]:
    for rank, name in enumerate(_distinct([synset.lemmas[0], each.name, *synset.lemmas])):
        kind: Kind = "name" if rank < NAMES_PER_CLASS else "lemma"
        for text in _filled(TEMPLATES, name):
            yield Prompt(text, (index,), kind)
    yield Prompt(synset.gloss, (index,), "gloss")


def _prompts_of_hypernym(synset: Synset, below: Sequence[int]) -> Iterator[Prompt]:
    if len(below) > MAX_CLASSES_PER_HYPERNYM:
        return
    lemmas = [lemma for lemma in synset.lemmas if lemma.lower() not in TOO_GENERAL]
    for lemma in lemmas[:LEMMAS_PER_HYPERNYM]:
        for text in _filled(HYPERNYM_TEMPLATES, lemma):
            yield Prompt(text, tuple(below), "hypernym")


def _classes_below(synsets: Mapping[str, Synset], classes: Sequence[ImageNetClass]) -> dict[str, list[int]]:
    """For each synset above any class, the indices of the classes that it is above."""
    below: defaultdict[str, list[int]] = defaultdict(list)
    for index, each in enumerate(classes):
        for offset in _ancestors(synsets, each.offset):
            below[offset].append(index)
    return below


def _ancestors(synsets: Mapping[str, Synset], offset: str) -> set[str]:
    found: set[str] = set()
    waiting = [offset]
    while waiting:
        above = set(synsets[waiting.pop()].hypernyms) - found
        found |= above
        waiting += above
    return found


def _filled(templates: Sequence[str], name: str) -> list[str]:
    article = "an" if name[0].lower() in "aeiou" else "a"
    return [template.format(name=name, a=f"{article} {name}") for template in templates]


def _distinct(names: Iterable[str]) -> list[str]:
    """Without those that differ from an earlier one in case only."""
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(name.lower(), name)
    return list(first.values())


def _merged(prompts: Iterable[Prompt]) -> list[Prompt]:
    """One prompt for each text, true of all classes that the text was made for; the first kind stays."""
    merged: dict[str, Prompt] = {}
    for prompt in prompts:
        known = merged.setdefault(prompt.text.lower(), prompt)
        classes = tuple(sorted({*known.classes, *prompt.classes}))
        merged[prompt.text.lower()] = Prompt(known.text, classes, known.kind)
    return list(merged.values())


def main(data_noun: Path, out: Path) -> None:
    """Write the prompts, a JSON list, from WordNet 3.0's DATA_NOUN to OUT."""
    prompts = class_prompts(read_synsets(data_noun), imagenet_classes())
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps([asdict(prompt) for prompt in prompts]), encoding="utf-8")
    print(f"{len(prompts)} prompts")


if __name__ == "__main__":
    typer.run(main)
