"""What the OpenAPI schema says beside what FastAPI finds out: how parameters and forms look, what is public."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from app.guard import PUBLIC

Schema = dict[str, Any]
FORMS = ("multipart/form-data", "application/x-www-form-urlencoded")


def describe_as_sent(app: FastAPI) -> None:
    """From now on the schema says of parameters and forms what a client may send."""
    generate = app.openapi

    def openapi() -> Schema:
        if app.openapi_schema is None:
            schema = generate()
            for properties in _sent_as_text(schema):
                properties.update({name: _as_text(value) for name, value in properties.items()})
            for path in PUBLIC & schema["paths"].keys():
                for operation in schema["paths"][path].values():
                    operation["security"] = []
        return generate()

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation says


def _sent_as_text(schema: Schema) -> Iterator[Schema]:
    """Where schemas lie of values that are sent as text: each by its name."""
    for operations in schema["paths"].values():
        for operation in operations.values():
            yield from operation.get("parameters", ())
            for kind, body in operation.get("requestBody", {}).get("content", {}).items():
                if kind in FORMS:
                    yield schema["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]]["properties"]


def _as_text(value: Any) -> Any:
    """Nothing is null there, and a tuple is a list with commas."""
    if not isinstance(value, dict):
        return value
    kinds = [kind for kind in value.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        value = kinds[0] | {name: told for name, told in value.items() if name != "anyOf"}
    if items := value.pop("prefixItems", None):
        value |= {"type": "string", "pattern": f"^[^,]+(,[^,]+){{{len(items) - 1}}}$"}
        value = {name: told for name, told in value.items() if name not in ("minItems", "maxItems")}
    return value
