"""The record of model changes: which model is in use, which one is to follow, and who works on it.

It lies in the database, so it outlives a crash, and `recollect reindex` and a server beside it agree.
"""

import logging
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from uuid import uuid4

from sqlalchemy.exc import OperationalError
from sqlmodel import Session, col, func, select

from app.database import Database
from app.errors import InvalidRequest
from app.services.model_choice import AUTO, EMBEDDED, EMBEDDED_SPACE, ModelChoice, plain_name
from app.tables import ChangeState, Embedding, ModelChange

logger = logging.getLogger(__name__)

REQUEST = "request"  # origin of a change that somebody asked for by `recollect reindex` or over HTTP
HEARTBEAT_S = 1.0
LEASE_S = 10.0  # who has not been heard of for so long has crashed; another may take over
FORGET_ROWS = 5_000  # deleted in one transaction, so that uploads wait for a moment only


def newest(database: Database) -> ModelChange | None:
    """The pending change, else the one in use; None in a library that no server has opened yet."""
    with database.read() as session:
        return _latest(session, ChangeState.PENDING, ChangeState.DONE)


def in_use(database: Database) -> ModelChange | None:
    """The change that led to the present model; in a library without a record, told by its vectors."""
    with database.read() as session:
        return _latest(session, ChangeState.DONE) or _told_by_vectors(session)


def by_id(database: Database, change_id: int) -> ModelChange:
    with database.read() as session:
        return session.get_one(ModelChange, change_id)


def last_asked(database: Database) -> ModelChange | None:
    """The newest record, cancelled ones too."""
    with database.read() as session:
        return _latest(session)


def request_change(database: Database, model: str, origin: str = REQUEST) -> ModelChange:
    """To `model`, a name that RECOLLECT_MODEL takes; a change still under way is given up."""
    with database.write() as session:
        return _request(session, model, origin)


def roll_back(database: Database) -> ModelChange:
    """Give up the change under way; without one, change back to the model before the present one.

    Raises: InvalidRequest when there was none.
    """
    with database.write() as session:
        if (pending := _latest(session, ChangeState.PENDING)) is not None:
            _cancel_pending(session)
            return pending
        before = _previous(session)
        if before is None:
            raise InvalidRequest("There is no earlier model to go back to.")
        return _request(session, before.model, REQUEST)


def previous(database: Database) -> ModelChange | None:
    """What a roll-back would lead to when no change is under way."""
    with database.read() as session:
        return _previous(session)


def note_setting(database: Database, setting: str, loaded: ModelChoice) -> None:
    """RECOLLECT_MODEL counts if it has changed since the last start, or if `auto` now stands for CLIP.

    A change that somebody asked for since then is not undone by it.
    """
    wanted = plain_name(setting)
    with database.write() as session:
        if _latest(session, ChangeState.DONE) is None:
            origin = setting if loaded.name == wanted else ""
            done = ModelChange(model=loaded.name, space=loaded.space, origin=origin, state=ChangeState.DONE)
            session.add(done)
            session.flush()
        told = select(ModelChange).where(ModelChange.origin != REQUEST).order_by(col(ModelChange.id).desc())
        last_told = session.exec(told).first()
        latest = _latest(session, ChangeState.PENDING, ChangeState.DONE)
        assert latest is not None, "one was added above at the latest"
        setting_is_new = last_told is None or last_told.origin != setting
        clip_has_come = setting == AUTO == latest.origin and latest.model == EMBEDDED != wanted
        in_use_already = latest.model == wanted and latest.state is ChangeState.DONE
        if clip_has_come or (setting_is_new and not in_use_already):
            _request(session, wanted, setting)
        elif setting_is_new:
            session.add(ModelChange(model=wanted, space=latest.space, origin=setting, state=ChangeState.DONE))


def forget_others(database: Database) -> int:
    """Delete the vectors of every space that is neither in use nor being filled; returns how many there were."""
    used = in_use(database)
    pending = newest(database)
    kept = {change.space for change in (used, pending) if change and change.space}
    if not kept:
        return 0
    forgotten = 0
    while True:
        with database.write() as session:
            others = select(Embedding).where(col(Embedding.space).not_in(kept)).limit(FORGET_ROWS)
            rows = session.exec(others).all()
            for row in rows:
                session.delete(row)
        if not rows:
            return forgotten
        forgotten += len(rows)


@dataclass
class Claim:
    """A change in the hands of this process. Inside `with claim:` everybody else can read how far it is.

    `lost` is set when the change has been cancelled, or has been taken over after a long silence.
    """

    database: Database
    change_id: int
    total: int = 0
    done: int = 0
    skipped: int = 0
    photos_per_s: float = 0.0
    lost: threading.Event = field(default_factory=threading.Event)
    _worker: str = field(default_factory=lambda: uuid4().hex)
    _left: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of(cls, database: Database, change: ModelChange) -> Self:
        assert change.id is not None, "a stored change has an id"
        return cls(database, change.id)

    def take(self) -> bool:
        """Whether the change is pending and nobody else works on it."""
        with self.database.write() as session:
            row = session.get_one(ModelChange, self.change_id)
            working = row.worker not in (None, self._worker) and time.time() - row.heartbeat < LEASE_S
            if row.state is not ChangeState.PENDING or working:
                return False
            row.worker, row.heartbeat, row.error = self._worker, time.time(), None
            return True

    def finish(self) -> bool:
        """Whether it is done now: from here on every process goes to its space. False: it has been lost."""
        with self.database.write() as session:
            row = session.get_one(ModelChange, self.change_id)
            if row.state is not ChangeState.PENDING or row.worker != self._worker:
                return False
            self._write_counts(row)
            row.state, row.worker = ChangeState.DONE, None
            return True

    def name_space(self, space: str) -> None:
        with self.database.write() as session:
            session.get_one(ModelChange, self.change_id).space = space

    def fail(self, error: str, *, give_up: bool = False) -> None:
        """Say why it does not go on; it stays pending unless given up."""
        with self.database.write() as session:
            row = session.get_one(ModelChange, self.change_id)
            row.error = error
            if give_up and row.state is ChangeState.PENDING:
                row.state = ChangeState.CANCELLED

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._tell, name="model-change-heartbeat", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._left.set()
        self._thread.join()
        with self.database.log() as session:
            row = session.get_one(ModelChange, self.change_id)
            if row.worker == self._worker:
                self._write_counts(row)
                row.worker = None  # whoever comes next need not wait

    def _tell(self) -> None:
        while not self._left.wait(HEARTBEAT_S):
            try:
                self._beat()
            except OperationalError as error:  # a database that is locked for long
                logger.warning("The state of the model change could not be written: %s", error)

    def _beat(self) -> None:
        with self.database.log() as session:
            row = session.get_one(ModelChange, self.change_id)
            if row.state is ChangeState.CANCELLED or row.worker not in (None, self._worker):
                self.lost.set()
            elif row.state is ChangeState.PENDING:
                self._write_counts(row)
                row.heartbeat = time.time()

    def _write_counts(self, row: ModelChange) -> None:
        row.total, row.done, row.skipped = self.total, self.done, self.skipped
        row.photos_per_s = self.photos_per_s


def _latest(session: Session, *states: ChangeState) -> ModelChange | None:
    wanted = select(ModelChange).order_by(col(ModelChange.id).desc())
    return session.exec(wanted.where(col(ModelChange.state).in_(states)) if states else wanted).first()


def _previous(session: Session) -> ModelChange | None:
    present = _latest(session, ChangeState.DONE)
    if present is None:
        return None
    earlier = select(ModelChange).where(ModelChange.state == ChangeState.DONE, ModelChange.space != present.space)
    return session.exec(earlier.order_by(col(ModelChange.id).desc())).first()


def _request(session: Session, model: str, origin: str) -> ModelChange:
    _cancel_pending(session)
    change = ModelChange(model=model, origin=origin)
    session.add(change)
    session.flush()
    return change


def _cancel_pending(session: Session) -> None:
    for row in session.exec(select(ModelChange).where(ModelChange.state == ChangeState.PENDING)):
        row.state = ChangeState.CANCELLED


def _told_by_vectors(session: Session) -> ModelChange | None:
    """Vectors of a library that only `recollect import`, or an older version, has written to."""
    most = func.count().desc()
    space = session.exec(select(Embedding.space).group_by(col(Embedding.space)).order_by(most)).first()
    if space is None:
        return None
    model = EMBEDDED if space == EMBEDDED_SPACE else space
    return ModelChange(model=model, space=space, origin="", state=ChangeState.DONE)
