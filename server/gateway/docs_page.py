"""/docs: the OpenAPI page for people, as plain HTML without a script or an outside request.

Rendered once from `server.gateway.openapi`; served by `server.gateway.gateway`.
"""

from __future__ import annotations

from functools import cache
from html import escape
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse

from server.gateway.openapi import document

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 0 auto; padding: 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
pre { overflow-x: auto; padding: .75rem; border: 1px solid #8886; border-radius: .4rem; }
table { border-collapse: collapse; width: 100%; display: block; overflow-x: auto; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; }
tr + tr td { border-top: 1px solid #8883; }
details { margin: .5rem 0; }
summary { cursor: pointer; }
.method { font-weight: 700; }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_EXAMPLES = """curl -F image=@photo.jpg http://127.0.0.1:8080/v1/remove -o cutout.png
curl -F image=@photo.jpg -F 'options={"output": "OUTPUT_COMPOSITE",
     "background": {"color": "white"}, "format": "FORMAT_JPEG"}' \\
     http://127.0.0.1:8080/v1/remove -o white.jpg
curl -F image_file=@photo.jpg -F size=auto http://127.0.0.1:8080/v1.0/removebg -o cutout.png
curl -F file=@photo.jpg http://127.0.0.1:8080/api/remove -o cutout.png
curl -F archive=@photos.zip http://127.0.0.1:8080/v1/batches"""


async def page(request: Request) -> HTMLResponse:
    """GET /docs."""
    return HTMLResponse(_page(), headers={"Content-Security-Policy": _POLICY})


@cache
def _page() -> str:
    api = document()
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        f"<title>mattestream: HTTP API</title><style>{_STYLE}</style>",
        f"<h1>mattestream {escape(api['info']['version'])}: HTTP API</h1>",
        f"<p>{escape(api['info']['description'])}</p>",
        '<p>For programs: <a href="openapi.json">openapi.json</a>.</p>',
        f"<pre>{escape(_EXAMPLES)}</pre>",
        "<p>Where a key is wanted: <code>X-Api-Key</code> or <code>Authorization</code>.</p>",
    ]
    for path, operations in api["paths"].items():
        for method, operation in operations.items():
            parts += _operation(method, path, operation)
    parts.append("<h2>Messages</h2>")
    for name, schema in sorted(api["components"]["schemas"].items()):
        parts += _schema(name, schema)
    return "\n".join(parts)


def _operation(method: str, path: str, operation: dict[str, Any]) -> list[str]:
    parts = [
        f"<h2><span class=method>{method.upper()}</span> <code>{escape(path)}</code></h2>",
        f"<p>{escape(operation['summary'])}. {escape(operation.get('description', ''))}</p>",
    ]
    rows = [
        (parameter["name"], _kind(parameter["schema"]), parameter.get("description", ""))
        for parameter in operation.get("parameters", ())
    ]
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        schema = body["schema"]
        if "properties" not in schema:
            parts.append(f"<p><code>{escape(kind)}</code>: {_kind(schema)}</p>")
        elif kind.startswith("multipart"):
            rows += [
                (name, _kind(field), field.get("description", ""))
                for name, field in schema["properties"].items()
            ]
    parts += _table(rows)
    answers = [
        (status, escape(answer["description"]), "")
        for status, answer in operation["responses"].items()
    ]
    parts += ["<details><summary>Answers</summary>", *_table(answers), "</details>"]
    return parts


def _schema(name: str, schema: dict[str, Any]) -> list[str]:
    rows = [
        (field, _kind(kind), kind.get("description", ""))
        for field, kind in schema.get("properties", {}).items()
    ]
    said = escape(schema.get("description", ""))
    return [
        f'<details id="{escape(name)}"><summary><code>{escape(name)}</code> {said}</summary>',
        *_table(rows),
        "</details>",
    ]


def _table(rows: list[tuple[str, str, str]]) -> list[str]:
    if not rows:
        return []
    cells = [
        f"<tr><td><code>{escape(name)}</code></td><td>{kind}</td><td>{escape(said)}</td></tr>"
        for name, kind, said in rows
    ]
    return ["<table>", *cells, "</table>"]


def _kind(schema: dict[str, Any]) -> str:
    """A schema in a word, with a link to what it refers to; HTML."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if schema.get("type") == "array":
        return f"{_kind(schema['items'])}…"
    if "enum" in schema:
        return escape(" | ".join(schema["enum"]))
    if "contentMediaType" in schema and "json" not in schema["contentMediaType"]:
        return "file"
    if "contentEncoding" in schema:
        return escape(schema["contentEncoding"])
    return escape(str(schema.get("type", "")))
