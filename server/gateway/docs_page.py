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

# On top of the page's own style.css.
_STYLE = """
body { max-width: 64rem; }
h1 { padding: 1.5rem 0 0; font-size: 1.5rem; }
h2 { margin: 2.5rem 0 .5rem; font-size: 1.15rem; letter-spacing: 0; }
section { margin: .75rem 0; padding: .25rem 1rem 1rem; background: var(--card);
  border: 1px solid var(--line); border-radius: var(--radius); }
section h2, section h3 { margin: .75rem 0 .25rem; font-size: 1rem; }
section:target { border-color: var(--accent); }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, monospace; font-size: .875em; }
pre { overflow-x: auto; padding: 1rem; background: var(--card); border: 1px solid var(--line);
  border-radius: var(--radius); }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: 0; }
nav a { padding: .25rem 0; }
table { display: block; overflow-x: auto; border-collapse: collapse; font-size: .925rem; }
td { padding: .35rem 1rem .35rem 0; vertical-align: top; }
td:last-child { min-width: 16rem; color: var(--faint); }
tr + tr td { border-top: 1px solid var(--line); }
summary { padding: .5rem 0; color: var(--faint); cursor: pointer; }
.method { color: var(--accent); }
"""
_POLICY = (
    "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_EXAMPLES = """curl -F image=@photo.jpg {base}/v1/remove -o cutout.png
curl -F image=@photo.jpg -F 'options={{"output": "OUTPUT_COMPOSITE",
     "background": {{"color": "white"}}, "format": "FORMAT_JPEG"}}' \\
     {base}/v1/remove -o white.jpg
curl -F image=@photo.jpg {base}/v1/segment -o subjects.json
curl -F image_file=@photo.jpg -F size=auto {base}/v1.0/removebg -o cutout.png
curl -F file=@photo.jpg {base}/api/remove -o cutout.png
curl -F archive=@photos.zip {base}/v1/batches"""


async def page(request: Request) -> HTMLResponse:
    """GET /docs."""
    base = str(request.base_url).rstrip("/")  # where the reader is, so that it can be copied
    examples = escape(_EXAMPLES.format(base=base))
    return HTMLResponse(
        f"{_head()}<pre>{examples}</pre>{_rest()}", headers={"Content-Security-Policy": _POLICY}
    )


@cache
def _head() -> str:
    api = document()
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        "<title>mattestream: HTTP API</title>",
        '<link rel=icon href="static/icon.svg" type="image/svg+xml">',
        f'<link rel=stylesheet href="static/style.css"><style>{_STYLE}</style>',
        f"<h1>mattestream {escape(api['info']['version'])}: HTTP API</h1>",
        f"<p>{escape(api['info']['description'])}</p>",
        '<p><a href="./">Try it in the browser</a>, or read it with a program: ',
        '<a href="openapi.json">openapi.json</a>.</p>',
    ]
    return "\n".join(parts)


@cache
def _rest() -> str:
    api = document()
    links = [
        f'<a href="#{_anchor(method, path)}"><span class=method>{method.upper()}</span> '
        f"<code>{escape(path)}</code></a>"
        for path, operations in api["paths"].items()
        for method in operations
    ]
    parts = [
        "<p>Where a key is wanted: <code>X-Api-Key</code> or <code>Authorization</code>.</p>",
        f"<nav>{' '.join(links)}</nav>",
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
        f'<section id="{_anchor(method, path)}">',
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
    return [*parts, "</section>"]


def _anchor(method: str, path: str) -> str:
    """A name within the page; HTML."""
    return escape(f"{method}-{path}".replace("/", "-").replace("{", "").replace("}", ""))


def _schema(name: str, schema: dict[str, Any]) -> list[str]:
    rows = [
        (field, _kind(kind), kind.get("description", ""))
        for field, kind in schema.get("properties", {}).items()
    ]
    said = escape(schema.get("description", ""))
    return [
        f'<section id="{escape(name)}"><h3><code>{escape(name)}</code></h3><p>{said}</p>',
        *_table(rows),
        "</section>",
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
