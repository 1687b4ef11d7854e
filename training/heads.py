"""Step 4: train the projection heads on cached features.

InfoNCE between photos and captions (CLIP: Radford et al. 2021; with locked towers LiT: Zhai et al. 2022), plus
the same loss between class features and class prompts, so that classes without captions are learnt too. The
fixed ConSE part takes part in both losses, so the heads learn what it leaves to them.

    python -m training.heads features/class_texts.safetensors features/trained.safetensors \\
        --images features/flickr8k_images.safetensors --texts features/flickr8k_texts.safetensors \\
        --leave-out Flickr_8k.testImages.txt
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F  # the name torch's own documentation uses
import typer
from safetensors.torch import save_file
from torch import Tensor, nn

from app.services.embedded_encoder import ImageTower
from training.captions import read_names
from training.conse import Classifier, Conse, build_conse, locked_classifier
from training.feature_files import CaptionFeatures, ImageFeatures, PromptFeatures
from training.pairs import WHOLE_PHOTO, Pairs, join, pair_up
from training.synthetic import ClassFeatures, PromptTable, class_features

FEATURES, HIDDEN, WIDTH, DIM = 1280, 1024, 384, 320
MAX_LOGIT_SCALE = 100.0  # CLIP's limit (Radford et al. 2021, section 2.5)
START_TEMPERATURE = 0.07  # CLIP's
NOT_A_NEGATIVE = -1e4  # a logit that takes no part in the softmax
LEAST_DEVIATION = 1e-2  # added to each feature's, so that a dead one is not blown up


@dataclass(frozen=True)
class Config:
    """The published heads were trained with these values."""

    epochs: int = 90
    batch_size: int = 1024
    learning_rate: float = 1e-3
    warmup_epochs: int = 2
    weight_decay: float = 0.2
    dropout: float = 0.5  # of the image head's hidden layer; half of it on its input
    conse_weight: float = 0.85  # lam: length of the ConSE part beside the trained part
    class_loss_weight: float = 0.3
    class_batch_size: int = 512
    synthetic_share: float = 0.7  # of a class batch; the rest are real photos that were surely recognised
    residual_noise: float = 0.7
    hypernym_share: float = 0.35
    seed: int = 0


@dataclass(frozen=True)
class EpochLoss:
    """Mean loss over the batches of one epoch."""

    captions: float
    classes: float


class ImageHead(nn.Module):
    """(n, 1280) features → (n, 320) unit vectors; standardises its input until export.py folds that into fc1."""

    mean: Tensor  # (1280,)
    deviation: Tensor  # (1280,)

    def __init__(self, photos: Tensor, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", photos.mean(0))
        self.register_buffer("deviation", photos.std(0) + LEAST_DEVIATION)
        self.fc1 = nn.Linear(FEATURES, HIDDEN)
        self.fc2 = nn.Linear(HIDDEN, DIM)
        self.drop_input = nn.Dropout(dropout / 2)
        self.drop_hidden = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        hidden = F.gelu(self.fc1(self.drop_input((features - self.mean) / self.deviation)))
        return F.normalize(self.fc2(self.drop_hidden(hidden)), dim=-1)


class TextHead(nn.Module):
    """(n, 384) pooled texts → (n, 320) unit vectors."""

    def __init__(self) -> None:
        super().__init__()
        middle = (WIDTH + DIM) // 2
        self.txt = nn.Sequential(
            nn.Linear(WIDTH, middle, bias=False), nn.GELU(), nn.Linear(middle, DIM, bias=False)
        )

    def forward(self, pooled: Tensor) -> Tensor:
        return F.normalize(self.txt(pooled), dim=-1)


class Trainer:
    """One run of training; afterwards `tensors` is what export.py needs."""

    def __init__(
        self, pairs: Pairs, prompts: PromptFeatures, classes: ClassFeatures, conse: Conse, config: Config
    ) -> None:
        self.config = config
        self._pairs, self._prompts, self._classes, self._conse = pairs, prompts, classes, conse
        self._prompt_table = PromptTable(prompts)
        self._image_head = ImageHead(classes.photos, config.dropout)
        self._text_head = TextHead()
        start = -math.log(START_TEMPERATURE)
        self._caption_log_scale = nn.Parameter(torch.tensor(start))
        self._class_log_scale = nn.Parameter(torch.tensor(start))

    def run(self) -> list[EpochLoss]:
        """Train for config.epochs and return the loss of each; AdamW, linear warm-up, then half a cosine."""
        photos = self._pairs.views.shape[1]
        steps_per_epoch = math.ceil(photos / self.config.batch_size)
        optimizer = self._optimizer()
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, steps_per_epoch, self.config)
        )
        history = []
        for _ in range(self.config.epochs):
            losses = []
            for rows in torch.split(torch.randperm(photos), self.config.batch_size):
                captions, classes = self._caption_loss(rows), self._class_loss()
                optimizer.zero_grad()
                (captions + self.config.class_loss_weight * classes).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                losses.append((captions.item(), classes.item()))
            history.append(EpochLoss(*torch.tensor(losses).mean(0).tolist()))
        return history

    def tensors(self) -> dict[str, Tensor]:
        """The trained weights, the standardisation and the fixed part, float32, by the names export.py reads."""
        trained = {**self._image_head.state_dict(), **self._text_head.state_dict()}
        fixed = {"cls": self._conse.classes, "pca": self._conse.pca, "centre": self._conse.centre}
        numbers = {
            "temp": self._conse.temperature,
            "lam": self.config.conse_weight,
            "scale": self._caption_log_scale.exp().item(),
        }
        return trained | fixed | {name: torch.tensor(number) for name, number in numbers.items()}

    def _optimizer(self) -> torch.optim.Optimizer:
        parameters = [*self._image_head.parameters(), *self._text_head.parameters()]
        matrices = [p for p in parameters if p.ndim > 1]
        others = [p for p in parameters if p.ndim < 2]
        groups = [
            {"params": matrices, "weight_decay": self.config.weight_decay},
            {"params": [*others, self._caption_log_scale, self._class_log_scale], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.config.learning_rate, betas=(0.9, 0.98))

    def _caption_loss(self, rows: Tensor) -> Tensor:
        """A random view of each photo against a random one of its captions."""
        view = torch.randint(len(self._pairs.views), (len(rows),))
        column = torch.randint(self._pairs.captions.shape[1], (len(rows),))
        pooled = self._pairs.pooled[self._pairs.captions[rows, column]]
        cosines = self._cosines(self._pairs.views[view, rows], pooled)
        return symmetric_cross_entropy(logit_scale(self._caption_log_scale) * cosines)

    def _class_loss(self) -> Tensor:
        """Synthetic and real features of classes against prompts; a prompt true of both is no negative."""
        config = self.config
        count = int(config.class_batch_size * config.synthetic_share)
        synthetic, synthetic_classes = self._classes.draw_synthetic(count, config.residual_noise)
        real, real_classes = self._classes.draw_real(config.class_batch_size - count)
        classes = torch.cat([synthetic_classes, real_classes])
        prompts = self._prompt_table.draw(classes, config.hypernym_share)
        cosines = self._cosines(torch.cat([synthetic, real]), self._prompts.pooled[prompts])
        logits = logit_scale(self._class_log_scale) * cosines
        also_true = self._prompt_table.also_true(classes, prompts)
        return symmetric_cross_entropy(logits.masked_fill(also_true, NOT_A_NEGATIVE))

    def _cosines(self, features: Tensor, pooled: Tensor) -> Tensor:
        """(n, n) cosines of the whole embeddings [h ; lam · c]."""
        trained: Tensor = self._image_head(features) @ self._text_head(pooled).T
        with torch.no_grad():
            fixed = self._conse.image(features) @ self._conse.text(pooled).T
        weight = self.config.conse_weight**2
        return (trained + weight * fixed) / (1 + weight)


def learning_rate_factor(step: int, steps_per_epoch: int, config: Config) -> float:
    """Share of the full learning rate at a step, counted from 0 over the whole run."""
    warm_up = min(1.0, (step + 1) / (steps_per_epoch * config.warmup_epochs))
    return warm_up * 0.5 * (1 + math.cos(math.pi * step / (steps_per_epoch * config.epochs)))


def logit_scale(log_scale: Tensor) -> Tensor:
    return log_scale.exp().clamp(max=MAX_LOGIT_SCALE)


def symmetric_cross_entropy(logits: Tensor) -> Tensor:
    """InfoNCE both ways over (n, n) logits, where row i and column i belong together."""
    right = torch.arange(len(logits))
    return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


def train(
    pairs: Pairs, uncaptioned: Tensor, prompts: PromptFeatures, classifier: Classifier, config: Config
) -> tuple[dict[str, Tensor], list[EpochLoss]]:
    """Trained tensors (see Trainer.tensors) and the loss of each epoch; the same for the same seed.

    uncaptioned: (n, 1280) features of more photos, for where the classes lie; n may be 0.
    Raises: ValueError if a class has no name, or no photo is surely classified.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        conse = build_conse(classifier, prompts, pairs.pooled)
        classes = class_features(classifier, torch.cat([pairs.views[0], uncaptioned]))
        trainer = Trainer(pairs, prompts, classes, conse, config)
        history = trainer.run()
    return trainer.tensors(), history


def main(
    class_texts: Path,
    out: Path,
    images: Annotated[list[Path], typer.Option(help="Image features of a captioned set; may come again.")],
    texts: Annotated[list[Path], typer.Option(help="Caption features of the same sets, in the same order.")],
    uncaptioned: Annotated[Path | None, typer.Option(help="Image features of photos without captions.")] = None,
    leave_out: Annotated[Path | None, typer.Option(help="File names not to train on, one a line.")] = None,
    epochs: Annotated[int, typer.Option(min=1)] = Config.epochs,
) -> None:
    """Train the heads with the class prompts of CLASS_TEXTS and write them, in float32, to OUT."""
    left_out = read_names(leave_out) if leave_out else frozenset()
    sets = [
        pair_up(ImageFeatures.load(photos), CaptionFeatures.load(captions), left_out)
        for photos, captions in zip(images, texts, strict=True)
    ]
    more = ImageFeatures.load(uncaptioned).views[WHOLE_PHOTO] if uncaptioned else torch.empty(0, FEATURES)
    prompts, classifier = PromptFeatures.load(class_texts), locked_classifier(ImageTower())
    tensors, history = train(join(sets), more, prompts, classifier, Config(epochs=epochs))
    save_file(tensors, out)
    for number, loss in enumerate(history, start=1):
        print(f"epoch {number}: captions {loss.captions:.3f}, classes {loss.classes:.3f}")


if __name__ == "__main__":
    typer.run(main)
