"""Which image-text model to use, and why: from RECOLLECT_MODEL and from what is on this machine."""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.services.weight_files import WeightsRefused, check_weights, file_sha256

logger = logging.getLogger(__name__)

EMBEDDED = "embedded"
EMBEDDED_SPACE = "embedded/compact-1"
AUTO = "auto"
RECOMMENDED = "ViT-B-32/laion2b_s34b_b79k"
RECOMMENDED_REPOSITORY = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
RECOMMENDED_FILE = "open_clip_model.safetensors"
PINNED_SHA256 = {RECOMMENDED: "ac4f8c4b88af6d963118cbf40ad93176d092abbedfcb752601ae1866352656e6"}
PINNED_BY = "RECOLLECT_MODEL_SHA256"
HUB_TIMEOUT_S = 5
PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")  # as open_clip's entries call them
DOWNLOAD_HINT = "`recollect models download` fetches them"


@dataclass(frozen=True)
class ClipWeights:
    """An open_clip architecture with one weights file; `tag` is open_clip's name of the weights, if it has one."""

    architecture: str
    tag: str | None
    path: Path

    @property
    def trained_with(self) -> Mapping[str, Any]:
        """open_clip's entry for these weights: mean, std, interpolation, quick_gelu, …"""
        return tag_config(self.architecture, self.tag) if self.tag else preprocessing_of(self.architecture)


@dataclass(frozen=True)
class ModelChoice:
    """`clip` is None for the embedded model; `reason` is told in the log and in /health."""

    space: str
    reason: str
    clip: ClipWeights | None = None

    @property
    def name(self) -> str:
        """The setting that chooses the same again, whatever `auto` may stand for then."""
        if self.clip is None:
            return EMBEDDED
        return f"{self.clip.architecture}/{self.clip.tag or self.clip.path.absolute()}"


def plain_name(setting: str) -> str:
    """The `ModelChoice.name` that RECOLLECT_MODEL stands for now; asked often, so nothing is read or checked."""
    if setting == AUTO:
        return EMBEDDED if recommended_weights() is None else RECOMMENDED
    architecture, _, weights = setting.partition("/")
    path = Path(weights).expanduser()
    return f"{architecture}/{path.absolute()}" if weights and path.is_file() else setting


def checked_name(setting: str) -> str:
    """The plain name, if there can be such a model; its weights are not looked for. Raises: WeightsRefused."""
    name = plain_name(setting)
    if name != EMBEDDED:
        parse_name(name)
    return name


def choose_model(setting: str, expected_sha256: str | None = None, *, fetch: bool = True) -> ModelChoice:
    """The model that RECOLLECT_MODEL stands for; its weights are on this machine and checked.

    Only a model named by the user is fetched from the internet, when it is not here and `fetch` allows it.
    Raises: WeightsRefused (unknown name, no internet, wrong SHA-256).
    """
    if setting == EMBEDDED:
        return ModelChoice(EMBEDDED_SPACE, "RECOLLECT_MODEL=embedded")
    if setting == AUTO:
        return _recommended_if_here()
    architecture, weights = parse_name(setting)
    if Path(weights).expanduser().is_file():
        return _local_checkpoint(architecture, Path(weights).expanduser(), expected_sha256)
    path = weights_on_this_machine(setting)
    if path is None and not fetch:
        raise WeightsRefused(f"The weights of {setting} are not on this machine; {DOWNLOAD_HINT}.")
    path = path or download(setting)
    check_weights(path, expected_sha256 or PINNED_SHA256.get(setting), PINNED_BY)
    return ModelChoice(setting, f"RECOLLECT_MODEL={setting}", ClipWeights(architecture, weights, path))


def parse_name(name: str) -> tuple[str, str]:
    """`ViT-B-32/laion2b_s34b_b79k` → architecture and weights, which may be a path. Raises: WeightsRefused."""
    import open_clip

    architecture, _, weights = name.partition("/")
    if architecture not in open_clip.list_models():
        raise WeightsRefused(
            f"open_clip has no architecture {architecture!r}; RECOLLECT_MODEL is ARCHITECTURE/WEIGHTS."
        )
    if not tag_config(architecture, weights) and not Path(weights).expanduser().is_file():
        known = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        raise WeightsRefused(f"{weights!r} is neither a file nor known weights of {architecture} ({known}).")
    return architecture, weights


def tag_config(architecture: str, tag: str) -> dict[str, Any]:
    """open_clip's entry for pretrained weights; empty if there is none."""
    from open_clip.pretrained import get_pretrained_cfg

    return dict(get_pretrained_cfg(architecture, tag))


def preprocessing_of(architecture: str) -> dict[str, Any]:
    """What all known weights of an architecture agree on: a checkpoint of your own was likely trained so, too.

    It matters for SigLIP, whose architecture files of open_clip do not say that pictures are squashed and that
    mean and std are 0.5.
    """
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(architecture)
    entries = [{k: v for k, v in tag_config(architecture, t).items() if k in PREPROCESSING} for t in tags]
    return entries[0] if entries and all(entry == entries[0] for entry in entries) else {}


def recommended_weights() -> Path | None:
    """The recommended CLIP in the hub's cache; asked at every start, so without importing open_clip (seconds)."""
    return _in_hub_cache(RECOMMENDED_REPOSITORY, [RECOMMENDED_FILE])


def weights_on_this_machine(name: str) -> Path | None:
    """The weights file in the hub's cache or open_clip's own; no network. Raises: WeightsRefused."""
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    config = tag_config(*parse_name(name))
    repository, file = os.path.split(config.get("hf_hub", ""))
    names = (
        [re.sub(r"\.(bin|pth?)$", ".safetensors", file), file] if file else [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
    )
    if repository and (cached := _in_hub_cache(repository, names)):
        return cached
    direct = Path("~/.cache/clip").expanduser() / os.path.basename(config.get("url", ""))
    return direct if direct.is_file() else None


def _in_hub_cache(repository: str, names: Sequence[str]) -> Path | None:
    """The first of these files that is there."""
    import huggingface_hub

    found = (huggingface_hub.try_to_load_from_cache(repository, name) for name in names)
    return next((Path(path) for path in found if isinstance(path, str)), None)


def download(name: str) -> Path:
    """Fetch weights and tokenizer from where open_clip keeps them. Raises: WeightsRefused."""
    import open_clip
    from open_clip.pretrained import download_pretrained

    architecture, tag = parse_name(name)
    logger.info("Fetching the weights of %s from the internet.", name)
    try:
        config = tag_config(architecture, tag)
        if config.get("hf_hub"):
            try_the_hub_once()
        path = Path(download_pretrained(config))
        open_clip.get_tokenizer(architecture)
    except Exception as error:  # each of the hub's, urllib's and the disk's own kinds
        raise WeightsRefused(f"The weights of {name} are not on this machine and could not be fetched.") from error
    return path


def try_the_hub_once() -> None:
    """The hub's own client tries each file six times, some 46 s, before it says that there is no network."""
    import huggingface_hub

    if not huggingface_hub.constants.HF_HUB_OFFLINE:
        huggingface_hub.get_session().head(huggingface_hub.constants.ENDPOINT, timeout=HUB_TIMEOUT_S)


def _recommended_if_here() -> ModelChoice:
    path = recommended_weights()
    if path is None:
        reason = f"auto: the weights of {RECOMMENDED} are not on this machine; {DOWNLOAD_HINT}"
        return ModelChoice(EMBEDDED_SPACE, reason)
    try:
        check_weights(path, PINNED_SHA256[RECOMMENDED], PINNED_BY)
    except WeightsRefused as error:
        return ModelChoice(EMBEDDED_SPACE, f"auto: {error}")
    architecture, tag = parse_name(RECOMMENDED)
    return ModelChoice(
        RECOMMENDED,
        f"auto: the weights of {RECOMMENDED} are on this machine",
        ClipWeights(architecture, tag, path),
    )


def _local_checkpoint(architecture: str, path: Path, expected_sha256: str | None) -> ModelChoice:
    """The space is named by the file's content: another file under the same name is another space."""
    sha256 = file_sha256(path)
    if expected_sha256 not in (None, sha256):
        raise WeightsRefused(f"{path.name} has SHA-256 {sha256}, expected {expected_sha256}.")
    space = f"{architecture}/sha256-{sha256[:16]}"
    return ModelChoice(space, "RECOLLECT_MODEL names a local checkpoint", ClipWeights(architecture, None, path))
