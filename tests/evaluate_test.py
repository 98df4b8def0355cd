"""The protocol against the papers' numbers, and its parts by hand."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from srcnn_jax import datasets, evaluate, image, metrics, paper, train, weights, workdir
from srcnn_jax.degradation import RELEASED, Degradation
from srcnn_jax.predict import predict
from srcnn_jax.weights import pretrained

IDENTITY = weights.Network(
    {
        f"conv{i}": {"kernel": np.ones((1, 1, 1, 1), np.float32), "bias": np.zeros(1, np.float32)}
        for i in (1, 2)
    }
)


def made(*shapes, luminance="ycbcr", name="made"):
    rng = np.random.default_rng(0)
    images = tuple(
        (f"image{i}", rng.integers(0, 256, shape).astype(np.uint8))
        for i, shape in enumerate(shapes)
    )
    return datasets.Dataset(name, "a test", "0", luminance, images)


def test_a_network_that_changes_nothing_scores_as_bicubic():
    result = evaluate.evaluate(IDENTITY, [made((41, 50), (38, 39, 3))], 3)
    (scores,) = result["datasets"].values()
    for row in scores["images"]:
        assert row["srcnn"] == row["bicubic"]
    psnrs = [row["bicubic"]["psnr"] for row in scores["images"]]
    assert scores["mean"]["bicubic"]["psnr"] == pytest.approx(np.mean(psnrs))
    json.dumps(result, allow_nan=False)


def test_images_of_several_widths_share_a_program(programs):
    dataset = made((30, 512), (30, 288), (30, 255), (30, 280), (34, 228))
    network = dataclasses.replace(IDENTITY, padding="valid,same")  # no other test compiles it
    tests = evaluate.create_test_images(dataset, 3, "y")
    evaluate.mean_psnr(network, tests, [3])
    assert len(programs) == 1
    evaluate.evaluate(network, [dataset], 3)
    assert len(programs) == 1


def test_the_protocol_step_by_step():
    dataset = made((41, 50, 3))
    (_, pixels), scale = dataset.images[0], 4
    y = image.rgb2ycbcr(pixels)[..., 0][:40, :48]
    float_y = y.astype(np.float32) / np.float32(255)
    enlarged = image.imresize(image.imresize(float_y, 1 / 4), 4)
    rounded = np.floor(np.clip(enlarged * 255, 0, 255) + 0.5).astype(np.uint8)
    expected = metrics.psnr(y[4:-4, 4:-4], rounded[4:-4, 4:-4])
    result = evaluate.evaluate(IDENTITY, [dataset], scale)
    assert result["datasets"]["made"]["images"][0]["bicubic"]["psnr"] == pytest.approx(expected)


def test_full_range_grey():
    result = evaluate.create_test_images(made((40, 40, 3), luminance="gray"), 2, "y")
    pixels = made((40, 40, 3)).images[0][1]
    np.testing.assert_array_equal(result[0].truth, image.rgb2gray(pixels))


@pytest.mark.parametrize("luminance", ["ycbcr", "gray"])
def test_pictures_in_colour_have_the_luminance_of_the_network(luminance):
    smooth = np.linspace(40, 200, 48).astype(np.uint8)
    pixels = np.stack([np.tile(smooth, (48, 1)), np.tile(smooth, (48, 1)).T, np.full((48, 48), 90)])
    pixels = pixels.transpose(1, 2, 0).astype(np.uint8)
    dataset = datasets.Dataset("made", "a test", "0", luminance, (("ramp", pixels),))
    (test,) = evaluate.create_test_images(dataset, 2, "y")
    shown = evaluate.pictures(test, test.truth[..., None] / np.float32(255), "y", 2)
    assert list(shown) == ["original", "bicubic", "srcnn"]
    inside = np.s_[6:-6, 6:-6]  # bicubic is as good as exact there
    for picture in shown.values():
        difference = np.abs(picture[inside].astype(int) - pixels[inside])
        assert difference.max() <= 2


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["set5", "set14", "bsd200"])
def test_bicubic_rows_are_the_papers(data_dir, name, scale):
    dataset = datasets.load(name, data_dir=data_dir)
    psnrs = [
        metrics.psnr(
            image.shave(test.truth, scale),
            image.shave(evaluate.to_luminance(test.enlarged, "y", dataset.luminance), scale),
        )
        for test in evaluate.create_test_images(dataset, scale, "y")
    ]
    published, _ = paper.BICUBIC_AND_SRCNN_955_IMAGENET_MEAN[name, scale]
    assert np.mean(psnrs) == pytest.approx(published.psnr, abs=0.015)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["set5", "set14"])
def test_bicubic_ssim_is_the_papers(data_dir, name, scale):
    dataset = datasets.load(name, data_dir=data_dir)
    result = evaluate.evaluate(IDENTITY, [dataset], scale)
    published, _ = paper.BICUBIC_AND_SRCNN_955_IMAGENET_MEAN[name, scale]
    ours = result["datasets"][name]["mean"]["bicubic"]["ssim"]
    assert ours == pytest.approx(published.ssim, abs=0.0001)


@pytest.mark.parametrize(
    ("file", "scale", "set5", "set14"),
    [
        ("srcnn_915_t91_x2.mat", 2, 36.342, 32.176),
        ("srcnn_915_t91_x3.mat", 3, 32.390, 29.003),
        ("srcnn_915_t91_x4.mat", 4, 30.081, 27.202),
        ("srcnn_935_imagenet_x3.mat", 3, 32.654, 29.237),
        ("srcnn_955_imagenet_x3.mat", 3, 32.749, 29.292),
    ],
)
def test_the_authors_weights(data_dir, oracle_dir, file, scale, set5, set14):
    loaded = weights.load(oracle_dir / "authors_weights" / file)
    tests = [datasets.load(name, data_dir=data_dir) for name in ("set5", "set14")]
    result = evaluate.evaluate(loaded, tests, scale)["datasets"]
    assert result["set5"]["mean"]["srcnn"]["psnr"] == pytest.approx(set5, abs=0.005)
    assert result["set14"]["mean"]["srcnn"]["psnr"] == pytest.approx(set14, abs=0.005)
    published = paper.SRCNN_915_T91.get(("set5", scale), {})
    if "915" in file:  # the ECCV table, image by image
        for row in result["set5"]["images"]:
            name = row["name"].removesuffix("_GT")
            assert row["srcnn"]["psnr"] == pytest.approx(published[name], abs=0.02)


def test_the_authors_955_network_on_bsd200(data_dir, oracle_dir):
    """27.180 dB and .7971, in full-range grey; bicubic is tested above."""
    network = weights.load(oracle_dir / "authors_weights" / "srcnn_955_imagenet_x3.mat")
    scores, chosen = [], metrics.by_name("psnr,ssim")
    for test in evaluate.create_test_images(datasets.load("bsd200", data_dir=data_dir), 3, "y"):
        output = predict(network, test.enlarged)
        output = evaluate.to_luminance(output, "y", test.luminance)
        scores.append(evaluate.score(test.truth, {"srcnn": output}, 3, chosen)["srcnn"])
    assert np.mean([score["psnr"] for score in scores]) == pytest.approx(27.180, abs=0.005)
    assert np.mean([score["ssim"] for score in scores]) == pytest.approx(0.7971, abs=0.00005)


@pytest.mark.parametrize("card", pretrained.read_cards(), ids=lambda card: card.file.stem)
def test_the_bundled_networks_give_the_numbers_of_their_cards(data_dir, card):
    network = weights.load(card.file)
    assert network.scale == card.scale
    arch = network.architecture
    features = "-".join(map(str, arch.features))
    assert (f"{arch}, {features}", arch.weight_count) == (card.architecture, card.weights)
    tests = [datasets.load(name, data_dir=data_dir) for name in ("set5", "set14")]
    kind = network.degradation
    assert card.small_images == str(kind)
    result = evaluate.evaluate(network, tests, card.scale, degradation=kind)["datasets"]
    for name, scores in result.items():
        mean = scores["mean"]["srcnn"]
        assert mean["psnr"] == pytest.approx(card.results[name]["psnr"], abs=0.005)
        assert mean["ssim"] == pytest.approx(card.results[name]["ssim"], abs=0.0001)
    paper = {2: 36.34, 3: 32.39, 4: 30.09}[card.scale]  # 9-1-5 on T91
    assert kind != RELEASED or card.psnr > paper + 0.25


def test_scoring_the_outputs_of_others(tmp_path):
    dataset = made((41, 50), (38, 39, 3))
    for test in evaluate.create_test_images(dataset, 3, "y"):
        Image.fromarray(image.to_uint8(test.enlarged[..., 0])).save(tmp_path / f"{test.name}.png")
    result = evaluate.evaluate_outputs(str(tmp_path), [dataset], 3)
    for row in result["datasets"]["made"]["images"]:
        assert row["outputs"] == row["bicubic"]
    assert "outputs" in paper.format_table(result)

    Image.new("L", (10, 10)).save(tmp_path / "image0.png")
    with pytest.raises(ValueError, match="'image0' of made has 10x10 pixels, not 48x39"):
        evaluate.evaluate_outputs(str(tmp_path), [dataset], 3)
    (tmp_path / "image0.png").unlink()
    words = "no output for 'image0' of made: neither 'image0' nor 'image0_x3_srcnn'"
    with pytest.raises(FileNotFoundError, match=words):
        evaluate.evaluate_outputs(str(tmp_path), [dataset], 3)


def test_outputs_of_a_folder_named_by_its_path(tmp_path):
    originals, outputs = tmp_path / "mine", tmp_path / "theirs"
    (outputs / "mine").mkdir(parents=True)
    dataset = made((41, 50), name=str(originals))
    originals.mkdir()
    (test,) = evaluate.create_test_images(dataset, 3, "y")
    Image.fromarray(test.pixels).save(originals / f"{test.name}.png")
    Image.fromarray(255 - test.pixels).save(outputs / "mine" / f"{test.name}.png")
    result = evaluate.evaluate_outputs(str(outputs), [dataset], 3)
    assert result["datasets"][str(originals)]["mean"]["outputs"]["psnr"] < 20


def test_test_sets_of_the_same_last_name_and_scoring_what_we_saved(tmp_path):
    sets = [made((41, 50), (38, 39), name=str(tmp_path / name / "HR")) for name in "AB"]
    sets[1] = dataclasses.replace(sets[1], images=tuple((n, 255 - p) for n, p in sets[1].images))
    saved = evaluate.evaluate(IDENTITY, sets, 3, tmp_path / "images")["datasets"]
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == ["A_HR", "B_HR"]
    assert len(list(tmp_path.glob("images/*/*.png"))) == 2 * 2 * 3
    scored = evaluate.evaluate_outputs(str(tmp_path / "images"), sets, 3)["datasets"]
    for each in sets:
        ours, again = saved[each.name]["mean"]["srcnn"], scored[each.name]["mean"]["outputs"]
        assert ours == pytest.approx(again)
    assert evaluate.folder_names(sets[:1]) == {sets[0].name: "HR"}


def test_outputs_that_equal_the_originals(tmp_path):
    dataset = made((41, 50))
    for test in evaluate.create_test_images(dataset, 3, "y"):
        Image.fromarray(test.pixels).save(tmp_path / f"{test.name}.png")
    result = evaluate.evaluate_outputs(str(tmp_path), [dataset], 3)
    assert result["datasets"]["made"]["mean"]["outputs"]["psnr"] == np.inf
    workdir.write_json(tmp_path / "eval.json", result)
    table = paper.format_table(result)
    assert "inf  1.0000" in table
    assert paper.format_table(workdir.read_json(tmp_path / "eval.json")) == table


def test_an_image_too_small_to_be_tested():
    with pytest.raises(ValueError, match="'image0' of made has 50x12 pixels, too few"):
        evaluate.evaluate(IDENTITY, [made((12, 50))], 3)


def test_all_metrics_in_the_table():
    dataset = made((170, 180), name="set5")
    names = "ssim,msssim,ifc,nqm,wpsnr"
    result = evaluate.evaluate(IDENTITY, [dataset], 3, metric_names=names)
    (scores,) = result["datasets"].values()
    chosen = ["psnr", *names.split(",")]
    assert list(scores["images"][0]["srcnn"]) == list(scores["mean"]["bicubic"]) == chosen
    _, _, heads, image0, _, published = paper.format_table(result).splitlines()
    assert heads.split()[1:7] == [name.upper() for name in chosen]
    assert len(image0.split()) == 1 + 2 * len(chosen)
    assert "   30.39  0.8682  0.9754    3.52   27.54   41.65" in published


def test_metrics_are_checked_before_the_work():
    with pytest.raises(ValueError, match="unknown metric 'lpips'"):
        evaluate.evaluate(IDENTITY, [made((41, 50))], 3, metric_names="psnr,lpips")
    with pytest.raises(ValueError, match="50x41 pixels, too few for msssim at scale 3"):
        evaluate.evaluate(IDENTITY, [made((41, 50))], 3, metric_names="psnr,msssim,ifc")


def test_an_error_in_the_metrics_names_its_image(monkeypatch):
    def fails(reference, image):
        raise MemoryError

    monkeypatch.setitem(metrics.METRICS, "ifc", fails)
    with pytest.raises(MemoryError) as caught:
        evaluate.evaluate(IDENTITY, [made((60, 70))], 3, metric_names="psnr,ifc")
    assert caught.value.__notes__ == ["in the metrics of image 'image0'"]


def test_a_name_too_long_to_be_saved_is_known_before_the_work(tiny_config, photographs, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    name = "a" * 238 + ".png"  # 'a..._x3_original.png' has 254 bytes
    (folder / name).write_bytes((pathlib.Path(photographs) / "cat0.png").read_bytes())
    evaluate.check_file_names([datasets.load(str(folder))], 3)
    (folder / f"é{name}").write_bytes((folder / name).read_bytes())
    config = tiny_config
    config.eval.datasets = str(folder)
    for run in (
        lambda **how: train.train_and_evaluate(config, str(tmp_path / "run"), **how),
        lambda **how: evaluate.run(config, str(tmp_path / "run"), {"srcnn": IDENTITY}, **how),
    ):
        with pytest.raises(ValueError, match=r"'éa+' of .* cannot be saved as .* than 255 bytes"):
            run(save_images=True)
    assert not (tmp_path / "run").exists()


def test_one_folder_by_two_names_is_known_before_the_training(tiny_config, photographs, tmp_path):
    tiny_config.eval.datasets = f"{photographs},{photographs}/."
    with pytest.raises(ValueError, match="are the same folder"):
        train.train_and_evaluate(tiny_config, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_the_result_says_how_it_was_made():
    kind = Degradation("gaussian", 1.2)
    made_by = dataclasses.replace(IDENTITY, degradation=kind, scale=2)
    result = evaluate.evaluate(made_by, [made((41, 50), luminance="gray")], 3)
    assert result["protocol"]["degradation"]["shrink"] == "bicubic"
    assert {**result["protocol"], "degradation": 0} == {
        "degradation": 0,
        "crop": 3,
        "border": 3,
        "peak": 255,
    }
    assert result["datasets"]["made"]["colour"] == "gray"
    assert result["networks"]["srcnn"]["degradation"]["sigma"] == 1.2
    table = paper.format_table(result)
    assert "srcnn was trained for gaussian 1.2, and is tested on bicubic\n" in table
    assert table.endswith("srcnn was trained for x2, and is tested at x3")


def test_another_degradation_is_tested_and_not_beside_the_paper():
    dataset, kind = made((60, 60), name="set5"), Degradation("gaussian", 1.2, "spline")
    (test,) = evaluate.create_test_images(dataset, 3, "y", kind)
    planes = test.truth[..., None].astype(np.float32) / np.float32(255)
    small = image.subsample(planes, 3, 1.2)
    np.testing.assert_array_equal(test.enlarged, image.spline_enlarge(small, 3))
    np.testing.assert_array_equal(test.bicubic, image.imresize(small, 3))
    network = dataclasses.replace(IDENTITY, degradation=kind)
    result = evaluate.evaluate(network, [dataset], 3, degradation=kind)
    (row,) = result["datasets"]["set5"]["images"]
    assert row["srcnn"] != row["bicubic"]  # the one is a spline
    assert paper.beside_955(result) == []
    table = paper.format_table(result)
    assert "small by gaussian 1.2, enlarged by spline" in table
    assert "not beside the paper's numbers: its small images are made by gaussian 1.2" in table
    assert "32.39" not in table


def test_drawn_test_images_are_the_same_for_every_network():
    dataset, kind = made((41, 50, 3), (40, 40)), Degradation(noise=(5, 5), jpeg=(60, 60))
    of_y, of_rgb = (evaluate.create_test_images(dataset, 2, each, kind) for each in ("y", "rgb"))
    for a, b in zip(of_y, of_rgb, strict=True):
        np.testing.assert_array_equal(a.small, b.small)
        luminance = image.luminance(a.small / 255.0, "ycbcr")
        np.testing.assert_allclose(a.enlarged[..., 0], image.imresize(luminance, 2), atol=1e-6)
    assert of_y[0].small.shape == (20, 25, 3)
    shown = evaluate.pictures(of_y[0], of_y[0].enlarged, "y", 2)
    expected = image.to_uint8(image.imresize(of_y[0].small / 255.0, 2))
    assert np.abs(shown["bicubic"].astype(int) - expected).max() <= 1


def test_several_networks_side_by_side(tmp_path):
    layer = {"kernel": np.zeros((1, 1, 1, 1), np.float32), "bias": np.full(1, 0.5, np.float32)}
    grey = dataclasses.replace(IDENTITY, params={"conv1": layer, "conv2": layer})
    networks = {"first": IDENTITY, "a_network_with_a_long_name": grey}
    dataset = made((41, 50), (38, 39, 3), name="set5")
    result = evaluate.evaluate_all(networks, [dataset], 3, images_dir=tmp_path)
    alone = [evaluate.evaluate(each, [dataset], 3) for each in networks.values()]
    for name, one in zip(networks, alone, strict=True):
        both, single = (each["datasets"]["set5"]["mean"] for each in (result, one))
        assert both[name] == single["srcnn"]
        assert both["bicubic"] == single["bicubic"]
    assert (tmp_path / "set5" / "image0_x3_a_network_with_a_long_name.png").exists()
    lines = paper.format_table(result).splitlines()
    assert lines[1].split() == ["bicubic", "first", "a_network_with_a_long_name", "paper", "9-1-5"]
    assert {len(line) for line in lines[3:5]} == {lines[1].index("a_network") + 26}
    assert lines[5].split()[-1] == "32.39"
    assert lines[6].split() == ["paper,", "9-5-5", "30.39", "0.8682", "32.75", "(ImageNet)"]
    assert lines[6].index("32.75") == lines[5].index("32.39")


def test_names_of_networks(tmp_path):
    folders = [tmp_path / name for name in ("a", "b", "x1.5", "x1.6")]
    for folder in folders:
        folder.mkdir()
        (folder / "bicubic.pth").touch()
    names = evaluate.network_names
    assert names([]) == {}
    assert names(["a/w.mat"]) == {"a/w.mat": "srcnn"}
    assert list(names([str(folder) for folder in folders]).values()) == ["a", "b", "x1.5", "x1.6"]
    files = [str(folder / "bicubic.pth") for folder in folders[:2]]
    assert list(names(files).values()) == ["a_bicubic", "b_bicubic"]
    with pytest.raises(ValueError, match="name each file once"):
        names([files[0], files[0]])


def test_pairs_for_other_programs(tmp_path):
    """All kinds have equal names, sizes and modes; the luminance gives the metrics of eval.json."""
    dataset = made((41, 50), (38, 39, 3))
    result = evaluate.evaluate_all(
        {"srcnn": IDENTITY}, [dataset], 3, pairs_dir=tmp_path, degradation=Degradation(jpeg=(9, 9))
    )
    kinds = ["bicubic", "bicubic_y", "original", "original_y", "srcnn", "srcnn_y"]
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == kinds
    for row in result["datasets"]["made"]["images"]:
        files = [Image.open(tmp_path / "made" / kind / f"{row['name']}.png") for kind in kinds]
        assert len({file.size for file in files}) == 1
        assert len({file.mode for file in files[::2]}) == 1
        truth, ours = (np.asarray(files[kinds.index(k)]) for k in ("original_y", "srcnn_y"))
        assert metrics.psnr(truth, ours) == row["srcnn"]["psnr"]
        assert metrics.ssim(truth, ours) == row["srcnn"]["ssim"]


def test_pairs_of_another_programs_outputs(tmp_path):
    dataset = made((41, 50), (38, 39, 3))
    for name, pixels in dataset.images:  # grey outputs, also for the image in colour
        grey = image.luminance(image.modcrop(pixels, 3), "ycbcr")
        Image.fromarray(grey).save(tmp_path / f"{name}.png")
    pairs = tmp_path / "pairs"
    evaluate.evaluate_outputs(str(tmp_path), [dataset], 3, pairs_dir=pairs)
    names = {path.parent.name: [] for path in pairs.glob("made/*/*")}
    for path in pairs.glob("made/*/*"):
        names[path.parent.name].append(path.stem)
    assert sorted(names["outputs_y"]) == sorted(names["original_y"]) == ["image0", "image1"]
    assert names["outputs"] == names["original"] == ["image0"]
