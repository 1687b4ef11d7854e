"""Cached outputs of the locked towers: tensors as safetensors, the lists that name their rows as JSON beside."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor


@dataclass(frozen=True)
class ImageFeatures:
    """Pooled features of photos, before the classifier: views[name][i] (1280) belongs to files[i]."""

    files: tuple[str, ...]
    views: dict[str, Tensor]  # (photos, 1280) each

    def save(self, path: Path) -> None:
        """Written in float16: half the space, and the features are not known any better."""
        tensors = {name: view.to(torch.float16) for name, view in self.views.items()}
        _write(path, tensors, {"files": self.files})

    @classmethod
    def load(cls, path: Path) -> "ImageFeatures":
        """Views in float32. Raises: OSError; ValueError if the two files do not belong together."""
        views, lists = _read(path)
        return cls(tuple(lists["files"]), views)


@dataclass(frozen=True)
class CaptionFeatures:
    """pooled[i] (384) is texts[i], which describes the photo files[i]."""

    files: tuple[str, ...]
    texts: tuple[str, ...]
    pooled: Tensor  # (captions, 384)

    def save(self, path: Path) -> None:
        _write(path, {"pooled": self.pooled}, {"files": self.files, "texts": self.texts})

    @classmethod
    def load(cls, path: Path) -> "CaptionFeatures":
        """Raises: OSError; ValueError if the two files do not belong together."""
        tensors, lists = _read(path)
        return cls(tuple(lists["files"]), tuple(lists["texts"]), tensors["pooled"])


@dataclass(frozen=True)
class PromptFeatures:
    """pooled[i] (384) is a sentence that is true of every ImageNet class in classes[i].

    kinds[i] is `name`, `lemma`, `gloss` or `hypernym`: where class_prompts.py has it from.
    """

    classes: tuple[tuple[int, ...], ...]
    kinds: tuple[str, ...]
    pooled: Tensor  # (prompts, 384)

    def save(self, path: Path) -> None:
        _write(path, {"pooled": self.pooled}, {"classes": self.classes, "kinds": self.kinds})

    @classmethod
    def load(cls, path: Path) -> "PromptFeatures":
        """Raises: OSError; ValueError if the two files do not belong together."""
        tensors, lists = _read(path)
        return cls(tuple(map(tuple, lists["classes"])), tuple(lists["kinds"]), tensors["pooled"])


def _write(path: Path, tensors: dict[str, Tensor], lists: dict[str, Any]) -> None:
    _check_rows(path, tensors, lists)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    path.with_suffix(".json").write_text(json.dumps(lists), encoding="utf-8")


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
    lists = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    _check_rows(path, tensors, lists)
    return tensors, lists


def _check_rows(path: Path, tensors: dict[str, Tensor], lists: dict[str, Any]) -> None:
    rows = {len(tensor) for tensor in tensors.values()} | {len(names) for names in lists.values()}
    if len(rows) != 1:
        raise ValueError(f"{path.name} and its list disagree about the number of rows: {sorted(rows)}")
