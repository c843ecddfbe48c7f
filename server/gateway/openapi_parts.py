"""Pieces of the OpenAPI page that its operations share: forms, answers, failures.

Used by `server.gateway.openapi` and `server.gateway.openapi_foreign`.
"""

from __future__ import annotations

from typing import Any

from server.gateway.schemas import ref

Json = dict[str, Any]

BINARY: Json = {"type": "string", "contentMediaType": "application/octet-stream"}
PICTURES: Json = {
    kind: {"schema": BINARY}
    for kind in ("image/png", "image/webp", "image/jpeg", "application/zip")
}
FAILURES = {
    "400": "A parameter or the picture makes no sense.",
    "401": "The key is missing or wrong.",
    "403": "The key is wrong.",
    "404": "There is no such model, or batch.",
    "408": "The body stopped coming.",
    "409": "Not in a state for this: a model that is not loaded, a batch that is not done.",
    "413": "More bytes than are taken.",
    "415": "A body of a kind that is not read.",
    "429": "The server is full, or the caller's rate is used up; Retry-After says when to come.",
    "500": "Our fault; the log holds the trace under the request's id.",
    "501": "Not built, or switched off.",
    "503": "Shutting down, or the model is loading.",
    "504": "It took longer than it may.",
    "507": "The disk for batches is full.",
}


def failures(codes: str, schema: str) -> Json:
    """Answers for `codes`, statuses with blanks between, of the named schema."""
    return {
        code: {
            "description": FAILURES[code],
            "content": {"application/json": {"schema": ref(schema)}},
        }
        for code in codes.split()
    }


def json_answer(schema: Json, description: str) -> Json:
    """An answer in JSON."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def form(properties: Json, required: list[str]) -> Json:
    """A multipart form with these fields; those that are BINARY are files."""
    return {
        "schema": {"type": "object", "properties": properties, "required": required},
        "encoding": {
            name: {"contentType": "image/png, image/jpeg, image/webp"}
            for name, schema in properties.items()
            if schema is BINARY
        },
    }


USUAL = "400 401 404 408 409 413 415 429 500 501 503 504"
