"""Features of classes that no caption speaks of, drawn around the classifier's own weights.

For a classifier of the LDA kind, w = S⁻¹ (mean of the class − mean of all) with the covariance S of the features,
so S times the centred weights points to where the photos of a class lie. Nobody's ImageNet photos are needed.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from training.conse import CLASSES, Classifier
from training.feature_files import PromptFeatures

SURE = 0.5  # probability from which a photo says how far out its class lies
LIKELY = 0.35  # probability from which a photo may stand for its class in training


@dataclass(frozen=True)
class ClassFeatures:
    """Where photos of each class lie among the pooled features, and what real photos add to that."""

    photos: Tensor  # (photos, 1280) real ones
    prototypes: Tensor  # (1000, 1280)
    residuals: Tensor  # (photos, 1280) each photo less what its class probabilities explain
    likely: Tensor  # rows of photos that surely enough belong to their top class
    top_class: Tensor  # (photos,)

    def draw_synthetic(self, count: int, noise: float) -> tuple[Tensor, Tensor]:
        """Features (count, 1280) of random classes (count,): prototype + noise · a real residual, not negative."""
        classes = torch.randint(CLASSES, (count,))
        rows = torch.randint(len(self.residuals), (count,))
        return (self.prototypes[classes] + noise * self.residuals[rows]).clamp(min=0), classes

    def draw_real(self, count: int) -> tuple[Tensor, Tensor]:
        """Features (count, 1280) of likely photos and the classes (count,) they were taken for."""
        rows = self.likely[torch.randint(len(self.likely), (count,))]
        return self.photos[rows], self.top_class[rows]


def class_features(classifier: Classifier, photos: Tensor) -> ClassFeatures:
    """Prototypes as far from the mean photo as the surely classified photos are, along each class's direction.

    photos: (n, 1280) pooled features, captioned or not. Raises: ValueError if no photo is surely classified.
    """
    mean = photos.mean(0)
    centred = photos - mean
    covariance = centred.T @ centred / len(photos)
    directions = (classifier.weight - classifier.weight.mean(0)) @ covariance
    directions = directions / directions.norm(dim=1, keepdim=True)
    probabilities = torch.softmax(classifier.logits(photos), dim=1)
    top, top_class = probabilities.max(1)
    sure = top > SURE
    if not sure.any():
        raise ValueError("no photo is classified with confidence; more photos are needed")
    distance = (centred[sure] * directions[top_class[sure]]).sum(1).mean()
    steps = distance * directions
    residuals = centred - probabilities @ steps
    return ClassFeatures(photos, mean + steps, residuals, torch.nonzero(top > LIKELY).flatten(), top_class)


class PromptTable:
    """Which prompts are true of which class."""

    def __init__(self, prompts: PromptFeatures) -> None:
        self.true_of = torch.zeros(len(prompts.kinds), CLASSES, dtype=torch.bool)
        own: list[list[int]] = [[] for _ in range(CLASSES)]
        above: list[list[int]] = [[] for _ in range(CLASSES)]
        for row, (classes, kind) in enumerate(zip(prompts.classes, prompts.kinds, strict=True)):
            self.true_of[row, list(classes)] = True
            for each in classes:
                (above if kind == "hypernym" else own)[each].append(row)
        self._own, self._own_count = _padded(own)
        self._above, self._above_count = _padded(above)

    def draw(self, classes: Tensor, hypernym_share: float) -> Tensor:
        """A random prompt (row) for each class, (n,); of a hypernym in this share of the draws, if it has one."""
        general = (torch.rand(len(classes)) < hypernym_share) & (self._above_count[classes] > 0)
        count = torch.where(general, self._above_count[classes], self._own_count[classes])
        column = (torch.rand(len(classes)) * count).long()
        above = self._above[classes, column.clamp(max=self._above.shape[1] - 1)]
        return torch.where(general, above, self._own[classes, column.clamp(max=self._own.shape[1] - 1)])

    def also_true(self, classes: Tensor, prompts: Tensor) -> Tensor:
        """(n, n) bool: prompt j, drawn for photo j, is true of photo i's class too. False on the diagonal."""
        true = self.true_of[prompts][:, classes].T.clone()
        return true.fill_diagonal_(False)


def _padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    count = torch.tensor([len(row) for row in rows])
    table = torch.zeros(len(rows), max(1, int(count.max())), dtype=torch.long)
    for i, row in enumerate(rows):
        table[i, : len(row)] = torch.tensor(row, dtype=torch.long)
    return table, count
