"""Thumbnailer: small, upright, made once, and nothing left behind by a broken original."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from app.errors import BrokenMedia, FileNotStored
from app.services.decode import ImageDecoder
from app.services.photo_store import INCOMING, LocalPhotoStore
from app.services.thumbnails import GRID_SIZE, SIZES, Thumbnailer
from tests.conftest import BUSES, PHOTOS, picture_bytes

ALIKE = 8  # mean difference that WebP at this quality makes; another picture differs by 50 and more


@pytest.fixture
def store(tmp_path: Path) -> LocalPhotoStore:
    store = LocalPhotoStore(tmp_path / "uploads")
    store.set_up()
    return store


@pytest.fixture
def thumbnails(tmp_path: Path, store: LocalPhotoStore) -> Thumbnailer:
    return Thumbnailer(tmp_path / "thumbnails", store, ImageDecoder(50_000_000, 2))


def saved(store: LocalPhotoStore, data: bytes) -> str:
    sha256 = hashlib.sha256(data).hexdigest()
    store.save(sha256, data)
    return sha256


def enlarged_photo(width: int, height: int) -> Image.Image:
    with Image.open(PHOTOS / BUSES) as photo:
        return photo.convert("RGB").resize((width, height))


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    """Mean absolute difference of 8-bit values."""
    pair = [np.asarray(image.convert("RGB"), np.float32) for image in (one, other)]
    return float(np.abs(pair[0] - pair[1]).mean())


@pytest.mark.parametrize(("kind", "size"), [*(("JPEG", size) for size in SIZES), ("PNG", 320)])
def test_a_thumbnail_is_the_photo_only_smaller(
    thumbnails: Thumbnailer, store: LocalPhotoStore, kind: str, size: int
) -> None:
    photo = enlarged_photo(1600, 1200)
    path = thumbnails.path(saved(store, picture_bytes(photo, kind)), size)
    with Image.open(path) as thumbnail:
        assert thumbnail.format == "WEBP"
        assert thumbnail.size == (size, size * 3 // 4)
        assert mean_difference(thumbnail, photo.resize(thumbnail.size, Image.Resampling.LANCZOS)) < ALIKE


@pytest.mark.parametrize(("given", "expected"), [((3000, 400), (640, 85)), ((300, 2000), (96, 640))])
def test_a_panorama_keeps_its_shape(
    thumbnails: Thumbnailer, store: LocalPhotoStore, given: tuple[int, int], expected: tuple[int, int]
) -> None:
    path = thumbnails.path(saved(store, picture_bytes(enlarged_photo(*given))), 640)
    with Image.open(path) as thumbnail:
        assert thumbnail.size == expected


def test_a_small_photo_is_not_blown_up(thumbnails: Thumbnailer, store: LocalPhotoStore) -> None:
    path = thumbnails.path(saved(store, picture_bytes(enlarged_photo(100, 80))), 320)
    with Image.open(path) as thumbnail:
        assert thumbnail.size == (100, 80)


def test_a_thumbnail_is_upright(thumbnails: Thumbnailer, store: LocalPhotoStore) -> None:
    photo, exif = enlarged_photo(800, 600), Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    lying = picture_bytes(photo.transpose(Image.Transpose.ROTATE_90), exif=exif)
    with Image.open(thumbnails.path(saved(store, lying), 160)) as thumbnail:
        assert thumbnail.size == (160, 120)
        assert mean_difference(thumbnail, photo.resize((160, 120), Image.Resampling.LANCZOS)) < ALIKE
        assert ExifTags.Base.Orientation not in thumbnail.getexif()


def test_a_thumbnail_does_not_carry_the_place_along(thumbnails: Thumbnailer, store: LocalPhotoStore) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (48.0, 8.0, 0.0)
    with Image.open(
        thumbnails.path(saved(store, picture_bytes(enlarged_photo(400, 300), exif=exif)), 160)
    ) as small:
        assert dict(small.getexif()) == {}


def test_it_is_made_once_and_again_after_it_was_thrown_away(
    thumbnails: Thumbnailer, store: LocalPhotoStore
) -> None:
    sha256 = saved(store, (PHOTOS / BUSES).read_bytes())
    path = thumbnails.path(sha256, 160)
    made, first = path.stat().st_mtime_ns, path.read_bytes()
    assert thumbnails.path(sha256, 160).stat().st_mtime_ns == made
    path.unlink()
    assert thumbnails.path(sha256, 160).read_bytes() == first


def test_made_from_pixels_at_hand_it_is_the_same_picture(thumbnails: Thumbnailer, store: LocalPhotoStore) -> None:
    data = picture_bytes(enlarged_photo(4000, 3000))
    sha256 = saved(store, data)
    path = thumbnails.path(sha256, GRID_SIZE)
    from_original = Image.open(io.BytesIO(path.read_bytes()))
    thumbnails.delete(sha256)
    thumbnails.make(sha256, ImageDecoder(50_000_000, 2).decode(data, at_least=520).image)
    store.delete(sha256)  # so that it cannot be made from the original now
    with Image.open(thumbnails.path(sha256, GRID_SIZE)) as thumbnail:
        assert thumbnail.size == from_original.size == (320, 240)
        assert mean_difference(thumbnail, from_original) < ALIKE


def test_delete_takes_all_sizes_of_one_photo(thumbnails: Thumbnailer, store: LocalPhotoStore) -> None:
    mine, other = (saved(store, picture_bytes(enlarged_photo(200, side))) for side in (100, 150))
    paths = [thumbnails.path(mine, size) for size in SIZES]
    kept = thumbnails.path(other, 160)
    thumbnails.delete(mine)
    thumbnails.delete(mine)
    assert not any(path.exists() for path in paths)
    assert kept.exists()


def test_without_an_original_there_is_no_thumbnail(thumbnails: Thumbnailer) -> None:
    with pytest.raises(FileNotStored):
        thumbnails.path("0" * 64, 160)


def test_a_broken_original_leaves_nothing_behind(
    thumbnails: Thumbnailer, store: LocalPhotoStore, tmp_path: Path
) -> None:
    sha256 = saved(store, (PHOTOS / BUSES).read_bytes()[:5000])
    with pytest.raises(BrokenMedia):
        thumbnails.path(sha256, 160)
    assert [path for path in (tmp_path / "thumbnails").rglob("*") if path.is_file()] == []
    assert list((store.folder / INCOMING).glob("*")) == []
