"""A teacher moves masks towards its own answer where it knows the subject, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="torch is needed to train, not to serve")

from models.training.network import MatteNet, Width  # noqa: E402 - after the check for torch
from models.training.teacher import Teacher, agrees  # noqa: E402

WIDTH = {"s16": 32, "s32": 32, "s8_blocks": 1, "s16_blocks": 1, "s32_blocks": 1}
CPU = torch.device("cpu")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A network that has learnt to say logit 4 everywhere, as a run would have left it."""
    net = MatteNet(Width(**WIDTH))
    with torch.no_grad():
        net.head.weight.zero_()
        net.head.bias.fill_(4.0)
    path = tmp_path / "teacher.pt"
    torch.save({"config": {"width": WIDTH}, "average": net.state_dict()}, path)
    return path


def maps(alpha: float, *, wide: float = 0.0, true: float = 0.0) -> torch.Tensor:
    """Even target maps of one 64 x 64 sample."""
    values = torch.tensor([alpha, 0.0, wide, true]).view(1, 4, 1, 1)
    return values.expand(1, 4, 64, 64).clone()


def test_the_truth_becomes_as_unsure_as_the_teacher_by_its_share(checkpoint: Path) -> None:
    teacher = Teacher(checkpoint, 0.5, CPU)
    said = float(torch.sigmoid(torch.tensor(4.0)))
    found = teacher.corrected(torch.zeros(1, 3, 64, 64), maps(1.0))
    assert torch.allclose(found[:, :1], torch.tensor((1.0 + said) / 2))
    assert torch.equal(found[:, 1:], maps(1.0)[:, 1:])


def test_a_teacher_that_sees_another_subject_is_not_listened_to(checkpoint: Path) -> None:
    teacher = Teacher(checkpoint, 0.5, CPU)
    truth = torch.cat([maps(0.0), maps(0.2), maps(1.0)])
    found = teacher.corrected(torch.zeros(3, 3, 64, 64), truth)
    assert torch.equal(found[:2], truth[:2])
    assert not torch.equal(found[2], truth[2])


def test_a_true_edge_stays_true(checkpoint: Path) -> None:
    teacher = Teacher(checkpoint, 1.0, CPU)
    drawn, true = maps(0.9, wide=1.0), maps(0.9, wide=1.0, true=1.0)
    image = torch.zeros(1, 3, 64, 64)
    assert torch.equal(teacher.corrected(image, true), true)
    assert float(teacher.corrected(image, drawn)[0, 0].min()) > 0.95


def test_agreement_is_that_of_each_picture() -> None:
    alpha = torch.zeros(3, 1, 8, 8)
    alpha[:, :, :4] = 1.0
    opinion = alpha.clone()
    opinion[1] *= 0.6
    opinion[2, :, 4:] = 0.4
    assert agrees(opinion, alpha).flatten().tolist() == [1.0, 0.0, 1.0]
