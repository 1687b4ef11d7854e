"""read_source: what folders, Takeouts and lists ask for, on a real disk, and what of it reaches the library."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import Result

from app.errors import AppError, InvalidRequest
from app.flows.import_sources import Entry, Unreadable, read_source
from app.flows.ingest import Added, add_item, new_item
from app.flows.takeout import TakeoutFolder, is_year_folder
from app.schemas import printable
from app.tables import Photo
from tests.conftest import BUSES, DOG, PHOTOS, PIZZA, Running, picture_bytes
from tests.test_source_import import import_folder

Files = dict[str, "bytes | str | Files"]

MANY = [10_000, pytest.param(100_000, marks=pytest.mark.stress)]


def write_files(folder: Path, files: Files) -> Path:
    """Folders are given as dicts."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if isinstance(content, dict):
            write_files(folder / name, content)
        else:
            (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def entries_of(source: Path, *ignore: str) -> dict[str, Entry]:
    """By name; whatever is unreadable fails the test."""
    found = {}
    for entry in read_source(source, ignore):
        assert isinstance(entry, Entry), entry
        assert json.loads(json.dumps(entry.words)) == entry.words
        found[entry.name] = entry
    return found


def reasons(source: Path) -> dict[str, str]:
    return {item.name: item.reason for item in read_source(source) if isinstance(item, Unreadable)}


def add(app: Running, entry: Entry) -> Added:
    """As an import does it, through JSON as in the database."""
    data = entry.path.read_bytes() if entry.path else None
    return add_item(app.services, new_item(data, json.loads(json.dumps(entry.words))))


# Folders


def test_a_folder_is_read_depth_first_without_hidden_things_and_junk(tmp_path: Path) -> None:
    photo = (PHOTOS / DOG).read_bytes()
    junk: Files = {name: {"x.jpg": photo} for name in ("@eaDir", "#recycle", "__MACOSX", ".thumbnails", ".git")}
    top = write_files(
        tmp_path / "top",
        {
            **junk,
            "._b.jpg": b"AppleDouble",
            ".hidden.jpg": photo,
            "Thumbs.db": b"",
            "b.jpg": b"",
            "A.JPG": b"",
            "no suffix": photo,
            "notes.txt": b"not a picture",
            "z": {"1.png": b"", "deep": {"2.heic": b""}, "@eaDir": {"3.jpg": photo}},
            "m": {"4.webp": b""},
            "empty": {},
        },
    )
    assert list(entries_of(top)) == ["A.JPG", "b.jpg", "no suffix", "m/4.webp", "z/1.png", "z/deep/2.heic"]
    assert entries_of(top)["z/deep/2.heic"].path == top / "z" / "deep" / "2.heic"
    assert entries_of(top)["z/1.png"].words == {"filename": "1.png"}


def test_patterns_pass_over_what_fits_and_a_deeper_file_decides(tmp_path: Path) -> None:
    top = write_files(
        tmp_path,
        {
            "keep.jpg": b"",
            "a.png": b"",
            "raw": {"x.jpg": b""},
            "sub": {
                ".recollectignore": "# exports\n/out/\n*.gif\n!keep.png\n",
                "b.png": b"",
                "keep.png": b"",
                "x.gif": b"",
                "out": {"y.jpg": b""},
                "more": {"out": {"z.jpg": b""}, "w.gif": b""},
            },
        },
    )
    assert list(entries_of(top, "*.png", "raw/")) == ["keep.jpg", "sub/keep.png", "sub/more/out/z.jpg"]
    assert list(entries_of(top / "sub", "/more")) == ["b.png", "keep.png"]


def test_a_folder_whose_ignore_file_makes_no_sense_is_reported_and_not_imported(tmp_path: Path) -> None:
    write_files(
        tmp_path, {"a.jpg": b"", "bad": {".recollectignore": "!\n", "secret.jpg": b"", "b": {"c.jpg": b""}}}
    )
    found = list(read_source(tmp_path))
    assert [item.name for item in found] == ["a.jpg", "bad/"]
    assert isinstance(found[1], Unreadable)
    assert ".recollectignore" in found[1].reason


def test_links_are_followed_once_and_never_in_circles(tmp_path: Path) -> None:
    top = write_files(tmp_path / "top", {"a": {"1.jpg": b""}})
    outside = write_files(tmp_path / "outside", {"2.jpg": b"", "3.jpg": b""})
    (top / "a" / "round").symlink_to(top)
    (top / "b").symlink_to(outside)
    (top / "c").symlink_to(outside)
    (top / "single.jpg").symlink_to(outside / "3.jpg")
    (top / "dangling.jpg").symlink_to(top / "nowhere")
    (top / "itself").symlink_to(top / "itself")
    os.mkfifo(top / "pipe.jpg")
    assert list(entries_of(top)) == ["single.jpg", "a/1.jpg", "b/2.jpg", "b/3.jpg"]


def test_a_folder_that_cannot_be_listed_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may list any folder, but not one whose path is longer than the system takes."""
    write_files(tmp_path, {"a.jpg": b"", "z": {"b.jpg": b""}})
    with monkeypatch.context() as here:
        here.chdir(tmp_path)
        for _ in range(20):
            Path("d" * 250).mkdir()
            here.chdir("d" * 250)
    found = list(read_source(tmp_path))
    assert [item.name for item in found if isinstance(item, Entry)] == ["a.jpg", "z/b.jpg"]
    problem = next(item for item in found if isinstance(item, Unreadable))
    assert problem.name.endswith("d/")
    assert problem.failed
    assert problem.reason == "File name too long"


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS refuses such names itself")
def test_names_that_are_no_utf8_are_shown_stored_and_opened(app: Running, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/f\xfcr"
    os.mkdir(folder)
    for name in (b"caf\xe9\n.jpg", "grün.jpg".encode()):
        shutil.copy(os.fsencode(PHOTOS / (DOG if b"caf" in name else BUSES)), folder + b"/" + name)
    odd, plain = entries_of(tmp_path).values()
    assert (odd.name, odd.words["filename"]) == ("f�r/caf��.jpg", "caf��.jpg")
    assert plain.name == "f�r/grün.jpg"
    photo = add(app, odd).photo
    assert app.client.get(f"/photo/{photo.id}").json()["filename"] == "caf��.jpg"
    assert odd.path is not None
    assert printable("at 9.41\u202fAM 👨\u200d👩.png") == "at 9.41\u202fAM 👨\u200d👩.png"


def make_unreadable(path: Path) -> None:
    """Root reads any file but this one, which has nothing where it begins."""
    if os.geteuid() == 0:
        path.symlink_to("/proc/self/mem")
    else:
        path.touch(0)


def test_bad_files_are_listed_and_the_others_imported(app: Running, tmp_path: Path) -> None:
    good = (PHOTOS / DOG).read_bytes()
    png = picture_bytes(Image.new("1", (20_000, 10_000)), "PNG")
    write_files(
        tmp_path,
        {
            "cut.jpg": good[:2000],
            "empty.jpg": b"",
            "huge.png": png,
            "words.jpg": "not a picture",
            "wrongly named.gif": good,
            "good.jpg": (PHOTOS / PIZZA).read_bytes(),
        },
    )
    make_unreadable(tmp_path / "unreadable.jpg")
    added, failed = [], {}
    for entry in entries_of(tmp_path).values():
        try:
            added.append(add(app, entry).photo.filename)
        except (AppError, OSError) as error:
            failed[entry.name] = type(error).__name__
    assert added == ["good.jpg", "wrongly named.gif"]
    assert failed == {
        "cut.jpg": "BrokenMedia",
        "empty.jpg": "BrokenMedia",
        "huge.png": "TooLarge",
        "unreadable.jpg": "OSError" if os.geteuid() == 0 else "PermissionError",
        "words.jpg": "UnsupportedMedia",
    }


def test_one_picture(tmp_path: Path) -> None:
    write_files(tmp_path, {"no suffix": (PHOTOS / DOG).read_bytes(), "x.jpg": b""})
    assert list(entries_of(tmp_path / "no suffix")) == ["no suffix"]
    assert entries_of(tmp_path / "x.jpg")["x.jpg"].words == {"filename": "x.jpg"}


@pytest.mark.parametrize(
    ("name", "ignore", "says"),
    [
        ("nowhere", [], "There is no file or folder"),
        ("notes.txt", [], "neither a picture nor a CSV or JSONL file"),
        ("headless.csv", [], "names none of the columns"),
        ("empty.csv", [], "names none of the columns"),
        ("binary.csv", [], "names none of the columns"),
        ("", ["fine", "!"], "pattern"),
    ],
)
def test_mistakes_are_told_before_anything_is_read(
    tmp_path: Path, name: str, ignore: list[str], says: str
) -> None:
    write_files(
        tmp_path,
        {"notes.txt": "x", "headless.csv": "a.jpg,My dog\n", "empty.csv": "", "binary.csv": b"\xff" * 200_000},
    )
    with pytest.raises(InvalidRequest, match=says):
        read_source(tmp_path / name, ignore)


READ_ALL = """
import sys, tracemalloc
from pathlib import Path
from app.flows.import_sources import read_source

tracemalloc.start()
print(sum(1 for _ in read_source(Path(sys.argv[1]))), tracemalloc.get_traced_memory()[1])
"""


def peak_bytes(source: Path) -> tuple[int, int]:
    """How many entries were read, and the most memory that it took meanwhile.

    In a process of its own: in one that ran other tests before, Python's table of interned strings, which every
    path goes through, is so large that making it anew is counted with up to 10 MB.
    """
    done = subprocess.run([sys.executable, "-c", READ_ALL, source], check=True, capture_output=True)
    count, peak = map(int, done.stdout.split())
    return count, peak


@pytest.mark.parametrize("many", MANY)
def test_many_files_are_a_stream(tmp_path: Path, many: int) -> None:
    """Of one folder the names are held, some 85 bytes each; a list of the entries would take 860."""
    for number in range(many):
        os.close(os.open(f"{tmp_path}/IMG_{number:06}.jpg", os.O_CREAT))
    count, peak = peak_bytes(tmp_path)
    assert count == many
    assert peak < 400 * many


@pytest.mark.parametrize("many", MANY)
def test_many_rows_are_a_stream(tmp_path: Path, many: int) -> None:
    (tmp_path / "items.csv").write_text("id,caption\n" + "".join(f"{n},a photo of a dog\n" for n in range(many)))
    (tmp_path / "items.jsonl").write_text('{"caption": "a photo of a dog"}\n' * many)
    for name in ("items.csv", "items.jsonl"):
        count, peak = peak_bytes(tmp_path / name)
        assert count == many
        assert peak < 300_000


# Lists


HEADER = "id{0}image_filename{0}caption{0}tags{0}TAKEN_AT{0}latitude {0}longitude{0}shoe size"
ROW = 'a{0}dog.jpg{0}"Rex; in the, garden"{0}dog;garden{0}2019-07-14T16:20:00+02:00{0}53.55{0}8.58{0}43'


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_csv_with_any_delimiter_and_byte_order_mark(tmp_path: Path, delimiter: str, encoding: str) -> None:
    write_files(tmp_path, {"images": {"dog.jpg": b""}})
    text = "\r\n".join([HEADER, ROW, "", 'b{0}{0}"two\r\nlines Ü"']).format(delimiter).replace("dog;", "dog,")
    if delimiter == ",":
        text = text.replace("dog,garden", '"dog,garden"')
    (tmp_path / "items.CSV").write_bytes(text.encode(encoding))
    first, second = entries_of(tmp_path / "items.CSV").values()
    assert first.path == tmp_path / "images" / "dog.jpg"
    assert first.words == {
        "item_id": "a",
        "filename": "dog.jpg",
        "caption": "Rex; in the, garden",
        "tags": ["dog", "garden"],
        "taken_at": "2019-07-14T16:20:00+02:00",
        "latitude": "53.55",
        "longitude": "8.58",
    }
    assert (second.path, second.words["caption"]) == (None, "two\r\nlines Ü")


def test_rows_that_cannot_be_read_stop_nothing(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "items.csv": b"caption,image_filename\ncaf\xe9,\n"
            + b"x" * 200_000
            + b",\nNUL\x00,\n,gone.jpg\nlast,,,,\n",
            "items.jsonl": '{"caption": "one"}\n[1]\nnot json\n\n'
            + "[" * 99_999
            + '\n{"caption": "\\ud800 two"}\n',
        },
    )
    csv_items, jsonl_items = list(read_source(tmp_path / "items.csv")), list(read_source(tmp_path / "items.jsonl"))
    assert [item.words["caption"] for item in csv_items if isinstance(item, Entry)] == ["caf�", "NUL", "last"]
    assert reasons(tmp_path / "items.csv") == {
        "items.csv line 3": "this line cannot be read: field larger than field limit (131072)",
        "items.csv line 5": "there is no file gone.jpg",
    }
    assert [item.words["caption"] for item in jsonl_items if isinstance(item, Entry)] == ["one", "? two"]
    assert list(reasons(tmp_path / "items.jsonl")) == [f"items.jsonl line {number}" for number in (2, 3, 5)]


def test_pictures_of_a_list_may_lie_beside_it_in_images_or_anywhere(tmp_path: Path) -> None:
    write_files(tmp_path, {"lists": {"a.jpg": b"", "images": {"b.jpg": b""}}, "c.jpg": b""})
    names = ["a.jpg", "b.jpg", "../c.jpg", str(tmp_path / "c.jpg"), "/nowhere/d.jpg", "x" * 5000, "images"]
    with (tmp_path / "lists" / "items.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["image_filename"], *([name] for name in names)])
    found = list(read_source(tmp_path / "lists" / "items.csv"))
    paths = [item.path.resolve() for item in found if isinstance(item, Entry) and item.path]
    assert paths == [tmp_path / name for name in ("lists/a.jpg", "lists/images/b.jpg", "c.jpg", "c.jpg")]
    assert sum(isinstance(item, Unreadable) for item in found) == 3


# Words


def test_when_and_where_of_the_caller_go_before_the_exif(app: Running, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[306] = "2001:02:03 04:05:06"
    camera = picture_bytes(Image.new("RGB", (64, 64), "red"), exif=exif)
    words = {"taken_at": "2019-07-14T16:20:00+02:00", "latitude": "53.55", "longitude": 8.58}
    photo = add_item(app.services, new_item(camera, words)).photo
    shown = app.client.get(f"/photo/{photo.id}").json()
    assert shown["taken_at"].startswith("2019-07-14T14:20:00")
    assert (shown["latitude"], shown["longitude"]) == (53.55, 8.58)
    text = add_item(app.services, new_item(None, {"caption": "a poem", "taken_at": "1850-01-01"})).photo
    assert app.client.get(f"/photo/{text.id}").json()["taken_at"].startswith("1850-01-01T00:00:00")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"taken_at": "yesterday"}, "taken_at"),
        ({"taken_at": "2019"}, "taken_at"),
        ({"taken_at": "0001-01-01T00:00:00+14:00"}, "taken_at"),
        ({"taken_at": 1600596727}, "taken_at"),
        ({"latitude": "48,1", "longitude": "11"}, "latitude"),
        ({"latitude": 91, "longitude": 11}, "latitude"),
        ({"latitude": "nan", "longitude": 11}, "latitude"),
        ({"latitude": 48, "longitude": 181}, "longitude"),
        ({"latitude": 48}, "one of them is missing"),
        ({"caption": "x" * 5001}, "caption"),
        ({"caption": "\ud800"}, "caption"),
        ({"tags": ["x" * 101]}, "tags.0"),
        ({"shoe size": 43}, "shoe size"),
    ],
)
def test_words_that_do_not_fit_are_refused(words: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        new_item(None, words)


def test_an_upload_may_say_when_and_where(app: Running) -> None:
    body = app.upload(DOG, taken_at="2019-07-14T16:20:00", latitude="-33.85", longitude="151.2")
    assert body["taken_at"].startswith("2019-07-14T16:20:00")
    assert (body["latitude"], body["longitude"]) == (-33.85, 151.2)
    empty = app.upload(BUSES, taken_at="", latitude="", longitude="")
    assert (empty["taken_at"], empty["latitude"]) == (None, None)
    refused = {"taken_at": "soon", "latitude": "100"}
    answer = app.client.post("/upload", files={"file": (PHOTOS / PIZZA).read_bytes()}, data=refused)
    assert (answer.status_code, answer.json()["type"]) == (422, "validation-error")
    assert "2019-07-14T16:20:00+02:00" in answer.json()["detail"]
    half = app.client.post("/upload", files={"file": (PHOTOS / PIZZA).read_bytes()}, data={"latitude": "1"})
    assert (half.status_code, half.json()["type"]) == (400, "invalid-request")
    assert app.client.get("/photos").json()["total"] == 2


# Sidecars


def xmp(title: str, description: str, *keywords: str) -> str:
    """As darktable writes it."""
    subjects = "".join(f"<rdf:li>{keyword}</rdf:li>" for keyword in keywords)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">{title}</rdf:li><rdf:li xml:lang="de">Hund</rdf:li>
</rdf:Alt></dc:title>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{description}</rdf:li></rdf:Alt></dc:description>
<dc:subject><rdf:Bag>{subjects}</rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def test_xmp_beside_a_picture_gives_its_words(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "lol">]><x>&a;</x>'
    write_files(
        tmp_path,
        {
            "a.jpg": b"",
            "a.jpg.xmp": xmp("Rex", "in the garden", "dog", "dog", "garden"),
            "b.jpg": b"",
            "b.XMP": xmp("", "", "k" * 150),
            "c.jpg": b"",
            "c.xmp": bomb,
            "d.jpg": b"",
            "d.jpg.xmp": "<x",
            "e.jpg": b"",
        },
    )
    found = {item.name: item for item in read_source(tmp_path)}
    words = {name: item.words for name, item in found.items() if isinstance(item, Entry)}
    assert words == {
        "a.jpg": {"filename": "a.jpg", "title": "Rex", "caption": "in the garden", "tags": ["dog", "garden"]},
        "b.jpg": {"filename": "b.jpg", "tags": ["k" * 100]},
        **{name: {"filename": name} for name in ("c.jpg", "d.jpg", "e.jpg")},
    }
    assert list(reasons(tmp_path)) == ["c.xmp", "d.jpg.xmp"]
    assert not any(item.failed for item in found.values() if isinstance(item, Unreadable))


@pytest.mark.parametrize(
    ("picture", "sidecar"),
    [
        ("IMG_1.jpg", "IMG_1.jpg.json"),
        ("IMG_1.jpg", "IMG_1.jpg.supplemental-metadata.json"),
        ("MVIMG_20191230_232926.jpg", "MVIMG_20191230_232926.jpg.supplemental-metadat.json"),
        ("Screenshot_20200301-161151.png", "Screenshot_20200301-161151.png.supplemental-me.json"),
        ("Screenshot_20231027_123303_Facebook.jpg", "Screenshot_20231027_123303_Facebook.jpg.supple.json"),
        ("Screenshot_20231027_123303_Facebook12345.jpg", "Screenshot_20231027_123303_Facebook12345.jpg.s.json"),
        ("Screenshot_20231027_123303_Facebook123456.jpg", "Screenshot_20231027_123303_Facebook123456.jpg..json"),
        ("Screenshot_20231027_123303_Facebook(1).jpg", "Screenshot_20231027_123303_Facebook.jpg.supple(1).json"),
        ("DSC_0101(1).JPG", "DSC_0101.JPG(1).json"),
        ("IMG_2710(1).HEIC", "IMG_2710.HEIC(1).json"),
        ("Scan35(12).jpg", "Scan35.jpg.supplemental-metadata(12).json"),
        ("Scan(2020).jpg", "Scan(2020).jpg.supplemental-metadata.json"),
        ("Negative(1)(1).jpg", "Negative(1).jpg.supplemental-metadata(1).json"),
        ("PXL_20210102_221126856.MP~2.jpg", "PXL_20210102_221126856.MP~2.jpg.json"),
        ("05yqt21kruxwwlhhgrwrdyb6chhwszi9bqmzu16w0 2.jpg", "05yqt21kruxwwlhhgrwrdyb6chhwszi9bqmzu16w0 2.jp.json"),
        (
            "PXL_20230809_203449253.LONG_EXPOSURE-02.ORIGINA.jpg",
            "PXL_20230809_203449253.LONG_EXPOSURE-02.ORIGIN.json",
        ),
        (
            "Screenshot_2024-08-31-00-53-48-647_com.snapchat.jpg",
            "Screenshot_2024-08-31-00-53-48-647_com.snapcha.json",
        ),
        (
            "Backyard_ceremony_wedding_photography_xxxxxxx_m(494).jpg",
            "Backyard_ceremony_wedding_photography_xxxxxxx_(494).json",
        ),
        (
            "13039_327707840323_537645323_9470255_27214_n(1).jpg",
            "13039_327707840323_537645323_9470255_27214_n.j(1).json",
        ),
        ("😀" * 24 + ".jpg", "😀" * 23 + ".json"),
        ("Peanut Butter Balls.jpg", "Peanut Butter Balls.supplemental-metadata.json"),
        ("2013-12-23(1).jpg", "2013-12-23.supplemental-metadata(1).json"),
        ("IMG_1-edited.jpg", "IMG_1.jpg.json"),
        ("IMG_1-bearbeitet.jpg", "IMG_1.HEIC.supplemental-metadata.json"),
        ("IMG_1-ha editado(1).jpg", "IMG_1.jpg.supplemental-metadata(1).json"),
        ("IMG_1(1)-edited.jpg", "IMG_1.jpg(1).json"),
        ("IMG_20120216_094016-edited(1).jpg", "IMG_20120216_094016.jpg.supplemental-metadata.json"),
        ("PXL_20220405_090123740.PORTRAIT-modifié.jpg", "PXL_20220405_090123740.PORTRAIT.jpg.json"),
        ("IMG-20230325-WA0122~2-編集済み.jpg", "IMG-20230325-WA0122~2.jpg.supplemental-metadat.json"),
    ],
)
def test_takeouts_names_of_a_picture_and_its_json(tmp_path: Path, picture: str, sidecar: str) -> None:
    assert len(sidecar.encode("utf-16-le")) <= 2 * 51 + 2 * len("(494)")
    write_files(tmp_path, {sidecar: json.dumps({"description": "found", "photoTakenTime": {"timestamp": "1"}})})
    assert TakeoutFolder(tmp_path, [sidecar]).notes_on(picture).words.get("caption") == "found"


@pytest.mark.parametrize(
    ("picture", "sidecar"),
    [
        ("PXL_20211013_220651958.jpg", "PXL_20211013_220651983.jpg.json"),
        ("DSC_0102(1).JPG", "DSC_0102.JPG(2).json"),
        ("DSC_0103.JPG", "DSC_0103.JPG(1).json"),
        ("DSC_0104(1).JPG", "DSC_0104.JPG.json"),
        ("IMG-20230325-WA0122.jpg", "IMG-20230325.jpg.json"),
        ("IMG_1.jpg", "IMG_1.jpg.settings.json"),
        ("IMG_10.jpg", "IMG_1.jpg.json"),
    ],
)
def test_a_json_of_another_picture_is_not_taken(tmp_path: Path, picture: str, sidecar: str) -> None:
    write_files(tmp_path, {sidecar: json.dumps({"description": "found", "photoTakenTime": {"timestamp": "1"}})})
    assert TakeoutFolder(tmp_path, [sidecar]).notes_on(picture).words == {}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Photos from 2019", True),
        ("Fotos von 1998", True),
        ("Photos de 2020", True),
        ("Foto's uit 2019", True),
        ("Фотографии за 2021", True),
        ("2023 年の写真", True),
        ("2023년의 사진", True),
        ("Photos from Rome", False),
        ("Rome 2019", False),
        ("2019", False),
        ("Photos from 2019 (best)", False),
    ],
)
def test_a_years_folder_is_no_album(name: str, expected: bool) -> None:
    assert is_year_folder(name) is expected


def sidecar(title: str, **fields: Any) -> str:
    """As Takeout wrote it in 2026."""
    nowhere = {"latitude": 0.0, "longitude": 0.0, "altitude": 0.0, "latitudeSpan": 0.0, "longitudeSpan": 0.0}
    return json.dumps(
        {
            "title": title,
            "description": "",
            "imageViews": "9",
            "creationTime": {"timestamp": "1600598769", "formatted": "Sep 20, 2020, 10:46:09 AM UTC"},
            "photoTakenTime": {"timestamp": "1600596727", "formatted": "Sep 20, 2020, 10:12:07 AM UTC"},
            "geoData": nowhere,
            "geoDataExif": nowhere,
            "url": "https://photos.google.com/photo/AF1Qip",
            "googlePhotosOrigin": {"mobileUpload": {"deviceType": "ANDROID_PHONE"}},
            **fields,
        }
    )


@pytest.fixture
def takeout(tmp_path: Path) -> Path:
    dog, buses, pizza = ((PHOTOS / name).read_bytes() for name in (DOG, BUSES, PIZZA))
    date = {"timestamp": "1672477816", "formatted": "Dec 31, 2022, 9:10:16 AM UTC"}
    here = {"latitude": 53.55, "longitude": 8.58, "altitude": 1.0}
    year: Files = {
        "metadata.json": json.dumps({"title": "Photos from 2020", "date": date}),
        "IMG_1.jpg": dog,
        "IMG_1.jpg.supplemental-metadata.json": sidecar("IMG_1.jpg"),
        "IMG_1-bearbeitet.jpg": buses,
        "a_b.jpg": pizza,
        "a_b.jpg.supplemental-metadata.json": sidecar(
            "a?b.jpg",
            description="A pizza",
            geoDataExif=here,
            people=[{"name": "Anna"}, {"name": "Дочь"}, {}],
            favorited=True,
            photoTakenTime={"timestamp": "-86400"},
        ),
        "film.mp4": b"\x00\x00\x00\x18ftypisom",
        "film.mp4.supplemental-metadata.json": sidecar("film.mp4"),
        "thrown away.jpg": dog,
        "thrown away.jpg.supplemental-metadata.json": sidecar("thrown away.jpg", trashed=True),
        "broken.jpg": b"",
        "broken.jpg.supplemental-metadata.json": sidecar("broken.jpg")[:-9],
    }
    album: Files = {
        "Metadaten.json": json.dumps({"title": "Am Meer & mehr", "access": "protected", "date": date}),
        "IMG_1.jpg": dog,
        "IMG_1.jpg.supplemental-metadata.json": sidecar("IMG_1.jpg", geoData={**here, "latitude": 54.0}),
    }
    photos: Files = {"Fotos von 2020": year, "Weser": album, "shared_album_comments.json": "{}"}
    return write_files(tmp_path / "Takeout", {"Google Fotos": photos, "archive_browser.html": "<html>"})


def test_a_takeout_is_read_with_its_words(takeout: Path) -> None:
    found = {item.name.removeprefix("Google Fotos/"): item for item in read_source(takeout)}
    words = {name: item.words for name, item in found.items() if isinstance(item, Entry)}
    assert words == {
        "Weser/IMG_1.jpg": {
            "filename": "IMG_1.jpg",
            "taken_at": "2020-09-20T10:12:07+00:00",
            "latitude": 54.0,
            "longitude": 8.58,
            "tags": ["Am Meer & mehr"],
        },
        "Fotos von 2020/IMG_1-bearbeitet.jpg": {
            "filename": "IMG_1-bearbeitet.jpg",
            "taken_at": "2020-09-20T10:12:07+00:00",
        },
        "Fotos von 2020/IMG_1.jpg": {"filename": "IMG_1.jpg", "taken_at": "2020-09-20T10:12:07+00:00"},
        "Fotos von 2020/a_b.jpg": {
            "filename": "a?b.jpg",
            "caption": "A pizza",
            "taken_at": "1969-12-31T00:00:00+00:00",
            "latitude": 53.55,
            "longitude": 8.58,
            "tags": ["Anna", "Дочь", "favorite"],
        },
        "Fotos von 2020/broken.jpg": {"filename": "broken.jpg"},
    }
    left_out = {name: (item.reason, item.failed) for name, item in found.items() if isinstance(item, Unreadable)}
    assert left_out == {
        "Fotos von 2020/thrown away.jpg": ("lies in the trash of Google Photos", False),
        "Fotos von 2020/broken.jpg.supplemental-metadata.json": (
            "cannot be read; its picture is taken without it",
            False,
        ),
    }


def test_a_photo_of_an_album_and_a_year_is_one_photo_with_the_albums_tag(app: Running, takeout: Path) -> None:
    added = [add(app, item) for name, item in good_entries(takeout) if "broken" not in name]
    assert [one.created for one in added] == [True, True, False, True]
    assert added[0].photo.id == added[2].photo.id
    with app.services.database.read() as session:
        photo = session.get(Photo, added[0].photo.id)
    assert photo is not None
    assert (photo.tags, photo.taken_at) == (["Am Meer & mehr"], datetime(2020, 9, 20, 10, 12, 7, tzinfo=UTC))


def good_entries(source: Path) -> list[tuple[str, Entry]]:
    return [(item.name, item) for item in read_source(source) if isinstance(item, Entry)]


def test_json_that_is_not_of_takeout_says_nothing(tmp_path: Path) -> None:
    """As annotation tools leave it beside pictures."""
    write_files(
        tmp_path,
        {
            "a.jpg": b"",
            "a.json": json.dumps({"title": "other", "shapes": []}),
            "b.jpg": b"",
            "b.json": "[1, 2]",
            "index.json": json.dumps({"title": "My site"}),
            "package.json": "not json",
        },
    )
    assert [entry.words for entry in entries_of(tmp_path).values()] == [
        {"filename": "a.jpg"},
        {"filename": "b.jpg"},
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"photoTakenTime": {"timestamp": "9" * 40}},
        {"photoTakenTime": {"timestamp": "soon"}},
        {"geoData": {"latitude": "north"}},
        {"people": "Anna"},
        {"favorited": "sometimes"},
    ],
)
def test_a_hostile_sidecar_costs_its_words_not_its_picture(tmp_path: Path, fields: dict[str, Any]) -> None:
    write_files(tmp_path, {"a.jpg": b"", "a.jpg.json": sidecar("a.jpg", **fields)})
    damaged, entry = read_source(tmp_path)
    assert isinstance(damaged, Unreadable)
    assert isinstance(entry, Entry)
    assert entry.words == {"filename": "a.jpg"}


def test_what_takeout_does_not_know_and_what_is_too_long_is_left_out(tmp_path: Path) -> None:
    off = {"latitude": 91.0, "longitude": 8.0}
    people = [{"name": f"{n} " + "x" * 200} for n in range(200)]
    long = sidecar(
        "x" * 300 + "/" + "y" * 300,
        description="d" * 6000 + "\x00",
        photoTakenTime={"timestamp": "0"},
        geoData=off,
        people=people,
    )
    write_files(tmp_path, {"a.jpg": b"", "a.jpg.json": long})
    words = entries_of(tmp_path)["a.jpg"].words
    assert set(words) == {"filename", "caption", "tags"}
    item = new_item(b"", words)
    assert (len(item.filename), len(item.caption or ""), len(item.tags)) == (255, 5000, 100)
    assert item.taken_at is None


def test_a_takeout_is_imported_and_what_is_left_out_is_told(app: Running, takeout: Path) -> None:
    ended = import_folder(app, takeout).all
    assert sorted(entry.status for entry in ended) == [*["failed"], *["ignored"] * 2, "known", *["ready"] * 3]
    shown = app.client.get("/photos", params={"tag": "Anna"}).json()["photos"]
    assert [photo["filename"] for photo in shown] == ["a?b.jpg"]
    assert shown[0]["taken_at"].startswith("1969-12-31T00:00:00")


def test_the_command_takes_patterns(tmp_path: Path, recollect: Callable[..., Result]) -> None:
    write_files(tmp_path / "photos", {"a.png": b"", "b.jpg": b""})
    done = recollect("import", tmp_path / "photos", "--ignore", "*.png", "--ignore", "b.*")
    assert done.exit_code == 1
    assert done.stderr.endswith(f"There are no pictures in {tmp_path / 'photos'}.\n")
