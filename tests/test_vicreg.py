"""Eq. 2-6 against slow loops in float64, their gradients, and the encoder against torchvision's ResNet18."""

import math

import pytest
import torch
from torch import nn
from torchvision.models import resnet18
from vicreg_nb.store import UserError
from vicreg_nb.vicreg import Encoder, Projector, covariance, invariance, variance, vicreg_loss, vicreg_terms


def loop_terms(z, z2, gamma, eps):
    """Eq. 2-5 written with indices, in Python's own floats."""
    n, d = len(z), len(z[0])
    inv = sum(sum((z[i][j] - z2[i][j]) ** 2 for j in range(d)) / d for i in range(n)) / n
    var = cov = 0.0
    for branch in (z, z2):
        mean = [sum(branch[i][j] for i in range(n)) / n for j in range(d)]
        c = [
            [sum((branch[i][a] - mean[a]) * (branch[i][b] - mean[b]) for i in range(n)) / (n - 1) for b in range(d)]
            for a in range(d)
        ]
        var += sum(max(0.0, gamma - math.sqrt(c[j][j] + eps)) for j in range(d)) / d
        cov += sum(c[a][b] ** 2 for a in range(d) for b in range(d) if a != b) / d
    return inv, var, cov


def draw(n, d, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(2, n, d, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize(("n", "d", "scale"), [(2, 1, 1.0), (7, 1, 0.1), (2, 5, 1.0), (9, 6, 0.4), (16, 3, 3.0)])
def test_terms_equal_the_formulae(n, d, scale):
    z, z2 = draw(n, d, scale)
    terms = vicreg_terms(z, z2, gamma=1.0, eps=1e-4)
    expected = loop_terms(z.tolist(), z2.tolist(), 1.0, 1e-4)
    assert [term.item() for term in terms] == pytest.approx(expected, rel=1e-12, abs=1e-14)
    inv, var, cov = expected
    assert vicreg_loss(terms, 25, 25, 1).item() == pytest.approx(25 * inv + 25 * var + cov, rel=1e-12)


def test_gamma_and_eps_are_used():
    z, z2 = draw(8, 4, 0.5)
    for gamma, eps in ((0.5, 1e-4), (2.0, 0.3)):
        expected = loop_terms(z.tolist(), z2.tolist(), gamma, eps)[1]
        assert vicreg_terms(z, z2, gamma, eps).var.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("d", [1, 4])
def test_gradients(d):
    z, z2 = draw(6, d, 0.4)
    z.requires_grad_()
    z2.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: vicreg_loss(vicreg_terms(a, b), 25.0, 25.0, 1.0), (z, z2))


def test_collapse_is_seen_and_has_finite_gradients():
    z = torch.full((8, 5), 3.0, dtype=torch.float64, requires_grad=True)
    terms = vicreg_terms(z, z)
    assert terms.inv.item() == terms.cov.item() == 0
    assert terms.var.item() == pytest.approx(2 * (1 - math.sqrt(1e-4)))
    vicreg_loss(terms).backward()
    assert torch.isfinite(z.grad).all()


def test_d_1_has_no_covariance():
    assert covariance(draw(9, 1)[0]).item() == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("term", [variance, covariance])
def test_batch_of_one_is_refused(term):
    with pytest.raises(UserError, match="batch of at least 2"):
        term(torch.zeros(1, 4))


def test_branches_of_different_shape_are_refused():
    with pytest.raises(UserError, match=r"\(3, 4\) and \(3, 5\)"):
        invariance(torch.zeros(3, 4), torch.zeros(3, 5))


def test_bf16_projections_are_summed_in_fp32():
    z, z2 = draw(64, 8)
    low = vicreg_terms(z.bfloat16(), z2.bfloat16())
    exact = vicreg_terms(z.bfloat16().double(), z2.bfloat16().double())
    assert all(term.dtype == torch.float32 for term in low)
    assert [term.item() for term in low] == pytest.approx([term.item() for term in exact], rel=1e-5)


def test_encoder_is_the_exercises_resnet18():
    reference = resnet18(weights=None)
    reference.conv1 = nn.Conv2d(3, 64, 3, stride=1)
    reference.maxpool = nn.Identity()
    reference.fc = nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 128))
    encoder = Encoder()
    ours, theirs = encoder.state_dict(), reference.state_dict()
    assert [tuple(v.shape) for v in ours.values()] == [tuple(v.shape) for v in theirs.values()]
    encoder.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    encoder.train(), reference.train()
    y, y_reference = encoder(x), reference(x)
    torch.testing.assert_close(y, y_reference)
    (g,) = torch.autograd.grad(y.square().sum(), [encoder.stem[0].weight])
    (g_reference,) = torch.autograd.grad(y_reference.square().sum(), [reference.conv1.weight])
    torch.testing.assert_close(g, g_reference, rtol=1e-3, atol=1e-3)


def test_first_convolution_keeps_the_exercises_resolution():
    assert Encoder(8).stem(torch.zeros(1, 3, 32, 32)).shape == (1, 8, 30, 30)


def test_initialisation_follows_he():
    torch.manual_seed(0)
    weight = Encoder(64).stages[3][1].conv2.weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (512 * 9)), rel=0.02)


def test_projector_is_the_exercises():
    kinds = [type(layer).__name__ for layer in Projector()]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert [(m.in_features, m.out_features, m.bias is not None) for m in Projector() if isinstance(m, nn.Linear)] == [
        (128, 512, True), (512, 512, True), (512, 512, True),
    ]  # fmt: skip
    assert Projector(16, 32)(torch.randn(4, 16)).shape == (4, 32)
