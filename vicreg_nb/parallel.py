# Generated from nbs/85_parallel.py by `make export`. Do not edit: edit the notebook.
# cells nbs/85_parallel.py d532914b3947f8e3
# text bdc168f135d86f96

"""85 · Several GPUs."""

import io
import os
import re
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from vicreg_nb.store import UserError, rank


def world() -> int:
    """How many processes share the training."""
    return dist.get_world_size() if dist.is_initialized() else 1


def join(device: torch.device) -> bool:
    """Join the processes that torchrun has started; False where it has started none. UserError for too few GPUs."""
    if not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        return False
    local, count = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if device.type == "cuda" and (device.index is not None or local >= count):
        started = os.environ["LOCAL_WORLD_SIZE"]
        raise UserError(f"torchrun started {started} processes for {count} GPUs: start as many, with device auto.")
    if device.type == "cuda":
        torch.cuda.set_device(local)  # from now on `cuda` is this one
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return True


def share(rows: slice) -> slice:
    """This rank's part of the rows of a batch; UserError where the batch cannot be divided by the world size."""
    size, ranks = rows.stop - rows.start, world()
    if size % ranks:
        raise UserError(
            f"a batch of {size} does not go into {ranks} equal parts: give a batch_size divisible by {ranks}."
        )
    part = size // ranks
    return slice(rows.start + rank() * part, rows.start + (rank() + 1) * part)


class _Gather(torch.autograd.Function):
    """A tensor [...] of each rank to [world, ...] of all; backward: the sum of all ranks' gradients to one's own."""

    @staticmethod
    def forward(ctx, x):
        parts = [torch.empty_like(x) for _ in range(world())]
        dist.all_gather(parts, x)
        return torch.stack(parts)

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient[rank()]


def gathered(z: torch.Tensor) -> torch.Tensor:
    """The rows [B, d] of all ranks in their order, from this rank's; in fp32 at least, with gradients to all."""
    if world() == 1:
        return z
    return _Gather.apply(z if z.dtype == torch.float64 else z.float()).flatten(0, 1)


class _SharedBatchNorm(_BatchNorm):
    """Batch normalisation over the rows of all ranks, on the CPU."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        axes, shape = [axis for axis in range(x.dim()) if axis != 1], [1, -1] + [1] * (x.dim() - 2)
        wide = x if x.dtype == torch.float64 else x.float()
        mean = _Gather.apply(wide.mean(axes)).mean(dim=0)
        centred = wide - mean.view(shape)
        var = _Gather.apply(centred.square().mean(axes)).mean(dim=0)
        count = world() * x.numel() // x.shape[1]
        with torch.no_grad():
            self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
            self.running_var.lerp_((var * count / (count - 1)).to(self.running_var), self.momentum)
            self.num_batches_tracked.add_(1)
        scale = self.weight * torch.rsqrt(var + self.eps)
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)

    def _check_input_dim(self, x):
        """Any number of dimensions: of images and of vectors."""


def synchronised(model: nn.Module, device: torch.device) -> nn.Module:
    """The same model, its batch normalisations over the rows of all ranks."""
    if world() == 1:
        return model
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.__class__ = _SharedBatchNorm  # the same parameters and buffers, another forward pass
    return model


def average_gradients(model: nn.Module):
    """Replace the gradients of `model` by their means over all ranks."""
    if world() == 1:
        return
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    parts = flat.div_(world()).split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts):
        gradient.copy_(part.view_as(gradient))


def from_first(value):
    """The first rank's value (numbers, strings, tensors, and lists and dicts of these) on all ranks."""
    if world() == 1:
        return value
    stream = io.BytesIO()
    torch.save(value if rank() == 0 else None, stream)
    sent = [stream.getvalue()]
    dist.broadcast_object_list(sent, src=0)
    return torch.load(io.BytesIO(sent[0]), map_location="cpu", weights_only=True)


def after_first(work):
    """`work()` on all ranks, on the others when the first has done it: they find its files."""
    result = work() if rank() == 0 else None
    if world() > 1:
        dist.barrier()
    return result if rank() == 0 else work()


_TORCHRUN = r"(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)|ROLE_NAME|MASTER_(ADDR|PORT)|TORCHELASTIC_.*|TORCH_NCCL_ASYNC_.*"


def without_torchrun(environment: dict) -> dict:
    """The environment without the variables that torchrun sets."""
    kept = {name: value for name, value in environment.items() if not re.fullmatch(_TORCHRUN, name)}
    return {name: value for name, value in kept.items() if (name, value) != ("OMP_NUM_THREADS", "1")}


def go_on_alone():
    """Leave the group. In the first process begin the command anew; in the others return."""
    first = rank() == 0
    dist.destroy_process_group()
    if first:
        sys.stdout.flush()
        os.execve(sys.executable, sys.orig_argv, without_torchrun(os.environ))
