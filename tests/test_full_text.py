"""Words of the owner, of the file name and of the picture are found, in every form that people type."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlmodel import col, delete, update

from app.database import Database
from app.flows.filters import PhotoFilter
from app.flows.full_text import MOST_HITS, text_matches
from app.tables import Photo
from tests.conftest import shared

EVERYTHING = PhotoFilter()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    yield made
    made.dispose()


def add(database: Database, **words: Any) -> int:
    with database.write() as session:
        photo = Photo(**words)
        session.add(photo)
        session.flush()
        assert photo.id is not None
        return photo.id


def found(database: Database, words: str, wanted: PhotoFilter = EVERYTHING, limit: int = 100) -> dict[int, float]:
    with database.read() as session:
        return {i: match.score for i, match in text_matches(session, words, wanted, limit).items()}


def fields(database: Database, words: str) -> list[tuple[str, ...]]:
    with database.read() as session:
        return [match.fields for match in text_matches(session, words, EVERYTHING, 100).values()]


@pytest.mark.parametrize(
    ("words", "query"),
    [
        ({"caption": "Two dogs are running"}, "dog run"),
        ({"title": "Café à la plage"}, "cafe"),
        ({"title": "cafe"}, "CAFÉ"),
        ({"caption": "Potsdamer Straße"}, "strasse"),
        ({"caption": "Potsdamer Strasse"}, "straße"),
        ({"tags": ["öl", "größe"]}, "Öl"),
        ({"tags": ["новый год"]}, "Новый"),
        ({"caption": "the dog's ball"}, "a dog’s"),
        ({"caption": "a white t-shirt"}, "T-shirt!"),
        ({"filename": "IMG_1234.jpg"}, "img_1234.jpg"),
        ({"filename": "IMG_1234.jpg"}, "g_12"),
        ({"filename": "a7.jpg"}, "7"),
        ({"item_id": "holiday-0042"}, "y-0042"),
        ({"ocr_text": "Öffnungszeiten\nMo–Fr"}, "ffnungsz"),
        ({"ocr_text": "ÖFFNUNGSZEITEN"}, "öffnungs"),
        ({"ocr_text": "北京 城市"}, "城"),
        ({"ocr_text": "北京欢迎你"}, "欢迎你"),
    ],
)
def test_words_are_found_in_every_form(database: Database, words: dict[str, object], query: str) -> None:
    wanted = add(database, **words)
    add(database, caption="something else", filename="b.jpg", ocr_text="")
    assert list(found(database, query)) == [wanted]


def test_it_is_told_where_the_words_stand(database: Database) -> None:
    add(database, title="harbour", caption="ships in the harbour", tags=["harbour"], category="harbour")
    assert fields(database, "Harbour") == [("title", "caption", "tags", "category")]
    add(database, city="Bergen", country="Norway", camera="Canon EOS", ocr_text="WELCOME", filename="fjord7.jpg")
    for query, where in (
        ("bergen norway", "place"),
        ("canon", "camera"),
        ("welcome", "text"),
        ("elcom", "text"),
        ("rd7.j", "filename"),
        ("7", "filename"),
    ):
        assert fields(database, query) == [(where,)], query


def test_what_the_machine_suggests_is_not_searched(database: Database) -> None:
    add(database, suggested_caption="A photo of a dog.", suggested_tags=["dog"], suggested_category="animals")
    assert found(database, "dog animals") == {}


def test_a_rare_word_counts_more_and_all_words_count_one(database: Database) -> None:
    both = add(database, caption="a zebra and a man")
    zebra = add(database, caption="zebras")
    men = [add(database, caption="a man") for _ in range(8)]
    scores = found(database, "the man with a zebra")
    assert list(scores) == [both, zebra, *reversed(men)]
    assert scores[both] == pytest.approx(1)
    assert 0.5 < scores[zebra] < 1
    assert scores[men[0]] == pytest.approx(1 - scores[zebra])


def test_words_that_no_photo_has_lower_the_score(database: Database) -> None:
    dog = add(database, caption="a dog")
    assert found(database, "dog")[dog] == pytest.approx(1)
    assert found(database, "dog unicorn")[dog] < 0.5


def test_a_part_of_a_name_counts_as_a_word_and_a_part_of_a_word_half(database: Database) -> None:
    photo = add(database, filename="DSC_0815.NEF", ocr_text="OFFICE SERVICES")
    assert found(database, "c_08")[photo] == pytest.approx(1)
    assert found(database, "0815.nef")[photo] == pytest.approx(1)
    assert found(database, "ervic")[photo] == pytest.approx(0.5)
    assert found(database, "ice")[photo] == pytest.approx(0.5)
    frozen = add(database, caption="ice")
    assert list(found(database, "ice")) == [frozen]


def test_the_filter_holds_and_the_best_come_first(database: Database) -> None:
    mine = [add(database, caption="snow", tags=["winter"] if i % 10 == 0 else []) for i in range(100)]
    add(database, caption="snow", owner="another")
    assert list(found(database, "snow", limit=5)) == mine[:-6:-1]
    winter = found(database, "snow", PhotoFilter(tags_all=("winter",)), limit=5)
    assert list(winter) == mine[-10::-10][:5]
    assert list(found(database, "snow", PhotoFilter(ids=tuple(mine[3:5])))) == [mine[4], mine[3]]


def test_what_others_have_changes_neither_hits_nor_scores(database: Database) -> None:
    mine = [add(database, caption=caption) for caption in ("a dog", "a dog in the snow", "a kiosk", "a cat")]
    alone = {words: found(database, words) for words in ("dog snow", "cat", "iosk", "zebra", "log")}
    others = [add(database, caption=f"a dog, a zebra and a cat {i}", owner="another") for i in range(60)]
    add(database, filename="log.jpg", owner="another")
    assert {words: found(database, words) for words in alone} == alone
    assert list(found(database, "zebra", PhotoFilter(owner="another"))) == others[::-1]
    assert found(database, "dog", PhotoFilter(owner="nobody")) == {}
    assert found(database, "dog", PhotoFilter(ids=(mine[0], others[0]))) == {mine[0]: pytest.approx(1)}


def test_common_words_are_looked_for_beside_rare_ones_and_among_given_photos(database: Database) -> None:
    rare = add(database, caption="a man and a zebra")
    with database.log() as session:
        rows = [{"caption": "a man", "filename": "", "tags": []} for _ in range(MOST_HITS + 1)]
        session.connection().execute(Photo.__table__.insert(), rows)  # type: ignore[attr-defined]
    assert found(database, "zebra man", limit=1) == {rare: pytest.approx(1)}
    assert rare not in found(database, "man", limit=MOST_HITS + 9)
    assert found(database, "man", PhotoFilter(ids=(rare,))) == {rare: pytest.approx(1)}


def test_changes_and_deletions_are_followed(database: Database) -> None:
    photo = add(database, caption="a dog", tags=["park"])
    with database.write() as session:
        session.exec(update(Photo).where(col(Photo.id) == photo).values(caption="a cat", tags=["garden"]))
    assert found(database, "dog park") == {}
    assert list(found(database, "cat garden")) == [photo]
    with database.write() as session:
        session.exec(update(Photo).where(col(Photo.id) == photo).values(ocr_text="EXIT 42"))
    assert list(found(database, "xit 42")) == list(found(database, "cat")) == [photo]
    with database.write() as session:
        session.exec(delete(Photo).where(col(Photo.id) == photo))
    assert found(database, "cat") == found(database, "42") == {}


HARMLESS = """
' " * dog* NOT NEAR(cat {caption}:dog title:dog ^dog (dog dog) -cat dog+cat ___ -- % _ 😀 🐕 AND OR [x] \\ ; NULL
"""


@pytest.mark.parametrize(
    "query", ["", " ", "the of", "a dog OR", "cat\0dog", "a" * 1000, "x " * 500, *HARMLESS.split()]
)
def test_nothing_that_people_type_is_an_error(database: Database, query: str) -> None:
    add(database, caption="a cat in the sun", filename="a.jpg")
    assert set(found(database, query)) <= {1}


def test_hostile_strings_are_not_errors_and_find_themselves(database: Database) -> None:
    strings: list[str] = json.loads(shared("corpora/text/blns.json").read_text())
    with database.log() as session:
        session.add_all(Photo(caption=text.replace("\0", ""), filename="x") for text in strings)
    for text in strings[::3]:
        for score in found(database, text).values():
            assert 0 < score <= 1 + 1e-6, text


def test_rows_that_another_program_writes_are_found_too(database: Database) -> None:
    add(database, caption="a dog", tags=["one"])
    with create_engine(database.engine.url).begin() as other:
        other.exec_driver_sql("UPDATE photos SET caption = 'a horse', tags = '[\"two\"]'")
    other.engine.dispose()
    assert found(database, "dog one") == {}
    assert list(found(database, "horse two")) == [1]
