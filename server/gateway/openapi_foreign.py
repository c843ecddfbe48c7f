"""The OpenAPI page's operations that speak remove.bg's and rembg's words.

Called by `server.gateway.openapi`.
"""

from __future__ import annotations

from server.gateway import removebg_parameters as theirs
from server.gateway.openapi_parts import BINARY, PICTURES, USUAL, Json, failures, form, json_answer
from server.gateway.schemas import Schema

_REMOVE_BG_ERROR: Schema = {
    "type": "object",
    "required": ["errors"],
    "properties": {
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["title", "detail", "code"],
                "properties": {name: {"type": "string"} for name in ("title", "detail", "code")},
            },
        }
    },
}
_REMBG_ERROR: Schema = {
    "type": "object",
    "required": ["detail"],
    "properties": {"detail": {"type": "string"}},
}
ERRORS = {"RemoveBgErrors": _REMOVE_BG_ERROR, "RembgError": _REMBG_ERROR}
_ANSWER: Schema = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "data": {
            "type": "object",
            "required": ["result_b64"],
            "properties": {
                "result_b64": {"type": "string", "contentEncoding": "base64"},
                **{
                    f"foreground_{side}": {"type": "integer"}
                    for side in ("top", "left", "width", "height")
                },
            },
        }
    },
}


def _words(allowed: tuple[str, ...], default: str) -> Json:
    return {"type": "string", "enum": list(allowed), "default": default}


def remove_bg() -> Json:
    """POST /v1.0/removebg."""
    text: Json = {"type": "string"}
    fields: Json = {
        "image_file": BINARY,
        "image_file_b64": text,
        "image_url": text,
        "size": _words(tuple(theirs.SIZES), "preview"),
        "type": _words(tuple(theirs.TYPES), "auto"),
        "type_level": _words(theirs.TYPE_LEVELS, "1"),
        "format": _words(theirs.FORMATS, "auto"),
        "roi": text,
        "crop": {"type": "boolean", "default": False},
        "crop_margin": text,
        "scale": text,
        "position": text,
        "channels": _words(theirs.CHANNELS, "rgba"),
        "add_shadow": {"type": "boolean", "default": False},
        "shadow_type": _words(tuple(theirs.SHADOWS), "none"),
        "shadow_opacity": {"type": "integer", "minimum": 0, "maximum": 100},
        "semitransparency": {"type": "boolean", "default": True},
        "bg_color": text,
        "bg_image_url": text,
        "bg_image_file": BINARY,
    }
    plain = {name: schema for name, schema in fields.items() if schema is not BINARY}
    flat = {"schema": {"type": "object", "properties": plain}}
    return {
        "summary": "Remove a background, as remove.bg does",
        "description": "docs/removebg.md says of each parameter whether it works as there.",
        "operationId": "removeBg",
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": form(fields, []),
                "application/x-www-form-urlencoded": flat,
                "application/json": flat,
            },
        },
        "responses": {
            "200": {
                "description": "The result.",
                "content": {**PICTURES, "application/json": {"schema": _ANSWER}},
            },
            **failures("400 403 404 408 409 429 500 501 503 504", "RemoveBgErrors"),
        },
    }


def account() -> Json:
    """GET /v1.0/account."""
    return {
        "summary": "Credits, as remove.bg tells them",
        "operationId": "account",
        "responses": {
            "200": json_answer({"type": "object"}, "There are always many."),
            **failures("403 429 500 503", "RemoveBgErrors"),
        },
    }


def improve() -> Json:
    """POST /v1.0/improve."""
    fields = {
        "image_file": BINARY,
        "image_file_b64": {"type": "string"},
        "image_url": {"type": "string"},
    }
    return {
        "summary": "Accepts remove.bg's improvement call, and keeps nothing",
        "operationId": "improve",
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": form(fields, [])},
        },
        "responses": {
            "200": json_answer({"type": "object"}, "Thanks; nothing was kept."),
            **failures("400 403 408 429 500 501 503", "RemoveBgErrors"),
        },
    }


_REMBG_FIELDS: Json = {
    "model": {
        "type": "string",
        "description": "A loaded model, by rembg's name or ours; the server's default.",
    },
    "a": {"type": "boolean", "description": "Refine the edge."},
    "af": {"type": "integer", "minimum": 0, "maximum": 255},
    "ab": {"type": "integer", "minimum": 0, "maximum": 255},
    "ae": {"type": "integer", "minimum": 0, "maximum": 10000},
    "om": {"type": "boolean", "description": "The alpha alone."},
    "ppm": {"type": "boolean", "description": "A hard alpha without specks."},
    "dc": {"type": "boolean", "description": "Take the old background out of the edge's colours."},
    "vm": {"type": "boolean", "description": "Refine the edge."},
    "bgc": {"type": "string", "description": "Red, green, blue, alpha: 255,255,255,255."},
    "extras": {"type": "string", "description": "JSON; sam_prompt holds points and rectangles."},
}


def rembg_get() -> Json:
    """GET /api/remove."""
    fields = {"url": {"type": "string"}, **_REMBG_FIELDS}
    return {
        "summary": "Remove a background, as rembg does, of a picture by its URL",
        "operationId": "rembgByUrl",
        "parameters": [
            {"name": name, "in": "query", "required": name == "url", "schema": schema}
            for name, schema in fields.items()
        ],
        "responses": {
            "200": {"description": "A PNG.", "content": {"image/png": {"schema": BINARY}}},
            **failures(USUAL, "RembgError"),
        },
    }


def rembg_post() -> Json:
    """POST /api/remove."""
    return {
        "summary": "Remove a background, as rembg does",
        "operationId": "rembgByFile",
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": form({"file": BINARY, **_REMBG_FIELDS}, ["file"])},
        },
        "responses": {
            "200": {"description": "A PNG.", "content": {"image/png": {"schema": BINARY}}},
            **failures(USUAL, "RembgError"),
        },
    }
