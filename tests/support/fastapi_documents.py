"""OpenAPI documents as FastAPI writes them for pydantic models, made from the contract: references, anyOf with null."""

import copy
import json
from typing import Any

from incident_process.document.contract import incident_schema

PATH = "/Request_Incident_External_information"


def contract() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(incident_schema())
    return found


def document(schema: dict[str, Any] | None = None, path: str = PATH, **more: Any) -> dict[str, Any]:
    """Describe a POST whose body is this schema; by default the contract itself."""
    components: dict[str, Any] = {}
    body = _written(copy.deepcopy(contract() if schema is None else schema), components, "Incident")
    return {
        "openapi": "3.1.0",
        "info": {"title": "FastAPI", "version": "0.1.0"},
        "paths": {
            path: {
                "post": {
                    "summary": "Create",
                    "requestBody": {"content": {"application/json": {"schema": body}}, "required": True},
                    "responses": {"201": {"description": "Successful Response"}},
                }
            }
        },
        "components": {"schemas": components},
        **more,
    }


def _written(schema: Any, components: dict[str, Any], name: str) -> Any:
    if not isinstance(schema, dict):
        return schema
    kinds = schema.get("type")
    if isinstance(kinds, list):
        rest = {key: value for key, value in schema.items() if key != "type"}
        some = [_written({**rest, "type": kind}, components, name) for kind in kinds if kind != "null"]
        return {"anyOf": [*some, {"type": "null"}], "title": name}
    if kinds == "object" and "properties" in schema:
        title = schema.get("title", name)
        components[title] = {}
        properties = {one: _written(value, components, one) for one, value in schema["properties"].items()}
        components[title] |= {**schema, "properties": properties, "title": title}
        return {"$ref": f"#/components/schemas/{title}"}
    if kinds == "array" and "items" in schema:
        return {**schema, "items": _written(schema["items"], components, f"{name}_item")}
    return schema
