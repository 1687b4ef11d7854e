"""Thumbnails: small, upright, made once, sent once, and nothing left behind by a broken original."""

import base64
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from app.errors import BrokenMedia, FileNotStored
from app.flows.ingest import NewItem, add_item
from app.services.decode import DecodedImage, ImageDecoder
from app.services.photo_store import INCOMING, LocalPhotoStore
from app.services.thumbnails import GRID_SIZE, SIZES, Thumbnailer
from app.tables import original_path
from tests.conftest import BUSES, DOG, PHOTOS, Running, picture_bytes

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


class CountingDecoder(ImageDecoder):
    """The decoder itself, which counts what it is asked for."""

    def __init__(self) -> None:
        super().__init__(50_000_000, 2)
        self.asked: list[int | None] = []

    def decode(self, data: bytes, at_least: int | None = None) -> DecodedImage:
        self.asked.append(at_least)
        return super().decode(data, at_least)


def test_those_who_ask_at_the_same_time_get_one_that_was_made_once(tmp_path: Path, store: LocalPhotoStore) -> None:
    decoder = CountingDecoder()
    thumbnails = Thumbnailer(tmp_path / "thumbnails", store, decoder)
    sha256 = saved(store, picture_bytes(enlarged_photo(2000, 1500)))
    with ThreadPoolExecutor(12) as pool:
        paths = set(pool.map(lambda size: thumbnails.path(sha256, size), [160, 320, 640] * 4))
    assert len(paths) == 3
    assert sorted(decoder.asked, key=str) == [160, 320, 640]


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


# ── Sent once ─────────────────────────────────────────────────────────────────────────────────────────


def test_etags_name_the_content_and_the_size(app: Running) -> None:
    photo = app.upload(DOG)
    answers = [app.client.get(photo["url"]), app.client.get(photo["thumbnail_url"])]
    answers.append(app.client.get(photo["thumbnail_url"], params={"size": 640}))
    etags = [answer.headers["etag"] for answer in answers]
    assert etags == [f'"{photo["sha256"]}{size}"' for size in ("", "-320", "-640")]


@pytest.mark.parametrize("known", ['"{}"', 'W/"{}"', '"other", "{}"', "*"])
def test_who_has_it_is_sent_nothing_and_no_file_is_read(app: Running, known: str) -> None:
    photo = app.upload(DOG)
    app.services.thumbnails.delete(photo["sha256"])
    (app.services.settings.uploads_dir / original_path(photo["sha256"])).unlink()
    for url, content in ((photo["url"], photo["sha256"]), (photo["thumbnail_url"], f"{photo['sha256']}-320")):
        answer = app.client.get(url, headers={"If-None-Match": known.format(content)})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == f'"{content}"'
        assert "immutable" in answer.headers["cache-control"]


def test_who_has_something_else_is_sent_it(app: Running) -> None:
    photo = app.upload(DOG)
    others = {"If-None-Match": f'"{photo["sha256"]}-160", "{photo["sha256"]}-32"'}
    for url in (photo["url"], photo["thumbnail_url"]):
        answer = app.client.get(url, headers=others)
        assert (answer.status_code, len(answer.content) > 1000) == (200, True)


def test_a_broken_off_download_goes_on_if_it_is_the_same_file(app: Running) -> None:
    photo, whole = app.upload(DOG), (PHOTOS / DOG).read_bytes()
    same, other = f'"{photo["sha256"]}"', f'"{"0" * 64}"'
    rest = app.client.get(photo["url"], headers={"Range": "bytes=100-", "If-Range": same})
    assert (rest.status_code, rest.content) == (206, whole[100:])
    again = app.client.get(photo["url"], headers={"Range": "bytes=100-", "If-Range": other})
    assert (again.status_code, again.content) == (200, whole)


# ── Before it is there ────────────────────────────────────────────────────────────────────────────────


def test_a_placeholder_comes_with_lists_and_results_and_looks_like_the_photo(app: Running) -> None:
    photo = app.upload(BUSES)
    (hit,) = app.search("buses")
    assert photo["placeholder"] == hit["placeholder"]
    kind, encoded = photo["placeholder"].split(",")
    data = base64.b64decode(encoded)
    assert (kind, len(data) < 200) == ("data:image/webp;base64", True)
    with Image.open(io.BytesIO(data)) as tiny, Image.open(PHOTOS / BUSES) as whole:
        assert (max(tiny.size), tiny.format) == (16, "WEBP")
        assert {"exif", "icc_profile", "xmp"}.isdisjoint(tiny.info)
        assert mean_difference(tiny, whole.resize(tiny.size, Image.Resampling.LANCZOS)) < 2 * ALIKE


def test_an_item_without_a_picture_has_no_placeholder(app: Running) -> None:
    added = add_item(app.services, NewItem(data=None, caption="an apple pie"))
    assert app.client.get(f"/photo/{added.photo.id}").json()["placeholder"] is None
