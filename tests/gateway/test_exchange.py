"""What every request passes: keys, ids, limits on bodies, rates, origins, hang-ups, the drain."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request

from mattestream.v1 import image_pb2, report_pb2
from server.calls import open_call
from server.gateway import intake
from server.gateway.door import Removed
from server.gateway.errors import TooMany
from server.gateway.exchange import Exchange
from server.gateway.intake import CallerGone, Hold, Room
from server.gateway.rates import Rates
from tests.gateway.serving import KEY, OTHER_KEY, Gateway, Open, keys_file
from tests.server.fakes import ManualClock, eventually, noise, picture


async def test_without_a_key_the_own_api_answers_401(open_gateway: Open, tmp_path: Path) -> None:
    async with open_gateway(api_keys_file=keys_file(tmp_path)) as it:
        refused = await it.client.get("/v1/models")
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert (await it.client.get("/v1/models", headers={"X-Api-Key": KEY})).status_code == 200
        for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
            assert (await it.client.get(path)).status_code == 200, path


async def test_a_callers_request_id_comes_back_when_it_is_sane(it: Gateway) -> None:
    for sent, is_kept in (("abc-1", True), ("no spaces please", False)):
        response = await it.client.get("/v1/models", headers={"X-Request-Id": sent})
        assert (response.headers["x-request-id"] == sent) is is_kept


async def test_a_body_beyond_the_limit_is_refused_before_it_is_read(open_gateway: Open) -> None:
    async with open_gateway(port=True, http_max_body_mb=1) as it:
        host, port = "127.0.0.1", it.http.port
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(
            b"POST /v1/remove HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
            b"Content-Length: 99999999\r\n\r\n"
        )
        answer = await reader.readuntil(b"\r\n")
        assert b" 413 " in answer
        writer.close()
        await writer.wait_closed()
    assert it.http.room.taken == 0


async def test_a_body_that_hides_its_length_is_counted(open_gateway: Open) -> None:
    async def endless() -> object:
        for _ in range(40):
            yield b"x" * 65536

    async with open_gateway(http_max_body_mb=1) as it:
        response = await it.client.post(
            "/v1/remove",
            content=endless(),  # type: ignore[arg-type]
            headers={"Content-Type": "image/jpeg"},
        )
    assert response.status_code == 413
    assert "--http-max-body-mb" in response.json()["error"]["message"]


@pytest.mark.parametrize("part", ["name", "value"])
async def test_a_parts_headers_have_a_bound_of_their_own(it: Gateway, part: str) -> None:
    long = b"x" * 1_000_000
    header = long + b": y" if part == "name" else b"y: " + long
    response = await it.client.post(
        "/v1/remove",
        content=b"--b\r\n" + header + b"\r\n\r\nz\r\n--b--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert response.status_code == 400
    assert "header" in response.json()["error"]["message"].lower()


async def test_a_body_that_stops_coming_is_let_go(
    open_gateway: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake.chunks, "__defaults__", (None, 0.05))
    async with open_gateway(port=True) as it:
        reader, writer = await asyncio.open_connection("127.0.0.1", it.http.port)
        writer.write(
            b"POST /v1/remove HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\n"
            b"Content-Length: 1000\r\n\r\nabc"
        )
        assert b" 408 " in await reader.readuntil(b"\r\n")
        writer.close()
        await writer.wait_closed()
        assert it.http.room.taken == 0


async def test_all_bodies_together_have_a_bound(open_gateway: Open) -> None:
    async with open_gateway(max_inflight_mb=1) as it:
        response = await it.client.post(
            "/v1/remove",
            content=b"x" * 1_500_000,
            headers={"Content-Type": "application/octet-stream"},
        )
        assert response.status_code == 429
        assert it.http.room.taken == 0


async def test_a_caller_that_hangs_up_stops_the_work(open_gateway: Open) -> None:
    async with open_gateway(port=True) as it:
        engine = it.registry.engines["tiny"]
        engine.open.clear()
        asked = asyncio.create_task(
            it.client.post("/v1/remove", files={"image": ("a.jpg", picture())})
        )
        await eventually(lambda: engine.running == 1, "it is at the model")
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await it.client.aclose()
        engine.open.set()
        await eventually(lambda: it.app.gate.calls == 0, "the call is over")
        assert (it.app.admission.images, it.app.admission.bytes) == (0, 0)


@pytest.mark.parametrize("how", ["hangs up", "is cut off"])
async def test_a_result_of_the_last_moment_gives_up_its_room(how: str) -> None:
    released = asyncio.Event()

    class Last(Removed):
        def release(self) -> None:
            released.set()

    async def work() -> Removed:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        return Last(image_pb2.Result(), report_pb2.Report())

    async def receive() -> dict[str, str]:
        if how == "hangs up":
            return {"type": "http.disconnect"}
        return await asyncio.Event().wait()  # type: ignore[return-value]

    request = Request({"type": "http", "headers": []}, receive)
    exchange = Exchange(request, open_call("", ()), Hold(Room(1)), Rates(0))
    asked = asyncio.create_task(exchange.while_connected(work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if how == "is cut off":
        asked.cancel()
    with pytest.raises(CallerGone if how == "hangs up" else asyncio.CancelledError):
        await asked
    assert released.is_set()


async def test_a_drain_lets_the_answer_out(open_gateway: Open) -> None:
    async with open_gateway(port=True) as it:
        engine = it.registry.engines["tiny"]
        engine.open.clear()
        asked = asyncio.create_task(it.remove_bg())
        await eventually(lambda: engine.running == 1, "it is at the model")
        draining = asyncio.create_task(it.app.drain())
        await eventually(lambda: not it.app.gate.is_open, "it drains")
        engine.open.set()
        assert (await asked).status_code == 200
        assert await draining is True


async def test_a_caller_that_reads_nothing_is_not_waited_for_by_others(
    open_gateway: Open,
) -> None:
    async with open_gateway(port=True) as it:
        body = noise(1500, 1500)
        reader, writer = await asyncio.open_connection("127.0.0.1", it.http.port)
        writer.write(
            b"POST /v1/remove?options=%7B%22format%22:%22FORMAT_RAW%22%7D HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: image/jpeg\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n"
        )
        writer.write(body)
        await reader.readuntil(b"\r\n")
        response = await it.client.post("/v1/remove", files={"image": ("a.jpg", picture())})
        assert response.status_code == 200
        writer.transport.abort()
        await eventually(lambda: it.app.admission.bytes == 0, "its answer's room is free")


async def test_a_draining_server_refuses_and_is_not_ready(it: Gateway) -> None:
    assert (await it.client.get("/readyz")).json() == {"status": "ready"}
    it.app.gate.close()
    await it.app.health.shut_down()
    refused = await it.client.post("/v1/remove", files={"image": ("a.jpg", picture())})
    assert refused.status_code == 503
    assert (await it.client.get("/readyz")).status_code == 503
    assert (await it.client.get("/healthz")).status_code == 200


async def test_pages_of_other_origins_are_kept_out_unless_named(open_gateway: Open) -> None:
    shop = {"Origin": "https://shop.example"}
    async with open_gateway() as it:
        assert (
            "access-control-allow-origin"
            not in (await it.client.get("/v1/models", headers=shop)).headers
        )
    async with open_gateway(cors_origins=("https://shop.example",)) as it:
        answer = await it.client.get("/v1/models", headers=shop)
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        assert "X-Mattestream-Report" in answer.headers["access-control-expose-headers"]
        other = await it.client.get("/v1/models", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        asked = {**shop, "Access-Control-Request-Method": "POST"}
        assert (await it.client.options("/v1/remove", headers=asked)).status_code == 200


async def test_each_key_has_its_own_rate_and_hears_of_it(
    open_gateway: Open, tmp_path: Path
) -> None:
    async with open_gateway(api_keys_file=keys_file(tmp_path), http_rate_limit_mp=2) as it:
        mine, other = {"X-Api-Key": KEY}, {"X-Api-Key": OTHER_KEY}
        first = await it.remove_bg(headers=mine)
        assert first.headers["x-ratelimit-limit"] == "2"
        assert first.headers["x-ratelimit-remaining"] == "1"
        assert int(first.headers["x-ratelimit-reset"]) > 1_700_000_000
        assert (await it.remove_bg(headers=mine)).status_code == 200
        refused = await it.remove_bg(headers=mine)
        assert refused.status_code == 429
        assert refused.json()["errors"][0]["code"] == "rate_limit_exceeded"
        assert 25 <= int(refused.headers["retry-after"]) <= 30
        assert refused.headers["x-ratelimit-remaining"] == "0"
        assert (await it.remove_bg(headers=other)).status_code == 200


def test_a_rate_is_weighed_by_megapixels_and_refills_evenly() -> None:
    clock = ManualClock()
    rates = Rates(60, clock=clock)
    rates.take("a", 25)
    rates.take("a", 25)
    with pytest.raises(TooMany) as refused:
        rates.take("a", 25)
    assert refused.value.retry_after_s == pytest.approx(15)
    clock.advance(15)
    rates.take("a", 25)
    rates.take("b", 60)
    clock.advance(60)
    rates.take("b", 500)  # larger than the whole share: when the bucket is full


def test_a_small_picture_counts_as_a_megapixel() -> None:
    rates = Rates(1, clock=ManualClock())
    rates.take("a", 0.01)
    with pytest.raises(TooMany):
        rates.take("a", 0.01)


async def test_calls_are_counted_and_logged_by_their_address(it: Gateway) -> None:
    await it.remove_bg()
    await it.remove_bg(files={"image_file": ("a.txt", b"x")})
    text = it.app.metrics.text()
    method = 'method="POST /v1.0/removebg"'
    assert f'mattestream_requests_total{{code="OK",{method}}} 1.0' in text
    assert f'mattestream_requests_total{{code="INVALID_ARGUMENT",{method}}} 1.0' in text


async def test_an_error_of_ours_says_nothing_but_its_id(
    it: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(it.http.door, "remove", broken)
    response = await it.client.post("/v1/remove", files={"image": ("a.jpg", picture())})
    assert response.status_code == 500
    assert "secret" not in response.text
    request_id = response.headers["x-request-id"]
    assert response.json()["error"]["message"] == f"internal error, request {request_id}"
    theirs = await it.remove_bg()
    assert json.loads(theirs.text)["errors"][0]["code"] == "internal_error"


async def test_unknown_addresses_answer_404_in_json(it: Gateway) -> None:
    response: httpx.Response = await it.client.get("/v1/nothing")
    assert response.status_code == 404
    assert "/docs" in response.json()["error"]["message"]
    assert (await it.client.get("/api/nothing")).json().keys() == {"detail"}
