"""Every knob of the server in one table: name, unit, range, default and meaning.

The table is `Config` itself: each field carries its rule. `server.config_sources` fills it from a
TOML file, the environment and flags, the CLI makes its flags from `keys()`, and docs/operations.md
is rendered from it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from server.config_key import ConfigError, Key, check, key, row_of
from server.machine import usable_cores, usable_memory_bytes

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What a server runs with. Build it by name in tests, by `load_config` elsewhere.

    Raises:
        ConfigError: a value is outside its range.
    """

    host: str = key(
        "127.0.0.1", str, "Address the gRPC server listens on; 0.0.0.0 is every interface."
    )
    port: int = key(50051, int, "Port of the gRPC server; 0 takes a free one.", low=0, high=65535)
    metrics_host: str = key("127.0.0.1", str, "Address of the Prometheus endpoint.")
    metrics_port: int = key(
        9464,
        int,
        "Port of the Prometheus endpoint; 0 takes a free one, -1 switches it off.",
        low=-1,
        high=65535,
    )
    http_host: str = key(
        "127.0.0.1", str, "Address the HTTP gateway listens on; 0.0.0.0 is every interface."
    )
    http_port: int = key(
        8080,
        int,
        "Port of the HTTP gateway; 0 closes it, -1 takes a free one (the log's line `ready` says "
        "which).",
        low=-1,
        high=65535,
    )
    http_max_body_mb: int = key(
        64,
        int,
        "Largest body of an HTTP request, batches apart; a single image file is taken up to "
        "max_message_mb.",
        unit="MiB",
        low=1,
        high=2047,
    )
    http_rate_limit_mp: float = key(
        0.0,
        float,
        "Megapixels that each API key (without keys: each address) may send to the HTTP gateway "
        "in a minute; an image counts as 1 at least, as with remove.bg, which has 500. 0 is no "
        "limit.",
        unit="megapixels",
        low=0.0,
        high=1e9,
    )
    cors_origins: tuple[str, ...] = key(
        (),
        str,
        "Origins (https://shop.example) whose pages may call the HTTP gateway from a browser; "
        "`*` is all of them. None: no page but its own.",
        many=True,
    )
    allow_url_fetch: bool = key(
        False,
        bool,
        "Whether callers of the HTTP gateway may name an image by URL. Only public addresses are "
        "fetched from, ports 80 and 443.",
    )
    batch_dir: Path | None = key(  # noqa: RUF009
        None,
        Path,
        "Folder for batches of the HTTP gateway: what was sent and what was made of it lies there "
        "until it is fetched, deleted or too old. None: no batches.",
        optional=True,
    )
    batch_disk_mb: int = key(
        4096,
        int,
        "Disk that all batches together may take; beyond it new ones are refused.",
        unit="MiB",
        low=1,
        high=1_048_576,
    )
    batch_max_images: int = key(
        1000, int, "Most images of one batch.", unit="images", low=1, high=1_000_000
    )
    batch_keep_hours: float = key(
        24.0,
        float,
        "Age at which a batch and its results are deleted.",
        unit="hours",
        low=0.01,
        high=8760.0,
    )
    threads: int = key(
        0,
        int,
        "Threads that decode, run CPU models and encode; 0 is one per usable core.",
        unit="threads",
        low=0,
        high=1024,
    )
    max_requests: int = key(
        64,
        int,
        "Images admitted at once, waiting and running. Single requests beyond it are refused with "
        "a hint when to come back; stream frames wait, and leave a quarter of it to single "
        "requests.",
        unit="images",
        low=1,
        high=100_000,
    )
    max_inflight_mb: int = key(
        0,
        int,
        "Memory that admitted images may take: encoded bytes and an answer for each, and 16 bytes "
        "a pixel (RAW and ZLIB 20, WEBP 32) for those that are worked on; 0 is a quarter of the "
        "machine's memory. Beyond it as for max_requests.",
        unit="MiB",
        low=0,
        high=1_048_576,
    )
    max_message_mb: int = key(
        64, int, "Largest message taken from a client.", unit="MiB", low=1, high=2047
    )
    max_megapixels: float = key(
        50.0,
        float,
        "Largest image by area, read from its header before any pixel is decoded.",
        unit="megapixels",
        low=0.0001,
        high=1000.0,
    )
    max_side_px: int = key(
        16384, int, "Largest width or height of an image.", unit="pixels", low=1, high=65535
    )
    stream_window: int = key(
        4,
        int,
        "Frames of one stream that may be in work or waiting to be read by the client at once.",
        unit="frames",
        low=1,
        high=256,
    )
    max_streams: int = key(
        64, int, "Streams open at once; more are refused.", unit="streams", low=1, high=100_000
    )
    max_calls: int = key(
        1024,
        int,
        "Calls of every method open at once, the last line of defence: beyond it calls are refused "
        "before their message is read, without a hint.",
        unit="calls",
        low=1,
        high=1_000_000,
    )
    stream_stall_s: float = key(
        300.0,
        float,
        "A stream is ended when its client reads no answer for this long, or sends nothing for as "
        "long while it has no frame in work.",
        unit="seconds",
        low=0.01,
        high=86_400.0,
    )
    stream_resume_s: float = key(
        30.0,
        float,
        "How long a broken stream with a `resume_id` can be taken up again with what it remembers "
        "of its frames; 0 refuses such ids.",
        unit="seconds",
        low=0.0,
        high=86_400.0,
    )
    stream_resume_mb: int = key(
        256,
        int,
        "Memory for what broken streams remember, for as many as max_streams; the oldest goes "
        "first.",
        unit="MiB",
        low=0,
        high=1_048_576,
    )
    prompt_model: str = key(
        "matte-click",
        str,
        "Model that answers points, boxes and masks where a request names none; it is loaded with "
        "the first.",
    )
    feature_cache_mb: int = key(
        256,
        int,
        "Memory for pictures that prompts were given for, so that the next prompt is answered from "
        "what is known; 0 keeps none.",
        unit="MiB",
        low=0,
        high=1_048_576,
    )
    default_deadline_s: float = key(
        60.0,
        float,
        "Time an image may take when the caller set no deadline; for streams, each frame.",
        unit="seconds",
        low=0.001,
        high=86_400.0,
    )
    drain_s: float = key(
        25.0,
        float,
        "Time that work in flight gets to finish after SIGTERM.",
        unit="seconds",
        low=0.0,
        high=3600.0,
    )
    model: str = key("matte-s", str, "Model used when a request names none; loaded at the start.")
    load: tuple[str, ...] = key((), str, "Further models to load at the start.", many=True)
    model_dirs: tuple[Path, ...] = key(
        (), Path, "Folders with manifests (*.toml) of your own models.", many=True
    )
    accept_licenses: tuple[str, ...] = key(
        (), str, "Licences of non-commercial weights that you accept, by name.", many=True
    )
    cache_dir: Path | None = key(  # noqa: RUF009
        None,
        Path,
        "Folder of downloaded weights and of TensorRT's plans; default: mattestream under "
        "XDG_CACHE_HOME or ~/.cache.",
        optional=True,
    )
    device: str = key(
        "auto",
        str,
        "Where models run: cpu, cuda (the first GPU), cuda:N, cuda:all (each model on every GPU); "
        "auto takes the first GPU that can be used, else the CPU. Naming one that is missing is an "
        "error.",
        pattern=r"auto|cpu|cuda(:\d{1,2}|:all)?",
        words="auto, cpu, cuda, cuda:N or cuda:all",
    )
    engine: str = key(
        "auto",
        str,
        "What runs models; auto is tensorrt on a GPU where it is installed, else onnx.",
        choices=("auto", "onnx", "tensorrt"),
    )
    precision: str = key(
        "auto",
        str,
        "What models compute in; auto is fp16 with TensorRT as long as its results stay near those "
        "of fp32, and else the file's own.",
        choices=("auto", "fp32", "fp16"),
    )
    gpu_jpeg: str = key(
        "auto",
        str,
        "JPEG decoding on the GPU by nvImageCodec; auto is on where it is installed and works.",
        choices=("auto", "on", "off"),
    )
    gpu_slot_mb: int = key(
        4096,
        int,
        "Memory on each GPU that a model keeps for the next images, and as much page-locked memory "
        "of the machine; larger images take and free theirs.",
        unit="MiB",
        low=0,
        high=1_048_576,
    )
    max_batch: int = key(
        0,
        int,
        "Most images in one run of a model; 0 is the engine's own limit (1 on a CPU).",
        unit="images",
        low=0,
        high=1024,
    )
    log_format: str = key(
        "auto",
        str,
        "How log lines look; auto is console on a terminal, else json.",
        choices=("auto", "json", "console"),
    )
    log_level: str = key(
        "info",
        str,
        "Least severe log line that is written; debug adds a line per stream frame.",
        choices=("debug", "info", "warning", "error"),
    )
    unix_socket: Path | None = key(  # noqa: RUF009
        None,
        Path,
        "Path of a unix socket to listen on as well, without TLS, for callers of this machine; its "
        "file's owner alone may connect.",
        optional=True,
    )
    shared_memory: tuple[str, ...] = key(
        (),
        str,
        "Prefixes of the names of POSIX shared memory that callers on loopback or on the unix "
        "socket may name instead of sending bytes (docs/shared-memory.md). None: it is off.",
        many=True,
        pattern=r"(?!sem\.)[A-Za-z0-9_-][A-Za-z0-9._-]{2,63}",
        words="3 to 64 of the letters, digits and . _ -, not beginning with a dot or with sem.",
    )
    cuda_shared_memory: bool = key(
        False,
        bool,
        "Whether callers on loopback or on the unix socket may name memory of the server's GPUs by "
        "CUDA IPC handles instead of sending bytes (docs/shared-memory.md).",
    )
    tls_cert: Path | None = key(  # noqa: RUF009
        None, Path, "PEM file with the server's certificate chain; switches TLS on.", optional=True
    )
    tls_key: Path | None = key(  # noqa: RUF009
        None, Path, "PEM file with the certificate's private key.", optional=True
    )
    api_keys_file: Path | None = key(  # noqa: RUF009
        None,
        Path,
        "File with one API key a line, as `sha256:...` (`mattestream keys` makes one); callers "
        "send theirs as `x-api-key` or `authorization: Bearer`. Health checks need none.",
        optional=True,
    )

    def __post_init__(self) -> None:
        for row in keys():
            check(row, getattr(self, row.name), row.name)
        if (self.tls_cert is None) != (self.tls_key is None):
            seen, missing = ("tls_cert", "tls_key") if self.tls_cert else ("tls_key", "tls_cert")
            raise ConfigError(f"{seen} is set but {missing} is not: TLS needs both")

    @property
    def worker_threads(self) -> int:
        """Threads to start: `threads`, or one per usable core."""
        return self.threads or usable_cores()

    @property
    def inflight_bytes(self) -> int:
        """Memory for admitted images: `max_inflight_mb`, or a quarter of what the machine has."""
        return self.max_inflight_mb * MEBIBYTE or usable_memory_bytes() // 4

    @property
    def is_exposed(self) -> bool:
        """True when machines other than this one can reach the gRPC port."""
        return not _is_loopback(self.host)

    @property
    def is_http_exposed(self) -> bool:
        """True when machines other than this one can reach the HTTP port."""
        return self.http_port != 0 and not _is_loopback(self.http_host)


@cache
def keys() -> tuple[Key, ...]:
    """The table, in the order of the documentation."""
    return tuple(row_of(item) for item in fields(Config))


def _is_loopback(host: str) -> bool:
    return host in {"localhost", "::1", "[::1]"} or host.startswith("127.")
