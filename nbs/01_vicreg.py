# %% [markdown]
# # 1 · VICReg
# What does the method consist of? An encoder f, which we keep; a projector h, which only serves training; and three
# objectives on the projections of two views: be the same (invariance), keep spread (variance), do not repeat yourself
# (covariance). Each is a few lines, and each is tested here, right below, against a slow loop written from its formula.

# %%
#| default_exp vicreg

# %%
#| export
from typing import NamedTuple

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock
from vicreg_nb.store import UserError

# %% tags=["parameters"]
# Parameters
profile: str = "auto"  # smoke, quick, exercise, best; auto: exercise on a GPU, quick elsewhere
seed: int = 0  # of everything random
device: str = "auto"  # cpu, cuda; auto: a GPU where there is one
out: str = ""  # where results go; empty: the project's folder
lam: float = None  # weight of the invariance term; None: the profile's value
mu: float = None  # weight of the variance term
nu: float = None  # weight of the covariance term

# %%
from vicreg_nb.config import notebook_config
from vicreg_nb.plots import METHOD_COLOURS, Drawing, new_figure
from vicreg_nb.store import new_generator

cfg = notebook_config(globals())

# %% [markdown]
# ## The encoder f
# A ResNet18 for small images: its first convolution has kernel 3 instead of 7 and stride 1 (32 pixels become 30, since
# nothing is padded), and there is no max-pooling. Four stages of two residual blocks follow, each stage with twice the
# channels of the one before; then the mean over the image, and a small head down to the representation $y$. `width` is
# the number of channels of the first stage (64 in ResNet18).


# %%
#| export
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


# %%
stage = _stage(8, 16, stride=2)
print(stage(torch.zeros(1, 8, 30, 30)).shape)
assert stage[0].downsample is not None and stage[1].downsample is None


# %%
#| export
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


# %% [markdown]
# At width 64 and stride 1 this is torchvision's `resnet18` with the exercise's changes, parameter for parameter:

# %%
from torchvision.models import resnet18

reference = resnet18(weights=None)
reference.conv1 = nn.Conv2d(3, 64, 3, stride=1)
reference.maxpool = nn.Identity()
reference.fc = nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, 128))
ours = Encoder()
ours.load_state_dict(dict(zip(ours.state_dict(), reference.state_dict().values(), strict=True)))
batch = torch.randn(2, 3, 32, 32, generator=new_generator(0, "encoder"))
with torch.no_grad():
    torch.testing.assert_close(ours.eval()(batch), reference.eval()(batch))
print(f"{sum(p.numel() for p in ours.parameters()):,} parameters")

# %% [markdown]
# ## A small encoder, for a CPU
# ResNet18 needs a GPU. The same ideas in fewer layers: a first convolution of kernel 4 and stride 2 that halves the
# image at once, then two stages, each a convolution of stride 2 that doubles the channels and one residual block. The
# mean over the image is $y$, without the exercise's hidden layer between them. It was found by trying
# ([00_config](00_config.ipynb) has what was tried beside it).


# %%
#| export
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

# %%
x, small = torch.zeros(2, 3, 32, 32), SmallEncoder()
for name, part in (("stem", small.stem), ("first stage", small.stages[0]), ("second stage", small.stages[1])):
    x = part(x)
    print(f"{name:13}{tuple(x.shape)}")
print(f"{sum(p.numel() for p in small.parameters()):,} parameters")
assert x.shape == (2, 128, 4, 4) and small(torch.zeros(2, 3, 32, 32)).shape == (2, 128)

# %% [markdown]
# ## The projector h


# %%
#| export
class Projector(nn.Sequential):
    """h of Eq. 1: representations y [B, dim] to projections z [B, projection_dim]. Omitted at test time."""

    def __init__(self, dim: int = 128, projection_dim: int = 512):
        d = projection_dim
        super().__init__(
            nn.Linear(dim, d), nn.BatchNorm1d(d), nn.ReLU(inplace=True),
            nn.Linear(d, d), nn.BatchNorm1d(d), nn.ReLU(inplace=True),
            nn.Linear(d, d),
        )  # fmt: skip


# %% [markdown]
# ## Invariance, Eq. 2
# Two views of one image should have one projection:
#
# $$\mathcal{L}_{inv}(Z, Z') = \frac{1}{|B|} \sum_{i=1}^{|B|} MSE(z_i, z_i')$$


# %%
#| export
def invariance(z: torch.Tensor, z2: torch.Tensor) -> torch.Tensor:
    """Eq. 2. z, z2: [B, d], row i of both from one image; returns a scalar. UserError if the shapes differ."""
    if z.shape != z2.shape:
        raise UserError(f"the two branches have shapes {tuple(z.shape)} and {tuple(z2.shape)}: give them one shape.")
    return (z - z2).square().mean()


# %%
def slow_invariance(z, z2):
    return sum(
        sum((a - b) ** 2 for a, b in zip(zi, zj, strict=True)) / len(zi) for zi, zj in zip(z, z2, strict=True)
    ) / len(z)


z, z2 = torch.randn(2, 5, 4, dtype=torch.float64, generator=new_generator(seed, "z"))
assert abs(invariance(z, z2).item() - slow_invariance(z.tolist(), z2.tolist())) < 1e-12

# %% [markdown]
# ## Variance, Eq. 3
# Each dimension should keep a standard deviation of at least $\gamma$ over the batch:
#
# $$\mathcal{L}_{var}(Z) = \frac{1}{d} \sum_{j=1}^{d} \max(0, \gamma - \sigma_j), \qquad
# \sigma_j = \sqrt{Var(z_1^j, \dots, z_{|B|}^j) + \epsilon}$$
#
# The variance is the unbiased one, as in Eq. 4.


# %%
#| export
def variance(z: torch.Tensor, gamma: float = 1.0, eps: float = 1e-4) -> torch.Tensor:
    """Eq. 3. z: [B, d] of one branch; returns a scalar. UserError for a batch of one."""
    _needs_two(z)
    sigma = torch.sqrt(z.var(dim=0) + eps)
    return torch.relu(gamma - sigma).mean()


def _needs_two(z):
    if z.dim() != 2 or len(z) < 2:
        raise UserError(f"projections of shape {tuple(z.shape)} have no variance: give a batch of at least 2 rows.")


# %%
import math


def slow_variance(z, gamma=1.0, eps=1e-4):
    total = 0
    for column in zip(*z, strict=True):
        mean = sum(column) / len(column)
        sigma = math.sqrt(sum((value - mean) ** 2 for value in column) / (len(column) - 1) + eps)
        total += max(0, gamma - sigma)
    return total / len(z[0])


assert abs(variance(0.3 * z).item() - slow_variance((0.3 * z).tolist())) < 1e-12

# %% [markdown]
# ## Covariance, Eq. 4 and 5
# Different dimensions should not say the same:
#
# $$C(Z) = \frac{1}{|B| - 1} \sum_{i=1}^{|B|} (z_i - \overline{z})(z_i - \overline{z})^T, \qquad
# \mathcal{L}_{cov}(Z) = \frac{1}{d} \sum_{i \neq j} [C(Z)]_{i,j}^{2}$$


# %%
#| export
def covariance(z: torch.Tensor) -> torch.Tensor:
    """Eq. 5, with C(Z) of Eq. 4. z: [B, d] of one branch; a scalar (0 for d = 1). UserError for a batch of one."""
    _needs_two(z)
    centred = z - z.mean(dim=0)
    c = centred.T @ centred / (len(z) - 1)
    return (c.square().sum() - c.diagonal().square().sum()) / z.shape[1]


# %%
def slow_covariance(z):
    n, d = len(z), len(z[0])
    mean = [sum(row[j] for row in z) / n for j in range(d)]
    total = 0
    for i in range(d):
        for j in range(d):
            if i != j:
                total += (sum((row[i] - mean[i]) * (row[j] - mean[j]) for row in z) / (n - 1)) ** 2
    return total / d


assert abs(covariance(z).item() - slow_covariance(z.tolist())) < 1e-12

# %% [markdown]
# ## Together, Eq. 6
# Both branches' variance and covariance terms are added, not averaged. (The paper's own code halves the sum of the two
# variance terms, so its `mu` of 25 is 12.5 here; solo-learn's does not.)
#
# $$\mathcal{L} = \lambda \mathcal{L}_{inv}(Z, Z') + \mu [\mathcal{L}_{var}(Z) + \mathcal{L}_{var}(Z')] +
# \nu [\mathcal{L}_{cov}(Z) + \mathcal{L}_{cov}(Z')]$$


# %%
#| export
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


# %% [markdown]
# What the loss says about three kinds of projections: healthy ones (independent dimensions of unit variance), collapsed
# ones (a constant), and ones that repeat a single dimension. Only the first is cheap, and each of the others is caught
# by its own term.

# %%
n, d = 512, 64
healthy = torch.randn(n, d, generator=new_generator(seed, "healthy"))
cases = {"healthy": healthy, "collapsed": torch.zeros(n, d), "repeating": healthy[:, :1].expand(n, d)}
terms = {name: vicreg_terms(z, z) for name, z in cases.items()}
fig, ax = new_figure(width=5.2, height=2.2)
bottom = [0.0] * len(cases)
weights = {"inv": cfg.lam, "var": cfg.mu, "cov": cfg.nu}
for (term, weight), colour in zip(weights.items(), METHOD_COLOURS, strict=False):
    heights = [weight * getattr(terms[name], term).item() for name in cases]
    ax.barh(list(cases), heights, left=bottom, color=colour, label=term)
    bottom = [b + h for b, h in zip(bottom, heights, strict=True)]
ax.set(xlabel="weighted loss of identical views")
ax.legend(ncols=3, loc="lower right")
assert terms["collapsed"].var > 1.9 and terms["collapsed"].cov == 0
assert terms["repeating"].cov > 50 * terms["healthy"].cov
Drawing(fig)
