"""Matting on the CPU: the product without a matrix is the twin's, edges come out as they are, and a
caller's trimap is kept to the pixel.
"""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from kernels import cpu
from kernels.cpu import matting
from kernels.cpu.matting_laplacian import MattingLaplacian, solve
from kernels.reference.matting import matting_laplacian


def small_picture(height: int, width: int) -> np.ndarray:
    """(H, W, 3) float32 around 0: noise on a ramp, with a part that is all one colour."""
    noise = np.random.default_rng(4).random((height, width, 3)).astype(np.float32)
    ramp = np.linspace(0, 1, width, dtype=np.float32)[:, None]
    picture = 0.3 * noise + 0.7 * ramp - 0.5
    picture[: height // 2, : width // 2] = 0.2
    return picture


def tufted(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A disc with 60 hairs of a pixel or two before a busy ground: RGB, true alpha, its colours."""
    random = np.random.default_rng(5)
    alpha = np.zeros((2 * side, 2 * side), np.uint8)
    cv2.circle(alpha, (side, side), side // 2, 255, -1)
    for turn in random.uniform(0, 2 * np.pi, 60):
        ends = [
            (round(side + reach * side * np.cos(turn)), round(side + reach * side * np.sin(turn)))
            for reach in (0.45, random.uniform(0.6, 0.85))
        ]
        cv2.line(alpha, *ends, 255, 3, cv2.LINE_AA)
    alpha = cv2.resize(alpha, (side, side), interpolation=cv2.INTER_AREA)
    blotches = cv2.GaussianBlur(random.normal(0, 400, (side, side, 3)), (0, 0), 9)
    subject = np.clip(np.array([190, 120, 60]) + blotches[..., :1], 0, 255)
    behind = np.clip(np.array([40, 90, 150]) + blotches, 0, 255)
    share = alpha[..., None] / 255
    rgb = np.rint(share * subject + (1 - share) * behind).astype(np.uint8)
    return rgb, alpha, subject


def coarse(alpha: np.ndarray, cell_px: int) -> np.ndarray:
    """What a perfect network with pixels of `cell_px` would say."""
    side = alpha.shape[0]
    cells = (side // cell_px, side // cell_px)
    return cv2.resize(cv2.resize(alpha, cells, interpolation=cv2.INTER_AREA), (side, side))


def wrong_by(alpha: np.ndarray, truth: np.ndarray) -> float:
    """Mean difference in levels."""
    return float(np.abs(alpha.astype(int) - truth).mean())


@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("size", [(1, 1), (3, 9), (12, 14)])
def test_the_product_is_the_twins_matrix_times_the_alpha(
    size: tuple[int, int], radius: int
) -> None:
    guide = small_picture(*size)
    alpha = np.random.default_rng(6).random(size).astype(np.float32)
    twin = matting_laplacian(guide.astype(np.float64), radius, 1e-4)
    laplacian = MattingLaplacian(guide, radius, 1e-4)
    expected = (twin @ alpha.ravel()).reshape(size)
    assert np.abs(laplacian(alpha) - expected).max() < 2e-3
    assert np.abs(laplacian.diagonal - np.diag(twin).reshape(size)).max() < 2e-3


def test_the_twin_is_the_closed_form_of_a_well_kept_library() -> None:
    laplacian = pytest.importorskip("pymatting.laplacian.cf_laplacian")
    guide = small_picture(9, 11).astype(np.float64) + 0.5
    theirs = laplacian.cf_laplacian(guide, epsilon=1e-4, radius=1).toarray()
    ours = matting_laplacian(guide, 1, 1e-4 / 9)  # theirs spreads epsilon over the window
    # Theirs leaves out the windows that the picture's edge cuts.
    inner = np.arange(99).reshape(9, 11)[2:-2, 2:-2].ravel()
    assert np.abs((ours - theirs)[np.ix_(inner, inner)]).max() < 1e-6


def test_the_solver_finds_what_the_matrix_says() -> None:
    size = (12, 14)
    guide = small_picture(*size)
    random = np.random.default_rng(7)
    weight = (random.random(size) < 0.2).astype(np.float32) * 10 + np.float32(0.01)
    target = random.random(size).astype(np.float32)
    twin = matting_laplacian(guide.astype(np.float64), 1, 1e-4)
    expected = np.linalg.solve(twin + np.diag(weight.ravel()), (weight * target).ravel())
    laplacian = MattingLaplacian(guide, 1, 1e-4)
    seen = solve(laplacian, weight, target, target, iterations=200)
    assert np.abs(seen - expected.reshape(size)).max() < 1e-2


def test_a_flat_picture_is_solved_without_a_number_that_is_none() -> None:
    for level in (0, 128, 255):
        rgb = np.full((90, 120, 3), level, np.uint8)
        alpha = cv2.GaussianBlur(np.tile(np.uint8([0, 255]).repeat(60), (90, 1)), (0, 0), 5)
        seen = cpu.matte(rgb, alpha, cell_px=3)
        assert seen.shape == alpha.shape
        assert (seen[:, :30] == 0).all()
        assert (seen[:, 90:] == 255).all()


@pytest.mark.parametrize("cell_px", [2, 6, 12])
def test_hair_that_the_model_cannot_see_comes_back(cell_px: int) -> None:
    rgb, truth, _ = tufted(384)
    seen = coarse(truth, cell_px)
    assert wrong_by(cpu.matte(rgb, seen, cell_px=cell_px), truth) < 0.4 * wrong_by(seen, truth)


def test_matting_leaves_an_alpha_without_an_edge_alone() -> None:
    rgb, truth, _ = tufted(128)
    for level in (0, 255):
        alpha = np.full_like(truth, level)
        assert np.array_equal(cpu.matte(rgb, alpha, cell_px=4), alpha)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (33, 17), (131, 203)])
def test_every_size_is_matted(size: tuple[int, int]) -> None:
    random = np.random.default_rng(8)
    rgb = random.integers(0, 256, (*size, 3), np.uint8)
    alpha = random.integers(0, 256, size, np.uint8)
    for cell_px in (0.5, 3, 20):
        assert cpu.matte(rgb, alpha, cell_px=cell_px).shape == size
    assert cpu.solve_trimap(rgb, alpha // 100 * 100, alpha).shape == size


def test_pieces_fit_together_where_they_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb, truth, _ = tufted(384)
    seen = coarse(truth, 6)
    whole = cpu.matte(rgb, seen, cell_px=6)
    monkeypatch.setattr(matting, "TILE", 48)
    monkeypatch.setattr(matting, "TILES_AT_ONCE", 1)
    pieces = cpu.matte(rgb, seen, cell_px=6)
    assert wrong_by(pieces, whole) < 0.1
    assert np.abs(pieces.astype(int) - whole).max() < 40


@pytest.mark.parametrize("hinted", [True, False])
def test_a_trimap_is_kept_where_it_is_sure_and_solved_where_it_is_not(hinted: bool) -> None:
    rgb, truth, _ = tufted(384)
    brush = np.ones((15, 15), np.uint8)
    trimap = np.full_like(truth, 128)
    trimap[cv2.erode(truth, brush) == 255] = 255
    trimap[cv2.dilate(truth, brush) == 0] = 0
    hint = coarse(truth, 12) if hinted else None
    seen = cpu.solve_trimap(rgb, trimap, hint)
    known = trimap != 128
    assert np.array_equal(seen[known], trimap[known])
    start = trimap if hint is None else hint
    assert wrong_by(seen[~known], truth[~known]) < 0.5 * wrong_by(start[~known], truth[~known])


def test_a_trimap_that_leaves_nothing_open_is_the_alpha() -> None:
    rgb, truth, _ = tufted(64)
    trimap = np.where(truth > 127, np.uint8(255), np.uint8(0))
    assert np.array_equal(cpu.solve_trimap(rgb, trimap, truth), trimap)


def test_a_picture_that_is_unknown_all_over_is_solved_on_cells_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rgb, truth, _ = tufted(384)
    seen = coarse(truth, 6)
    monkeypatch.setattr(matting, "FINE_PIXELS", 0)
    on_cells = cpu.matte(rgb, seen, cell_px=6)
    monkeypatch.undo()
    assert not np.array_equal(on_cells, cpu.matte(rgb, seen, cell_px=6))
    assert wrong_by(on_cells, truth) < 0.5 * wrong_by(seen, truth)


def test_memory_is_bounded_by_the_cells_and_not_by_the_picture() -> None:
    plane = np.zeros((3000, 4000), np.uint8)
    scale = matting._coarsest(plane)
    assert plane.size / scale**2 <= matting.COARSE_PIXELS
