"""Step 3: what the locked text tower makes of captions and class prompts, cached.

python -m training.text_features Flickr8k.token.txt features/flickr8k_texts.safetensors --source flickr8k
python -m training.text_features captions.csv features/coco_texts.safetensors --source csv
python -m training.text_features features/class_prompts.json features/class_texts.safetensors --source prompts
"""

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from app.services.embedded_encoder import TextTower
from training.captions import Captions, read_csv, read_flickr8k
from training.class_prompts import Prompt
from training.feature_files import CaptionFeatures, PromptFeatures

BATCH = 128


class Source(StrEnum):
    flickr8k = "flickr8k"
    csv = "csv"
    prompts = "prompts"


def pooled_texts(tower: TextTower, texts: Sequence[str]) -> Tensor:
    """(len(texts), 384), row i for texts[i]; encoded in order of length, so that little is padding."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    pooled = torch.empty(len(texts), 384)
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        pooled[rows] = tower.pooled([texts[i] for i in rows]).cpu()
    return pooled


def caption_features(tower: TextTower, captions: Captions) -> CaptionFeatures:
    return CaptionFeatures(captions.files, captions.texts, pooled_texts(tower, captions.texts))


def prompt_features(tower: TextTower, prompts: Sequence[Prompt]) -> PromptFeatures:
    pooled = pooled_texts(tower, [prompt.text for prompt in prompts])
    return PromptFeatures(tuple(p.classes for p in prompts), tuple(p.kind for p in prompts), pooled)


def read_prompts(path: Path) -> list[Prompt]:
    """What class_prompts.py wrote. Raises: OSError; TypeError or KeyError for another kind of file."""
    listed = json.loads(path.read_text(encoding="utf-8"))
    return [Prompt(each["text"], tuple(each["classes"]), each["kind"]) for each in listed]


def main(
    texts: Path,
    out: Path,
    source: Annotated[Source, typer.Option(help="The form of the file TEXTS.")],
    device: str = "cpu",
) -> None:
    """Encode the sentences of TEXTS and write their features to OUT."""
    tower = TextTower(device)
    if source is Source.prompts:
        prompts = prompt_features(tower, read_prompts(texts))
        prompts.save(out)
        print(f"{len(prompts.kinds)} prompts")
        return
    read = read_flickr8k if source is Source.flickr8k else read_csv
    captions = caption_features(tower, read(texts))
    captions.save(out)
    print(f"{len(captions.texts)} captions")


if __name__ == "__main__":
    typer.run(main)
