"""Access keys: who somebody is, whose library that opens, and what may be done with it."""

import hashlib
import hmac
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from cachetools import TTLCache
from pydantic import SecretStr
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, delete, func, select

from app.database import Database
from app.errors import KeyNeeded, KeyNotFound, NameTaken
from app.tables import AccessKey, Scope, SignIn, utc_now

PREFIX = "rk_"  # by which a key that was published by mistake can be found
SIGNED_IN_FOR = timedelta(days=30)
KNOWN_FOR_S = 1.0  # after that the rows are asked again, which another process may have changed
MOST_KNOWN = 10_000


@dataclass(frozen=True)
class Caller:
    """Who asks: the name of the key, None where nobody needs one."""

    owner: str
    scopes: frozenset[Scope]
    key: str | None = None


def digest_of(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


class AccessKeys:
    """The keys in the database, and the administrator's from the settings; safe for any number of threads."""

    def __init__(self, database: Database, owner: str, admin_key: SecretStr | None = None) -> None:
        self._database = database
        self._owner = owner
        self._admin_digest = digest_of(admin_key.get_secret_value()) if admin_key else None
        self._lock = threading.Lock()
        self._known: TTLCache[str, Caller | None] = TTLCache(MOST_KNOWN, KNOWN_FOR_S)
        self._exist: TTLCache[str, bool] = TTLCache(1, KNOWN_FOR_S)

    @property
    def exist(self) -> bool:
        """Whether anybody has to show a key."""
        with self._lock:
            found = self._exist.get("any")
        if found is None:
            with self._database.read() as session:
                rows = session.exec(select(func.count()).select_from(AccessKey)).one()
            found = bool(rows or self._admin_digest)
            with self._lock:
                self._exist["any"] = found
        return found

    def remembers(self, token: str | None = None) -> bool:
        """Whether `caller`, or without a token `exist`, will answer without asking the rows."""
        with self._lock:
            return "any" in self._exist if token is None else digest_of(token) in self._known

    def caller(self, token: str) -> Caller | None:
        """Whose key or cookie this is; None if it is nobody's."""
        digest = digest_of(token)
        with self._lock:
            if digest in self._known:
                return self._known[digest]
        caller = self._find(digest)
        with self._lock:
            self._known[digest] = caller
        return caller

    def make(self, name: str, owner: str, scopes: Sequence[Scope]) -> tuple[AccessKey, str]:
        """A new key's row, and the key itself, which is kept nowhere. Raises: NameTaken."""
        token = PREFIX + secrets.token_urlsafe(32)
        row = AccessKey(name=name, owner=owner, scopes=sorted(set(scopes)), digest=digest_of(token))
        try:
            with self._database.write() as session:
                session.add(row)
        except IntegrityError:
            raise NameTaken(f"There is a key named {name!r} already.") from None
        self.forget()
        return row, token

    def all(self) -> Sequence[AccessKey]:
        """By name."""
        with self._database.read() as session:
            return session.exec(select(AccessKey).order_by(AccessKey.name)).all()

    def revoke(self, key_id: int) -> None:
        """From now on it opens nothing, and whoever has signed in with it is out. Raises: KeyNotFound."""
        with self._database.write() as session:
            row = session.get(AccessKey, key_id)
            if row is None:
                raise KeyNotFound(f"There is no key {key_id}.")
            session.delete(row)
        self.forget()

    def sign_in(self, token: str) -> str:
        """A cookie that stands for this key for SIGNED_IN_FOR. Raises: KeyNeeded (no such key)."""
        cookie, digest = secrets.token_urlsafe(32), digest_of(token)
        with self._database.write() as session:
            if self._holder(session, digest) is None:
                raise KeyNeeded("This key is not known here.")
            session.exec(delete(SignIn).where(col(SignIn.expires_at) < utc_now()))
            expires_at = utc_now() + SIGNED_IN_FOR
            session.add(SignIn(digest=digest_of(cookie), key_digest=digest, expires_at=expires_at))
        return cookie

    def sign_out(self, cookie: str) -> None:
        with self._database.write() as session:
            session.exec(delete(SignIn).where(col(SignIn.digest) == digest_of(cookie)))
        self.forget()

    def _find(self, digest: str) -> Caller | None:
        valid = (SignIn.digest == digest, col(SignIn.expires_at) > utc_now())
        with self._database.read() as session:
            signed_in = session.exec(select(SignIn.key_digest).where(*valid)).first()
            return self._holder(session, signed_in or digest)

    def _holder(self, session: Session, digest: str) -> Caller | None:
        # Digests are looked up, not compared in constant time: what could be learnt from the time it takes is of
        # the digest, and no key follows from that.
        if self._admin_digest and hmac.compare_digest(digest, self._admin_digest):
            return Caller(self._owner, frozenset(Scope), "RECOLLECT_ADMIN_KEY")
        row = session.exec(select(AccessKey).where(AccessKey.digest == digest)).first()
        return None if row is None else Caller(row.owner, frozenset(map(Scope, row.scopes)), row.name)

    def forget(self) -> None:
        """Ask the rows again."""
        with self._lock:
            self._known.clear()
            self._exist.clear()
