"""The OpenAPI 3.1 page of the HTTP door, at /openapi.json.

Written by hand where HTTP is concerned, made from the contract where messages are
(`server.gateway.schemas`); served by `server.gateway.gateway`, shown for people by
`server.gateway.docs_page`. A test compares its paths with the routes.
"""

from __future__ import annotations

from functools import cache

from starlette.requests import Request
from starlette.responses import JSONResponse

from mattestream import __version__
from mattestream.v1 import models_pb2, removal_pb2
from server.gateway import openapi_foreign
from server.gateway.openapi_parts import BINARY, PICTURES, USUAL, Json, failures, form, json_answer
from server.gateway.schemas import Schema, ref, schemas_of

_ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "request_id"],
            "properties": {
                "code": {"type": "string", "description": "The gRPC status that means the same."},
                "message": {
                    "type": "string",
                    "description": "What was seen, what is allowed, what to do.",
                },
                "request_id": {"type": "string"},
                "retry_after_ms": {"type": "integer"},
            },
        }
    },
}
_BATCH: Schema = {
    "type": "object",
    "required": ["id", "state", "images", "done", "failed", "created_at", "expires_at"],
    "properties": {
        "id": {"type": "string"},
        "state": {"type": "string", "enum": ["waiting", "running", "done"]},
        "images": {"type": "integer", "description": "Pictures in it."},
        "done": {"type": "integer", "description": "Pictures that are over, failed ones included."},
        "failed": {"type": "integer", "description": "Pictures that nothing came of."},
        "created_at": {"type": "string", "format": "date-time"},
        "expires_at": {"type": "string", "format": "date-time"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}


def document() -> Json:
    """The whole page."""
    return _document()


async def page(request: Request) -> JSONResponse:
    """GET /openapi.json."""
    return JSONResponse(_document())


@cache
def _document() -> Json:
    messages = schemas_of(
        removal_pb2.RemoveRequest.DESCRIPTOR,
        removal_pb2.RemoveResponse.DESCRIPTOR,
        removal_pb2.SegmentRequest.DESCRIPTOR,
        removal_pb2.SegmentResponse.DESCRIPTOR,
        models_pb2.ListModelsResponse.DESCRIPTOR,
    )
    errors = {"Failed": _ERROR, **openapi_foreign.ERRORS}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mattestream",
            "version": __version__,
            "description": "Background removal. The same pipeline as over gRPC, in three dialects: "
            "its own, remove.bg's and rembg's.",
        },
        "security": [{}, {"apiKey": []}, {"bearer": []}],
        "paths": {
            "/v1/remove": {"post": _own_remove()},
            "/v1/segment": {"post": _own_segment()},
            "/v1/models": {"get": _models()},
            "/v1/batches": {"post": _batch_submit(), "get": _batch_list()},
            "/v1/batches/{batch}": {"get": _batch_one(), "delete": _batch_delete()},
            "/v1/batches/{batch}/results": {"get": _batch_results()},
            "/v1.0/removebg": {"post": openapi_foreign.remove_bg()},
            "/v1.0/account": {"get": openapi_foreign.account()},
            "/v1.0/improve": {"post": openapi_foreign.improve()},
            "/api/remove": {
                "get": openapi_foreign.rembg_get(),
                "post": openapi_foreign.rembg_post(),
            },
            "/healthz": {"get": _health("The process answers.", ready=False)},
            "/readyz": {"get": _health("The models are warm and work is taken.", ready=True)},
        },
        "components": {
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
            "schemas": {**messages, **errors, "Batch": _BATCH},
        },
    }


def _own_remove() -> Json:
    return {
        "summary": "Remove a background",
        "description": "The picture as a form's file, as the whole body, or as base64 in JSON; the "
        "options in protobuf's JSON form. Answers with the result's bytes, its report in the "
        "header X-Mattestream-Report, or with both as JSON where Accept asks for JSON.",
        "operationId": "remove",
        "parameters": [
            {
                "name": "options",
                "in": "query",
                "description": "RemoveOptions as JSON, where the body is the picture itself.",
                "schema": {"type": "string"},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": form(
                    {
                        "image": BINARY,
                        "options": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "description": "RemoveOptions as JSON.",
                        },
                        "background": BINARY,
                        "mask": BINARY,
                        "trimap": BINARY,
                    },
                    ["image"],
                ),
                "application/json": {"schema": ref("RemoveRequest")},
                "image/*": {"schema": BINARY},
            },
        },
        "responses": {
            "200": {
                "description": "The result.",
                "content": {
                    **PICTURES,
                    "application/octet-stream": {"schema": BINARY},
                    "application/json": {"schema": ref("RemoveResponse")},
                },
            },
            **failures(USUAL, "Failed"),
        },
    }


def _own_segment() -> Json:
    return {
        "summary": "Separate the subjects of a picture",
        "operationId": "segment",
        "parameters": [
            {
                "name": "options",
                "in": "query",
                "description": "SegmentRequest without its image as JSON, where the body is the "
                "picture itself.",
                "schema": {"type": "string"},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": form(
                    {
                        "image": BINARY,
                        "options": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "description": "SegmentRequest without its image, as JSON.",
                        },
                        "mask": BINARY,
                    },
                    ["image"],
                ),
                "application/json": {"schema": ref("SegmentRequest")},
                "image/*": {"schema": BINARY},
            },
        },
        "responses": {
            "200": json_answer(ref("SegmentResponse"), "The subjects, largest first."),
            **failures(USUAL, "Failed"),
        },
    }


def _models() -> Json:
    return {
        "summary": "List the models",
        "operationId": "listModels",
        "responses": {
            "200": json_answer(ref("ListModelsResponse"), "Every model, by name."),
            **failures("401 429 500 503", "Failed"),
        },
    }


def _batch_submit() -> Json:
    body = form(
        {
            "images": {"type": "array", "items": BINARY, "description": "Pictures."},
            "archive": {**BINARY, "description": "A zip of pictures, folders and all."},
            "options": {
                "type": "string",
                "contentMediaType": "application/json",
                "description": "RemoveOptions as JSON, for all of them.",
            },
        },
        [],
    )
    return {
        "summary": "Hand in a batch",
        "operationId": "submitBatch",
        "requestBody": {"required": True, "content": {"multipart/form-data": body}},
        "responses": {
            "202": json_answer(ref("Batch"), "Taken; Location says where to ask for it."),
            **failures("400 401 404 408 413 415 429 500 501 503 507", "Failed"),
        },
    }


def _batch_list() -> Json:
    every = {"type": "object", "properties": {"batches": {"type": "array", "items": ref("Batch")}}}
    return {
        "summary": "List your batches",
        "operationId": "listBatches",
        "responses": {
            "200": json_answer(every, "The caller's own, oldest first."),
            **failures("401 429 500 501 503", "Failed"),
        },
    }


_BATCH_ID: Json = {"name": "batch", "in": "path", "required": True, "schema": {"type": "string"}}


def _batch_one() -> Json:
    return {
        "summary": "Ask how far a batch is",
        "operationId": "getBatch",
        "parameters": [_BATCH_ID],
        "responses": {
            "200": json_answer(ref("Batch"), "How far it is."),
            **failures("401 404 429 500 501 503", "Failed"),
        },
    }


def _batch_delete() -> Json:
    return {
        "summary": "Delete a batch",
        "operationId": "deleteBatch",
        "parameters": [_BATCH_ID],
        "responses": {
            "204": {"description": "It is gone."},
            **failures("401 404 429 500 501 503", "Failed"),
        },
    }


def _batch_results() -> Json:
    return {
        "summary": "Fetch a batch's results",
        "operationId": "getBatchResults",
        "parameters": [_BATCH_ID],
        "responses": {
            "200": {"description": "A zip.", "content": {"application/zip": {"schema": BINARY}}},
            **failures("401 404 409 429 500 501 503", "Failed"),
        },
    }


def _health(description: str, *, ready: bool) -> Json:
    body = json_answer(
        {"type": "object", "properties": {"status": {"type": "string"}}}, description
    )
    responses = {"200": body}
    if ready:
        responses["503"] = {**body, "description": "Not yet, or not any more."}
    return {"summary": description, "security": [{}], "responses": responses}
