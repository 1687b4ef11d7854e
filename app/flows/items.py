"""Items as clients know them that name each by an id of their own, and send it again when it has changed."""

from dataclasses import replace

from sqlmodel import select

from app.flows.ingest import Added, NewItem, add_item
from app.flows.photos import update_photo
from app.flows.services import Services
from app.tables import Photo

WORDS = ("title", "caption", "category", "tags")


def put_item(services: Services, item: NewItem) -> Added:
    """A new item, or the known one with the words that are given now; what is left out stays as it was.

    Without a picture the item_id alone tells which one is meant. Raises: what add_item and update_photo raise;
    ItemIdTaken also if the item of this item_id has another picture.
    """
    held = _held(services, item) if item.data is None else None
    added = Added(held, created=False) if held else add_item(services, item)
    photo = added.photo
    changes = {name: given for name in WORDS if (given := getattr(item, name))}
    if item.item_id and not photo.item_id:
        changes["item_id"] = item.item_id
    if added.created or not changes:
        return added
    assert photo.id is not None, "a stored photo has an id"
    return replace(added, photo=update_photo(services, photo.id, changes))


def name_of(photo: Photo) -> str:
    """The caller's item_id, else the photo's id."""
    return photo.item_id or str(photo.id)


def _held(services: Services, item: NewItem) -> Photo | None:
    if not item.item_id:
        return None
    named = select(Photo).where(Photo.owner == services.owner, Photo.item_id == item.item_id)
    with services.database.read() as session:
        return session.exec(named).first()
