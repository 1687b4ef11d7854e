"""Full text in PostgreSQL: each photo's words as a tsvector, and as a text for parts of words (pg_trgm).

Needs a database in UTF-8 whose locale knows letters beyond ASCII. Words are split, folded and stemmed as FTS5 does
it for SQLite, so that a query finds the same: a run of letters and digits is a word, and accents do not count.
"""
# ruff: noqa: S608 — statements are put together from the names below

from sqlalchemy import Connection

from app.errors import InvalidRequest
from app.migrations.words import PARTS, VIEW, WORDS

TABLE = "photo_words"
CONFIGURATION = "recollect"
LONGEST = 100_000  # characters of one text that are searched; a tsvector holds 1 MB
KNOWS_LETTERS = "SELECT lower('Ä') = 'ä' AND 'é' ~ '^[[:alnum:]]$' AND pg_encoding_to_char(encoding) = 'UTF8'"

# A lexeme that no query asks for keeps phrases from reaching from one column into the next.
_SETUP = rf"""
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE TEXT SEARCH DICTIONARY {CONFIGURATION}_stem (TEMPLATE = snowball, Language = english);
CREATE TEXT SEARCH CONFIGURATION {CONFIGURATION} (COPY = simple);
ALTER TEXT SEARCH CONFIGURATION {CONFIGURATION}
    ALTER MAPPING FOR asciiword, word, numword WITH {CONFIGURATION}_stem;

CREATE FUNCTION recollect_plain(words text) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT regexp_replace(regexp_replace(normalize(replace(lower(left(words, {LONGEST})), 'ß', 'ss'), NFD),
        '[\u0300-\u036f]', '', 'g'), '[^[:alnum:]]+', ' ', 'g')
$$;
CREATE FUNCTION recollect_words(words text) RETURNS tsvector LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT to_tsvector('{CONFIGURATION}', recollect_plain(coalesce(words, ''))) || '\,:1'::tsvector
$$;
CREATE FUNCTION recollect_query(words text[]) RETURNS tsquery LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT string_agg('(' || phrase || ')', ' | ')::tsquery
    FROM unnest(words) AS word, CAST(phraseto_tsquery('{CONFIGURATION}', recollect_plain(word)) AS text) AS phrase
    WHERE phrase <> ''
$$;

CREATE TABLE {TABLE} (
    photo_id bigint PRIMARY KEY REFERENCES photos (id) ON DELETE CASCADE,
    words tsvector NOT NULL,
    parts text NOT NULL
);
CREATE INDEX ix_{TABLE}_words ON {TABLE} USING gin (words);
CREATE INDEX ix_{TABLE}_parts ON {TABLE} USING gin (parts gin_trgm_ops);
"""


def create(connection: Connection) -> None:
    """View, table, functions and trigger, filled from the photos that are there.

    Raises: InvalidRequest (a database in whose locale Ä is no letter), sqlalchemy.exc.DBAPIError.
    """
    of_this = f"{KNOWS_LETTERS} FROM pg_database WHERE datname = current_database()"
    if not connection.exec_driver_sql(of_this).scalar():
        raise InvalidRequest(
            "The database must be in UTF-8, and its locale another one than C: C.UTF-8, for instance."
        )
    tags = "(SELECT string_agg(value, ' ') FROM json_array_elements_text(photos.tags)) AS tags"
    columns = ", ".join(tags if name == "tags" else name for name in dict.fromkeys(WORDS + PARTS))
    connection.exec_driver_sql(f"CREATE VIEW {VIEW} AS SELECT id, {columns} FROM photos")
    connection.exec_driver_sql(_SETUP)
    watched = ", ".join(dict.fromkeys(WORDS + PARTS))
    connection.exec_driver_sql(f"""
        CREATE FUNCTION recollect_follow_words() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN {_insertion("WHERE id = new.id")}; RETURN NULL; END $$;
        CREATE TRIGGER {TABLE} AFTER INSERT OR UPDATE OF {watched} ON photos
            FOR EACH ROW EXECUTE FUNCTION recollect_follow_words()
    """)
    refill(connection)


def is_whole(connection: Connection) -> bool:
    """Whether it holds the library's photos; others it cannot hold."""
    missing = f"SELECT id FROM photos WHERE NOT EXISTS (SELECT 1 FROM {TABLE} WHERE photo_id = id) LIMIT 1"
    return connection.exec_driver_sql(missing).first() is None


def refill(connection: Connection) -> None:
    """The table as if all photos had just come in."""
    connection.exec_driver_sql(f"TRUNCATE {TABLE}")
    connection.exec_driver_sql(_insertion())


def _insertion(which: str = "") -> str:
    words = " || ".join(f"recollect_words({name})" for name in WORDS)
    parts = f"lower(concat_ws(E'\\n', {', '.join(f'left({name}, {LONGEST})' for name in PARTS)}))"
    return (
        f"INSERT INTO {TABLE} SELECT id, {words}, {parts} FROM {VIEW} {which} "
        "ON CONFLICT (photo_id) DO UPDATE SET words = excluded.words, parts = excluded.parts"
    )
