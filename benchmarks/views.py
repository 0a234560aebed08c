"""Views per second: ours, in batches, against torchvision's transforms, image by image, in one alternating run.

    python benchmarks/views.py [--rounds 7] [--batch 256] [--device cpu]

Every way makes views of the same distribution, in one process: `make_view` on a batch of bytes; torchvision's
transforms (the
first and the second version) in a plain loop over tensors; and what the usual repository does, a Dataset of PIL
images behind
a DataLoader. The medians over the rounds are compared. Below them, what each operation costs per image, in a batch
and alone.
Images are drawn shapes: the content costs nothing.
"""

import argparse
import platform
import statistics
import time

import torch
import torchvision.transforms as v1
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import functional as TF
from torchvision.transforms import v2
from vicreg_nb import views
from vicreg_nb.data import MEAN, STD, draw_shapes, to_float

ROUND_SECONDS = 0.4  # of each way in each round


def chain(library, first=()):
    """T of the exercise in torchvision's words."""
    return library.Compose([
        *first,
        library.RandomResizedCrop(32, scale=views.SCALE),
        library.RandomHorizontalFlip(views.FLIP_SHARE),
        library.ColorJitter(0.4, 0.4, 0.2, 0.1),
        library.RandomGrayscale(views.GREY_SHARE),
        library.RandomApply([library.GaussianBlur(3, views.SIGMA)], views.BLUR_SHARE),
    ])  # fmt: skip


class PictureFiles(Dataset):
    """As torchvision's CIFAR10 does it: an array to a PIL image, to a tensor, to a view."""

    def __init__(self, images):
        normalise = v1.Normalize(MEAN.tolist(), STD.tolist())
        self.images, self.transform = images, v1.Compose([chain(v1), v1.ToTensor(), normalise])

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.images[index]))


def ways(images, batch, device):
    """Name -> function without arguments that makes some views and returns how many."""
    on_device = torch.from_numpy(images[:batch]).to(device)
    floats = to_float(images[:64]).contiguous()
    normalise = v1.Normalize(MEAN.tolist(), STD.tolist())
    generator = torch.Generator().manual_seed(0)

    def ours():
        made = len(views.make_view(on_device, generator))
        if on_device.is_cuda:
            torch.cuda.synchronize()
        return made

    def loop(library):
        transform = chain(library)
        return lambda: len(torch.stack([normalise(transform(image)) for image in floats]))

    loader = DataLoader(PictureFiles(images[:64]), batch_size=64, shuffle=True)
    return {
        "ours, in batches": ours,
        "torchvision v1, tensors, one by one": loop(v1),
        "torchvision v2, tensors, one by one": loop(v2),
        "torchvision v1, PIL images, DataLoader": lambda: sum(map(len, loader)),
    }


def repeat(function):
    """(results, seconds) of calling a function for a while."""
    started, results = time.perf_counter(), []
    while (spent := time.perf_counter() - started) < ROUND_SECONDS:
        results.append(function())
    return results, spent


def speed(function):
    """Views a second of a function that returns how many it made."""
    made, seconds = repeat(function)
    return sum(made) / seconds


def microseconds(function):
    """Of one call."""
    calls, seconds = repeat(lambda: function() is None)
    return 1e6 * seconds / len(calls)


def compare(images, rounds, batch, device):
    functions = ways(images, batch, device)
    speeds = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            speeds[name].append(speed(function))
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    best = max(list(medians.values())[1:])
    print(f"{'':42}{'views/s':>10}{'lowest':>10}{'highest':>10}{'ours is':>10}")
    for name, values in speeds.items():
        ratio = medians["ours, in batches"] / medians[name]
        print(f"{name:42}{medians[name]:10,.0f}{min(values):10,.0f}{max(values):10,.0f}{ratio:9.1f}x")
    print(f"against the fastest of the others: {medians['ours, in batches'] / best:.1f}x")


def operations(images):
    """Name -> (ours on a chunk, theirs on one image), each a function without arguments."""
    x = to_float(images[: views.CHUNK]).contiguous()
    one, count = x[0], len(x)
    p = views.draw_parameters(count, torch.Generator().manual_seed(0))
    full = torch.full((count,), 1.0)
    blends = {name: torch.tensor(row).expand(count, 3) for name, row in (
        ("brightness", (1.2, 0.0, 0.0)), ("contrast", (1.2, 0.0, -0.2)),
        ("saturation", (1.1, -0.1, 0.0)), ("grey", (0.0, 1.0, 0.0)),
    )}  # fmt: skip

    def crop():
        rows, columns = (views.interpolation(*box, 32, 32) for box in ((p.top, p.height), (p.left, p.width)))
        return views.crop_and_flip(x, rows, columns)

    def blend(name):
        return lambda: views.blend_(x, blends[name])

    return {
        "draw the parameters": (lambda: views.draw_parameters(count, torch.Generator()), None),
        "bytes to floats": (lambda: to_float(images[:count]).contiguous(), lambda: TF.to_tensor(images[0])),
        "crop and mirror": (crop, lambda: TF.hflip(TF.resized_crop(one, 3, 4, 20, 22, [32, 32], antialias=True))),
        "brightness": (blend("brightness"), lambda: TF.adjust_brightness(one, 1.2)),
        "contrast": (blend("contrast"), lambda: TF.adjust_contrast(one, 1.2)),
        "saturation": (blend("saturation"), lambda: TF.adjust_saturation(one, 1.1)),
        "hue": (lambda: views.shift_hue_(x, p.hue), lambda: TF.adjust_hue(one, 0.05)),
        "grey (one image in five)": (blend("grey"), lambda: TF.rgb_to_grayscale(one, 3)),
        "blur (one image in two)": (lambda: views.blur(x, full), lambda: TF.gaussian_blur(one, 3, 1.0)),
    }


def operation_table(images):
    """On one thread, microseconds an image; all images of the chunk get each operation."""
    print(f"\n{'one thread, microseconds an image':42}{'in a batch':>12}{'alone':>10}")
    with views.one_thread(), torch.no_grad():
        for name, (ours, theirs) in operations(images).items():
            alone = f"{microseconds(theirs):10.1f}" if theirs else ""
            print(f"{name:42}{microseconds(ours) / views.CHUNK:12.2f}{alone}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    images, _ = draw_shapes(max(arguments.batch, 128), seed=0)
    device = torch.device(arguments.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    print(f"{name}, torch {torch.__version__}, {torch.get_num_threads()} threads, batches of {arguments.batch}")
    compare(images, arguments.rounds, arguments.batch, device)
    operation_table(images)


if __name__ == "__main__":
    main()
