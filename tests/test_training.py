"""Algorithm 1: it learns, it resumes to the bit, it stops when the loss breaks, it is found again by its settings."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from vicreg_nb import training
from vicreg_nb.config import make_config
from vicreg_nb.data import normalise, open_dataset, to_float
from vicreg_nb.store import UserError, digest, new_generator
from vicreg_nb.training import (
    OBJECTIVES,
    GeneratedPairs,
    Trainer,
    choose_precision,
    evaluate_terms,
    find_run,
    full_batches,
    initial_networks,
    load_encoder,
    relative_rate,
    q1,
    run_folder,
    run_settings,
    train,
    train_step,
)
from vicreg_nb.vicreg import SmallEncoder, vicreg_terms
from vicreg_nb.views import apply_views, draw_recipes


@pytest.fixture
def smoke(tmp_path):
    cfg = make_config("smoke", out=str(tmp_path), device="cpu")
    return cfg, open_dataset(cfg)


def weights(run):
    return torch.load(run.folder / "encoder.pt", weights_only=True)


def test_a_run_writes_what_it_promises_and_is_found_again(smoke, monkeypatch):
    cfg, images = smoke
    run = train(cfg, images)
    assert {path.name for path in run.folder.iterdir()} == {"config.json", "last.pt", "encoder.pt", "history.npz"}
    assert run.history.shape == (2 * 6, 3) and run.tests.shape == (2, 3)
    assert json.loads((run.folder / "config.json").read_text())["lr"] == cfg.lr
    monkeypatch.setattr(training, "_one_epoch", None)  # a second training would fail
    again = train(cfg, images)
    assert again.identity == run.identity and again.seconds == run.seconds
    np.testing.assert_array_equal(again.history, run.history)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lam": 3.0, "mu": 5.0, "nu": 2.0, "gamma": 0.7, "eps": 1e-2, "weight_decay": 0.1},
        {"encoder": "resnet18", "width": 4},
        {"view_size": 24},
    ],
)
def test_one_step_is_algorithm_1(smoke, changes):
    """The same step written out in float64: two views, separately through f and h, Eq. 6, Adam."""
    cfg, images = smoke[0].replace(**changes), smoke[1]
    settings = run_settings(cfg, images)
    ours, theirs = Trainer(cfg, settings, 6), Trainer(cfg, settings, 6)
    ours.model.double(), theirs.model.double()
    views = next(GeneratedPairs(cfg, images).epoch(torch.arange(32), [slice(32)], new_generator(0, "test")))
    x, x2 = (view.double() for view in views)
    assert x.shape == x2.shape == (32, 3, cfg.view_size, cfg.view_size)
    adam = torch.optim.Adam(theirs.model.parameters(), lr=cfg.lr, betas=(0.9, 0.999), weight_decay=cfg.weight_decay)
    for _ in range(2):
        given = train_step(ours, x, x2)
        branches = (theirs.projector(theirs.encoder(view)) for view in (x, x2))
        terms = torch.stack(vicreg_terms(*branches, gamma=cfg.gamma, eps=cfg.eps))
        torch.testing.assert_close(given, terms.detach())
        adam.zero_grad()
        (terms @ torch.tensor([cfg.lam, cfg.mu, cfg.nu], dtype=torch.float64)).backward()
        adam.step()
    for ours_p, theirs_p in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        torch.testing.assert_close(ours_p, theirs_p, rtol=1e-6, atol=1e-8)


def orthogonal(matrix):
    """U p(p(p(p(S)))) V^T of U S V^T, by the singular values themselves: Jordan's polynomial p, of a norm of one."""
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    s = s / s.norm()
    for _ in range(4):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return (u * s) @ v


@pytest.mark.parametrize("shape", [(8, 4), (4, 8), (8, 3, 2, 2)])
def test_three_steps_of_muon_are_those_written_out(shape):
    generator = new_generator(0, "muon")
    weight, *grads = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(4))
    expected, mean, weight = weight.flatten(1), 0, weight.clone().requires_grad_()
    muon = training.Muon([weight], lr=0.1)
    for grad in grads:
        weight.grad, grad = grad, grad.flatten(1).clone()
        mean = 0.95 * mean + grad
        expected = expected - 0.1 * max(1, len(grad) / grad.shape[1]) ** 0.5 * orthogonal(grad + 0.95 * mean)
        muon.step()
        torch.testing.assert_close(weight.detach().flatten(1), expected, rtol=0, atol=1e-5)


def test_muon_has_the_encoders_matrices_and_adam_the_rest():
    networks = initial_networks(cfg := make_config("smoke", optimizer="muon", encoder="resnet18"))
    kept = [{id(weight) for weight in one.param_groups[0]["params"]} for one in training._optimizers(cfg, *networks)]
    f, h = (set(network.parameters()) for network in networks)
    assert kept[1] == {id(weight) for weight in f if weight.dim() > 1}
    assert kept[0] == {id(weight) for weight in f | h} - kept[1]


def test_each_step_has_its_rate_of_each_optimizer(smoke, monkeypatch):
    cfg, images = smoke
    cfg, rates, step = cfg.replace(optimizer="muon", schedule="onecycle", epochs=2), [], training.train_step

    def noted(trainer, *views):
        rates.append([optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers])
        return step(trainer, *views)

    monkeypatch.setattr(training, "train_step", noted)
    train(cfg, images)
    expected = [[relative_rate(cfg, k, 12) * lr for lr in (cfg.lr, cfg.muon_lr)] for k in range(12)]
    np.testing.assert_allclose(rates, expected, rtol=1e-12)


@pytest.mark.parametrize("own", [False, True])
def test_a_compiled_network_is_what_is_trained_and_tested(smoke, monkeypatch, tmp_path, own):
    cfg, images, passes = smoke[0].replace(epochs=1), smoke[1], []
    encoder = initial_networks(cfg.replace(width=4))[0] if own else None
    monkeypatch.setattr(torch, "compile", lambda model: lambda x: passes.append(model[0]) or model(x))
    plain = train(cfg, images, encoder=encoder)
    assert not passes
    compiled = train(cfg.replace(compile=True, out=str(tmp_path / "compiled")), images, encoder=encoder)
    assert compiled.identity == plain.identity and len(passes) == 2 * (6 + 2)
    assert {tuple(f.stem[0].weight.shape) for f in passes} == {tuple(compiled.encoder().stem[0].weight.shape)}


def test_the_two_views_differ_and_are_normalised(smoke):
    cfg, images = smoke
    x, x2 = next(GeneratedPairs(cfg, images).epoch(torch.arange(64), [slice(64)], new_generator(0, "views")))
    plain = normalise(to_float(images.train_images[:64]))
    for view in (x, x2):
        assert view.shape == plain.shape and (view - plain).abs().mean() > 0.1
        assert view.min() >= normalise(torch.zeros(1, 3, 1, 1)).min() - 1e-4
        assert view.max() <= normalise(torch.ones(1, 3, 1, 1)).max() + 1e-4
    assert (x - x2).abs().mean() > 0.1


def test_a_batch_of_an_epoch_is_its_images_and_parameters_whoever_takes_which_rows(smoke):
    """Views by T itself from the epoch's images and parameters; a part of each batch is the same part of the views."""
    cfg, images = smoke
    pairs, order = GeneratedPairs(cfg, images), torch.randperm(100, generator=new_generator(0, "order"))
    whole = list(pairs.epoch(order, full_batches(100, 32), new_generator(1, "views")))
    assert len(whole) == 3
    generator, shown = new_generator(1, "views"), torch.from_numpy(images.train_images)[order]
    for view in range(2):
        expected = apply_views(shown, draw_recipes(100, generator, cfg.view_size))
        torch.testing.assert_close(torch.cat([pair[view] for pair in whole]), expected[:96])
    halves = [slice(rows.start + 16, rows.stop) for rows in full_batches(100, 32)]
    for part, pair in zip(pairs.epoch(order, halves, new_generator(1, "views")), whole, strict=True):
        for half, view in zip(part, pair, strict=True):
            torch.testing.assert_close(half, view[16:])


def test_test_views_are_the_same_at_each_call(smoke):
    pairs, batches = GeneratedPairs(*smoke), full_batches(128, 64)
    first, second = list(pairs.tests(batches)), list(pairs.tests(batches))
    assert all(torch.equal(a, b) for one, two in zip(first, second, strict=True) for a, b in zip(one, two, strict=True))


def test_test_terms_do_not_touch_the_model_and_use_running_statistics(smoke):
    cfg, images = smoke
    trainer = Trainer(cfg, run_settings(cfg, images), 6)
    pairs = GeneratedPairs(cfg, images)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    terms = evaluate_terms(trainer, pairs, len(images.test_images))
    assert all(torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())
    trainer.model.eval()
    batches = [slice(0, 64), slice(64, 128)]  # 160 test images hold two full batches
    with torch.no_grad():
        expected = [torch.stack(vicreg_terms(trainer.model(x), trainer.model(x2))) for x, x2 in pairs.tests(batches)]
    torch.testing.assert_close(terms, torch.stack(expected).mean(dim=0))


def test_training_lowers_the_loss(smoke):
    cfg, images = smoke
    run = train(cfg.replace(epochs=14, lr=4e-3), images)
    loss = run.history @ np.array([cfg.lam, cfg.mu, cfg.nu])
    assert loss[-6:].mean() < 0.9 * loss[:6].mean()


PROGRAM = """
import sys
from vicreg_nb.config import make_config
from vicreg_nb.data import open_dataset
from vicreg_nb.training import train
cfg = make_config("smoke", out=sys.argv[1], epochs=4, precision="fp32", device="cpu")
train(cfg, open_dataset(cfg))
"""


def start_training(folder):
    command = [sys.executable, "-u", "-c", PROGRAM, str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "2"}  # sums in the same order in each process
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_a_killed_run_resumes_to_the_bit(tmp_path):
    killed = start_training(tmp_path / "killed")
    for line in killed.stdout:
        if line.startswith("epoch   2/4"):
            break
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not list((tmp_path / "killed").glob("runs/*/encoder.pt"))
    resumed, whole = start_training(tmp_path / "killed"), start_training(tmp_path / "whole")
    told = resumed.communicate()[0]
    whole.communicate()
    assert resumed.returncode == whole.returncode == 0 and "epoch   1/4" not in told
    runs = [next((tmp_path / name).glob("runs/vicreg-*")) for name in ("whole", "killed")]
    states = [torch.load(run / "encoder.pt", weights_only=True) for run in runs]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    histories = [np.load(run / "history.npz") for run in runs]
    for name in ("history", "tests"):
        np.testing.assert_array_equal(histories[0][name], histories[1][name])


def test_a_checkpoint_is_of_its_epoch_though_it_is_written_in_the_next(smoke, monkeypatch, tmp_path):
    """The writing of the first epoch's takes until the second epoch is trained, and that is then broken off."""
    cfg, images = smoke
    trained, write = threading.Event(), training._write_checkpoint

    def write_late(state, folder):
        assert trained.wait(60)
        write(state, folder)

    class Stopped(GeneratedPairs):
        identity, epochs = GeneratedPairs.identity, 0

        def epoch(self, *arguments):
            yield from super().epoch(*arguments)
            self.epochs += 1
            if self.epochs == 2:
                trained.set()
                raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "_write_checkpoint", write_late)
        patch.setattr(training, "find_run", lambda cfg, images, *_: find_run(cfg, images))
        train(cfg, images, Stopped(cfg, images))
    assert trained.is_set() and torch.load(next(cfg.runs.glob("*/last.pt")), weights_only=True)["epoch"] == 1
    assert train(cfg, images).identity == train(cfg.replace(out=str(tmp_path / "whole")), images).identity


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_checkpoint_that_cannot_be_written_ends_the_training(smoke, monkeypatch, epochs):
    cfg, images = smoke

    def write(*_):
        raise UserError("there is no room for it.")

    monkeypatch.setattr(training, "_write_checkpoint", write)
    with pytest.raises(UserError, match="no room"):
        train(cfg.replace(epochs=epochs), images)
    assert not list(cfg.runs.glob("*/encoder.pt"))


def flipped(at):
    """A copy of some bytes with one bit flipped, at this share of their length."""

    def flip(content):
        place = int(at * (len(content) - 1))
        return content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]

    return flip


DAMAGES = {
    "empty": lambda content: b"",
    "pointer": lambda content: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "text": lambda content: b"not a checkpoint",
    "zeros": lambda content: bytes(len(content)),
    **{f"cut at {at:.0%}": lambda content, at=at: content[: int(at * len(content))] for at in (0.01, 0.5, 0.97)},
    **{f"flipped at {at:.0%}": flipped(at) for at in (0.0, 0.08, 0.31, 0.5, 0.77, 0.93, 1.0)},
}


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    """A run of three epochs that takes no time, and the folder as it was after two of them."""
    small = {"width": 4, "encoder_dim": 8, "projection_dim": 16, "train_size": 128, "epochs": 3, "graph_size": 100}
    small |= {"tsne_train_size": 100, "max_k": 10, "exact_size": 60, "anomaly_k": 2}
    cfg = make_config("smoke", out=str(tmp_path_factory.mktemp("tiny")), device="cpu", **small)
    images = open_dataset(cfg)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "_one_epoch", stop_after_two(training._one_epoch))
        train(cfg, images)
    broken_off = cfg.folder.with_name("broken_off")
    shutil.copytree(cfg.folder, broken_off)
    return cfg, images, train(cfg, images), broken_off


def stop_after_two(one_epoch):
    def wrapped(trainer, *arguments):
        if trainer.epoch == 2:
            raise KeyboardInterrupt
        one_epoch(trainer, *arguments)

    return wrapped


def damaged_copy(cfg, source, tmp_path, name, damage):
    """A copy of a run's folder with one file damaged, as a configuration and the file's path."""
    shutil.copytree(source, tmp_path / "copy")
    path = next((tmp_path / "copy").glob(f"runs/vicreg-*/{name}"))
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    return cfg.replace(out=str(tmp_path / "copy")), path


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["encoder.pt", "history.npz"])
def test_a_finished_run_with_a_damaged_file_is_mended_from_the_rest(tiny_run, tmp_path, name, damage, capsys):
    cfg, images, whole, _ = tiny_run
    cfg, path = damaged_copy(cfg, whole.folder.parent.parent, tmp_path, name, damage)
    run = train(cfg, images)
    told = capsys.readouterr().out
    assert run.identity == whole.identity and np.array_equal(run.history, whole.history) and "epoch   1" not in told
    if path.with_name(f"{name}.damaged").exists():
        assert f"{path} is " in told and "set aside" in told
    else:  # the bit makes no difference to what is read
        assert damage.startswith("flipped")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["encoder.pt", "history.npz"])
def test_an_encoder_is_loaded_as_it_was_or_not_at_all(tiny_run, tmp_path, name, damage):
    cfg, _, whole, _ = tiny_run
    _, path = damaged_copy(cfg, whole.folder.parent.parent, tmp_path, name, damage)
    content = path.read_bytes()
    try:
        loaded = load_encoder(path.parent).state_dict()
    except UserError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:  # the bit makes no difference to what is read
        assert damage.startswith("flipped") and digest(loaded) == whole.identity
    assert path.read_bytes() == content


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"encoder": "small"}'])
def test_a_folder_without_its_settings_holds_no_training(tiny_run, tmp_path, text):
    cfg, _, whole, _ = tiny_run
    folder = shutil.copytree(whole.folder, tmp_path / "copy")
    (folder / "config.json").write_text(text)
    with pytest.raises(UserError, match="config.json"):
        load_encoder(folder)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_with_a_damaged_checkpoint_goes_on_one_epoch_earlier(tiny_run, tmp_path, damage, capsys):
    cfg, images, whole, broken_off = tiny_run
    cfg, path = damaged_copy(cfg, broken_off, tmp_path, "last.pt", damage)
    run = train(cfg, images)
    told = capsys.readouterr().out
    assert run.identity == whole.identity and np.array_equal(run.history, whole.history) and "epoch   1" not in told
    aside = path.with_name("last.pt.damaged").exists()
    assert ("epoch   2" in told) == aside and (aside or damage.startswith("flipped"))
    assert not path.with_name("previous.pt").exists()


def test_without_a_whole_checkpoint_it_is_trained_again(tiny_run, tmp_path, capsys):
    cfg, images, whole, broken_off = tiny_run
    cfg, path = damaged_copy(cfg, broken_off, tmp_path, "last.pt", "pointer")
    path.with_name("previous.pt").write_bytes(b"")
    assert train(cfg, images).identity == whole.identity
    told = capsys.readouterr().out
    assert "git lfs pull" in told and "previous.pt is empty" in told and "epoch   1" in told


def test_temporary_files_of_dead_processes_are_removed(tiny_run, tmp_path):
    cfg, images, whole, _ = tiny_run
    shutil.copytree(whole.folder.parent.parent, tmp_path / "copy")
    folder = next((tmp_path / "copy").glob("runs/vicreg-*"))
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    left = [folder / f".last.pt.{dead.pid}.pt", folder / f".last.pt.{os.getpid()}.pt", folder / ".mine.pt"]
    for path in left:
        path.touch()
    train(cfg.replace(out=str(tmp_path / "copy")), images)
    assert [path.exists() for path in left] == [False, True, True]


class PoisonedPairs(GeneratedPairs):
    identity = "poisoned"
    calls = 0

    def epoch(self, *args):
        for x, x2 in super().epoch(*args):
            self.calls += 1
            yield (x * float("nan"), x2) if self.calls == 9 else (x, x2)


def test_a_loss_that_breaks_stops_with_step_terms_and_checkpoint(smoke):
    cfg, images = smoke
    with pytest.raises(UserError, match=rf"epoch 2, step 3 of 6 .*invariance nan.* lr \({cfg.lr:g}\)"):
        train(cfg, images, PoisonedPairs(cfg, images), "poisoned")
    folder = next(cfg.runs.glob("poisoned-*"))
    assert torch.load(folder / "last.pt", weights_only=True)["epoch"] == 1 and not (folder / "encoder.pt").exists()


def test_a_training_that_stands_still_is_told_and_not_kept(smoke, monkeypatch):
    """Gradients whose squares overflow: the loss stays finite, and Adam's steps are zero."""
    cfg, images = smoke
    step = training.train_step

    def huge(trainer, *views):
        handle = trainer.projector[0].weight.register_hook(lambda gradient: gradient * 1e25)
        terms = step(trainer, *views)
        handle.remove()
        return terms

    monkeypatch.setattr(training, "train_step", huge)
    with pytest.raises(UserError, match=rf"lost in epoch 1: lower lr \({cfg.lr:g}\)"):
        train(cfg, images)
    assert not [*cfg.runs.rglob("last.pt"), *cfg.runs.rglob("encoder.pt")]


def test_only_what_changes_the_weights_changes_the_folder(smoke):
    cfg, images = smoke
    base = run_folder(cfg, run_settings(cfg, images))
    for change in ({"probe_lr": 0.5}, {"anomaly_k": 7}, {"tensorboard": True}, {"tsne_size": 100}):
        assert run_folder(cfg, run_settings(cfg.replace(**change), images)) == base
    for name, value in {
        "lr": 0.5,
        "seed": 4,
        "mu": 0.0,
        "epochs": 9,
        "precision": "bf16",
        "width": 16,
        "batch_size": 32,
    }.items():
        assert run_folder(cfg, run_settings(cfg.replace(**{name: value}), images)) != base
    assert run_folder(cfg, run_settings(cfg, replace(images, identity="other"))) != base


def test_other_code_trains_anew_and_says_which(smoke, monkeypatch, capsys):
    cfg, images = smoke
    old = train(cfg, images)
    assert train(cfg, images).folder == old.folder
    loss = training.vicreg_loss
    monkeypatch.setattr(training, "vicreg_loss", lambda terms, lam, mu, nu: loss(terms, lam, 2 * mu, nu))
    capsys.readouterr()
    new = train(cfg, images)
    assert f"has changed since {old.folder.name}" in capsys.readouterr().out
    assert new.folder != old.folder and new.identity != old.identity
    monkeypatch.undo()
    assert train(cfg, images).identity == old.identity


def test_pairs_of_ones_own_are_told_apart_by_their_code(smoke):
    cfg, images = smoke

    class Mine(GeneratedPairs):
        def epoch(self, order, batches, generator):
            return super().epoch(order.flip(0), batches, generator)

    assert run_settings(cfg, images, Mine) != run_settings(cfg, images) == run_settings(cfg, images, GeneratedPairs)
    assert run_settings(cfg, images, Mine(cfg, images)) == run_settings(cfg, images, Mine)


def test_auto_takes_a_run_that_is_finished_in_another_precision(smoke, monkeypatch, capsys):
    cfg, images = smoke
    cfg, speed = cfg.replace(precision="auto", epochs=1), [2.0]
    monkeypatch.setattr(training, "_bf16_speedup", lambda: speed[0])
    first = train(cfg, images)
    assert first.precision == "bf16"
    speed[0] = 0.5
    monkeypatch.setattr(training.torch, "__version__", "another")
    capsys.readouterr()
    again = train(cfg, images)
    assert again.folder == first.folder and again.precision == "bf16" and "bf16" in capsys.readouterr().out
    other = train(cfg.replace(precision="fp32"), images)
    assert other.folder != first.folder and "precision=bf16 would take" in capsys.readouterr().out


def test_a_resume_elsewhere_says_so(smoke, monkeypatch, capsys):
    cfg, images = smoke
    seen = []
    monkeypatch.setattr(training, "_one_epoch", stop_after_one(training._one_epoch, seen))
    with pytest.raises(KeyboardInterrupt):
        train(cfg, images)
    monkeypatch.setattr(training.torch, "__version__", "another")
    run = train(cfg, images)
    assert "with torch another after" in capsys.readouterr().out
    machines = json.loads((run.folder / "config.json").read_text())["machines"]
    assert [machine["torch"] for machine in machines] == [seen[0], "another"]


def stop_after_one(one_epoch, seen):
    """The training's epoch, but a keyboard interrupt where a second one begins; notes the version of PyTorch."""

    def wrapped(*arguments):
        seen.append(training.torch.__version__)
        if len(seen) == 2:
            raise KeyboardInterrupt
        one_epoch(*arguments)

    return wrapped


def test_precision_is_chosen_once(smoke, monkeypatch):
    cfg, images = smoke
    cfg = cfg.replace(precision="auto")
    monkeypatch.setattr(training, "_bf16_speedup", lambda: 2.0)
    assert choose_precision(cfg) == "bf16" == run_settings(cfg, images)["precision"]
    monkeypatch.setattr(training, "_bf16_speedup", lambda: 0.5)
    assert choose_precision(cfg) == "bf16"  # as on the day of the first training
    monkeypatch.setattr(training.torch, "__version__", "another")
    assert choose_precision(cfg) == "fp32"


def test_a_noted_precision_that_is_none_is_measured_again(smoke, monkeypatch):
    cfg, _ = smoke
    cfg = cfg.replace(precision="auto")
    monkeypatch.setattr(training, "_bf16_speedup", lambda: 2.0)
    assert choose_precision(cfg) == "bf16"
    note = next(cfg.cache.glob("precision-*.json"))
    for text in ('{"precision": "int3"}', "", "[]", '{"precision": ["bf16"]}', "\x00\xff", '"bf16"'):
        note.write_text(text, encoding="latin-1")
        assert choose_precision(cfg) == "bf16", text
    note.unlink()
    os.mkfifo(note)  # to open it would be to wait for its writer
    assert choose_precision(cfg) == "bf16" and note.is_file()


@pytest.mark.parametrize(
    ("generation", "bf16", "expected"),
    [((9, 0), True, "bf16"), ((8, 0), True, "bf16"), ((7, 5), False, "fp16"), ((7, 0), False, "fp16"),
     ((6, 1), False, "fp32"), ((8, 6), False, "fp16")],
)  # fmt: skip
def test_a_gpus_generation_says_its_precision(smoke, monkeypatch, generation, bf16, expected):
    cfg, _ = smoke
    monkeypatch.setattr(training, "choose_device", lambda cfg: torch.device("cuda:0"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: generation)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    monkeypatch.setattr(training, "_bf16_speedup", None)  # nothing is measured
    assert choose_precision(cfg.replace(precision="auto")) == expected


def test_fp16_where_there_is_none_is_one_sentence(smoke, monkeypatch):
    cfg, images = smoke
    cfg = cfg.replace(precision="fp16")
    with pytest.raises(UserError, match="precision is fp16, which CPU"):
        train(cfg, images)
    assert not cfg.runs.exists()
    monkeypatch.setattr(training, "choose_device", lambda cfg: torch.device("cuda:0"))
    monkeypatch.setattr(training, "device_name", lambda cfg: "an old GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (5, 2))
    with pytest.raises(UserError, match="an old GPU does not have"):
        choose_precision(cfg)


@pytest.fixture
def fp16(smoke, monkeypatch):
    """The smoke configuration in fp16, on fewer images and on a CPU that lets it pass, slowly."""
    monkeypatch.setattr(training, "choose_precision", lambda cfg: cfg.precision)
    cfg = smoke[0].replace(precision="fp16", train_size=128)
    return cfg, open_dataset(cfg)


def test_fp16_training_is_close_to_fp32_and_its_encoder_runs(fp16):
    cfg, images = fp16
    trainers = [Trainer(cfg, {"precision": precision}, 6) for precision in ("fp16", "fp32")]
    trainers[0].scaler = torch.amp.GradScaler("cpu", init_scale=64.0)  # so that the first steps count as well
    pairs = GeneratedPairs(cfg, images)
    histories = [training.train_epoch(trainer, pairs, len(images.train_images)).numpy() for trainer in trainers]
    np.testing.assert_allclose(*histories, rtol=0.2, atol=0.1)
    assert not np.array_equal(*histories)
    half = train(cfg.replace(epochs=1), images)
    assert half.precision == "fp16"
    from vicreg_nb.representations import encode

    features = [encode(half.encoder(), images.test_images[:8], precision=precision) for precision in ("fp16", "fp32")]
    np.testing.assert_allclose(*features, rtol=0.05, atol=0.05)
    assert not np.array_equal(*features)


def test_a_step_that_the_scaler_leaves_out_is_no_error(fp16):
    cfg, images = fp16
    trainer = Trainer(cfg, {"precision": "fp16"}, 6)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**26)
    before = [p.clone() for p in trainer.model.parameters()]
    x, x2 = next(GeneratedPairs(cfg, images).epoch(torch.arange(16), [slice(16)], new_generator(0, "test")))
    assert train_step(trainer, x, x2).isfinite().all() and trainer.scaler.get_scale() == 2.0**25
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
    for _ in range(40):
        train_step(trainer, x, x2)
    assert 1 < trainer.scaler.get_scale() < 2.0**25
    assert not torch.equal(before[0], next(trainer.model.parameters()))


def test_gradients_that_always_overflow_stop_the_training(fp16):
    cfg, images = fp16
    trainer = Trainer(cfg, {"precision": "fp16"}, 6)
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    trainer.model[1][0].weight.register_hook(lambda grad: grad * float("inf"))
    with pytest.raises(UserError, match="gradients overflow fp16 in epoch 1"):
        training.train_epoch(trainer, GeneratedPairs(cfg, images), 128)


def test_fp16_resumes_to_the_bit_with_its_scale(fp16, monkeypatch, tmp_path):
    cfg, images = fp16
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "_one_epoch", stop_after_one(training._one_epoch, []))
        train(cfg, images)
    state = torch.load(next(cfg.runs.glob("*/last.pt")), weights_only=True)
    assert state["scaler"]["scale"] > 1
    assert train(cfg, images).identity == train(cfg.replace(out=str(tmp_path / "whole")), images).identity


def test_the_encoder_is_frozen_and_has_the_final_weights(smoke):
    cfg, images = smoke
    run = train(cfg, images)
    encoder = run.encoder()
    assert isinstance(encoder, SmallEncoder) and not encoder.training
    assert not any(p.requires_grad for p in encoder.parameters())
    last = torch.load(run.folder / "last.pt", weights_only=True)["model"]
    assert all(torch.equal(value, last[f"0.{name}"]) for name, value in encoder.state_dict().items())


def test_seeds_give_different_weights_and_the_same_seed_the_same(smoke, tmp_path):
    cfg, images = smoke
    first, second = train(cfg, images), train(cfg.replace(seed=1), images)
    torch.rand(7)  # the global generator is in another state
    again = train(cfg.replace(out=str(tmp_path / "again")), images)
    assert not torch.equal(weights(first)["stem.0.weight"], weights(second)["stem.0.weight"])
    assert all(torch.equal(value, weights(again)[name]) for name, value in weights(first).items())


def test_training_starts_from_the_initial_networks(smoke):
    cfg, images = smoke
    trainer = Trainer(cfg, run_settings(cfg, images), 6)
    for network, initial in zip((trainer.encoder, trainer.projector), initial_networks(cfg), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), initial.parameters(), strict=True))


def test_bf16_training_is_close_to_fp32(smoke):
    cfg, images = smoke
    fp32, bf16 = (train(cfg.replace(precision=precision, epochs=1), images) for precision in ("fp32", "bf16"))
    np.testing.assert_allclose(bf16.history, fp32.history, rtol=0.2, atol=0.1)
    assert not np.array_equal(bf16.history, fp32.history)


def test_one_cycle_goes_up_comes_down_and_ends_at_zero():
    cfg = make_config("smoke", lr=1.0)
    rates = [relative_rate(cfg, step, 100) for step in range(100)]
    assert max(rates) == rates[19] == pytest.approx(1.0) and rates[-1] == pytest.approx(0, abs=1e-12)
    assert all(np.diff(rates[:20]) > 0) and all(np.diff(rates[19:]) < 0)
    assert {relative_rate(cfg.replace(schedule="constant"), step, 100) for step in range(100)} == {1.0}


def test_tensorboard_events_are_written_when_asked_for(smoke):
    cfg, images = smoke
    run = train(cfg.replace(tensorboard=True), images)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.folder / "tensorboard")).Reload()
    for column, name in enumerate(OBJECTIVES):
        shown = [[event.value for event in events.Scalars(f"{part}/{name}")] for part in ("train", "test")]
        np.testing.assert_allclose(shown[0], run.history[:, column], rtol=1e-6)
        np.testing.assert_allclose(shown[1], run.tests[:, column], rtol=1e-6)
    assert [event.step for event in events.Scalars("test/variance")] == [6, 12]


def test_figures_show_what_was_recorded(smoke):
    cfg, images = smoke
    run = train(cfg, images)
    assert list(q1.figures) == [f"q1_{name}" for name in OBJECTIVES]
    for column, (draw, _) in enumerate(q1.figures.values()):
        drawing = draw(run)
        batches, smooth, tests = drawing.picture.axes[0].lines
        np.testing.assert_array_equal(batches.get_ydata(), run.history[:, column])
        assert tests.get_xdata().tolist() == [6, 12] and len(smooth.get_ydata()) == 12
        np.testing.assert_array_equal(drawing.interactive.data[2].y, run.tests[:, column])


def test_numbers_are_those_of_the_record(smoke):
    cfg, images = smoke
    run = train(cfg, images)
    q1.run(cfg, run)
    numbers = json.loads((cfg.folder / "results.json").read_text())["questions"]["Q1"]["numbers"]
    assert numbers["epochs"] == 2 and numbers["batches"] == 12 and numbers["views"] == 2 * 6 * 64 * 2
    for column, name in enumerate(OBJECTIVES):
        assert numbers[name]["first_batch"] == pytest.approx(run.history[0, column])
        assert numbers[name]["last_epoch"] == pytest.approx(run.history[6:, column].mean())
        assert numbers[name]["last_test"] == pytest.approx(run.tests[1, column])
    loss = run.tests.astype(float) @ [cfg.lam, cfg.mu, cfg.nu]
    assert numbers["loss"]["last_test"] == pytest.approx(loss[1])


def test_the_distance_of_two_views_is_relative_to_that_of_unrelated_images(smoke):
    """In float64 and image by image, of the network that training starts from, as a step of training sees it."""
    cfg, images = smoke
    run = train(cfg, images)
    model = Trainer(cfg, run_settings(cfg, images), 6).model.train()
    batches = full_batches(len(images.test_images), cfg.batch_size)
    near, far, sized = [], [], []
    with torch.no_grad():
        for views in GeneratedPairs(cfg, images).tests(batches):
            z, z2 = (model(view).double().numpy() for view in views)
            both = [np.cov(part.T) / part.var(axis=0, ddof=1).mean() for part in (z, z2)]
            sized += [sum((one**2).sum() - (one.diagonal() ** 2).sum() for one in both) / z.shape[1]]
            near += [((z - z2) ** 2).sum(axis=1).mean()]
            far += [
                sum(
                    ((part[:, None] - part) ** 2).sum(axis=2)[~np.eye(len(part), dtype=bool)].mean() for part in (z, z2)
                )
                / 2
            ]
    numbers = q1.numbers(run)
    generator = new_generator(cfg.seed, "epoch", 0)
    order = torch.randperm(len(images.train_images), generator=generator)
    first = next(GeneratedPairs(cfg, images).epoch(order, [slice(cfg.batch_size)], generator))
    with torch.no_grad():
        z, z2 = map(Trainer(cfg, run_settings(cfg, images), 6).model, first)
    assert numbers["invariance"]["first_batch"] == pytest.approx((z - z2).square().mean().item(), rel=1e-4)
    assert numbers["distance"]["before"] == pytest.approx(np.mean(near) / np.mean(far), rel=1e-3)
    assert 0 < numbers["distance"]["after"] < 1
    assert numbers["correlated"]["before"] == pytest.approx(np.mean(sized), rel=1e-3)


def test_a_few_steps_on_real_images_lower_the_loss(real_data, tmp_path):
    small = {"train_size": 2_048, "test_size": 512, "epochs": 2, "batch_size": 128, "width": 8, "precision": "fp32"}
    small |= {"graph_size": 2_048, "tsne_size": 512, "tsne_train_size": 512}
    cfg = make_config("quick", dataset="cifar10", device="cpu", out=str(tmp_path), **small)
    run = train(cfg, open_dataset(cfg))
    loss = run.history @ np.array([cfg.lam, cfg.mu, cfg.nu])
    assert np.isfinite(loss).all() and loss[-8:].mean() < loss[:8].mean()


def test_a_network_that_the_last_step_breaks_is_told_and_not_kept(smoke, monkeypatch, tmp_path):
    cfg, images = smoke
    monkeypatch.setattr(training, "evaluate_terms", lambda *_: torch.tensor([1.0, float("nan"), 1.0]))
    with pytest.raises(UserError, match="lost in epoch 1"):
        train(cfg.replace(out=str(tmp_path), epochs=1), images)
    assert not [*tmp_path.rglob("last.pt"), *tmp_path.rglob("encoder.pt")]
