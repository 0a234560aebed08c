# %% [markdown]
# # 85 · Several GPUs
# How is one training shared by several GPUs, so that its result is the same as on one? `torchrun` starts a process for
# each, PyTorch's `torch.distributed` connects them, and what is left for this page is to say where VICReg needs the
# whole batch. The loss compares all rows of a batch with each other (Eq. 3 to 5), and so does batch normalisation;
# everything else is done row by row.
#
# ```
# torchrun --nproc-per-node 8 -m vicreg_nb.run_all --profile exercise
# ```
#
# What does it gain? **This is an estimate, not a measurement: no machine with a GPU was at hand**, and the tests share
# a training among processes on a CPU, by gloo instead of NCCL. At the exercise's batch of 256 a GPU of eight has 32
# rows, which is too few to keep it busy, and each of the 23 batch normalisations waits for the others, for both views,
# forward and backward. By counting kernels and messages, eight H100s should be about 1.5 times as fast as one. Two GPUs
# gain more with two trainings side by side, Q1 on one and Q4 on the other, each started with `CUDA_VISIBLE_DEVICES` and
# `--only`: that is twice the speed for nothing. Sharing one training pays with larger batches and networks.

# %%
#| default_exp parallel

# %%
#| export
import io
import os
import re
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from vicreg_nb.store import UserError, rank

# %% [markdown]
# What is built here is tried out twice: in this notebook, as a group of a single process, and below in two processes.

# %%
import subprocess
import tempfile
from pathlib import Path

from vicreg_nb.store import new_generator

# %% [markdown]
# ## Joining
# Each process knows from `torchrun` which of them it is, its *rank*. On a machine with GPUs it takes the one of its
# number. GPUs talk by NCCL, CPUs by gloo. Whoever was started without `torchrun` is alone, and all of this page does
# nothing.


# %%
#| export
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


# %%
assert not join(torch.device("cpu")) and world() == 1 and rank() == 0
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # a group of one, for the tests below

# %% [markdown]
# ## Rows
# There is one batch, the same as for one process: its images and its views come from the epoch's one generator, and a
# rank takes its rows. So no rank has random numbers of its own, and a training can go on with another number of GPUs.


# %%
#| export
def share(rows: slice) -> slice:
    """This rank's part of the rows of a batch; UserError where the batch cannot be divided by the world size."""
    size, ranks = rows.stop - rows.start, world()
    if size % ranks:
        raise UserError(
            f"a batch of {size} does not go into {ranks} equal parts: give a batch_size divisible by {ranks}."
        )
    part = size // ranks
    return slice(rows.start + rank() * part, rows.start + (rank() + 1) * part)


# %%
assert share(slice(64, 96)) == slice(64, 96)

# %% [markdown]
# ## The whole batch in the loss
# Each rank gathers the projections of all ranks, computes the three terms of the whole batch, the invariance too, and
# so has the same terms as all others: if the loss breaks, all stop at the same step. In the backward pass the gradients
# go back to the ranks whose rows they are of, and arrive there once from each rank. PyTorch's own
# `torch.distributed.nn.functional.all_gather` gives the same gradients, but is deprecated, for one in a private module.


# %%
#| export
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


# %%
z = torch.randn(4, 3, generator=new_generator(0, "z"))
assert torch.equal(gathered(z), z)

# %% [markdown]
# ## The whole batch in batch normalisation
# On GPUs that is PyTorch's `nn.SyncBatchNorm`. It refuses tensors of the CPU, on which the test of this page runs, so
# for them there are a few lines: mean and variance are means over the ranks, each with a gradient.


# %%
#| export
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


# %%
theirs, ours = nn.BatchNorm2d(3), _SharedBatchNorm(3)
x = 2 * torch.randn(5, 3, 4, 4, generator=new_generator(0, "x")) + 1
torch.testing.assert_close(ours(x), theirs(x))
torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))

# %% [markdown]
# A network keeps its parameters, their names and its state when its normalisations are exchanged.


# %%
#| export
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


# %%
network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
assert synchronised(network, torch.device("cpu")) is network and type(network[1]) is nn.BatchNorm1d  # alone: as it was

# %% [markdown]
# ## One gradient
# All ranks minimise one and the same loss, and `gathered` has summed its gradient over them, so the gradient of the
# whole batch is the mean over the ranks. It travels in one message. Each rank then takes the same step.


# %%
#| export
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


# %%
network(z).sum().backward()
before = network[0].weight.grad.clone()
average_gradients(network)
assert torch.equal(network[0].weight.grad, before)

# %% [markdown]
# ## What the first decides
# The first rank chooses what may differ from process to process: the precision, and the state from which the training
# goes on. The others take over its choice. Only the first writes files and tells how it goes, which
# [80_store](80_store.ipynb) sees to.


# %%
#| export
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


# %%
assert from_first({"a": 1}) == {"a": 1} and after_first(lambda: 7) == 7
dist.destroy_process_group()

# %% [markdown]
# ## Alone again
# When the trainings are done, the book's other work is for one process. The first begins the same command anew, without
# what `torchrun` told it, so that neither it nor the notebooks that it starts look for company. `torchrun` also
# sets `OMP_NUM_THREADS` to 1, for the processes to share the CPU; one that is alone may have all of it.

# %%
#| export
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


# %%
told = {"RANK": "0", "LOCAL_RANK": "0", "ROLE_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "x", "OMP_NUM_THREADS": "1"}
assert without_torchrun(told | {"HOME": "here", "LOCAL_THINGS": "mine"}) == {"HOME": "here", "LOCAL_THINGS": "mine"}

# %% [markdown]
# ## Two processes are one
# Does it all fit together? Two processes, each with half of a batch, against one with all of it: a small network, the
# three terms, one step, in float64. `tests/test_parallel.py` asks the same of the real training, with two and with four
# processes.

# %%
PROGRAM = """
import sys, torch
import torch.distributed as dist
from torch import nn
from vicreg_nb.parallel import average_gradients, gathered, join, rank, share, synchronised, world
from vicreg_nb.vicreg import vicreg_loss, vicreg_terms

join(torch.device("cpu"))
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)).double()
x, x2 = torch.randn(2, 12, 5).double()
model, rows = synchronised(model, torch.device("cpu")), share(slice(0, 12))
loss = vicreg_loss(vicreg_terms(gathered(model(x[rows])), gathered(model(x2[rows]))))
loss.backward()
average_gradients(model)
if rank() == 0:
    torch.save([loss.detach(), *(p.grad for p in model.parameters()), *model.buffers()], sys.argv[1])
if world() > 1:  # left in order: a process whose connections end with it may be ended by the system
    dist.barrier()
    dist.destroy_process_group()
"""

# %%
with tempfile.TemporaryDirectory() as folder:
    program, results = Path(folder) / "program.py", []
    program.write_text(PROGRAM)
    for start in ([], ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]):
        command = [sys.executable, *start, program, f"{folder}/result.pt"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        results.append(torch.load(f"{folder}/result.pt"))
print(f"largest difference {max((one - two).abs().max().item() for one, two in zip(*results)):.0e}")
torch.testing.assert_close(*results, rtol=1e-9, atol=1e-12)
