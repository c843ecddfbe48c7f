"""The tools: what an agent may ask for, each one call of the SDK.

`mattestream.cli.mcp` makes the server and connects it; tests connect the MCP SDK's own client to
it in the same process. Docstrings and field descriptions here are read by agents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from mcp_types import CallToolResult, ToolAnnotations
from pydantic import BaseModel, Field

from mattestream import __version__
from mattestream.aio import AsyncClient
from mattestream.errors import MattestreamError
from mattestream.mcp.answers import (
    File,
    Made,
    Part,
    Parts,
    Subject,
    answer,
    link,
    picture,
    shown_of,
    subject_of,
)
from mattestream.mcp.pictures import read_picture
from mattestream.mcp.places import NotAllowed, Places
from mattestream.mcp.previews import preview
from mattestream.mcp.shelf import ENDINGS, SCHEME, Gone, Shelf
from mattestream.reply import Removal
from mattestream.request import build_options
from mattestream.v1 import options_pb2

INSTRUCTIONS = (
    "Takes backgrounds away from pictures. Name a picture by its path, by the address of an "
    "earlier result (mattestream://results/...), or as a data URI. Answers carry a small preview "
    "on grey, the facts as fields, and a link to the full result; give save_to to write it as a "
    "file."
)

Image = Annotated[
    str,
    Field(
        description="Path of an image file, the address of an earlier result, or a data URI. "
        "JPEG, PNG, WebP, AVIF, TIFF, BMP or GIF."
    ),
]
SaveTo = Annotated[
    str | None,
    Field(description="Path to write the full result to, inside a folder open to this server."),
]
Overwrite = Annotated[bool, Field(description="Replace a file that is at save_to.")]
Background = Annotated[
    str | None,
    Field(description='Colour behind the subject, "white" or "#rrggbb". Default: transparent.'),
]
FileFormat = Annotated[
    Literal["png", "webp", "jpeg"],
    Field(description="File type of the result; jpeg needs a background."),
]
_READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
_WRITES = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)


class Spot(BaseModel):
    """A place in a picture."""

    x: float = Field(description="Column in pixels of the source, 0 is the left edge.")
    y: float = Field(description="Row in pixels of the source, 0 is the top edge.")
    wanted: bool = Field(True, description="False: it lies on what is not wanted.")


class Tools:
    """The tools of one server.

    Args:
        client: connected to the mattestream server that does the work.
        places: the folders that files may be in.
        shelf: where results are kept.
    """

    def __init__(self, client: AsyncClient, places: Places, shelf: Shelf) -> None:
        self._client = client
        self._places = places
        self._shelf = shelf

    # Agents pass every argument by name.
    async def remove_background(  # noqa: PLR0917
        self,
        image: Image,
        background: Background = None,
        output: Annotated[
            Literal["cutout", "alpha"],
            Field(description="The subject itself, or its alpha mask as a grey picture."),
        ] = "cutout",
        format: FileFormat = "png",  # noqa: A002 - the name that agents know
        feather_px: Annotated[
            float, Field(ge=0, le=100, description="Softens the edge, in pixels of the source.")
        ] = 0,
        save_to: SaveTo = None,
        overwrite: Overwrite = False,
    ) -> Annotated[CallToolResult, Made]:
        """Removes the background of a picture; the result has the picture's size."""
        with _as_tool_errors():
            _check_file(format, background, may_be_grey=output == "alpha")
            options = build_options(
                output="composite" if background else output,
                format=format,
                feather_px=feather_px or None,
            )
            _put_behind(options, background)
            return await self._make(image, options, save_to, overwrite=overwrite)

    async def crop_to_subject(  # noqa: PLR0917
        self,
        image: Image,
        margin_percent: Annotated[
            float, Field(ge=0, le=50, description="Space around it, per cent of its sides.")
        ] = 5,
        aspect: Annotated[
            float | None, Field(ge=0.1, le=10, description="Width divided by height.")
        ] = None,
        width: Annotated[
            int | None, Field(ge=1, description="Columns of the result. Default: as it falls out.")
        ] = None,
        height: Annotated[
            int | None, Field(ge=1, description="Rows of the result. Default: as it falls out.")
        ] = None,
        circle: Annotated[bool, Field(description="Cut to a circle, for avatars.")] = False,
        background: Background = None,
        format: FileFormat = "png",  # noqa: A002 - the name that agents know
        save_to: SaveTo = None,
        overwrite: Overwrite = False,
    ) -> Annotated[CallToolResult, Made]:
        """Removes the background of a picture and cuts it to its subject. With a width and a
        height what is shown is resized to them, never stretched.
        """
        with _as_tool_errors():
            _check_file(format, background)
            options = build_options(
                output="composite" if background else "cutout",
                format=format,
                margin=f"{margin_percent:g}%",
                aspect=aspect,
                canvas=(width or 0, height or 0) if width or height else None,
                circle=circle or None,
                flush=circle or None,  # a portrait must not float above its cut
            )
            _put_behind(options, background)
            return await self._make(image, options, save_to, overwrite=overwrite)

    async def segment_subject(  # noqa: PLR0917
        self,
        image: Image,
        points: Annotated[
            list[Spot] | None,
            Field(description="Places on the subject that is wanted, and on what is not."),
        ] = None,
        box: Annotated[
            tuple[float, float, float, float] | None,
            Field(description="Rectangle around it: left, top, right, bottom in pixels."),
        ] = None,
        max_subjects: Annotated[int, Field(ge=1, le=64, description="Most to answer.")] = 8,
        save_to: SaveTo = None,
        overwrite: Overwrite = False,
    ) -> Annotated[CallToolResult, Parts]:
        """Gives the subjects of a picture one by one, each as an alpha. With points or a box it is
        the one that they mean; a second try on the same picture is quick. Only the first subject is
        written to save_to.
        """
        with _as_tool_errors():
            found = await self._client.segment(
                await self._read(image),
                points=[(spot.x, spot.y, spot.wanted) for spot in points] if points else None,
                box=box,
                max_subjects=max_subjects,
            )
            parts, shown = [], []
            for number, subject in enumerate(found.subjects):
                target = save_to if number == 0 else None
                file = await self._keep(subject.alpha, target, overwrite=overwrite)
                parts.append(
                    Part(
                        box=subject.box,
                        coverage=round(subject.coverage, 4),
                        score=round(subject.score, 4),
                        alpha=file,
                    )
                )
                shown.append(link(file, f"subject-{number + 1}.png"))
            if found.subjects:
                first = await asyncio.to_thread(preview, found.subjects[0].alpha.data)
                return answer(Parts(subjects=parts), picture(first), *shown)
        return answer(Parts(subjects=[]))

    async def describe_subject(self, image: Image) -> Annotated[CallToolResult, Subject]:
        """Says where the subject of a picture is, how much of it it takes and how sure that is."""
        with _as_tool_errors():
            data = await self._read(image)
            removal = await self._client.remove(data, output="alpha", format="raw")
        return answer(subject_of(removal.report))

    def reader(self, ending: str) -> Callable[[str], Awaitable[bytes]]:
        """What reads the results whose address ends so."""

        async def read(name: str) -> bytes:
            """The full result of an earlier call."""
            try:
                return self._shelf.get(f"{SCHEME}{name}{ending}").data
            except Gone as error:
                raise ResourceNotFoundError(str(error)) from None

        return read

    async def _make(
        self,
        image: str,
        options: options_pb2.RemoveOptions,
        save_to: str | None,
        *,
        overwrite: bool,
    ) -> CallToolResult:
        removal = await self._client.remove(await self._read(image), options=options)
        small = await asyncio.to_thread(preview, removal.data)
        file = await self._keep(removal, save_to, overwrite=overwrite)
        made = Made(result=file, shown=shown_of(removal.report), subject=subject_of(removal.report))
        name = Path(file.saved_to).name if file.saved_to else f"result{removal.extension}"
        return answer(made, picture(small), link(file, name))

    async def _read(self, image: str) -> bytes:
        return await asyncio.to_thread(read_picture, image, self._places, self._shelf)

    async def _keep(self, removal: Removal, save_to: str | None, *, overwrite: bool) -> File:
        saved = None
        if save_to is not None:
            saved = await asyncio.to_thread(
                self._places.write, save_to, removal.data, replace=overwrite
            )
        return File(
            address=self._shelf.put(removal.data, removal.media_type),
            media_type=removal.media_type,
            width=removal.width,
            height=removal.height,
            bytes=len(removal.data),
            saved_to=None if saved is None else str(saved),
        )


def make_server(client: AsyncClient, places: Places, shelf: Shelf) -> MCPServer[None]:
    """The MCP server, for any transport."""
    server: MCPServer[None] = MCPServer(
        "mattestream",
        title="mattestream",
        instructions=f"{INSTRUCTIONS} {places.words[0].upper()}{places.words[1:]}.",
        version=__version__,
        log_level="WARNING",
    )
    tools = Tools(client, places, shelf)
    server.add_tool(tools.remove_background, annotations=_WRITES)
    server.add_tool(tools.crop_to_subject, annotations=_WRITES)
    server.add_tool(tools.segment_subject, annotations=_WRITES)
    server.add_tool(tools.describe_subject, annotations=_READS)
    # One for each type: the protocol wants to know it before the result is read.
    for media_type, ending in (*ENDINGS.items(), ("application/octet-stream", "")):
        address = SCHEME + "{name}" + ending
        name = f"result{ending.replace('.', '-')}"
        server.resource(address, name=name, mime_type=media_type)(tools.reader(ending))
    return server


def _check_file(kind: str, background: str | None, *, may_be_grey: bool = False) -> None:
    """Says it in the tool's words: the server's speak of options that agents do not have."""
    if kind == "jpeg" and background is None and not may_be_grey:
        raise ToolError(
            "format is jpeg, which has no transparency: give a background, or choose png or webp"
        )


def _put_behind(options: options_pb2.RemoveOptions, color: str | None) -> None:
    """The colour behind the subject. It is put into the message as it is: where the client's own
    keyword takes a path, an agent could read files outside of the folders that it may.
    """
    if color is not None:
        options.background.color = color


@contextmanager
def _as_tool_errors() -> Iterator[None]:
    """What went wrong, as a sentence for the agent."""
    try:
        yield
    except (MattestreamError, NotAllowed, Gone) as error:
        raise ToolError(str(error)) from error
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise ToolError(f"{what}: name a file that can be read, or written") from error
