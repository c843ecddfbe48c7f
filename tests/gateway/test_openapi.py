"""The OpenAPI page: it names every route and every option, and stands on its own."""

from __future__ import annotations

import re
from typing import Any

from starlette.routing import Route

from mattestream.v1 import options_pb2
from server.gateway.openapi import document
from tests.gateway.serving import Gateway

PAGES = {"/", "/docs", "/openapi.json"}  # for people and for this very page


async def test_every_route_is_on_the_page_and_nothing_else(it: Gateway) -> None:
    served: set[tuple[str, str]] = set()
    for route in it.http.gateway.app.routes:
        if isinstance(route, Route) and route.path not in PAGES:
            served |= {(route.path, method) for method in route.methods or () if method != "HEAD"}
    told = {
        (path, method.upper())
        for path, operations in document()["paths"].items()
        for method in operations
    }
    assert told == served


def test_every_option_has_the_contracts_own_words() -> None:
    schema = document()["components"]["schemas"]["RemoveOptions"]["properties"]
    assert set(schema) == {field.name for field in options_pb2.RemoveOptions.DESCRIPTOR.fields}
    missing = [name for name, field in schema.items() if not field.get("description")]
    assert missing == []
    edges = document()["components"]["schemas"]["Edges"]["properties"]
    assert "REFINE_FAST: Edge-aware" in edges["refine"]["description"]


def test_every_reference_leads_somewhere() -> None:
    schemas = document()["components"]["schemas"]

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if "$ref" in value else []
            return own + [each for inner in value.values() for each in references(inner)]
        if isinstance(value, list):
            return [each for inner in value for each in references(inner)]
        return []

    for reference in references(document()):
        assert reference.removeprefix("#/components/schemas/") in schemas


async def test_the_page_for_people_needs_nothing_from_outside(it: Gateway) -> None:
    response = await it.client.get("/docs")
    assert response.status_code == 200
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "<script" not in response.text
    assert not re.search(r'(?:src|href)="(?:https?:)?//', response.text)
    for path in document()["paths"]:
        assert path in response.text


async def test_its_examples_name_the_address_that_the_reader_came_by(it: Gateway) -> None:
    for host, shown in (
        ("pictures.example:81", "http://pictures.example:81/v1/remove"),
        ("<b>", ""),
    ):
        text = (await it.client.get("/docs", headers={"Host": host})).text
        assert shown in text
        assert "<b>" not in text


async def test_the_page_for_programs_is_the_document(it: Gateway) -> None:
    assert (await it.client.get("/openapi.json")).json() == document()
