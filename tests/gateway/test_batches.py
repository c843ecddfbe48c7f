"""Batches: submitted, worked on, fetched, deleted; limits; archives that mean harm; restarts."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from server.app import App, StartError
from server.gateway import batches
from server.gateway.batch_store import Batch, BatchStore, FolderInUse, safe_name
from tests.gateway.serving import KEY, OTHER_KEY, Gateway, Open, keys_file
from tests.server.fakes import eventually, picture
from tests.server.serving import new_app


def zip_of(*entries: tuple[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return buffer.getvalue()


async def submit(it: Gateway, *files: tuple[str, Any], **more: Any) -> httpx.Response:
    return await it.client.post("/v1/batches", files=list(files), **more)


async def finished(it: Gateway, batch_id: str, **more: Any) -> dict[str, Any]:
    async def done() -> dict[str, Any] | None:
        state: dict[str, Any] = (await it.client.get(f"/v1/batches/{batch_id}", **more)).json()
        return state if state["state"] == "done" else None

    async with asyncio.timeout(20):
        while True:
            state = await done()
            if state is not None:
                return state
            await asyncio.sleep(0.005)


async def results(it: Gateway, batch_id: str) -> dict[str, bytes]:
    response = await it.client.get(f"/v1/batches/{batch_id}/results")
    assert response.status_code == 200, response.text
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def found_below(folder: Path, pattern: str) -> list[Path]:
    return list(folder.rglob(pattern))


def left_on_disk(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != ".lock"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "batches"


async def test_pictures_and_archives_come_back_as_one_zip(open_gateway: Open, folder: Path) -> None:
    async with open_gateway(port=True, batch_dir=folder) as it:
        response = await submit(
            it,
            ("images", ("cat.jpg", picture())),
            ("images", ("pets/cat.jpg", picture())),
            ("archive", ("all.zip", zip_of(("a/dog.png", picture(kind="PNG")), ("a/", b"")))),
            ("options", (None, json.dumps({"max_megapixels": 0.002}))),
        )
        assert response.status_code == 202, response.text
        batch = response.json()
        assert response.headers["location"] == f"/v1/batches/{batch['id']}"
        state = await finished(it, batch["id"])
        assert (state["images"], state["done"], state["failed"]) == (3, 3, 0)
        files = await results(it, batch["id"])
        assert sorted(files) == ["a/dog.png", "cat.png", "pets/cat.png"]
        width, height = Image.open(io.BytesIO(files["cat.png"])).size
        assert width * height <= 2000
        assert it.app.admission.images == it.app.admission.bytes == 0


async def test_a_bad_picture_is_one_line_and_not_the_end(open_gateway: Open, folder: Path) -> None:
    async with open_gateway(port=True, batch_dir=folder) as it:
        archive = zip_of(("a.jpg", picture()), ("notes.txt", b"hello"), ("__MACOSX/._a.jpg", b"x"))
        batch = (await submit(it, ("archive", ("a.zip", archive)))).json()
        state = await finished(it, batch["id"])
        assert (state["done"], state["failed"]) == (2, 1)
        (error,) = state["errors"]
        assert error["name"] == "notes.txt"
        assert "text" in error["message"]
        files = await results(it, batch["id"])
        assert json.loads(files["failed.json"])[0]["name"] == "notes.txt"


async def test_two_of_one_name_both_come_back(open_gateway: Open, folder: Path) -> None:
    async with open_gateway(port=True, batch_dir=folder) as it:
        two = [("images", ("a.jpg", picture())), ("images", ("a.png", picture(kind="PNG")))]
        batch = (await submit(it, *two)).json()
        await finished(it, batch["id"])
        assert sorted(await results(it, batch["id"])) == ["a-2.png", "a.png"]


async def test_results_before_the_end_are_refused_with_a_hint(
    open_gateway: Open, folder: Path
) -> None:
    async with open_gateway(port=True, batch_dir=folder) as it:
        engine = it.registry.engines["tiny"]
        engine.open.clear()
        batch = (await submit(it, ("images", ("a.jpg", picture())))).json()
        await eventually(lambda: engine.running == 1, "it is at the model")
        early = await it.client.get(f"/v1/batches/{batch['id']}/results")
        assert early.status_code == 409
        assert early.headers["retry-after"] == "1"
        state = (await it.client.get(f"/v1/batches/{batch['id']}")).json()
        assert state["state"] == "running"
        engine.open.set()
        await finished(it, batch["id"])


async def test_a_batch_is_its_owners_alone(
    open_gateway: Open, folder: Path, tmp_path: Path
) -> None:
    async with open_gateway(port=True, batch_dir=folder, api_keys_file=keys_file(tmp_path)) as it:
        mine, other = {"X-Api-Key": KEY}, {"X-Api-Key": OTHER_KEY}
        batch = (await submit(it, ("images", ("a.jpg", picture())), headers=mine)).json()
        for method, path in (("GET", ""), ("GET", "/results"), ("DELETE", "")):
            url = f"/v1/batches/{batch['id']}{path}"
            assert (await it.client.request(method, url, headers=other)).status_code == 404
        assert (await it.client.get("/v1/batches", headers=other)).json() == {"batches": []}
        (listed,) = (await it.client.get("/v1/batches", headers=mine)).json()["batches"]
        assert listed["id"] == batch["id"]
        await finished(it, batch["id"], headers=mine)


async def test_a_deleted_batch_leaves_nothing(open_gateway: Open, folder: Path) -> None:
    async with open_gateway(port=True, batch_dir=folder) as it:
        engine = it.registry.engines["tiny"]
        engine.open.clear()
        batch = (await submit(it, ("images", ("a.jpg", picture())))).json()
        await eventually(lambda: engine.running == 1, "it is at the model")
        deleting = asyncio.create_task(it.client.delete(f"/v1/batches/{batch['id']}"))
        await eventually(lambda: it.http.batches is not None, "asked")
        engine.open.set()
        assert (await deleting).status_code == 204
        assert (await it.client.get(f"/v1/batches/{batch['id']}")).status_code == 404
        assert left_on_disk(folder) == []
        assert it.http.batches is not None
        assert it.http.batches.disk_bytes == 0
        # The next one is worked on all the same.
        again = (await submit(it, ("images", ("b.jpg", picture())))).json()
        assert (await finished(it, again["id"]))["failed"] == 0


@pytest.mark.parametrize(
    ("files", "status", "sentence"),
    [
        ([], 415, "multipart"),
        ([("options", (None, "{}"))], 400, "no pictures"),
        ([("photos", ("a.jpg", b"x"))], 400, "'photos' is not known"),
        ([("images", ("a.jpg", b"x")), ("options", (None, "{"))], 400, "no JSON"),
        (
            [("images", ("a.jpg", b"x")), ("options", (None, '{"format": "FORMAT_RAW"}'))],
            400,
            "makes files",
        ),
        (
            [("images", ("a.jpg", b"x")), ("options", (None, '{"quality": 500}'))],
            400,
            "from 1 to 100",
        ),
        ([("archive", ("a.zip", b"PK nonsense"))], 400, "cannot be unpacked"),
        ([("archive", ("a.zip", zip_of(("a", b"x"))[:40]))], 400, "cannot be unpacked"),
    ],
)
async def test_what_is_no_batch_leaves_nothing(
    open_gateway: Open, folder: Path, files: list[Any], status: int, sentence: str
) -> None:
    async with open_gateway(port=True, batch_dir=folder) as it:
        response = await submit(it, *files)
        assert response.status_code == status, response.text
        assert sentence in response.json()["error"]["message"]
        assert left_on_disk(folder) == []
        assert it.http.batches is not None
        assert it.http.batches.disk_bytes == 0


async def test_without_a_folder_there_are_no_batches(it: Gateway) -> None:
    response = await submit(it, ("images", ("a.jpg", picture())))
    assert response.status_code == 501
    assert "--batch-dir" in response.json()["error"]["message"]


async def test_too_many_pictures_are_refused_wherever_they_hide(
    open_gateway: Open, folder: Path
) -> None:
    async with open_gateway(port=True, batch_dir=folder, batch_max_images=3) as it:
        many = zip_of(*((f"{i}.jpg", b"x") for i in range(4)))
        for files in (
            [("images", (f"{i}.jpg", b"x")) for i in range(4)],
            [("archive", ("a.zip", many))],
        ):
            response = await submit(it, *files)
            assert response.status_code == 413
            assert "--batch-max-images" in response.json()["error"]["message"]
        assert left_on_disk(folder) == []


async def test_a_bomb_is_stopped_while_it_unpacks(open_gateway: Open, folder: Path) -> None:
    settings = {"batch_dir": folder, "http_max_body_mb": 2, "batch_disk_mb": 3}
    async with open_gateway(port=True, **settings) as it:
        tall = zip_of(("a.png", bytes(100 << 20)))
        wide = zip_of(*((f"{i}.png", bytes(1 << 20)) for i in range(50)))
        assert len(tall) < 1 << 20
        assert len(wide) < 1 << 20
        response = await submit(it, ("archive", ("a.zip", tall)))
        assert response.status_code == 413
        response = await submit(it, ("archive", ("a.zip", wide)))
        assert response.status_code == 507
        assert "--batch-disk-mb" in response.json()["error"]["message"]
        assert left_on_disk(folder) == []


async def test_an_archive_whose_sizes_lie_is_refused(open_gateway: Open, folder: Path) -> None:
    data = bytearray(zip_of(("a.jpg", picture())))
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = (1).to_bytes(4, "little")
    async with open_gateway(port=True, batch_dir=folder) as it:
        response = await submit(it, ("archive", ("a.zip", bytes(data))))
        assert response.status_code in {202, 400}
        if response.status_code == 202:
            assert (await finished(it, response.json()["id"]))["failed"] == 1


async def test_names_lead_nowhere(open_gateway: Open, folder: Path, tmp_path: Path) -> None:
    evil = [
        "../../evil.jpg",
        "/etc/evil.jpg",
        "C:\\evil.jpg",
        "..\\..\\evil.jpg",
        "a/../../evil.jpg",
    ]
    async with open_gateway(port=True, batch_dir=folder) as it:
        batch = (
            await submit(
                it,
                ("archive", ("a.zip", zip_of(*((name, picture()) for name in evil)))),
                ("images", ("../../evil.jpg", picture())),
            )
        ).json()
        await finished(it, batch["id"])
        for name in await results(it, batch["id"]):
            assert not name.startswith("/")
            assert ".." not in name
            assert ":" not in name
    assert await asyncio.to_thread(found_below, tmp_path.parent, "evil*") == []


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a/b.jpg", "a/b.jpg"),
        ("../a.jpg", "a.jpg"),
        ("/a.jpg", "a.jpg"),
        ("c:\\x\\a.jpg", "c/x/a.jpg"),
        ("...", "image"),
        ("", "image"),
        ("a\x00\nb.jpg", "ab.jpg"),
        ("x" * 500, "x" * 200),
    ],
)
def test_a_name_is_made_safe(name: str, safe: str) -> None:
    assert safe_name(name) == safe


async def test_a_batch_cut_by_the_end_of_a_server_is_finished_by_the_next(
    model_dir: Path, folder: Path, open_gateway: Open
) -> None:
    app, registry = new_app(model_dir, http_port=-1, batch_dir=folder)
    async with app:
        base = f"http://127.0.0.1:{app.http.port}"
        async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
            registry.engines["tiny"].open.clear()
            files = [("images", (f"{i}.jpg", picture())) for i in range(5)]
            batch = (await client.post("/v1/batches", files=files)).json()
            await eventually(lambda: registry.engines["tiny"].running > 0, "it is at the model")
            stopping = asyncio.create_task(app.stop())
            await eventually(lambda: not app.gate.is_open, "it stops")
            registry.engines["tiny"].open.set()
            await stopping
    assert (folder / batch["id"] / "batch.json").is_file()
    (folder / ("f" * 32)).mkdir()  # an upload that was cut off
    async with open_gateway(port=True, batch_dir=folder) as it:
        state = await finished(it, batch["id"])
        assert (state["done"], state["failed"]) == (5, 0)
        assert len(await results(it, batch["id"])) == 5
        assert len(left_on_disk(folder)) == 1


async def test_results_outlive_a_restart_until_they_are_too_old(
    open_gateway: Open, folder: Path
) -> None:
    async with open_gateway(port=True, batch_dir=folder) as it:
        batch = (await submit(it, ("images", ("a.jpg", picture())))).json()
        await finished(it, batch["id"])
    async with open_gateway(port=True, batch_dir=folder) as it:
        assert list(await results(it, batch["id"])) == ["a.png"]
        kept = it.http.batches
        assert kept is not None
        now = kept.wall_clock()
        kept.wall_clock = lambda: now + 25 * 3600
        await kept.sweep()
        assert (await it.client.get(f"/v1/batches/{batch['id']}")).status_code == 404
        assert left_on_disk(folder) == []


async def test_two_servers_do_not_share_a_folder(
    open_gateway: Open, folder: Path, model_dir: Path
) -> None:
    async with open_gateway(port=True, batch_dir=folder):
        second: App = new_app(model_dir, http_port=-1, batch_dir=folder)[0]
        with pytest.raises(StartError, match="another --batch-dir"):
            await second.start()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderInUse, match="--batch-dir"):
        BatchStore(tmp_path / "file" / "batches").open()


def again(store: BatchStore) -> Batch:
    """The one batch of the folder, as the next server finds it."""
    store.close()
    (found,) = store.open()
    store.close()
    return found


@pytest.fixture
def cut(tmp_path: Path) -> tuple[BatchStore, Batch]:
    """A batch of two pictures whose journal ends within the second's line."""
    store = BatchStore(tmp_path)
    store.open()
    batch = Batch(store.begin(), "", {}, ["a", "b"], 0.0)
    store.commit(batch)
    store.finish(batch, 0, b"x", "image/png", None)
    with (tmp_path / batch.id / "journal.jsonl").open("a") as journal:
        journal.write('{"place": 1, "err')
    return store, batch


def test_a_line_of_the_journal_that_was_cut_counts_as_not_done(
    cut: tuple[BatchStore, Batch],
) -> None:
    assert again(cut[0]).open_places == [1]


def test_the_line_after_one_that_was_cut_is_whole(cut: tuple[BatchStore, Batch]) -> None:
    store, batch = cut
    again(store)
    store.finish(batch, 1, None, "", "no picture")
    assert again(store).over == {0: None, 1: "no picture"}


def test_a_picture_that_never_reached_the_disk_is_done_again(
    cut: tuple[BatchStore, Batch],
) -> None:
    store, batch = cut
    (store.folder / batch.id / "out" / "000000").unlink()
    assert again(store).open_places == [0, 1]


def test_results_that_are_there_are_enough(cut: tuple[BatchStore, Batch]) -> None:
    store, batch = cut
    again(store)
    store.finish(batch, 1, None, "", "no picture")
    batch.over = {0: None, 1: "no picture"}
    store.pack(batch)
    found = again(store)
    assert (found.has_results, found.over[0]) == (True, None)


async def test_a_full_disk_is_no_error_of_ours(
    open_gateway: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_gateway(port=True, batch_dir=folder) as it:

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(BatchStore, "commit", full)
        response = await submit(it, ("images", ("a.jpg", picture())))
        assert response.status_code == 507
        assert left_on_disk(folder) == []


async def test_a_batch_that_the_disk_interrupts_goes_on_when_it_is_mended(
    open_gateway: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, failures = BatchStore.finish, [OSError(errno.ENOSPC, "No space left on device")]

    def once(*arguments: Any) -> None:
        if failures:
            raise failures.pop()
        finish(*arguments)

    monkeypatch.setattr(BatchStore, "finish", once)
    monkeypatch.setattr(batches, "AGAIN_S", 0)
    async with open_gateway(port=True, batch_dir=folder) as it:
        batch = (await submit(it, ("images", ("a.jpg", picture())))).json()
        assert (await finished(it, batch["id"]))["failed"] == 0
        assert list(await results(it, batch["id"])) == ["a.png"]
