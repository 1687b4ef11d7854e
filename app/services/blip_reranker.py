"""BLIP's image-text matching (Li et al. 2022): a model that looks at a picture and a text together.

It tells better than two vectors whether they belong together, and is far slower: the picture passes through a
transformer of 577 tokens, the text through one that attends to all of them.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from app.services.interfaces import Scores
from app.services.model_choice import try_the_hub_once
from app.services.vectors import finite
from app.services.weight_files import WeightsRefused, check_weights

logger = logging.getLogger(__name__)

NONE, BLIP = "none", "blip"
REPOSITORY = "Salesforce/blip-itm-base-coco"
WEIGHTS = "model.safetensors"
FILES = [WEIGHTS, "*.json", "vocab.txt"]
MATCHES = 1  # the class of the matching head; 0 is "does not match"


class BlipMatcher:
    """ImageTextMatcher from a folder as transformers' `save_pretrained` writes it, weights in safetensors."""

    def __init__(self, folder: Path, *, name: str, device: str, dtype: torch.dtype = torch.float32) -> None:
        """dtype is that of the part that sees, which is most of the work; the one that reads stays in float32.

        Raises: WeightsRefused when something is missing or does not fit; never a model with random weights.
        """
        from transformers import BlipForImageTextRetrieval, BlipProcessor

        self.name, self._device, self._dtype = name, device, dtype
        try:
            self._processor: Any = BlipProcessor.from_pretrained(folder, local_files_only=True)
            model, loaded = BlipForImageTextRetrieval.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, output_loading_info=True
            )
        except Exception as error:  # transformers, safetensors, tokenizers and the disk raise kinds of their own
            raise WeightsRefused(f"{name} cannot be used for reranking: {error}") from error
        if absent := [*loaded["missing_keys"], *loaded["mismatched_keys"]]:
            raise WeightsRefused(f"The weights of {name} are not whole: {len(absent)} tensors are missing.")
        self._model: Any = model.eval().to(device)
        self._model.vision_model.to(dtype)
        self._max_tokens = int(model.config.text_config.max_position_embeddings)

    @torch.inference_mode()
    def probabilities(self, text: str, images: Sequence[Image.Image]) -> Scores:
        """(len(images),) float32, 0..1: how sure it is that the text says what the picture shows.

        Text past the model's context is cut. Raises: EncoderFailed (NaN).
        """
        read = self._processor(
            images=list(images), text=text, return_tensors="pt", truncation=True, max_length=self._max_tokens
        ).to(self._device)
        seen = self._model.vision_model(read.pixel_values.to(self._dtype)).last_hidden_state.float()
        matched = self._model.text_encoder(
            input_ids=read.input_ids.expand(len(seen), -1),
            attention_mask=read.attention_mask.expand(len(seen), -1),
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=seen.device),
        ).last_hidden_state
        return finite(self._model.itm_head(matched[:, 0]).softmax(dim=-1)[:, MATCHES])


def weights_folder(setting: str, expected_sha256: str | None = None, *, fetch: bool = True) -> Path:
    """The folder that RECOLLECT_RERANKER stands for: `blip`, a folder of one's own, or a repository of the hub.

    What is not on this machine is fetched if `fetch` allows it, for only the user's setting asks for it.
    Raises: WeightsRefused.
    """
    local = Path(setting).expanduser()
    folder = local if local.is_dir() else _from_hub(REPOSITORY if setting == BLIP else setting, fetch=fetch)
    if not (folder / WEIGHTS).is_file():
        raise WeightsRefused(
            f"{setting} has no {WEIGHTS}; weights in other formats may hold code, and are not read."
        )
    check_weights(folder / WEIGHTS, expected_sha256, "RECOLLECT_RERANKER_SHA256")
    return folder


def _from_hub(repository: str, *, fetch: bool) -> Path:
    from huggingface_hub import snapshot_download

    with suppress(Exception):  # not here, not whole, or no name that the hub knows: fetching tells which
        folder = Path(snapshot_download(repository, allow_patterns=FILES, local_files_only=True))
        if (folder / WEIGHTS).is_file():
            return folder
    if not fetch:
        raise WeightsRefused(f"{repository} is not on this machine.")
    logger.info("Fetching %s from the internet.", repository)
    try:
        try_the_hub_once()
        return Path(snapshot_download(repository, allow_patterns=FILES))
    except Exception as error:  # each of the hub's, the network's and the disk's own kinds
        raise WeightsRefused(f"{repository} is not on this machine and could not be fetched.") from error
