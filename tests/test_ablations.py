"""Q4 and Q5: pairs of neighbours by brute force, whose weights are ablated, numbers from their definitions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from claims import assert_claims_hold_up, claims_made
from matplotlib.colors import to_hex
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from torchvision.transforms import functional as TF
from vicreg_nb import ablations
from vicreg_nb.ablations import ALONE, NeighbourPairs, ablate, altered, compare, displacement, further_runs
from vicreg_nb.ablations import neighbour_run, neighbour_tables, q4, q5, squares, straight, whitened
from vicreg_nb.book import Numbers, plain_numbers
from vicreg_nb.config import make_config
from vicreg_nb.data import normalise, open_dataset, to_float
from vicreg_nb.ladder import ladder_runs
from vicreg_nb.methods import baseline, features, run_of
from vicreg_nb.plots import RIGHT, WRONG
from vicreg_nb.representations import Features, encode, features_of
from vicreg_nb.store import UserError, new_generator
from vicreg_nb.training import Trainer
from vicreg_nb.views import draw_parameters


def brute_force(x, queries):
    return np.linalg.norm(queries[:, None].astype(np.float64) - x.astype(np.float64), axis=2)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    cfg = make_config("smoke", out=str(tmp_path_factory.mktemp("ablations")), device="cpu", epochs=1)
    return cfg, open_dataset(cfg)


@pytest.fixture(scope="module")
def ablated(smoke):
    cfg, images = smoke
    return ablate(cfg.replace(mu=0.0), images)


@pytest.fixture(scope="module")
def compared(smoke):
    return compare(*smoke)


def test_neighbour_pairs_are_looked_up_in_the_data_set_and_not_augmented(smoke):
    cfg, images = smoke
    found = features(cfg, images, "vicreg")
    indices = torch.tensor([300, 5, 17, 200])
    x, x2 = next(NeighbourPairs(cfg, images, found).epoch(indices, [slice(4)], new_generator(0, "pairs")))
    everything = normalise(to_float(images.train_images))
    torch.testing.assert_close(x, everything[indices])
    exact = np.argsort(brute_force(found.train, found.train[indices.numpy()]), axis=1)
    for row, image in enumerate(indices.tolist()):
        allowed = [other for other in exact[row] if other != image][:3]
        assert any(torch.equal(x2[row], everything[other]) for other in allowed)


def test_all_three_neighbours_are_drawn_equally(smoke):
    cfg, images = smoke
    found = features(cfg, images, "vicreg")
    pairs, table = NeighbourPairs(cfg, images, found), neighbour_tables(cfg, found)[0]
    everything = normalise(to_float(images.train_images))
    _, x2 = next(pairs.epoch(torch.zeros(3_000, dtype=torch.long), [slice(3_000)], new_generator(0, "draws")))
    shares = [(x2 == everything[other]).flatten(1).all(dim=1).float().mean().item() for other in table[0]]
    assert sum(shares) == pytest.approx(1) and shares == pytest.approx([1 / 3] * 3, abs=0.05)


def test_test_pairs_take_neighbours_from_the_training_images(smoke):
    cfg, images = smoke
    found = features(cfg, images, "vicreg")
    x, x2 = next(NeighbourPairs(cfg, images, found).tests([slice(6)]))
    torch.testing.assert_close(x, normalise(to_float(images.test_images[:6])))
    exact = np.argsort(brute_force(found.train, found.test[:6]), axis=1)[:, :3]
    everything = normalise(to_float(images.train_images))
    assert all(any(torch.equal(x2[row], everything[other]) for other in exact[row]) for row in range(6))


def test_pairs_of_other_neighbours_are_another_training(smoke):
    cfg, images = smoke
    found = features(cfg, images, "vicreg")
    others = [cfg.replace(neighbour_count=2), cfg, cfg]
    sources = [found, Features(found.train, found.test, "another encoder"), found]
    names = {NeighbourPairs(*each).identity for each in zip(others, [images] * 3, sources, strict=True)}
    assert len(names) == 3


def test_q5_trains_as_long_as_it_is_told_on_q1s_neighbours(smoke, compared):
    cfg, images = smoke
    sides = compared["sides"]
    assert len(sides["neighbours"].run.tests) == len(sides["control"].run.tests) == cfg.neighbour_epochs
    table = neighbour_tables(cfg, features(cfg, images, "vicreg"))[0]
    np.testing.assert_array_equal(compared["table"], table)
    assert (
        neighbour_run(cfg, images).folder == sides["neighbours"].run.folder == run_of(cfg, images, "neighbours").folder
    )


def test_what_q5_shares_with_the_ladder_is_trained_once(smoke, compared):
    cfg, images = smoke
    runs = ladder_runs(cfg, images)
    ours = {"augmentations": "views", "vicreg": "more", "oracle": "oracle"}
    assert {kind: runs[kind].folder for kind in ours} == {
        kind: compared["sides"][name].run.folder for kind, name in ours.items()
    }


def test_neighbours_for_as_long_as_q1_where_it_is_asked_for(smoke):
    cfg, images = smoke
    longer, found = cfg.replace(epochs=2, neighbours_as_long=True), features(cfg, images, "vicreg")
    assert len(further_runs(longer, images, found)["long"].tests) == 2
    short = cfg.replace(neighbours_as_long=False)
    assert "long" not in further_runs(short, images, found)
    result = compare(short, images)
    numbers = plain_numbers(q5.numbers(result))
    assert numbers["long"] is None and "as long as Q1" not in str(q5.tables[0](Numbers(numbers)))
    assert q5.answer(numbers).startswith("**") and "not tried" in q5.answer(numbers)
    assert_claims_hold_up({"Q5": {"numbers": numbers}})


def test_altered_images_are_torchvisions(smoke):
    """Colours in their order, a crop as resized_crop makes it; at most a grey level away by rounding."""
    _, images = smoke
    pictures = images.test_images[:24]
    drawn = draw_parameters(len(pictures), new_generator(0, "altered"))
    shown = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
    operations = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation, TF.adjust_hue)
    for kind, names in ALONE.items():
        found = altered(pictures, names, new_generator(0, "altered"))
        for i, image in enumerate(shown):
            if kind == "crop":
                box = (getattr(drawn, name)[i].item() for name in ("top", "left", "height", "width"))
                image = TF.resized_crop(image, *box, [32, 32], antialias=True)
            else:
                factors = (drawn.brightness[i], drawn.contrast[i], drawn.saturation[i], drawn.hue[i])
                for number in drawn.order[i].tolist():
                    image = operations[number](image, factors[number].item())
            expected = (255 * image).round().permute(1, 2, 0).numpy()
            assert np.abs(found[i].astype(float) - expected).max() <= 1


def test_displacement_is_relative_to_two_unrelated_images():
    x = np.random.default_rng(0).normal(size=(300, 4)) * [5, 2, 1, 0] + 9
    unrelated = brute_force(x, x) ** 2
    moved = x + np.random.default_rng(1).normal(size=x.shape)
    expected = ((moved - x) ** 2).sum(axis=1) / unrelated.mean()
    np.testing.assert_allclose(displacement(x, moved, x), expected, rtol=1e-9)
    np.testing.assert_allclose(displacement(7 * x, 7 * moved, 7 * x), expected, rtol=1e-9)  # of any scale


def test_more_neighbours_than_images(smoke):
    cfg, images = smoke
    with pytest.raises(UserError, match="k is 400"):
        neighbour_tables(cfg.replace(neighbour_count=400), features(cfg, images, "vicreg"))


def test_only_q4_is_ablated(smoke, ablated):
    cfg, images = smoke
    asked = cfg.replace(mu=1.0, nu=2.0)
    sides = ablate(asked, images)["sides"]
    assert (sides["ablated"].run.cfg, sides["vicreg"].run.cfg) == (asked, cfg) == (asked, baseline(asked))
    assert sides["ablated"].run.folder.name.startswith("ablation-")
    assert ablated["sides"]["ablated"].run.folder == run_of(cfg, images, "no_variance").folder
    assert {side.run.cfg.mu for side in compare(asked, images)["sides"].values()} == {cfg.mu}


@pytest.mark.parametrize("name", ["lam", "mu", "nu"])
def test_any_weight_can_be_ablated_and_the_figure_says_which(smoke, name):
    cfg, images = smoke
    result = ablate(cfg.replace(**{name: 3.0}), images)
    titles = [ax.get_title() for ax in ablations.q4_pca(result).picture.axes]
    assert f"{name} = 3" in titles and len(titles) == 2


def test_nothing_ablated_is_refused_before_any_work(tmp_path):
    cfg = make_config("smoke", out=str(tmp_path))
    with pytest.raises(UserError, match="mu is 25"):
        ablate(cfg, open_dataset(cfg))
    with pytest.raises(UserError, match="mu is 25"):
        q4.run(cfg)
    assert not list(tmp_path.iterdir())


def test_whitened_features_have_equal_spread_and_the_same_contents():
    random = np.random.default_rng(0)
    train, test = (
        (random.normal(size=(n, 5)) * [9, 3, 1, 0.1, 0.01] + 7) @ random.normal(size=(5, 5)) for n in (900, 40)
    )
    found = whitened(Features(train, test, "made"))
    np.testing.assert_allclose(np.cov(found.train.T), np.eye(5), atol=1e-8)
    inverse = np.linalg.inv(np.cov(train.T))  # Euclidean distances of whitened points are Mahalanobis distances
    step = test[:-1] - test[1:]
    mahalanobis = np.sqrt(np.einsum("ij,jk,ik->i", step, inverse, step))
    np.testing.assert_allclose(np.linalg.norm(found.test[:-1] - found.test[1:], axis=1), mahalanobis, rtol=1e-5)


def test_squares_and_straightness_by_a_histogram_and_pca():
    points = np.random.default_rng(0).normal(size=(500, 2)) @ [[3, 1], [0, 0.2]]
    low, high = np.percentile(points, (0.5, 99.5), axis=0)
    inside = points[((points >= low) & (points <= high)).all(axis=1)]
    frame = [(start, start + (high - low).max()) for start in low]
    held = np.histogram2d(*inside.T, bins=50, range=frame)[0] > 0
    np.testing.assert_array_equal(squares(points), np.argwhere(held))
    near = [points[order] for order in np.argsort(brute_force(points, points), axis=1)[:, :10]]
    shares = [PCA().fit(ten).explained_variance_ratio_[0] for ten in near]
    assert straight(points) == pytest.approx(np.mean(shares))


def test_q4s_numbers_from_their_definitions(smoke, ablated):
    cfg, images = smoke
    numbers, side = q4.numbers(ablated), ablated["sides"]["ablated"]
    found, test = numbers["ablated"], side.features.test.astype(np.float64)
    pca = PCA().fit(test)
    assert found["first_singular_value"] == pytest.approx(np.sqrt(pca.explained_variance_[0]), rel=1e-5)
    assert found["share_of_first"] == pytest.approx(pca.explained_variance_ratio_[0], rel=1e-5)
    assert found["share_of_picture"] == pytest.approx(pca.explained_variance_ratio_[:2].sum(), rel=1e-5)
    near = NearestNeighbors(n_neighbors=10).fit(test).kneighbors(return_distance=False)
    assert found["agreement"] == pytest.approx((images.test_labels[near] == images.test_labels[:, None]).mean())
    assert (found["mu"], numbers["vicreg"]["mu"], numbers["epochs"]) == (0, cfg.mu, cfg.epochs)
    whole = ablated["sides"]["vicreg"].probe.accuracy
    pca = PCA().fit(ablated["z"]["ablated"].astype(np.float64))
    assert found["z"]["first_singular_value"] == pytest.approx(np.sqrt(pca.explained_variance_[0]), rel=1e-4)
    assert found["z"]["spread"] == pytest.approx(ablated["z"]["ablated"].std(axis=0).mean(), rel=1e-4)
    assert numbers["lost"]["points"] == pytest.approx(100 * (whole - side.probe.accuracy))
    plain = {name: probe.accuracy for name, probe in ablated["plain"].items()}
    assert found["learned"]["points"] == pytest.approx(100 * (side.probe.accuracy - plain["untrained"]))
    assert numbers["recovered"]["points"] == pytest.approx(100 * (found["whitened"] - plain["ablated"]))


def test_projections_are_those_of_the_trained_networks(smoke, ablated):
    cfg, images = smoke
    run = ablated["sides"]["vicreg"].run
    trainer = Trainer(cfg, {"precision": "fp32"}, 1)
    trainer.load(torch.load(run.folder / "last.pt", weights_only=False))
    with torch.no_grad():
        z = trainer.model.eval()(normalise(to_float(images.test_images)))
    np.testing.assert_allclose(ablated["z"]["vicreg"], z.numpy(), atol=1e-4)


def test_without_a_checkpoint_nothing_is_said_of_projections(ablated):
    without = ablated | {"z": dict.fromkeys(ablated["z"])}
    assert len(ablations.q4_spectrum(ablated).picture.axes) == 2
    assert len(ablations.q4_spectrum(without).picture.axes) == 1
    assert "projection" not in q4.answer(plain_numbers(q4.numbers(without)))


@pytest.mark.parametrize("collapsed", [["no_variance"], ["no_variance", "vicreg"]])
def test_a_collapsed_representation_is_a_result(smoke, monkeypatch, collapsed):
    cfg, images = smoke

    def constant(cfg, images, run, *precision):
        found = features_of(cfg, images, run, *precision)
        same = {part: np.full_like(getattr(found, part), 0.1) for part in ("train", "test")}
        return replace(found, **same) if run.folder.name.split("-")[0] in collapsed else found

    monkeypatch.setattr(ablations, "features_of", constant)
    monkeypatch.setattr(ablations, "projections", lambda cfg, images, run: np.zeros((len(images.test_labels), 8)))
    result = ablate(cfg.replace(mu=0.0), images)
    for draw, _ in q4.figures.values():
        draw(result).picture.canvas.draw()
    numbers = plain_numbers(q4.numbers(result))
    assert (numbers["ablated"]["effective_rank"], numbers["ablated"]["whitened"]) == (0, 1 / len(images.classes))
    assert_claims_hold_up({"Q4": {"numbers": numbers}})


def test_the_terms_are_drawn_as_they_were_recorded(ablated):
    axes = ablations.q4_terms(ablated).picture.axes
    run = ablated["sides"]["ablated"].run
    window = max(1, len(run.history) // 50)
    for column, ax in enumerate(axes):
        drawn = ax.lines[1].get_ydata()
        assert len(drawn) == len(run.history)
        middle = len(drawn) // 2
        near = run.history[max(0, middle - window) : middle + window + 1, column]
        assert near.min() - 1e-6 <= drawn[middle] <= near.max() + 1e-6


def test_q5s_numbers_from_their_definitions(smoke, compared):
    _, images = smoke
    numbers, labels = q5.numbers(compared), images.train_labels
    right = labels[compared["table"]] == labels[:, None]
    assert numbers["same_class"] == pytest.approx(right.mean()) == pytest.approx(1 - numbers["other_class"])
    np.testing.assert_allclose(numbers["same_class_by_rank"], right.mean(axis=0))
    right = labels[compared["more"]] == labels[:, None]
    assert numbers["same_class_of_more"] == pytest.approx(right.mean()) == pytest.approx(1 - numbers["other_of_more"])
    assert numbers["same_class_of_blind"] == pytest.approx((labels[compared["blind"]] == labels[:, None]).mean())
    accuracies = {name: side.probe.accuracy for name, side in compared["sides"].items()}
    ahead = accuracies["neighbours"] - accuracies["control"]
    assert numbers["ahead_of_control"]["points"] == pytest.approx(100 * ahead)
    assert numbers["by_labels"]["points"] == pytest.approx(100 * (accuracies["oracle"] - accuracies["more"]))
    means = {name: compared["moved"][name]["crop"].mean() for name in ("neighbours", "control")}
    assert numbers["moved_more"]["crop"]["more"] == pytest.approx(means["neighbours"] - means["control"])


def test_frames_are_green_for_the_same_class_and_red_for_another(smoke, compared):
    _, images = smoke
    axes = ablations.q5_neighbours(compared).picture.axes
    assert len(axes) == 10 * (1 + compared["table"].shape[1])
    for place, ax in enumerate(axes[10:], 10):
        image = np.flatnonzero(images.train_labels == place % 10)[0]
        number = compared["table"][image, place // 10 - 1]
        np.testing.assert_array_equal(ax.images[0].get_array(), images.train_images[number])
        colour = RIGHT if images.train_labels[number] == place % 10 else WRONG
        assert to_hex(ax.spines["top"].get_edgecolor()) == colour


def test_each_method_has_its_own_encoder(smoke):
    cfg, images = smoke
    found = {}
    for name in ("vicreg", "no_variance", "neighbours"):
        found[name] = features(cfg, images, name)
        again = encode(run_of(cfg, images, name).encoder(), images.test_images)
        np.testing.assert_allclose(found[name].test, again, atol=1e-5)
    assert len({each.identity for each in found.values()}) == 3


def test_a_missing_q1_is_trained_first_and_said_so(tmp_path, capsys):
    cfg = make_config("smoke", out=str(tmp_path), epochs=1)
    run_of(cfg, open_dataset(cfg), "neighbours")
    printed = capsys.readouterr().out
    assert printed.index("mu = 25") < printed.index("training vicreg") < printed.index("training neighbours")


def test_an_unknown_method_is_named(smoke):
    with pytest.raises(UserError, match="simclr"):
        run_of(*smoke, "simclr")


def test_baseline_restores_the_profiles_weights():
    assert baseline(make_config("smoke", mu=0.0, lam=3.0)) == make_config("smoke")


@pytest.mark.parametrize("lost", [5, 0, -5])
@pytest.mark.parametrize("name", ["Q4", "Q5"])
def test_there_is_one_verdict_whatever_comes_out(ablated, compared, name, lost):
    question, result = {"Q4": (q4, ablated), "Q5": (q5, compared)}[name]
    numbers = plain_numbers(question.numbers(result)) | {"lost": Numbers(points=lost, interval=1.0)}
    assert claims_made(question, numbers, "lost.interval") == 1


@pytest.mark.parametrize("number", ["by_time", "by_labels", "by_number"])
@pytest.mark.parametrize("points", [15, 5, 0, -5])
def test_each_reason_has_one_claim_whatever_comes_out(compared, number, points):
    numbers = plain_numbers(q5.numbers(compared))
    numbers["vicreg"]["epochs"] = numbers.neighbours.epochs + 1
    numbers["more"]["epochs"] = numbers.neighbours.epochs
    measured = {"lost": Numbers(points=10, interval=1.0), "by_labels": Numbers(points=0, interval=1.0)}
    measured[number] = Numbers(points=points, interval=1.0)
    assert claims_made(q5, numbers | measured, f"{number}.interval") == 1


@pytest.mark.parametrize("colours", [5, 0, -5])
@pytest.mark.parametrize("crop", [5, 0, -5])
def test_whether_an_invariance_lasts_has_one_claim_whatever_comes_out(compared, colours, crop):
    numbers = plain_numbers(q5.numbers(compared))
    gaps = {"colours": colours, "crop": crop}
    numbers["moved_more"] = Numbers({kind: {"more": 5, "interval": 1} for kind in gaps})
    numbers["moved_as_long"] = Numbers({kind: {"more": gap, "interval": 1, "share": 1} for kind, gap in gaps.items()})
    numbers["long"] = numbers.vicreg
    assert claims_made(q5, numbers, "moved_as_long.crop.interval") == 1
