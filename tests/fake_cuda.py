"""CUDA code on a machine without a GPU: fake tensors on cuda:0, and a record of what a GPU would have to be waited for.

    with fake_cuda() as waits:
        train_epoch(...)
    assert waits == []

A fake tensor has a shape, a type and a device, but no values. Tensors of different devices raise, as on a GPU. Each
wait is a text: what the host would wait for, and the line of the project that asked for it. Backward passes are not
run (PyTorch's own engine asks for a driver): each parameter gets a gradient of its shape.
"""

import contextlib
import os
import traceback
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from vicreg_nb import data, views

PACKAGE = str(Path(data.__file__).parent) + os.sep
SIZE_DEPENDS_ON_VALUES = {"nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount"}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}


def project_line():
    """file:line of the innermost frame of the package or its tests."""
    stack = traceback.extract_stack()
    frames = [frame for frame in stack if frame.filename.startswith(PACKAGE) or "test_" in frame.name]
    return f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "unknown line"


class Waits(TorchDispatchMode):
    """Sees each operation before it is run, and notes those that make the host wait."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, operation._schema.name.removeprefix("aten::")
        on_gpu = any(is_on_gpu(leaf) for leaf in tree_leaves((args, kwargs)))
        if name == "_local_scalar_dense":  # what .item(), .tolist(), float() and `if` end in
            if on_gpu:
                self.note("a value")
            return args[0].dtype.is_floating_point * 1.0 if args[0].dtype != torch.bool else True
        if on_gpu and name in SIZE_DEPENDS_ON_VALUES:
            self.note("a size")
        if name == "nonzero":
            return args[0].new_empty((0, args[0].dim()), dtype=torch.int64)
        if name in INDEXING and is_on_gpu(args[0]):
            args = (args[0], [self.index(each) for each in args[1]], *args[2:])
        result = operation(*args, **kwargs)
        self.copy(name, operation, args, kwargs, result)
        return result

    def index(self, index):
        """One index of a tensor on the GPU; a mask has as many hits as values say, here none."""
        if index is None or not (mask := index.dtype == torch.bool) and is_on_gpu(index):
            return index
        self.note("the size of a mask" if mask else "a copy of an index to the GPU")
        return index.new_zeros(0, dtype=torch.int64) if mask else index.to("cuda:0")

    def copy(self, name, operation, args, kwargs, result):
        if name not in ("_to_copy", "to", "copy_"):
            return
        given = {part.name: value for part, value in zip(operation._schema.arguments, args)} | kwargs
        source, target = (args[1], args[0]) if name == "copy_" else (args[0], result)
        if is_on_gpu(source) and not is_on_gpu(target):
            self.note("a copy to the CPU")
        waits_not = given.get("non_blocking", False) and getattr(source, "pinned", False)
        if is_on_gpu(target) and not is_on_gpu(source) and not waits_not:
            self.note("a copy to the GPU")

    def note(self, what):
        self.found.append(f"{what}, {project_line()}")


def is_on_gpu(value):
    return isinstance(value, torch.Tensor) and value.device.type == "cuda"


def pinned(tensor):
    tensor = tensor.clone()
    tensor.pinned = True
    return tensor


def no_backward(loss):
    """A gradient of its own shape for each parameter that the loss reaches."""
    waiting, seen = [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [following for following, _ in node.next_functions]
            if hasattr(node, "variable"):
                node.variable.grad = torch.empty_like(node.variable)


def move(module, change, recurse=True):
    """Module._apply at its plainest: the original exchanges tensors in place, which fake ones do not allow."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[name] = torch.nn.Parameter(change(parameter.detach()), parameter.requires_grad)
        part._buffers.update({name: change(buffer) for name, buffer in part._buffers.items() if buffer is not None})
    return module


@contextlib.contextmanager
def fake_cuda():
    """Within it, cuda:0 exists and all tensors are fake; gives the list of waits so far."""
    waits = Waits()
    patches = [
        mock.patch("torch.cuda.device_count", lambda: 1),
        mock.patch("torch.cuda.get_device_name", lambda *_: "a fake GPU"),
        mock.patch("torch.cuda.is_bf16_supported", lambda *_, **__: True),
        mock.patch(
            "torch.cuda.amp.common.amp_definitely_not_available", lambda: False
        ),  # else autocast is silently off
        mock.patch.object(torch.nn.Module, "_apply", move),
        mock.patch.object(torch.Tensor, "backward", no_backward),
        mock.patch.object(torch.Tensor, "pin_memory", pinned),
        mock.patch.object(torch.Tensor, "numpy", lambda tensor: np.zeros(tensor.shape, np.float32)),
    ]
    with contextlib.ExitStack() as stack:
        for each in (*patches, FakeTensorMode(allow_non_fake_inputs=True), waits):
            stack.enter_context(each)
        for name in ("MEAN", "STD"):  # real tensors, to be copied for real
            stack.enter_context(mock.patch.object(data, name, torch.empty(3)))
        for constants in (
            data.pixel_statistics,
            views._primary_hues,
            views.all_interpolations,
        ):  # real ones before, fake ones after
            constants.cache_clear()
            stack.callback(constants.cache_clear)
        yield waits.found
