"""The fixed part of the embedding: both sides as places among the ImageNet class names.

ConSE (Norouzi et al. 2014): a photo is the mean of the class names, weighted by what the classifier believes;
a text is compared with the same names. One PCA of the names takes both from 384 to 192 dimensions.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # the name torch's own documentation uses
from torch import Tensor

from app.services.embedded_encoder import ImageTower
from training.feature_files import PromptFeatures

CLASSES = 1000
DIM = 192
TEMPERATURE = 1.5  # chosen on development data, with the weight of this part (heads.Config.conse_weight)
# How much a prompt counts in its class's direction: synonyms that nobody uses hardly, the rest not at all.
WEIGHT_OF_KIND = {"name": 1.0, "lemma": 0.05}


@dataclass(frozen=True)
class Classifier:
    """The image tower's own last layer; locked."""

    weight: Tensor  # (1000, 1280)
    bias: Tensor  # (1000,)

    def logits(self, features: Tensor) -> Tensor:
        """(n, 1280) pooled features → (n, 1000)."""
        return F.linear(features, self.weight, self.bias)


@dataclass(frozen=True)
class Conse:
    """Maps pooled features of either tower to (n, 192) unit vectors."""

    classifier: Classifier
    classes: Tensor  # (1000, 192) class names, through the PCA
    pca: Tensor  # (384, 192), orthonormal columns
    centre: Tensor  # (384,) mean direction of texts, taken off every text
    temperature: float = TEMPERATURE

    def image(self, features: Tensor) -> Tensor:
        """(n, 1280) → (n, 192) unit vectors: unit(softmax(logits / temperature) @ classes)."""
        belief = torch.softmax(self.classifier.logits(features) / self.temperature, dim=-1)
        return F.normalize(belief @ self.classes, dim=-1)

    def text(self, pooled: Tensor) -> Tensor:
        """(n, 384) → (n, 192) unit vectors: unit((unit(pooled) − centre) @ pca)."""
        return F.normalize((F.normalize(pooled, dim=-1) - self.centre) @ self.pca, dim=-1)


def locked_classifier(tower: ImageTower) -> Classifier:
    layer = tower.model.classifier
    return Classifier(layer.weight.detach().cpu(), layer.bias.detach().cpu())


def build_conse(classifier: Classifier, prompts: PromptFeatures, captions: Tensor) -> Conse:
    """`captions`: (n, 384) pooled training captions, for the centre. Raises: ValueError, see class_directions."""
    directions = class_directions(prompts)
    pca = torch.linalg.svd(directions, full_matrices=False).Vh[:DIM].T.contiguous()
    return Conse(classifier, directions @ pca, pca, text_centre(prompts.pooled, captions))


def class_directions(prompts: PromptFeatures) -> Tensor:
    """(1000, 384) unit rows: the mean of a class's prompts, with the mean of all classes taken off.

    Raises: ValueError if a class has no name among the prompts.
    """
    total, weight = torch.zeros(CLASSES, prompts.pooled.shape[1]), torch.zeros(CLASSES, 1)
    for unit, classes, kind in zip(F.normalize(prompts.pooled), prompts.classes, prompts.kinds, strict=True):
        rows = list(classes)
        total[rows] += WEIGHT_OF_KIND.get(kind, 0.0) * unit
        weight[rows] += WEIGHT_OF_KIND.get(kind, 0.0)
    if not (weight > 0).all():
        raise ValueError(f"{int((weight == 0).sum())} classes have no name among the prompts")
    mean = F.normalize(total / weight)
    return F.normalize(mean - mean.mean(0))


def text_centre(prompts: Tensor, captions: Tensor) -> Tensor:
    """(384,): half way between the mean directions of the class prompts and of the captions."""
    return (F.normalize(prompts).mean(0) + F.normalize(captions).mean(0)) / 2
