"""Names of places: from the real data, at uploads, for older photos, and as the search box knows them."""

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image
from sqlmodel import update

from app.flows.library_names import library_names
from app.services.places import PlaceName, name_place
from app.tables import DEFAULT_OWNER, Photo
from tests.conftest import BUSES, DOG, Running, picture_bytes
from tests.test_live_index import eventually
from tests.test_photo_metadata import exif_of, place

SYDNEY = PlaceName("Sydney", "New South Wales", "Australia")


@pytest.mark.parametrize(
    ("latitude", "longitude", "expected"),
    [
        (53.55, 8.58, PlaceName("Bremerhaven", "City state Bremen", "Germany")),
        (-33.87, 151.21, SYDNEY),
        # A city, where the nearest entries are its quarters or the suburb across the river
        (52.457, 13.524, PlaceName("Berlin", "State of Berlin", "Germany")),
        (48.8584, 2.2945, PlaceName("Paris", "Île-de-France", "France")),
        # … but not where it is another place, or another region
        (48.8049, 2.1204, PlaceName("Versailles", "Île-de-France", "France")),
        (40.7357, -74.1724, PlaceName("Newark", "New Jersey", "United States")),
        (37.5665, 126.978, PlaceName("Seoul", "Seoul", "South Korea")),
        # Far from the next town: the country only; on the ocean, in the desert, at the poles: nothing
        (23.0, 10.0, PlaceName(country="Algeria")),
        (-17.0, 180.0, PlaceName(country="Fiji")),
        (-17.0, -180.0, PlaceName(country="Fiji")),
        (0.0, -150.0, PlaceName()),
        (56.0, 3.0, PlaceName()),
        (90.0, 0.0, PlaceName()),
    ],
)
def test_places_have_names(latitude: float, longitude: float, expected: PlaceName) -> None:
    assert name_place(latitude, longitude) == expected


def with_gps(color: str = "red") -> bytes:
    """A JPEG that says it was taken in Sydney."""
    exif = exif_of(gps=place((33.0, 52.0, 12.0), "S", (151.0, 12.0, 36.0), "E"))
    return picture_bytes(Image.new("RGB", (64, 64), color), exif=exif)


def names(photo: dict[str, Any]) -> PlaceName:
    return PlaceName(photo["city"], photo["region"], photo["country"])


def test_an_upload_with_a_position_is_listed_with_its_place(app: Running) -> None:
    app.client.post("/upload", files={"file": ("a.jpg", with_gps())})
    app.upload(BUSES)
    app.upload(DOG, latitude="0", longitude="-150")
    photos = app.client.get("/photos").json()["photos"]
    assert {photo["filename"]: names(photo) for photo in photos} == {
        "a.jpg": SYDNEY,
        BUSES: PlaceName(),
        DOG: PlaceName(),
    }


def test_older_photos_get_their_places_after_a_start(start: Callable[..., Running]) -> None:
    before = start()
    photo_id = before.client.post("/upload", files={"file": ("a.jpg", with_gps())}).json()["id"]
    lost = before.upload(DOG, latitude="0", longitude="-150")["id"]
    with before.services.database.write() as session:
        session.exec(update(Photo).values(city=None, region=None, country=None))
    after = start()
    assert eventually(lambda: names(after.client.get(f"/photo/{photo_id}").json()) == SYDNEY)
    assert names(after.client.get(f"/photo/{lost}").json()) == PlaceName()


def test_a_library_knows_its_names(app: Running) -> None:
    def known(max_age_s: float = 1000) -> tuple[frozenset[str], ...]:
        with app.services.database.read() as session:
            found = library_names(session, DEFAULT_OWNER, max_age_s)
        return found.places, found.tags, found.categories

    assert known() == (frozenset(), frozenset(), frozenset())
    photo = app.client.post(
        "/upload", files={"file": ("a.jpg", with_gps())}, data={"tags": "a, Ärger", "category": "trips"}
    ).json()
    here = frozenset({"Sydney", "New South Wales", "Australia"})
    assert known() == (here, frozenset({"a", "Ärger"}), frozenset({"trips"}))
    app.upload(DOG, tags="b", category="pets")
    assert known() == (here, frozenset({"a", "Ärger", "b"}), frozenset({"trips", "pets"}))
    app.client.delete(f"/photo/{photo['id']}")
    assert known()[0] == here, "it is not read again at once"
    assert known(max_age_s=0) == (frozenset(), frozenset({"b"}), frozenset({"pets"}))


def test_owners_know_their_own_names_only(app: Running) -> None:
    with app.services.database.write() as session:
        session.add(Photo(owner="other", city="Köln", camera="Canon EOS", tags=["x"]))
    with app.services.database.read() as session:
        other, mine = library_names(session, "other"), library_names(session, DEFAULT_OWNER)
    assert [*other.places, *other.cameras, *other.tags] == ["Köln", "Canon EOS", "x"]
    assert not (mine.places | mine.cameras | mine.tags)
