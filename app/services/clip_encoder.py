"""Any CLIP or SigLIP model of open_clip, from weights that are on this machine."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import huggingface_hub.constants
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from app.services.interfaces import Vectors
from app.services.model_choice import PREPROCESSING
from app.services.packed_layers import pack
from app.services.vectors import finite
from app.services.weight_files import WeightsRefused


class OpenClipEncoder:
    """ImageTextEncoder of one architecture and one weights file (safetensors, or a state dict without code)."""

    def __init__(
        self,
        architecture: str,
        weights: Path,
        *,
        space: str,
        device: str,
        trained_with: Mapping[str, Any],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """trained_with: open_clip's own entry for these weights (mean, std, quick_gelu, …); empty if unknown.

        dtype is that of the image tower, and on the CPU of the text tower's products: half precision halves the
        weights to read, which is what a few tokens cost.
        Raises: WeightsRefused when the weights do not fit; never a model with random weights.
        """
        from open_clip.transform import PreprocessCfg, image_transform_v2

        self.space, self.device = space, device
        try:
            with _no_network():
                self._model = _load(architecture, weights, device, trained_with)
                self._tokenizer = _tokenizer(architecture)
        except WeightsRefused:
            raise
        except Exception as error:  # open_clip asserts, torch and the tokenizers raise kinds of their own
            raise WeightsRefused(f"{weights.name} cannot be used as {architecture}: {error}") from error
        self._model.visual.to(dtype)
        pack(self._model, dtype)
        self._dtype = dtype
        preprocessing = PreprocessCfg(**self._model.visual.preprocess_cfg)
        self.image_size = max(preprocessing.input_size[1:])
        self._fit, self._as_pixels = _halves(image_transform_v2(preprocessing, is_train=False))
        self.logit_scale = float(self._model.logit_scale.detach().exp())
        self.dim = self.encode_texts(["a photo"]).shape[1]

    def fitted(self, image: Image.Image) -> Image.Image:
        """As open_clip scales and cuts pictures for this model: image_size px, RGB."""
        return cast(Image.Image, self._fit(image))

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Unit vectors, float32, (len(images), dim). Raises: EncoderFailed (NaN)."""
        if not images:
            return np.empty((0, self.dim), np.float32)
        pixels = torch.stack([self._as_pixels(self.fitted(image)) for image in images]).to(self.device)
        return finite(F.normalize(self._model.encode_image(pixels.to(self._dtype)).float(), dim=-1))

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, (len(texts), dim).

        The model's own tokenizer cuts and pads to its context: CLIP 77 tokens; SigLIP 64, all of which it reads,
        so that padding is part of the input.
        Raises: EncoderFailed (NaN).
        """
        if not texts:
            return np.empty((0, self.dim), np.float32)
        tokens = self._tokenizer(list(texts)).to(self.device)
        return finite(encode_tokens(self._model, tokens))


def encode_tokens(model: Any, tokens: Tensor) -> Tensor:
    """(n, context length) tokens → (n, dim) unit vectors, without the work for the padding where that is exact.

    CLIP takes its answer at the end-of-text token, and under its causal mask no token sees a later one: what
    follows the last end of text (70 of 77 places, for a usual query) cannot change it. SigLIP sees its padding.
    """
    if not _answers_at_the_end_of_text(model):
        return cast(Tensor, model.encode_text(tokens, normalize=True))
    length = int(tokens.argmax(dim=-1).max()) + 1
    tokens = tokens[:, :length]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    ends = x[torch.arange(len(x), device=x.device), tokens.argmax(dim=-1)]
    return F.normalize(ends @ model.text_projection, dim=-1)


def _answers_at_the_end_of_text(model: Any) -> bool:
    import open_clip

    return (
        type(model) is open_clip.CLIP
        and model.text_pool_type == "argmax"
        and model.attn_mask is not None
        and isinstance(model.text_projection, nn.Parameter)
    )


def _halves(preprocess: Any) -> tuple[Callable[[Image.Image], Any], Callable[[Image.Image], Tensor]]:
    """What open_clip does with a picture before and after it turns into numbers."""
    from torchvision.transforms import Compose, ToTensor

    steps = preprocess.transforms
    middle = next(i for i, step in enumerate(steps) if isinstance(step, ToTensor))
    return Compose(steps[:middle]), Compose(steps[middle:])


def _load(architecture: str, weights: Path, device: str, trained_with: Mapping[str, Any]) -> Any:
    import open_clip

    return open_clip.create_model(
        architecture,
        pretrained=str(weights),
        device=device,
        force_quick_gelu=bool(trained_with.get("quick_gelu", False)),
        force_preprocess_cfg={k: trained_with[k] for k in PREPROCESSING if k in trained_with},
        require_pretrained=True,
    ).eval()


def _tokenizer(architecture: str) -> Any:
    """CLIP's comes with open_clip; SigLIP's is fetched with its weights. Raises: WeightsRefused."""
    import open_clip

    named = open_clip.get_model_config(architecture)["text_cfg"].get("hf_tokenizer_name")
    try:
        return open_clip.get_tokenizer(architecture)
    except OSError as error:
        raise WeightsRefused(
            f"The tokenizer {named} is not on this machine; "
            f"`recollect models download {architecture}/WEIGHTS` fetches it with open_clip's weights."
        ) from error


@contextmanager
def _no_network() -> Iterator[None]:
    """Tokenizers of some models ask the hub whether a newer file exists even when theirs is here: not from us."""
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = before
