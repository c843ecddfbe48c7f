"""Masks by eye: the file of verdicts, every step, and what becomes of them in a pool."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.training import eye_masks, eye_sheets
from models.training.data import Picture, Pool
from models.training.eye_masks import SEEN, Maker, Seen, add_seen, read_seen
from models.training.mask_steps import apply

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]


@pytest.fixture(scope="module")
def maker() -> Maker:
    """The released models."""
    return Maker()


@pytest.fixture
def two_squares() -> tuple[U8, F32]:
    """A blue photo (80 x 100) with a large and a small orange square, and their alpha."""
    alpha = np.zeros((80, 100), np.float32)
    alpha[20:60, 10:50] = 1.0
    alpha[30:40, 75:85] = 1.0
    rgb = np.full((80, 100, 3), (30, 60, 120), np.uint8)
    rgb[alpha > 0.5] = (240, 140, 20)
    return rgb, alpha


def test_the_file_of_the_repository_names_every_photo_once_and_says_what_to_do() -> None:
    seen = read_seen(SEEN)
    assert len(seen) > 1000
    assert {line.verdict for line in seen} == {"ok", "edit", "skip", "empty"}
    # that every step can be read, without the photos and without looking for edges
    rgb, alpha = np.zeros((60, 80, 3), np.uint8), np.ones((60, 80), np.float32)
    for word, rest in (step.partition(" ")[::2] for line in seen for step in line.steps):
        if word in ("only", "add", "cut"):
            apply(f"{word}!", rest, rgb, alpha)
        elif word != "click":
            apply(word, rest, rgb, alpha)


@pytest.mark.parametrize(
    "line",
    ["inet_1", "inet_1 perhaps", "inet_1 edit", "inet_1 ok largest", "inet_1 ok\ninet_1 skip"],
)
def test_a_line_that_is_none_is_refused_by_its_number(tmp_path: Path, line: str) -> None:
    path = tmp_path / "seen.txt"
    path.write_text(f"# a comment\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"seen\.txt:[23]"):
        read_seen(path)


def test_largest_drops_the_rest_and_fill_closes_holes(two_squares: tuple[U8, F32]) -> None:
    rgb, alpha = two_squares
    alone = apply("largest", "", rgb, alpha)
    assert alone[:, :50].sum() == alpha[:, :50].sum()
    assert alone[:, 60:].sum() == 0.0
    holed = alpha.copy()
    holed[30:40, 20:30] = 0.0
    assert np.array_equal(apply("fill", "", rgb, holed), alpha)


def test_a_drawn_edge_meets_the_picture_s_unless_told_not_to(two_squares: tuple[U8, F32]) -> None:
    rgb, alpha = two_squares
    drawn = ".11,.26 .49,.26 .49,.74 .11,.74"  # a pixel inside of the large square
    exact = apply("only!", drawn, rgb, alpha)
    met = apply("only", drawn, rgb, alpha)
    truth = alpha.copy()
    truth[:, 60:] = 0.0
    assert np.abs(met - truth).sum() < np.abs(exact - truth).sum()
    assert np.abs(met - truth).mean() < 0.005


def test_add_and_cut_change_their_own_place_alone(two_squares: tuple[U8, F32]) -> None:
    rgb, alpha = two_squares
    gone = apply("cut!", ".7,.3 .9,.3 .9,.6 .7,.6", rgb, alpha)
    assert gone[:, 60:].sum() == 0.0
    assert np.array_equal(gone[:, :60], alpha[:, :60])
    back = apply("add", ".75,.375 .84,.375 .84,.49 .75,.49", rgb, gone)
    assert np.abs(back - alpha).mean() < 0.005


def test_grab_finds_what_differs_from_all_outside_of_a_box(two_squares: tuple[U8, F32]) -> None:
    rgb, alpha = (side[:, :60] for side in two_squares)
    found = apply("grab", ".1,.15,.9,.85", np.ascontiguousarray(rgb), alpha)
    assert np.abs(found - alpha).sum() <= 4.0  # its corners may be rounded


@pytest.mark.parametrize(
    ("word", "rest"),
    [("paint", ""), ("grab", ".1,.2,.3"), ("cut", ".1,.1 .2,.2"), ("add", "1,2 3,4 5,6")],
)
def test_a_step_that_cannot_be_done_is_refused(
    two_squares: tuple[U8, F32], word: str, rest: str
) -> None:
    with pytest.raises(ValueError, match=r"allowed|shares|corners"):
        apply(word, rest, *two_squares)


def test_verdicts_become_masks(maker: Maker, two_squares: tuple[U8, F32]) -> None:
    rgb, alpha = two_squares
    soft = alpha * np.float32(0.4) + np.float32(0.3)  # unsure, and somebody saw that it is right
    assert np.array_equal(maker.make(rgb, Seen("a", "ok"), soft) > 127, alpha > 0.5)
    assert not maker.make(rgb, Seen("a", "empty"), soft).any()
    steps = ("click +.3,.5 box .1,.25,.5,.75", "largest")
    clicked = maker.make(rgb, Seen("a", "edit", steps))
    assert (clicked[20:60, 10:50] > 127).mean() > 0.8
    with pytest.raises(ValueError, match="no subject"):
        maker.make(rgb, Seen("a", "edit", ("cut! 0,0 1,0 1,1 0,1",)), soft)
    with pytest.raises(ValueError, match="click has"):
        maker.make(rgb, Seen("a", "edit", ("click .3,.5",)), soft)


def test_masks_by_eye_are_photos_of_their_source_and_empty_ones_are_grounds(
    pool: Pool, picture: Callable[..., Picture], tmp_path: Path
) -> None:
    scene = picture("images", "bsds", False, 9)
    pool.plain.append(scene)
    thing = pool.plain[0]
    masks = {"inet_3": np.full((60, 80), 255, np.uint8), "bsds_9": np.zeros((60, 80), np.uint8)}
    for name, mask in masks.items():
        cv2.imwrite(str(tmp_path / f"{name}.png"), mask)
    assert add_seen(pool, tmp_path) == 2
    assert pool.photos["inet"][0].alpha is not None
    assert pool.plain == [thing]
    assert scene in pool.backgrounds
    cv2.imwrite(str(tmp_path / "inet_3.png"), np.zeros((6, 8), np.uint8))
    with pytest.raises(ValueError, match="same cache_side_px"):
        add_seen(pool, tmp_path)


def test_the_command_makes_the_masks_and_the_sheets_show_them(
    tmp_path: Path, monkeypatch, capsys, two_squares: tuple[U8, F32]
) -> None:
    rgb, alpha = two_squares
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images/inet_1.jpg"), rgb[..., ::-1])
    header = "file,kind,split,source_repo,path,licence,has_gt,note,tier\n"
    row = "images/inet_1.jpg,object,train,a/b,p,MIT,0,,A\n"
    (tmp_path / "manifest.csv").write_text(header + row, encoding="utf-8")
    lines = "inet_1 edit grab .05,.1,.55,.9\nelsewhere_2 ok\n"
    (tmp_path / "seen.txt").write_text(lines, encoding="utf-8")

    def run(module, *words: object) -> None:
        monkeypatch.setattr(sys, "argv", ["x", *map(str, words)])
        module.main()

    masks, sheets = tmp_path / "masks", tmp_path / "sheets"
    run(eye_masks, "--data", tmp_path, "--seen", tmp_path / "seen.txt", "--out", masks)
    run(eye_sheets, "--data", tmp_path, "--masks", masks, "--out", sheets)
    assert "1 masks" in capsys.readouterr().out
    mask = cv2.imread(str(masks / "inet_1.png"), cv2.IMREAD_GRAYSCALE)
    assert ((mask > 127) != (alpha > 0.5))[:, :60].mean() < 0.02
    run(eye_masks, "--data", tmp_path, "--propose", "--out", tmp_path / "proposed")
    assert [path.name for path in (tmp_path / "proposed").iterdir()] == ["inet_1.png"]
    drawn = cv2.imread(str(sheets / "sheet_000.png"))
    height, width = eye_sheets.CELL_PX + eye_sheets.TITLE_PX, eye_sheets.CELL_PX
    assert drawn.shape == (height, 5 * width, 3)
    inside, outside = drawn[height // 2 + 5, 80], drawn[height // 2 + 5, 200]
    assert inside[2] > 200  # orange as it was
    assert outside[0] < 60  # blue, dimmed
