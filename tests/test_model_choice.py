"""choose_model: what each RECOLLECT_MODEL stands for, and that nothing unchecked or random is ever chosen."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import huggingface_hub.constants
import pytest

from app.services.model_choice import (
    PINNED_SHA256,
    RECOMMENDED,
    choose_model,
    parse_name,
    recommended_weights,
    tag_config,
    weights_on_this_machine,
)
from app.services.weight_files import WeightsRefused

EMBEDDED_SPACE = "embedded/compact-1"
OTHER = "ViT-B-32/laion2b_e16"  # known to open_clip, and not pinned here
CLOSED = "http://127.0.0.1:9"  # the discard port: nobody listens, so a connection is refused at once
BYTES = b"these are no weights"
SHA256 = hashlib.sha256(BYTES).hexdigest()


@pytest.fixture(autouse=True)
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache of the hub, an empty home, and a network that refuses every connection."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, CLOSED)
    huggingface_hub.close_session()  # the next one takes the closed proxy
    yield tmp_path / "hub"
    huggingface_hub.close_session()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(BYTES)
    return path


def put_in_cache(hub_cache: Path, repository: str, name: str, *, stored_as: str = SHA256) -> Path:
    """One file in the hub's cache, laid out as the hub does: a blob, and a link to it in a snapshot."""
    folder, commit = hub_cache / f"models--{repository.replace('/', '--')}", "c" * 40
    for part in ("blobs", "refs", f"snapshots/{commit}"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    (folder / "blobs" / stored_as).write_bytes(BYTES)
    link = folder / "snapshots" / commit / name
    link.symlink_to(folder / "blobs" / stored_as)
    return link


def repository_of(name: str) -> str:
    """Where open_clip looks for these weights on the hub."""
    repository, _, _ = tag_config(*parse_name(name))["hf_hub"].rpartition("/")
    assert repository
    return str(repository)


def test_embedded_by_name() -> None:
    choice = choose_model("embedded")
    assert (choice.space, choice.clip) == (EMBEDDED_SPACE, None)
    assert choice.reason == "RECOLLECT_MODEL=embedded"


def test_auto_with_nothing_here_is_the_embedded_model_without_asking_the_network() -> None:
    started = time.monotonic()
    choice = choose_model("auto")
    assert time.monotonic() - started < 30  # the import of open_clip
    assert (choice.space, choice.clip) == (EMBEDDED_SPACE, None)
    assert "not on this machine" in choice.reason
    assert RECOMMENDED in choice.reason


def test_auto_falls_back_when_the_recommended_file_has_wrong_bytes(hub_cache: Path) -> None:
    """Its own name in the cache agrees with its bytes: the pinned SHA-256 is what counts."""
    link = put_in_cache(hub_cache, repository_of(RECOMMENDED), "open_clip_model.safetensors")
    assert recommended_weights() == weights_on_this_machine(RECOMMENDED) == link
    choice = choose_model("auto")
    assert (choice.space, choice.clip) == (EMBEDDED_SPACE, None)
    assert SHA256 in choice.reason
    assert PINNED_SHA256[RECOMMENDED] in choice.reason


def test_the_recommended_model_by_name_with_wrong_bytes_is_refused(hub_cache: Path) -> None:
    put_in_cache(hub_cache, repository_of(RECOMMENDED), "open_clip_model.safetensors")
    with pytest.raises(WeightsRefused, match=PINNED_SHA256[RECOMMENDED]):
        choose_model(RECOMMENDED)


def test_safetensors_go_before_a_pickle(hub_cache: Path) -> None:
    put_in_cache(hub_cache, repository_of(RECOMMENDED), "open_clip_pytorch_model.bin")
    safe = put_in_cache(hub_cache, repository_of(RECOMMENDED), "open_clip_model.safetensors")
    assert weights_on_this_machine(RECOMMENDED) == safe


def test_a_named_model_in_the_cache_is_checked_by_the_name_it_is_stored_under(hub_cache: Path) -> None:
    link = put_in_cache(hub_cache, repository_of(OTHER), "open_clip_model.safetensors")
    choice = choose_model(OTHER)
    assert choice.clip is not None
    assert (choice.space, choice.clip.path, choice.clip.tag) == (OTHER, link, "laion2b_e16")
    link.resolve().write_bytes(b"changed on the disk")
    with pytest.raises(WeightsRefused, match="expected " + SHA256):
        choose_model(OTHER)


def test_a_named_model_with_an_expected_sha256(hub_cache: Path) -> None:
    put_in_cache(hub_cache, repository_of(OTHER), "open_clip_model.safetensors")
    assert choose_model(OTHER, SHA256).clip is not None
    with pytest.raises(WeightsRefused, match="expected " + "0" * 64):
        choose_model(OTHER, "0" * 64)


def test_a_local_checkpoint_is_a_space_of_its_own(checkpoint: Path) -> None:
    choice = choose_model(f"ViT-B-32/{checkpoint}", SHA256)
    assert choice.clip is not None
    assert (choice.space, choice.clip.path, choice.clip.tag) == (
        f"ViT-B-32/sha256-{SHA256[:16]}",
        checkpoint,
        None,
    )
    assert "quick_gelu" not in choice.clip.trained_with  # weights of this architecture differ in it
    assert choose_model(f"ViT-B-32/{checkpoint}") == choice
    checkpoint.write_bytes(b"other weights under the same name")
    assert choose_model(f"ViT-B-32/{checkpoint}").space != choice.space


def test_a_local_checkpoint_with_a_wrong_sha256_is_refused(checkpoint: Path) -> None:
    with pytest.raises(WeightsRefused, match=f"has SHA-256 {SHA256}, expected {'0' * 64}"):
        choose_model(f"ViT-B-32/{checkpoint}", "0" * 64)


def test_a_checkpoint_below_home(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    checkpoint.rename(tmp_path / "home" / "mine.safetensors")
    choice = choose_model("ViT-B-32/~/mine.safetensors")
    assert choice.clip is not None
    assert choice.clip.path == tmp_path / "home" / "mine.safetensors"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-Z-99/laion2b_s34b_b79k", "no architecture 'ViT-Z-99'"),
        ("", "no architecture ''"),
        ("Embedded", "no architecture 'Embedded'"),
        ("ViT-B-32", r"'' is neither a file nor known weights of ViT-B-32 \(openai, "),
        ("ViT-B-32/no_such_tag", r"'no_such_tag' is neither a file nor known weights of ViT-B-32 \(openai, "),
        ("ViT-B-32//no/such/file.safetensors", "neither a file nor known weights"),
        ("ViT-B-32/../ViT-B-32/openai", "neither a file nor known weights"),
        ("hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "no architecture"),
    ],
)
def test_names_that_mean_nothing_are_refused(name: str, message: str) -> None:
    with pytest.raises(WeightsRefused, match=message):
        choose_model(name)


def test_the_recommended_name_is_one_that_open_clip_knows() -> None:
    assert parse_name(RECOMMENDED) == ("ViT-B-32", "laion2b_s34b_b79k")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", [RECOMMENDED, "RN50/openai", "ViT-B-16-SigLIP/webli"])
def test_a_named_model_that_is_not_here_is_refused_when_the_hub_is_switched_off(name: str) -> None:
    started = time.monotonic()
    with pytest.raises(WeightsRefused, match=f"{name} are not on this machine and could not be fetched"):
        choose_model(name)
    assert time.monotonic() - started < 10


def test_a_named_model_that_is_not_here_is_refused_soon_without_a_network(hub_cache: Path) -> None:
    """The hub's own client would try each of two files six times, 46 seconds in all."""
    started = time.monotonic()
    with pytest.raises(WeightsRefused, match="not on this machine and could not be fetched"):
        choose_model(RECOMMENDED)
    assert time.monotonic() - started < 10
    assert not list(hub_cache.rglob("*.safetensors")), "nothing half-fetched is left"
