# Generated from nbs/01_vicreg.py by `make export`. Do not edit: edit the notebook.
# cells nbs/01_vicreg.py cd5402af1d828351
# text df8e0893bb1730c7

"""1 · VICReg."""

from typing import NamedTuple

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock
from vicreg_nb.store import UserError


def _stage(channels_in, channels_out, stride):
    """Two residual blocks; where the shape changes, the shortcut is a 1 x 1 convolution."""
    shortcut = None
    if stride != 1 or channels_in != channels_out:
        shortcut = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
        )
    return nn.Sequential(
        BasicBlock(channels_in, channels_out, stride, shortcut), BasicBlock(channels_out, channels_out)
    )


def _initialise_convolution(module):
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class Encoder(nn.Module):
    """f of Eq. 1: images [B, 3, H, W] to representations y [B, dim]. ResNet18 (He et al., 2016) for small images."""

    def __init__(self, width: int = 64, dim: int = 128, hidden: int = 512):
        super().__init__()
        stem = nn.Conv2d(3, width, kernel_size=3)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        stages = [_stage(width * max(1, 2**i // 2), width * 2**i, stride=1 if i == 0 else 2) for i in range(4)]
        self.stages = nn.Sequential(*stages)
        hidden_layer = nn.Linear(8 * width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)
        self.head = nn.Sequential(*hidden_layer, nn.Linear(hidden, dim))
        self.apply(_initialise_convolution)

    def forward(self, x):
        return self.head(self.stages(self.stem(x)).mean(dim=(2, 3)))


def _convolution(channels_in, channels_out, kernel):
    """Stride 2, batch normalisation, ReLU."""
    layer = nn.Conv2d(channels_in, channels_out, kernel, stride=2, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True))


class SmallEncoder(nn.Module):
    """f for a CPU: images [B, 3, H, W] to representations y [B, dim], by seven convolutions."""

    def __init__(self, width: int = 32, dim: int = 128):
        super().__init__()
        self.stem = _convolution(3, width, kernel=4)
        widths = (width, 2 * width), (2 * width, dim)
        stages = [nn.Sequential(_convolution(*pair, kernel=3), BasicBlock(pair[1], pair[1])) for pair in widths]
        self.stages = nn.Sequential(*stages)
        self.apply(_initialise_convolution)

    def forward(self, x):
        return self.stages(self.stem(x)).mean(dim=(2, 3))


NETWORKS = {"resnet18": Encoder, "small": SmallEncoder}


class Projector(nn.Sequential):
    """h of Eq. 1: representations y [B, dim] to projections z [B, projection_dim]. Omitted at test time."""

    def __init__(self, dim: int = 128, projection_dim: int = 512):
        d = projection_dim
        super().__init__(
            nn.Linear(dim, d), nn.BatchNorm1d(d), nn.ReLU(inplace=True),
            nn.Linear(d, d), nn.BatchNorm1d(d), nn.ReLU(inplace=True),
            nn.Linear(d, d),
        )  # fmt: skip


def invariance(z: torch.Tensor, z2: torch.Tensor) -> torch.Tensor:
    """Eq. 2. z, z2: [B, d], row i of both from one image; returns a scalar. UserError if the shapes differ."""
    if z.shape != z2.shape:
        raise UserError(f"the two branches have shapes {tuple(z.shape)} and {tuple(z2.shape)}: give them one shape.")
    return (z - z2).square().mean()


def variance(z: torch.Tensor, gamma: float = 1.0, eps: float = 1e-4) -> torch.Tensor:
    """Eq. 3. z: [B, d] of one branch; returns a scalar. UserError for a batch of one."""
    _needs_two(z)
    sigma = torch.sqrt(z.var(dim=0) + eps)
    return torch.relu(gamma - sigma).mean()


def _needs_two(z):
    if z.dim() != 2 or len(z) < 2:
        raise UserError(f"projections of shape {tuple(z.shape)} have no variance: give a batch of at least 2 rows.")


def covariance(z: torch.Tensor) -> torch.Tensor:
    """Eq. 5, with C(Z) of Eq. 4. z: [B, d] of one branch; a scalar (0 for d = 1). UserError for a batch of one."""
    _needs_two(z)
    centred = z - z.mean(dim=0)
    c = centred.T @ centred / (len(z) - 1)
    return (c.square().sum() - c.diagonal().square().sum()) / z.shape[1]


class Terms(NamedTuple):
    """The three objectives of a batch, each a scalar; var and cov are the sums over both branches."""

    inv: torch.Tensor
    var: torch.Tensor
    cov: torch.Tensor


def vicreg_terms(z: torch.Tensor, z2: torch.Tensor, gamma: float = 1.0, eps: float = 1e-4) -> Terms:
    """The terms of Eq. 6 before they are weighted. z, z2: [B, d]; computed in fp32 at least."""
    z, z2 = (z, z2) if z.dtype == torch.float64 else (z.float(), z2.float())
    var = variance(z, gamma, eps) + variance(z2, gamma, eps)
    return Terms(invariance(z, z2), var, covariance(z) + covariance(z2))


def vicreg_loss(terms: Terms, lam: float = 25.0, mu: float = 25.0, nu: float = 1.0) -> torch.Tensor:
    """Eq. 6."""
    return lam * terms.inv + mu * terms.var + nu * terms.cov
