# Generated from nbs/00b_views.py by `make export`. Do not edit: edit the notebook.
# cells nbs/00b_views.py 702fc30faad830c5
# text d29b712312f44360

"""0b · Views."""

import math
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import torch
from vicreg_nb.data import pixel_statistics, send
from vicreg_nb.store import UserError, one_thread


SCALE = (0.2, 1.0)  # a crop's share of the image's area
RATIO = (3 / 4, 4 / 3)  # a crop's width over its height
ATTEMPTS = 10  # crops drawn until one fits into the image
JITTER = {"brightness": (0.6, 1.4), "contrast": (0.6, 1.4), "saturation": (0.8, 1.2), "hue": (-0.1, 0.1)}
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # as torchvision's ColorJitter numbers them
FLIP_SHARE, GREY_SHARE, BLUR_SHARE = 0.5, 0.2, 0.5
SIGMA = (0.1, 2.0)  # of the blur, in pixels


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


def matrix_number(first, length, side: int, reverse=0):
    """The place in `all_interpolations` of each crop's matrix."""
    return (reverse * side + first) * side + length - 1


@lru_cache(maxsize=4)
def all_interpolations(side: int, size: int, device) -> torch.Tensor:
    """The matrices [2 side^2, size, side] of all crops of an image's rows or columns."""
    number = torch.arange(2 * side**2, device=device)
    return interpolation(number // side % side, number % side + 1, side, size, number >= side**2)


GREY_WEIGHTS = (0.2989, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601, as torchvision rounds them)


def blend_(x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """clamp(a x + b g + c mean(g)) in place; x: [n, 3, H, W] in 0..1, weights: [n, 3], each row (a, b, c)."""
    a, b, c = weights.view(-1, 3, 1, 1).unbind(1)
    grey = torch.mul(x[:, 0], GREY_WEIGHTS[0]).add_(x[:, 1], alpha=GREY_WEIGHTS[1]).add_(x[:, 2], alpha=GREY_WEIGHTS[2])
    level = grey.mean(dim=(1, 2), keepdim=True)
    grey.mul_(b).add_(c * level)
    return torch.addcmul(grey[:, None], x, a[:, None], out=x).clamp_(0, 1)


def blend_weights(p: ViewParameters) -> torch.Tensor:
    """[n, 4, 3]: the weights of each view's four rounds of colour jitter, in its order; the hue's leaves the image."""
    factors = torch.stack([p.brightness, p.contrast, p.saturation, torch.ones_like(p.hue)], dim=1).gather(1, p.order)
    rest = 1 - factors
    return torch.stack([factors, rest * (p.order == SATURATION), rest * (p.order == CONTRAST)], dim=2)


def grey_weights(p: ViewParameters) -> torch.Tensor:
    """[n, 3]: (0, 1, 0) for the views that become grey, (1, 0, 0) for the others."""
    grey = p.grey.float()
    return torch.stack([1 - grey, grey, torch.zeros_like(grey)], dim=1)


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


CHUNK = 96  # images that go together on a CPU, at most: a MB, so that they and the work on them stay in the cache


def hue_turn(p: ViewParameters) -> torch.Tensor:
    """[n], 0 to 3: the round in which each view's hue is shifted."""
    return (p.order == HUE).int().argmax(dim=1)


def blend_rounds(p: ViewParameters) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of the three rounds of blends before the hue and of the three after it, [n, 3, 3] each."""
    weights, idle = blend_weights(p), torch.tensor([1.0, 0, 0])
    round_, own = torch.arange(4)[:, None], hue_turn(p)[:, None, None]
    return torch.where(round_ < own, weights, idle)[:, :3], torch.where(round_ > own, weights, idle)[:, 1:]


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


def write_recipes(p: ViewParameters, device="cpu") -> Recipes:
    """The recipes of n views, on the device where their images are."""
    crop = matrix_number(p.top, p.height, p.side), matrix_number(p.left, p.width, p.side, p.flip.long())
    single = [*crop, p.hue, p.sigma, hue_turn(p)]
    rounds = (weights.flatten(1) for weights in blend_rounds(p))
    rows = torch.cat([torch.stack([x.float() for x in single], dim=1), grey_weights(p), *rounds], dim=1)
    return Recipes(send(rows, device), p.side, p.size)


def _groups(recipes):
    """(indices of views whose hues come at the same turn, those without blur first; that turn), a chunk at a time."""
    *_, sigma, turns, _, _, _ = recipes.columns()
    counts = torch.bincount(turns.long(), minlength=4).tolist()
    by_turn = torch.argsort(2 * turns + (sigma > 0)).split(counts)
    for turn, members in enumerate(by_turn):
        for rows in members.tensor_split(math.ceil(len(members) / CHUNK)) if len(members) else ():
            yield rows, turn


def _to_unit(images):
    """Bytes [n, H, W, 3], or floats [n, 3, H, W], to contiguous float32 [n, 3, H, W] in 0..1."""
    if images.dtype == torch.uint8:
        return images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255)
    return images.contiguous()


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


def plain_parameters(n: int, size: int = 32, side: int = 32) -> ViewParameters:
    """Parameters that leave n images as they are (resized, where size is not side)."""
    zero, one, whole = torch.zeros(n), torch.ones(n), torch.full((n,), side)
    order = torch.arange(4).expand(n, 4)
    crop = (zero.long(), zero.long(), whole, whole)
    return ViewParameters(*crop, zero.bool(), order, one, one, one, zero, zero.bool(), zero, side, size)
