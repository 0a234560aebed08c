# %% [markdown]
# # 0b · Views
# What is a view? A random crop of an image, perhaps mirrored, with its colours disturbed, perhaps grey, perhaps
# blurred: what changes is what the representation must learn to ignore. This is the exercise's augmentation T,
# operation for operation that of `torchvision`, but for a whole batch at once: each image draws its own parameters, and
# the arithmetic runs where the images are.

# %%
#| default_exp views

# %%
#| export
import math
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import torch
from vicreg_nb.data import pixel_statistics, send
from vicreg_nb.store import UserError, one_thread

# %% tags=["parameters"]
# Parameters
profile: str = "auto"  # smoke, quick, exercise, best; auto: exercise on a GPU, quick elsewhere
dataset: str = "auto"  # cifar10, shapes; auto: CIFAR-10 where it can be had
seed: int = 0  # of everything random
device: str = "auto"  # cpu, cuda; auto: a GPU where there is one
out: str = ""  # where results go; empty: the project's folder
view_size: int = None  # side of a view in pixels; None: the profile's value

# %%
import dataclasses
import time

import numpy as np
from matplotlib.patches import Rectangle
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as TF
from vicreg_nb.config import choose_device, notebook_config
from vicreg_nb.data import MEAN, STD, Images, normalise, open_dataset, to_float
from vicreg_nb.plots import CLASS_COLOURS, QUIET, Drawing, image_grid, new_figure
from vicreg_nb.store import new_generator

cfg = notebook_config(globals())
images = open_dataset(cfg)
print(cfg)

# %% [markdown]
# ## What is drawn
# T is, in this order:
#
# | operation | how it is drawn |
# |---|---|
# | crop, resized to the view's size | area 0.2 to 1 of the image, aspect ratio 3/4 to 4/3 (uniform in its logarithm) |
# | mirror | one time in two |
# | brightness, contrast | factors 0.6 to 1.4 |
# | saturation | factor 0.8 to 1.2 |
# | hue | turned by -0.1 to 0.1 of the colour circle |
# | grey | one time in five |
# | Gaussian blur, 3 x 3 | one time in two, standard deviation 0.1 to 2 pixels |
#
# The four operations on colour come in an order drawn anew for each view. Every number is drawn on the CPU, from a
# generator that is given: the same seed gives the same views on any device, to rounding.

# %%
#| export
SCALE = (0.2, 1.0)  # a crop's share of the image's area
RATIO = (3 / 4, 4 / 3)  # a crop's width over its height
ATTEMPTS = 10  # crops drawn until one fits into the image
JITTER = {"brightness": (0.6, 1.4), "contrast": (0.6, 1.4), "saturation": (0.8, 1.2), "hue": (-0.1, 0.1)}
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # as torchvision's ColorJitter numbers them
FLIP_SHARE, GREY_SHARE, BLUR_SHARE = 0.5, 0.2, 0.5
SIGMA = (0.1, 2.0)  # of the blur, in pixels

# %%
bounds = {"area": SCALE, "width / height": RATIO, "blur": SIGMA, **JITTER}
print(*(f"{name}: {low:.2f} to {high:.2f}" for name, (low, high) in bounds.items()), sep="\n")

# %% [markdown]
# What was drawn is kept together: an array for each parameter, an entry for each view.


# %%
#| export
@dataclass(frozen=True)
class ViewParameters:
    """How each of n views is made from its image. Tensors [n] on the CPU."""

    top: torch.Tensor  # int64, as left, height and width: the crop in pixels of the image
    left: torch.Tensor
    height: torch.Tensor
    width: torch.Tensor
    flip: torch.Tensor  # bool
    order: torch.Tensor  # int64 [n, 4], the turn of BRIGHTNESS, CONTRAST, SATURATION and HUE
    brightness: torch.Tensor  # float32, factors
    contrast: torch.Tensor
    saturation: torch.Tensor
    hue: torch.Tensor  # float32, in turns of the colour circle, -0.5 to 0.5
    grey: torch.Tensor  # bool
    sigma: torch.Tensor  # float32, in pixels of the view; 0: no blur
    side: int = 32  # of the images, in pixels
    size: int = 32  # of the views, in pixels

    def __len__(self):
        return len(self.top)

    def __getitem__(self, rows) -> "ViewParameters":
        """The parameters of some of the views (a slice, a mask or indices)."""
        return ViewParameters(*(x[rows] if isinstance(x, torch.Tensor) else x for x in vars(self).values()))


# %%
none = ViewParameters(*[torch.zeros(3)] * 12)
assert len(none[:2]) == 2 and none[:2].sigma.shape == (2,) and none[:2].side == 32

# %% [markdown]
# A crop that does not fit into the image is drawn again, ten times at most; then the whole image is taken. All ten are
# drawn at once here, and the first that fits is kept.


# %%
#| export
def _draw_box(draw, side):
    """Heights and widths [n] of crops; the whole image where no attempt fits."""
    area = side**2 * draw(*SCALE, ATTEMPTS)
    ratio = draw(math.log(RATIO[0]), math.log(RATIO[1]), ATTEMPTS).exp()
    boxes = torch.stack([(area / ratio).sqrt().round(), (area * ratio).sqrt().round()])  # [2, attempts, n]
    fits = ((boxes > 0) & (boxes <= side)).all(dim=0)
    first = fits.int().argmax(dim=0)  # the first of the largest, so the first that fits
    chosen = boxes.gather(1, first.expand(2, 1, -1))[:, 0]
    return torch.where(fits.any(dim=0), chosen, side).unbind()


def _check_draw(n, generator, size, side):
    if n < 1:
        raise UserError(f"{n} views were asked for: give a batch of at least one image.")
    if min(size, side) < 2:
        raise UserError(
            f"views of {size} x {size} pixels from images of {side} x {side}: both sides must be at least 2."
        )
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        raise UserError(
            f"the generator is {generator!r}: give a torch.Generator of the CPU (its views are the same on any device)."
        )


# %%
middle = _draw_box(lambda low, high, *shape: torch.full((*shape, 1), (low + high) / 2), side=32)
print(f"a crop of the middle size: {middle[0].item():.0f} x {middle[1].item():.0f}")
too_wide = _draw_box(lambda low, high, *shape: torch.full((*shape, 1), high), side=32)
assert [side.item() for side in too_wide] == [32, 32]  # no attempt fits: the whole image


# %%
#| export
def draw_parameters(n: int, generator: torch.Generator, size: int = 32, side: int = 32) -> ViewParameters:
    """The parameters of T for n views of `size` x `size` pixels, from images of `side` x `side`; on the CPU.

    UserError if n is not positive, a side is under 2 pixels, or the generator is not a CPU generator.
    """
    _check_draw(n, generator, size, side)

    def draw(low, high, *shape):
        return torch.empty(*shape, n).uniform_(low, high, generator=generator)

    height, width = _draw_box(draw, side)
    top, left = ((draw(0, 1) * (side - length + 1)).floor().clamp(max=side - length) for length in (height, width))
    crop = [values.long() for values in (top, left, height, width)]
    flip = draw(0, 1) < FLIP_SHARE
    order = draw(0, 1, 4).argsort(dim=0).T
    factors = [draw(*bounds) for bounds in JITTER.values()]
    grey = draw(0, 1) < GREY_SHARE
    sigma = torch.where(draw(0, 1) < BLUR_SHARE, draw(*SIGMA), 0)
    return ViewParameters(*crop, flip, order, *factors, grey, sigma, side, size)


# %% [markdown]
# Areas and ratios of the crops are those that `torchvision` draws:

# %%
drawn = draw_parameters(4_000, new_generator(cfg.seed, "a look at the parameters"))
torch.manual_seed(cfg.seed)
theirs = np.array([RandomResizedCrop.get_params(torch.empty(3, 32, 32), SCALE, RATIO)[2:] for _ in range(4_000)])
shares = (drawn.height * drawn.width / 32**2).numpy(), theirs.prod(axis=1) / 32**2
ratios = (drawn.width / drawn.height).numpy(), theirs[:, 1] / theirs[:, 0]

fig, axes = new_figure(1, 2, height=2.2)
for ax, values, label in zip(axes, (shares, ratios), ("share of the image's area", "width / height"), strict=True):
    bins = np.linspace(values[1].min(), values[1].max(), 25)
    ax.hist(values[0], bins, color=CLASS_COLOURS[0], alpha=0.45, label="drawn here, in a batch")
    ax.hist(values[1], bins, histtype="step", color=CLASS_COLOURS[2], linewidth=1.3, label="torchvision, one by one")
    ax.set(xlabel=label, ylabel="crops")
axes[0].legend(loc="lower center")
Drawing(fig)

# %% [markdown]
# ## Crop and mirror: two small matrices
# Bilinear resizing is linear in the pixels and separable: the view is $R\,I\,C^\top$, with a matrix $R$ for the rows
# and a matrix $C$ for the columns. Output pixel $i$ has its centre at $x_i$ in the image, and takes from input pixel
# $j$ a share that falls off linearly
#
# $$R_{ij} \propto \max\left(0,\; 1 - \frac{|j - x_i|}{\max(s, 1)}\right)$$
#
# $$x_i = \mathrm{top} + s\,(i + \tfrac12) - \tfrac12, \qquad s = \mathrm{height} / \mathrm{size}$$
#
# for $j$ inside the crop, in rows that sum to 1. Where the crop is shrunk ($s > 1$) the triangle is as wide as the
# shrinking demands: that is the antialiasing. A mirrored view counts its columns from the right.


# %%
#| export
def interpolation(first, length, side: int, size: int, reverse=None) -> torch.Tensor:
    """Matrices [n, size, side] that resample `length` pixels from `first` ([n] each) to `size`, antialiased bilinear.

    `reverse` [n], bool: count the output from its other end. The weights are those of torchvision's `resize`.
    """
    device = first.device
    index = torch.arange(size, device=device).expand(len(first), size)
    if reverse is not None:
        index = torch.where(reverse[:, None], size - 1 - index, index)
    scale = (length / size)[:, None]
    reach = scale.clamp(min=1)
    centre = ((index + 0.5) * scale + first[:, None] - 0.5) / reach
    pixel = torch.arange(side, device=device)
    inside = (pixel >= first[:, None]) & (pixel < (first + length)[:, None])
    pixel = torch.where(inside, pixel / reach, math.inf)
    # Minus the triangle: the sign goes in the division.
    weights = (centre[:, :, None] - pixel[:, None]).abs_().sub_(1).clamp_(max=0)
    return weights.div_(weights.sum(dim=2, keepdim=True))


def crop_and_flip(x: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """R I C^T for each channel: [n, 3, side, side], with matrices [n, size, side], to [n, 3, size, size]."""
    x = x.flatten(1, 2) @ columns.mT
    return rows[:, None] @ x.unflatten(1, (3, rows.shape[2]))


# %% [markdown]
# There are few crops: 32 places to begin, 32 lengths, mirrored or not. So all of these matrices are made once, 8 MB for
# 32 pixels, and a view looks its own two up by their numbers. (Where a number names a crop that would leave the image,
# which is never drawn, its matrix means nothing.)


# %%
#| export
def matrix_number(first, length, side: int, reverse=0):
    """The place in `all_interpolations` of each crop's matrix."""
    return (reverse * side + first) * side + length - 1


@lru_cache(maxsize=4)
def all_interpolations(side: int, size: int, device) -> torch.Tensor:
    """The matrices [2 side^2, size, side] of all crops of an image's rows or columns."""
    number = torch.arange(2 * side**2, device=device)
    return interpolation(number // side % side, number % side + 1, side, size, number >= side**2)


# %%
numbers = matrix_number(torch.tensor([3, 0]), torch.tensor([20, 32]), 32, torch.tensor([0, 1]))
asked = interpolation(torch.tensor([3, 0]), torch.tensor([20, 32]), 32, 24, torch.tensor([False, True]))
assert torch.equal(all_interpolations(32, 24, "cpu")[numbers], asked)

# %% [markdown]
# A crop's two matrices, and the view that they make, against `torchvision`'s own:

# %%
batch = to_float(images.train_images[:64]).contiguous()
drawn = draw_parameters(len(batch), new_generator(cfg.seed, "test of the crops"), size=cfg.view_size)


def their_crop(image, p, i):
    view = TF.resized_crop(image, p.top[i], p.left[i], p.height[i], p.width[i], [p.size, p.size], antialias=True)
    return TF.hflip(view) if p.flip[i] else view


rows = interpolation(drawn.top, drawn.height, drawn.side, drawn.size)
columns = interpolation(drawn.left, drawn.width, drawn.side, drawn.size, drawn.flip)
crops = crop_and_flip(batch, rows, columns)
expected = torch.stack([their_crop(batch[i], drawn, i) for i in range(len(batch))])
torch.testing.assert_close(crops, expected, atol=1e-5, rtol=0)

# %%
one = int(drawn.flip.int().argmax())
fig, axes = new_figure(1, 4, height=1.9)
axes[0].imshow(batch[one].permute(1, 2, 0).numpy())
box = [drawn.left[one] - 0.5, drawn.top[one] - 0.5, drawn.width[one], drawn.height[one]]
axes[0].add_patch(Rectangle(box[:2], *box[2:], fill=False, color=CLASS_COLOURS[1], linewidth=2))
axes[1].imshow(rows[one].numpy(), cmap="Greys")
axes[2].imshow(columns[one].numpy(), cmap="Greys")
axes[3].imshow(crops[one].permute(1, 2, 0).clamp(0, 1).numpy())
for ax, title in zip(axes, ("image and crop", "R: rows", "C: columns, mirrored", "view"), strict=True):
    ax.set(xticks=[], yticks=[], title=title)
    ax.grid(False)
Drawing(fig)

# %% [markdown]
# ## Brightness, contrast, saturation and grey: one blend
# `torchvision` mixes the image with black, with its mean grey level, or with its own grey version. All three are
#
# $$x \leftarrow \mathrm{clamp}_{0}^{1}\left(a\,x + b\,g + c\,\bar g\right)$$
#
# $$g = 0.2989\,x_R + 0.587\,x_G + 0.114\,x_B$$
#
# with $\bar g$ the mean of $g$ over the image. A factor $f$ of brightness is $(a, b, c) = (f, 0, 0)$, of contrast $(f,
# 0, 1 - f)$, of saturation $(f, 1 - f, 0)$; to make an image grey is $(0, 1, 0)$, and to leave it alone $(1, 0, 0)$. So
# images with different operations go through together.

# %%
#| export
GREY_WEIGHTS = (0.2989, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601, as torchvision rounds them)


def blend_(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """clamp(a x + b g + c mean(g)) in place; x: [n, 3, H, W] in 0..1, weights: [n, 3], each row (a, b, c)."""
    a, b, c = weights.view(-1, 3, 1, 1).unbind(1)
    grey = torch.mul(x[:, 0], GREY_WEIGHTS[0]).add_(x[:, 1], alpha=GREY_WEIGHTS[1]).add_(x[:, 2], alpha=GREY_WEIGHTS[2])
    level = grey.mean(dim=(1, 2), keepdim=True)
    grey.mul_(b).add_(c * level)
    return torch.addcmul(grey[:, None], x, a[:, None], out=x).clamp_(0, 1)


# %%
torch.testing.assert_close(blend_(batch[:1].clone(), torch.tensor([[0.0, 1, 0]])), TF.rgb_to_grayscale(batch[:1], 3))

# %% [markdown]
# The weights of a batch follow from what was drawn for it, for each round of colours in its order:


# %%
#| export
def blend_weights(p: ViewParameters) -> torch.Tensor:
    """[n, 4, 3]: the weights of each view's four rounds of colour jitter, in its order; the hue's leaves the image."""
    factors = torch.stack([p.brightness, p.contrast, p.saturation, torch.ones_like(p.hue)], dim=1).gather(1, p.order)
    rest = 1 - factors
    return torch.stack([factors, rest * (p.order == SATURATION), rest * (p.order == CONTRAST)], dim=2)


def grey_weights(p: ViewParameters) -> torch.Tensor:
    """[n, 3]: (0, 1, 0) for the views that become grey, (1, 0, 0) for the others."""
    grey = p.grey.float()
    return torch.stack([1 - grey, grey, torch.zeros_like(grey)], dim=1)


# %%
their_operations = {BRIGHTNESS: TF.adjust_brightness, CONTRAST: TF.adjust_contrast, SATURATION: TF.adjust_saturation}
weights = blend_weights(drawn)
for turn in range(4):
    ours = blend_(batch.clone(), weights[:, turn])
    for i, operation in enumerate(drawn.order[:, turn].tolist()):
        factor = (drawn.brightness, drawn.contrast, drawn.saturation, drawn.hue)[operation][i].item()
        expected = batch[i] if operation == HUE else their_operations[operation](batch[i], factor)
        torch.testing.assert_close(ours[i], expected, atol=1e-5, rtol=0)

# %% [markdown]
# ## Hue, without the detour
# The usual way turns red, green and blue into hue, saturation and value, adds to the hue, and turns back, with a case
# for each sixth of the circle. In a batch, cases are slow. Take the largest channel $M$, the smallest $m$ and the
# chroma $C = M - m$. The hue's distance from red, in sixths of the circle, needs no case, nor does the way back:
#
# $$|h| = \frac{M - 2m + x_G + x_B - x_R}{C}$$
#
# $$\mathrm{sign}(h) = \mathrm{sign}(x_G - x_B)$$
#
# $$x_k \leftarrow m + C\,\mathrm{clamp}_0^1\left(2 - d(h + 6\,\delta,\; h_k)\right)$$
#
# with $h_R = 0$, $h_G = 2$, $h_B = -2$, $\delta$ the turn that is asked for and $d \le 3$ the distance on the circle of
# circumference 6. To see the first: with $m = 0$ and $C = 1$ one channel is 1 and one is 0. Near red ($|h| \le 1$) the
# middle channel is $|h|$, and $1 - x_R$ is nothing; in the next sixth red falls from 1 to 0, so $1 + (1 - x_R)$; in the
# last, red is 0, and the middle channel adds what is missing.


# %%
#| export
def shift_hue_(x: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """Turn the hue of each image by `turn` [n] (in turns, -0.5 to 0.5), in place; x: [n, 3, H, W] in 0..1."""
    red, green, blue = x.unbind(1)
    largest, smallest = x.amax(dim=1), x.amin(dim=1)
    chroma = largest - smallest
    hue = (green + blue).sub_(red).add_(largest).sub_(smallest, alpha=2)
    torch.copysign(hue, green - blue, out=hue)
    hue.div_(chroma.clamp(min=1e-12))  # grey pixels: 0 / 1e-12, any hue will do
    hue.add_(6 * turn.view(-1, 1, 1))
    hue.sub_(torch.round(hue / 6), alpha=6)  # back to -3..3
    share = hue[:, None] - _primary_hues(x.device)
    share.abs_().sub_(3).abs_().sub_(1).clamp_(0, 1)  # 2 - d, as d = 3 - ||h - h_k| - 3|
    return torch.addcmul(smallest[:, None], chroma[:, None], share, out=x)


@cache
def _primary_hues(device):
    """h_R, h_G and h_B, [3, 1, 1] on the device, where they are made once."""
    return torch.tensor([0.0, 2, -2], device=device).view(3, 1, 1)


# %% [markdown]
# Against `torchvision`, all around the circle, with black, white and grey pixels among the colours. (T's own turns are
# those in bold.)

# %%
turns = torch.linspace(-0.5, 0.5, len(batch))
hard = batch.clone()
hard[:, :, :2], hard[:, :, 2:4], hard[:, 1:, 4:6] = 0, 1, hard[:, :1, 4:6]  # black; white; green = blue = red
pure = torch.eye(3)[:, torch.arange(32) % 3]
hard[:, :, 6], hard[:, :, 7] = pure, 1 - pure  # red, green, blue; cyan, magenta, yellow
expected = torch.stack([TF.adjust_hue(x, t.item()) for x, t in zip(hard, turns, strict=True)])
torch.testing.assert_close(shift_hue_(hard.clone(), turns), expected, atol=1e-5, rtol=0)

tenths = torch.arange(-5, 6)
turned = shift_hue_(crops[one].repeat(len(tenths), 1, 1, 1), tenths / 10).permute(0, 2, 3, 1)
image_grid([list(turned.numpy())], captions=[[f"{tenth / 10:+.1f}" for tenth in tenths]])

# %% [markdown]
# ## Blur
# A Gaussian on three pixels has one free weight, the neighbours' share $k = e^{-1/2\sigma^2} / (1 + 2
# e^{-1/2\sigma^2})$. Rows first, then columns; at the border the pixel inside stands in for the one outside
# (reflection). With $\sigma = 0$ the image stays as it is.


# %%
#| export
def blur(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Each image blurred with a 3 x 3 Gaussian of its own; x: [n, 3, H, W]; sigma: [n], in pixels, 0: unchanged."""
    tail = torch.exp(-0.5 / sigma**2).view(-1, 1, 1, 1)  # sigma = 0: exp(-inf) = 0
    side = tail / (1 + 2 * tail)
    for axis in (2, 3):
        last = x.shape[axis] - 1
        y = x * (1 - 2 * side)
        y.narrow(axis, 1, last).addcmul_(x.narrow(axis, 0, last), side)
        y.narrow(axis, 0, last).addcmul_(x.narrow(axis, 1, last), side)
        y.select(axis, 0).addcmul_(x.select(axis, 1), side[..., 0])
        y.select(axis, last).addcmul_(x.select(axis, last - 1), side[..., 0])
        x = y
    return x


# %%
sigmas = torch.linspace(0.1, 2, len(batch))
expected = torch.stack([TF.gaussian_blur(x, 3, s.item()) for x, s in zip(batch, sigmas, strict=True)])
torch.testing.assert_close(blur(batch, sigmas), expected, atol=1e-5, rtol=0)
assert torch.equal(blur(batch, torch.zeros(len(batch))), batch)

# %% [markdown]
# ## The order of the colours
# The three blends go through together, whichever they are; the hue, the most costly operation, must come in its turn.
# Two ways:
#
# - On a CPU those whose hue comes at the same turn go together, in chunks that fit into its cache, those that get no
#   blur in front. Nothing is computed in vain.
# - On a GPU, which would have to be asked for it and waited for, all images go together through three rounds of
#   blends, the hue, and three rounds more, and sit out the rounds that are not theirs, with weights (1, 0, 0).

# %%
#| export
CHUNK = 96  # images that go together on a CPU, at most: a MB, so that they and the work on them stay in the cache


def hue_turn(p: ViewParameters) -> torch.Tensor:
    """[n], 0 to 3: the round in which each view's hue is shifted."""
    return (p.order == HUE).int().argmax(dim=1)


# %%
assert (drawn.order.gather(1, hue_turn(drawn)[:, None]) == HUE).all()


# %%
#| export
def blend_rounds(p: ViewParameters) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of the three rounds of blends before the hue and of the three after it, [n, 3, 3] each."""
    weights, idle = blend_weights(p), torch.tensor([1.0, 0, 0])
    round_, own = torch.arange(4)[:, None], hue_turn(p)[:, None, None]
    return torch.where(round_ < own, weights, idle)[:, :3], torch.where(round_ > own, weights, idle)[:, 1:]


# %%
before, after = blend_rounds(drawn)
acts = torch.cat([before, after], dim=1) != torch.tensor([1.0, 0, 0])  # of brightness, contrast and saturation each one
assert (acts.any(dim=2).sum(dim=1) == 3).all()
assert torch.equal(acts[:, :3].any(dim=2), torch.arange(3) < hue_turn(drawn)[:, None])
print(f"on a GPU: {before.shape[1]} rounds of blends, the hue, {after.shape[1]} rounds")

# %% [markdown]
# ## Recipes
# All that T's arithmetic needs to know of a view, and that depends on its parameters alone, makes a row of numbers. A
# training draws the parameters of all views of an epoch at once and works out their rows at once, which costs little
# more than for one batch. A batch is then a slice of the rows, and a GPU gets all of them in one copy from pinned
# memory: one that does not wait for the work that is queued there, and is not waited for.

# %%
#| export
COLUMNS = {
    "rows": 1, "columns": 1, "hue": 1, "sigma": 1, "turn": 1, "grey": 3, "before": 9, "after": 9,
}  # fmt: skip


@dataclass(frozen=True)
class Recipes:
    """What T does to n views of `size` x `size` pixels, a row of numbers each, from images of `side` x `side`."""

    rows: torch.Tensor  # float32 [n, 26], as COLUMNS says
    side: int
    size: int

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, chosen) -> "Recipes":
        """The recipes of some of the views (a slice, a mask or indices)."""
        return replace(self, rows=self.rows[chosen])

    def columns(self) -> list[torch.Tensor]:
        """[n] where a column is one number wide, else [n, width]."""
        parts = self.rows.split(tuple(COLUMNS.values()), dim=1)
        return [part[:, 0] if part.shape[1] == 1 else part for part in parts]


# %%
stored = Recipes(torch.arange(52.0).view(2, 26), side=32, size=32)
assert stored[1:].columns()[0].tolist() == [26] and stored.columns()[-1].shape == (2, 9)


# %%
#| export
def write_recipes(p: ViewParameters, device="cpu") -> Recipes:
    """The recipes of n views, on the device where their images are."""
    crop = matrix_number(p.top, p.height, p.side), matrix_number(p.left, p.width, p.side, p.flip.long())
    single = [*crop, p.hue, p.sigma, hue_turn(p)]
    rounds = (weights.flatten(1) for weights in blend_rounds(p))
    rows = torch.cat([torch.stack([x.float() for x in single], dim=1), grey_weights(p), *rounds], dim=1)
    return Recipes(send(rows, device), p.side, p.size)


# %%
recipes = write_recipes(drawn)
named = dict(zip(COLUMNS, recipes[5:9].columns(), strict=True))
assert torch.equal(named["hue"], drawn.hue[5:9]) and torch.equal(named["grey"], grey_weights(drawn)[5:9])
print(f"{len(recipes)} recipes of {recipes.rows.shape[1]} numbers: {recipes.rows.nbytes / len(recipes):.0f} bytes each")


# %%
#| export
def _groups(recipes):
    """(indices of views whose hues come at the same turn, those without blur first; that turn), a chunk at a time."""
    *_, sigma, turns, _, _, _ = recipes.columns()
    counts = torch.bincount(turns.long(), minlength=4).tolist()
    by_turn = torch.argsort(2 * turns + (sigma > 0)).split(counts)
    for turn, members in enumerate(by_turn):
        for rows in members.tensor_split(math.ceil(len(members) / CHUNK)) if len(members) else ():
            yield rows, turn


# %%
groups = list(_groups(recipes))
assert torch.cat([rows for rows, _ in groups]).sort().values.tolist() == list(range(len(batch)))
assert all((hue_turn(drawn)[rows] == turn).all() for rows, turn in groups)

# %% [markdown]
# ## T
# Bytes first become numbers from 0 to 1.


# %%
#| export
def _to_unit(images):
    """Bytes [n, H, W, 3], or floats [n, 3, H, W], to contiguous float32 [n, 3, H, W] in 0..1."""
    if images.dtype == torch.uint8:
        return images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255)
    return images.contiguous()


# %%
torch.testing.assert_close(_to_unit(torch.from_numpy(images.train_images[:64])), batch)

# %% [markdown]
# The operations in their order, on images that go together:


# %%
#| export
def _transform(x, recipes, turn=None):
    """T on images that go together: float32 [n, 3, side, side] to [n, 3, size, size], where x is.

    turn: the round of all their hues, and those that get no blur come first; None: any order, nothing is left out.
    """
    rows, columns, hue, sigma, _, greying, before, after = recipes.columns()
    matrices = all_interpolations(recipes.side, recipes.size, x.device)
    x = crop_and_flip(x, matrices[rows.long()], matrices[columns.long()])
    for weights in before.unflatten(1, (3, 3)).unbind(1)[:turn]:
        blend_(x, weights)
    shift_hue_(x, hue)
    for weights in after.unflatten(1, (3, 3)).unbind(1)[turn:]:
        blend_(x, weights)
    if turn is None:
        x = blur(blend_(x, greying), sigma)
    else:
        grey = torch.nonzero(greying[:, 1]).flatten()
        x.index_copy_(0, grey, blend_(x.index_select(0, grey), greying[grey]))
        sharp = torch.count_nonzero(sigma == 0).item()
        x[sharp:] = blur(x[sharp:], sigma[sharp:])
    return x


# %%
rows, turn = groups[0]
alone = _transform(batch[rows].clone(), recipes[rows], turn)
torch.testing.assert_close(alone, _transform(batch[rows].clone(), recipes[rows]), atol=1e-5, rtol=0)

# %% [markdown]
# And the two ways to group them. Pixels keep their precision, whatever the network runs in:


# %%
#| export
def _apply(images, recipes, together):
    """T on bytes [B, side, side, 3] or floats [B, 3, side, side]: all together, or in groups."""
    device, size = images.device, recipes.size
    mean, std = pixel_statistics(device)
    with torch.autocast(device.type, enabled=False):  # pixels keep their precision
        if together:
            x = _transform(_to_unit(images), recipes)
            views = torch.empty_like(x, memory_format=torch.channels_last)  # as the network's convolutions want them
            return torch.sub(x, mean, out=views).div_(std)
        views = torch.empty(len(recipes), 3, size, size, device=device)
        with one_thread():  # an operation on a chunk takes 10 to 30 microseconds: too short to share
            for rows, turn in _groups(recipes):
                x = _transform(_to_unit(images.index_select(0, rows)), recipes[rows], turn)
                views.index_copy_(0, rows, x.sub_(mean).div_(std))
        return views


# %%
both = (_apply(batch, recipes, together) for together in (True, False))
torch.testing.assert_close(*both, atol=1e-4, rtol=0)


# %%
#| export
@torch.no_grad()
def apply_views(images: torch.Tensor, recipes: Recipes) -> torch.Tensor:
    """T by given recipes, on the device of both, to normalised float32 [B, 3, size, size]; no gradients.

    images: uint8 [B, side, side, 3], or float32 [B, 3, side, side] in 0..1. UserError if they do not fit the recipes.
    """
    n, side = len(recipes), recipes.side
    expected = {torch.uint8: (n, side, side, 3), torch.float32: (n, 3, side, side)}
    if tuple(images.shape) != expected.get(images.dtype):
        raise UserError(
            f"apply_views got {_described(images)}, and recipes for uint8 {expected[torch.uint8]} or "
            f"float32 {expected[torch.float32]}: one must fit the other."
        )
    return _apply(images, recipes, together=images.device.type != "cpu")


def _described(images):
    return f"{str(images.dtype).removeprefix('torch.')} {tuple(images.shape)}"


# %% [markdown]
# The whole of T, image by image with `torchvision`'s own operations and the same parameters; and both ways of grouping:


# %%
def their_view(image, p, i):
    x = their_crop(image, p, i)
    for operation in p.order[i].tolist():
        factor = (p.brightness, p.contrast, p.saturation, p.hue)[operation][i].item()
        x = (their_operations | {HUE: TF.adjust_hue})[operation](x, factor)
    x = TF.rgb_to_grayscale(x, 3) if p.grey[i] else x
    x = TF.gaussian_blur(x, 3, p.sigma[i].item()) if p.sigma[i] else x
    return TF.normalize(x, MEAN.tolist(), STD.tolist())


expected = torch.stack([their_view(batch[i], drawn, i) for i in range(len(batch))])
difference = (apply_views(batch, recipes) - expected).abs().max()
print(f"largest difference from torchvision: {difference:.1e}, in standard deviations of the pixels")
assert difference < 1e-4

# %% [markdown]
# And all in one: parameters are drawn, and T is applied to bytes. Who needs one batch of views, for a picture, calls
# this; the training draws for an epoch in advance.


# %%
#| export
def draw_recipes(n: int, generator: torch.Generator, size: int = 32, side: int = 32, device="cpu") -> Recipes:
    """Recipes for n views of `size` x `size` pixels, drawn from a CPU generator (see `draw_parameters`)."""
    return write_recipes(draw_parameters(n, generator, size, side), device)


def make_view(images: torch.Tensor, generator: torch.Generator, size: int = 32) -> torch.Tensor:
    """One view T(I) of each image, with parameters drawn from `generator` (a CPU generator, wherever the images are).

    uint8 [B, side, side, 3] to normalised float32 [B, 3, size, size]. UserError for any other type or shape.
    """
    shape = tuple(images.shape)
    if images.dtype != torch.uint8 or len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3:
        raise UserError(f"make_view got {_described(images)}: give square images, uint8 (B, side, side, 3).")
    return apply_views(images, draw_recipes(len(images), generator, size, shape[1], images.device))


# %%
bytes_ = torch.from_numpy(images.train_images[:64])
again = draw_recipes(64, new_generator(1, "a view"), cfg.view_size)
torch.testing.assert_close(make_view(bytes_, new_generator(1, "a view"), cfg.view_size), apply_views(batch, again))

# %% [markdown]
# How fast, beside the loop over `torchvision`'s operations (`benchmarks/views.py` measures it with more care):

# %%
loader = torch.from_numpy(images.train_images[:256]).to(choose_device(cfg))
started, count = time.perf_counter(), 0
while time.perf_counter() - started < 0.5:
    count += make_view(loader, new_generator(cfg.seed, count), cfg.view_size).cpu().shape[0]
ours = count / (time.perf_counter() - started)
started = time.perf_counter()
for i in range(len(batch)):
    their_view(batch[i], drawn, i)
theirs = len(batch) / (time.perf_counter() - started)
print(f"{ours:,.0f} views a second here, {theirs:,.0f} one by one")

# %% [markdown]
# ## A look at it
# One operation at a time, as strong as it gets; and then what the network gets to see: views, in each of which all of
# them act.


# %%
#| export
def plain_parameters(n: int, size: int = 32, side: int = 32) -> ViewParameters:
    """Parameters that leave n images as they are (resized, where size is not side)."""
    zero, one, whole = torch.zeros(n), torch.ones(n), torch.full((n,), side)
    order = torch.arange(4).expand(n, 4)
    crop = (zero.long(), zero.long(), whole, whole)
    return ViewParameters(*crop, zero.bool(), order, one, one, one, zero, zero.bool(), zero, side, size)


# %%
unchanged = apply_views(batch, write_recipes(plain_parameters(len(batch))))
torch.testing.assert_close(unchanged, (batch - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1), atol=1e-5, rtol=0)

# %%
STRONGEST = {  # one operation each
    "crop": {"top": 3, "left": 6, "height": 17, "width": 20},
    "mirror": {"flip": True},
    "brightness": {"brightness": JITTER["brightness"][1]},
    "contrast": {"contrast": JITTER["contrast"][0]},
    "saturation": {"saturation": JITTER["saturation"][1]},
    "hue": {"hue": JITTER["hue"][1]},
    "grey": {"grey": True},
    "blur": {"sigma": SIGMA[1]},
}


# %%
def one_at_a_time(image: torch.Tensor, size: int = 32) -> torch.Tensor:
    """The operations of STRONGEST, each alone: bytes [32, 32, 3] to views [8, 3, size, size]."""
    views = []
    for change in STRONGEST.values():
        p = plain_parameters(1, size)
        p = dataclasses.replace(p, **{name: torch.full_like(getattr(p, name), value) for name, value in change.items()})
        views.append(apply_views(image[None], write_recipes(p)))
    return torch.cat(views)


def as_pictures(views: torch.Tensor) -> list[np.ndarray]:
    """Normalised views [n, 3, H, W] as colours for the eye: float32 [H, W, 3] in 0..1 each."""
    x = views.cpu() * STD.view(3, 1, 1) + MEAN.view(3, 1, 1)
    return list(x.clamp(0, 1).permute(0, 2, 3, 1).numpy())


# %%
np.testing.assert_allclose(as_pictures(unchanged), batch.permute(0, 2, 3, 1), atol=1e-5)
noise = torch.randint(256, (32, 32, 3), generator=new_generator(0, "noise")).byte()
assert all((view - normalise(to_float(noise[None]))[0]).abs().max() > 0.1 for view in one_at_a_time(noise))


# %%
def figure_views(images: Images, seed: int = 0, size: int = 32) -> Drawing:
    """An image under each operation alone; then views of it and of two others. The originals come first, framed."""
    kinds = [kind for kind in (7, 8, 2) if kind < len(images.classes)] or [0]  # CIFAR-10's horse, ship, bird
    first = [images.train_images[np.argmax(images.train_labels == kind)] for kind in kinds]
    generator, names = new_generator(seed, "figure of views"), [images.classes[kind] for kind in kinds]
    rows = [[first[0], *as_pictures(one_at_a_time(torch.from_numpy(first[0]), size))]]
    captions = [[names[0], *STRONGEST]]
    for picture, name, count in zip(first, names, (17, 8, 8), strict=False):
        shown = [picture, *as_pictures(make_view(torch.from_numpy(picture).expand(count, -1, -1, -1), generator, size))]
        lines = [shown[at : at + 9] for at in range(0, len(shown), 9)]
        rows, captions = rows + lines, captions + [[name, *[""] * 8], [""] * 9][: len(lines)]
    frames = [[QUIET if caption in names else None for caption in line] for line in captions]
    return image_grid(rows, captions, frames)


# %%
figure_views(images, cfg.seed, cfg.view_size)
