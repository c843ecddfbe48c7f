"""The HTTP door of a server, put together from the server's parts: gateway, batches, port.

`server.app` makes one, starts it, and stops it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from server.auth import ApiKeys
from server.config import MEBIBYTE, Config
from server.gateway.addresses import Network
from server.gateway.batch_store import BatchStore
from server.gateway.batches import Batches
from server.gateway.door import Door
from server.gateway.exchange import Exchanges
from server.gateway.fetch import Fetcher
from server.gateway.gateway import Gateway
from server.gateway.intake import Room
from server.gateway.listener import HttpListener
from server.gateway.own import ListModels
from server.gateway.rates import Rates
from server.listener import shown_address
from server.metrics import Metrics
from server.shutdown import Gate


class HttpDoor:
    """Everything HTTP of one server.

    Args:
        door: to the pipeline.
        gate: the server's.
        api_keys: the same as over gRPC.
        metrics: the server's.
        list_models: every model.
        is_ready: True while the server takes work.
        config: every setting.
        reachable: see `server.gateway.fetch`; for tests.
        clock: seconds.

    Attributes:
        gateway: its application, which answers without a port as well.
        door: for whoever else in this process has a picture.
    """

    def __init__(
        self,
        door: Door,
        *,
        gate: Gate,
        api_keys: ApiKeys,
        metrics: Metrics,
        list_models: ListModels,
        is_ready: Callable[[], bool],
        config: Config,
        reachable: Sequence[Network] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.door = door
        rates = Rates(config.http_rate_limit_mp, clock=clock)
        self._batches = None
        if config.batch_dir is not None:
            self._batches = Batches(
                BatchStore(config.batch_dir),
                door,
                rates,
                max_disk_bytes=config.batch_disk_mb * MEBIBYTE,
                max_images=config.batch_max_images,
                keep_s=config.batch_keep_hours * 3600,
                at_once=config.worker_threads,
            )
        # Bodies are not in the pipeline's own count until they are pictures.
        room = Room(config.inflight_bytes)
        self.room = room
        self.gateway = Gateway(
            door,
            Exchanges(gate, api_keys, metrics, rates, room, clock=clock),
            fetcher=Fetcher(
                is_allowed=config.allow_url_fetch,
                max_bytes=config.max_message_mb * MEBIBYTE,
                reachable=reachable,
            ),
            batches=self._batches,
            list_models=list_models,
            is_ready=is_ready,
            config=config,
        )
        self._config = config
        self._listener = HttpListener(self.gateway.app, config)

    @property
    def port(self) -> int:
        """Port it listens on, once started."""
        return self._listener.port

    @property
    def address(self) -> str:
        """Where it listens, as a URL, once started."""
        scheme = "http" if self._config.tls_cert is None else "https"
        return f"{scheme}://{shown_address(self._config.http_host, self.port)}"

    @property
    def batches(self) -> Batches | None:
        """Those that lie on disk."""
        return self._batches

    async def start(self) -> None:
        """Listens.

        Raises:
            StartError: the port cannot be had.
        """
        await self._listener.start()

    async def start_batches(self) -> None:
        """Goes on with the batches that lie on disk; the models are loaded by now.

        Raises:
            StartError: another server has them.
        """
        if self._batches is not None:
            await self._batches.start()

    async def stop_batches(self) -> None:
        """Lays the batches down; the next start goes on with them."""
        if self._batches is not None:
            await self._batches.stop()

    async def stop(self) -> None:
        """Closes the port, cuts what is under way, lays batches down."""
        await self.stop_batches()
        await self._listener.stop()
