"""What a model is: a page of TOML, read into frozen values. Adding a model takes such a file, no
code.

Read by `models.registry`; the values are used by `models.model` (how to prepare and read),
`models.weights` (where the bytes are) and `models.onnx_engine` (what the graph must look like).
The whole schema; `?` marks what may be left out:

    name = "matte-s"                  # lower-case letters, digits, '.', '_', '-'; no other model's
    version = "0.1.0"                 # any words, as the report will show them
    description = "People and things" # one sentence for people
    license = "Apache-2.0"            # of the WEIGHTS: SPDX id, or its name in words
    commercial_use = true             # false: refused until the operator accepts it by name
    source = "https://..."            # ? where the weights come from, for people
    homepage = "https://..."          # ? the project's page, for people
    good_at = ["people", "animals"]   # ? what it is good at; default []
    max_batch = 1                     # ? most images in one run, 1..256; default 1
    method = "network"                # ? or "chroma-key": arithmetic on the picture, which has none
                                      #   of the tables below; default "network"

    [weights]                         # `file`, or `url`, or both (`file` is looked for first)
    file = "matte-s.onnx"             # ? path, relative to this TOML
    url = "https://.../matte-s.onnx"  # ? publisher's address for `models pull`: http, https, file
    sha256 = "64 hex digits"          # ? pins the bytes; without it `models pull` asks for a pin
    size_bytes = 4574861              # ? exact size; bounds the download

    [input]
    tensor = "input"                  # ? name in the graph; default: the graph's only input
    width = 320                       # columns of the network's input in pixels, 16..4096
    height = 320                      # rows, 16..4096
    layout = "NCHW"                   # ? "NCHW" or "NHWC"; default "NCHW"
    channels = "RGB"                  # ? "RGB" or "BGR"; default "RGB"
    mean = [0.485, 0.456, 0.406]      # ? of R, G, B whatever `channels` is; default [0, 0, 0]
    std = [0.229, 0.224, 0.225]       # ? of R, G, B, none 0; default [1, 1, 1]
                                      #   the network is fed (sample / 255 - mean) / std
    fit = "stretch"                   # ? "stretch" to the plane; "letterbox": aspect ratio kept,
                                      #   bars of the mean colour; "corner": the same at the top
                                      #   left instead of the centre; default "stretch"

    [output]                          # ? the whole table may be left out
    tensor = "alpha"                  # ? name in the graph; default: the graph's first output
    layout = "NCHW"                   # ? "NCHW", "NHWC", "NHW" (no channel axis); default: input's
    channel = 0                       # ? which is the subject, from 0; needed when there are more
    activation = "none"               # ? "none", "sigmoid", "softmax" (over channels), "minmax"
                                      #   (each image stretched to 0..1); then the result is
                                      #   clipped to 0..1; default "none"

    [decoder]                         # ? models that answer prompts: see `models.prompt_manifest`
    [[states]] and [constants]        # ? recurrent models: what is fed back; see `models.states`
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import urlsplit

from kernels.letterbox import Fit
from kernels.reference import Channels, Layout, Triple
from kernels.reference.activate import Activation
from models.errors import ManifestError
from models.prompt_manifest import Decoder, read_decoder
from models.states import State, read_constants, read_states
from models.toml_reader import Table

OutputLayout = Literal["NCHW", "NHWC", "NHW"]
Method = Literal["network", "chroma-key"]

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
SHA256 = re.compile(r"[0-9a-f]{64}")
URL_SCHEMES = ("https", "http", "file")
MAX_MANIFEST_BYTES = 64 * 1024
SIDE_PX = (16, 4096)


@dataclass(frozen=True, slots=True)
class Weights:
    """Where the bytes are and what they must be."""

    file: Path | None  # absolute, or relative to the working folder as the manifest's own path was
    url: str | None
    sha256: str | None  # 64 lower-case hex digits
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Input:
    """What the network eats: (sample / 255 - mean) / std, `mean` and `std` in the order R, G, B."""

    width: int
    height: int
    tensor: str | None = None
    layout: Layout = "NCHW"
    channels: Channels = "RGB"
    mean: Triple = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)
    fit: Fit = "stretch"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one prepared image: (3, H, W) or (H, W, 3), as the layout says."""
        sides = (self.height, self.width)
        return (3, *sides) if self.layout == "NCHW" else (*sides, 3)


@dataclass(frozen=True, slots=True)
class Output:
    """How the network's answer is read."""

    tensor: str | None = None
    layout: OutputLayout = "NCHW"
    channel: int | None = None  # None: the only one
    activation: Activation = "none"


_NO_WEIGHTS = Weights(None, None, None, None)
_NO_PLANE = Input(0, 0)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One model, as its TOML describes it; every value has been checked."""

    path: Path
    name: str
    version: str
    description: str
    license: str
    commercial_use: bool
    weights: Weights
    input: Input
    output: Output = field(default_factory=Output)
    states: tuple[State, ...] = ()
    constants: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # by input name
    source: str | None = None
    homepage: str | None = None
    good_at: tuple[str, ...] = ()
    max_batch: int = 1
    method: Method = "network"
    decoder: Decoder | None = None  # set: a model that answers prompts, see `models.prompt_model`
    part: str = ""  # which of several files this is the view of: see `files_of`

    @property
    def fit(self) -> Fit:
        """How an image is placed into the network's plane, asked on the way in and out."""
        return self.input.fit

    @property
    def has_network(self) -> bool:
        """False where the picture alone decides: no weights, no plane that it is brought to."""
        return self.method == "network"

    @property
    def is_recurrent(self) -> bool:
        """True when the network carries state from frame to frame."""
        return bool(self.states)


def files_of(manifest: Manifest) -> tuple[Manifest, ...]:
    """The manifest as seen from each of its files: itself, and the decoder's view where it has one;
    nothing where it has no network.

    What asks for weights asks for each of them.
    """
    if not manifest.has_network:
        return ()
    if manifest.decoder is None:
        return (manifest,)
    view = replace(manifest, weights=manifest.decoder.weights, decoder=None, part="decoder")
    return (manifest, view)


def read_manifest(path: Path) -> Manifest:
    """The manifest in `path`.

    Raises:
        ManifestError: the file cannot be read, is not TOML, or breaks the schema; all problems at
            once.
    """
    root = Table(path, _parse(path))
    method: Method = root.choice("method", get_args(Method), default="network")
    weights, network, output = _NO_WEIGHTS, _NO_PLANE, Output()
    if method == "network":
        weights = _weights(root.table("weights", required=True), path)
        network = _input(root.table("input", required=True))
        output = _output(root.table("output"), network)
    states = read_states(root)
    constants = read_constants(root)
    manifest = Manifest(
        path=path,
        name=root.text("name", matching=NAME, words="lower-case letters, digits, '.', '_', '-'"),
        version=root.text("version"),
        description=root.text("description"),
        license=root.text("license"),
        commercial_use=root.boolean("commercial_use"),
        weights=weights,
        input=network,
        output=output,
        states=states,
        constants=constants,
        source=root.optional_text("source"),
        homepage=root.optional_text("homepage"),
        good_at=root.texts("good_at"),
        max_batch=root.integer("max_batch", lowest=1, highest=256, default=1),
        method=method,
        decoder=read_decoder(root, lambda table: _weights(table, path)),
    )
    if manifest.decoder is not None and output.activation not in {"none", "sigmoid"}:
        allowed = "'none' and 'sigmoid' where there is a [decoder]"
        root.problem("output.activation", f"is '{output.activation}'; allowed are {allowed}")
    root.finish()
    return manifest


def _parse(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as error:
        raise ManifestError(path, [f"cannot be read: {error.strerror}"]) from error
    if len(data) > MAX_MANIFEST_BYTES:
        limit = MAX_MANIFEST_BYTES // 1024
        raise ManifestError(path, [f"is larger than {limit} KiB: a manifest is a page of TOML"])
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ManifestError(path, [f"is not UTF-8 text (byte {error.start})"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(path, [f"is not TOML: {error}"]) from error


def _weights(table: Table, path: Path) -> Weights:
    file = table.optional_text("file")
    url = table.optional_text("url")
    if file is None and url is None and not table.has("file") and not table.has("url"):
        table.problem("file", "is missing, and so is 'url': give one, or both")
    if url is not None and urlsplit(url).scheme not in URL_SCHEMES:
        table.problem(
            "url", f"is {url!r}; allowed are addresses that begin with {_list(URL_SCHEMES)}"
        )
    return Weights(
        file=None if file is None else path.parent / file,
        url=url,
        sha256=table.optional_text("sha256", matching=SHA256, words="64 lower-case hex digits"),
        size_bytes=table.optional_integer("size_bytes", lowest=1, highest=1 << 40),
    )


def _input(table: Table) -> Input:
    std = table.three_numbers("std", default=(1.0, 1.0, 1.0))
    if 0.0 in std:
        table.problem(
            "std", f"is {list(std)}; allowed are numbers other than 0: values are divided by them"
        )
    lowest, highest = SIDE_PX
    return Input(
        width=table.integer("width", lowest=lowest, highest=highest),
        height=table.integer("height", lowest=lowest, highest=highest),
        tensor=table.optional_text("tensor"),
        layout=table.choice("layout", get_args(Layout), default="NCHW"),
        channels=table.choice("channels", get_args(Channels), default="RGB"),
        mean=table.three_numbers("mean", default=(0.0, 0.0, 0.0)),
        std=std,
        fit=table.choice("fit", get_args(Fit), default="stretch"),
    )


def _output(table: Table, network: Input) -> Output:
    layout: OutputLayout = table.choice("layout", get_args(OutputLayout), default=network.layout)
    channel = table.optional_integer("channel", lowest=0, highest=1023)
    activation: Activation = table.choice("activation", get_args(Activation), default="none")
    if layout == "NHW" and channel is not None:
        table.problem("channel", f"is {channel}, but layout 'NHW' has no channels: leave it out")
    if activation == "softmax" and channel is None:
        table.problem("channel", "is missing: softmax runs over channels, so name the subject's")
    return Output(table.optional_text("tensor"), layout, channel, activation)


def _list(words: tuple[str, ...]) -> str:
    return ", ".join(f"'{word}'" for word in words)
