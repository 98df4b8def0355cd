"""The report: its numbers, its errors, and the page in a real Chromium."""

import contextlib
import io
import json
import pathlib
import re
import shutil

import numpy as np
import pytest
import skimage.data
from PIL import Image

from configs import default
from experiments.report import chart
from experiments.report import page as report
from srcnn_jax import datasets, evaluate, paper, weights, workdir
from srcnn_jax.predict import predict

SCALE = 3
NASTY = "<img src=x onerror=alert(1)>&\"'"


def finish(folder: pathlib.Path, tests: str) -> pathlib.Path:
    """A finished workdir of the bundled network, as a run leaves it."""
    config = default.get_config(f"x{SCALE}")
    config.eval.datasets = tests
    network = weights.load_pretrained(SCALE)
    test = datasets.load(tests)
    data = {name: (test.source, test.fingerprint) for name in ("t91", tests)}
    workdir.open_run(folder, config, data, {"command": ["main", NASTY], "devices": ["cpu:0"]})
    metrics = workdir.MetricWriter(folder, 0)
    metrics.write(0, psnr=30.0)
    for step in (1000, 9000):
        metrics.write(step, loss=0.1, patches_per_second=640.0)
        metrics.write(step, psnr=31.0 + step / 9000, psnr_valid=31.1 + step / 9000)
    metrics.close()
    weights.save(folder / "weights.safetensors", network)
    workdir.write_json(folder / "eval.json", evaluate.evaluate(network, [test], SCALE))
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> str:
    """Two small photographs, of colour and grey, of sizes that the scale does not divide."""
    folder = tmp_path_factory.mktemp("pictures")
    cat = skimage.data.cat()[60:, 130:]
    Image.fromarray(cat[:91, :110]).save(folder / f"1{NASTY}.png")
    Image.fromarray(cat[100:200, 40:141, 1]).save(folder / "2.png")
    return str(folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, pictures) -> pathlib.Path:
    return finish(tmp_path_factory.mktemp("runs") / NASTY, pictures)


@pytest.fixture(scope="module")
def page(tmp_path_factory, finished) -> pathlib.Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    report.main([str(finished), "-o", str(path)])
    return path


@pytest.fixture(scope="module")
def expected(pictures) -> list[list[np.ndarray]]:
    """Ground truth, bicubic and SRCNN of each picture, (H, W, 3)."""
    network = weights.load_pretrained(SCALE)
    return [
        [
            np.broadcast_to(pixels.reshape(*pixels.shape[:2], -1), (*pixels.shape[:2], 3))
            for pixels in evaluate.pictures(
                test, predict(network, test.enlarged), "y", SCALE
            ).values()
        ]
        for test in evaluate.create_test_images(datasets.load(pictures), SCALE, "y")
    ]


def scores(psnr: float | None) -> dict:
    both = {"bicubic": {"psnr": 30.0, "ssim": 0.8}, "srcnn": {"psnr": psnr, "ssim": 0.90906}}
    images = [{"name": f"{name}_GT", **both} for name in paper.SRCNN_915_T91["set5", 3]]
    return {"images": images, "mean": both}


def test_scores_beside_the_papers():
    frame = report.scores_table("set5", 3, scores(32.5)).set_index("image")
    assert list(frame.index) == [
        *("baby", "bird", "butterfly", "head", "woman"),
        *("mean", "paper 9-5-5 ImageNet", "difference"),
    ]
    butterfly = frame.loc["butterfly"]
    assert list(butterfly) == ["30.00", "32.50", "27.58", "+4.92", "0.8000", "0.9091"]
    assert list(frame.loc["mean"])[:4] == ["30.00", "32.50", "32.39", "+0.11"]
    assert list(frame.loc["paper 9-5-5 ImageNet"])[:2] == ["30.39", "32.75"]
    assert list(frame.loc["difference"]) == ["-0.39", "-0.25", "", "", "-0.0682", "+0.0001"]
    assert report.difference(0.99999, 1.0, 2) == "+0.00"
    frame = report.scores_table("mine", 3, scores(None)).set_index("image")
    assert list(frame.loc["mean"]) == ["30.00", "∞", "0.8000", "0.9091"]


def test_summary(finished):
    run = report.read(finished)
    names = report.labels([run.folder, *run.tables])
    (row,) = report.summary([run], names).to_dict("records")
    assert (row["run"], row["network"], row["filters"]) == (NASTY, "9-1-5", "64-32")
    assert (row["trained on"], row["patches"], row["seconds"]) == ("t91", "576,000", "900")
    mean = run.result.mean(run.watched)
    assert row[f"{names[run.watched]} PSNR"] == f"{mean:.2f}"


def test_a_sweep_has_its_table_its_plots_and_its_runs(tmp_path, finished):
    folder, output = tmp_path / "a sweep", tmp_path / "report.html"
    for name in ("f2=1,seed=0", "f2=1,seed=1"):
        shutil.copytree(finished, folder / "trials" / name)
    (folder / "trials" / "f2=3,seed=0").mkdir()  # it has only begun
    arguments = [str(folder), str(folder / "trials" / "f2=1,seed=1"), "-o", str(output)]
    with pytest.raises(SystemExit, match=r"is a sweep without table\.csv: its command"):
        report.main(arguments)
    (folder / "table.csv").write_text(
        f'f2,multiply-adds,PSNR on set5,front\n"{NASTY[:16]}",9,–,*\n'
    )
    plots = {
        "cost": "PSNR on set5 over multiply-adds",
        "importance": "Importance of each parameter",
    }
    for index, name in enumerate(plots):
        Image.new("L", (150, 75), index).save(folder / f"{name}.png", dpi=(150, 150))
    report.main([*arguments, "--images="])
    text = output.read_text()
    (section,) = re.findall(r'<section id="sweeps">.*?</section>', text, re.DOTALL)
    assert '<th scope="row">&lt;img src=x onerr</th><td>9</td><td>–</td><td>*</td>' in section
    for name, words in plots.items():
        uri = report.data_uri((folder / f"{name}.png").read_bytes())
        assert f'<img src="{uri}" width="96" height="48" alt="{words}' in section
    (table,) = re.findall(r'<section id="summary">.*?</section>', text, re.DOTALL)
    assert re.findall(r'<th scope="row">(.*?)</th>', table) == ["f2=1,seed=1", "f2=1,seed=0"]
    report.main(arguments)  # pictures of the run that was named, and not of all
    assert 'alt="2, ' in output.read_text()
    assert "SRCNN f2" not in output.read_text()


def test_short_names_are_unique():
    assert report.labels(["a/x3", "b/x3", "b/x2", "set5"]) == {
        **{"a/x3": "a/x3", "b/x3": "b/x3"},
        **{"b/x2": "x2", "set5": "set5"},
    }


def test_the_papers_curves_are_those_of_the_network(finished):
    run = report.read(finished)
    found = report.published_curves(run)
    assert set(found) == {"paper 9-1-5 T91", "paper 9-1-5 ImageNet"}
    assert found["paper 9-1-5 T91"].patches.max() > 8e8
    (drawing,) = report.charts([run], {run.folder: "run", run.watched: "mine"})
    assert [line[:2] for line in drawing.lines] == [
        ("run", "ours"),
        ("run, valid region", "valid"),
    ]


def test_a_chart_places_points_on_its_axes():
    curve = chart.Curve("a", "ours", [(1e5, 20.0), (1e6, 31.0), (1e7, 32.0)])
    drawing = chart.draw("title", [curve], 30.0)
    ticks = {text: x for x, text in drawing.x_ticks}
    assert list(ticks) == ["10⁵", "10⁶", "10⁷"]
    heights = {text: y for y, text in drawing.y_ticks}
    assert drawing.bicubic == heights["30.0"]
    ((_, _, _, points),) = drawing.lines
    assert points == [(ticks["10⁶"], heights["31.0"]), (ticks["10⁷"], heights["32.0"])]


def test_mistakes_are_one_line(tmp_path, finished, pictures):
    def error(*arguments) -> str:
        with pytest.raises(SystemExit) as stop:
            report.main([*map(str, arguments), "-o", str(tmp_path / "report.html")])
        assert "\n" not in stop.value.code
        return stop.value.code

    def damaged(name: str, content: bytes | None) -> pathlib.Path:
        folder = tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(finished, folder)
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)
        return folder

    assert "there is no workdir" in error(tmp_path / "none")
    for name in report.FILES:
        message = error(damaged(name, None))
        assert f"damaged has no {name}" in message
        assert "start its command again" in message
        assert f"damaged/{name} is" in error(damaged(name, b'{"step": 1'))
    for name in ("config.json", "eval.json"):
        assert "damaged holds a damaged file" in error(damaged(name, b'{"datasets": {}}'))
    assert "not tested on 'set5': choose --images from" in error(finished, "--images=set5")
    evaluation = json.loads((finished / "run.json").read_text())
    evaluation["data"][pictures][1] = "other"
    changed = damaged("run.json", json.dumps(evaluation).encode())
    assert "is not what" in error(changed)
    report.main([str(changed), "--images=", "-o", str(tmp_path / "report.html")])
    text = (tmp_path / "report.html").read_text()
    assert 'class="viewer"' not in text


@contextlib.contextmanager
def started(*arguments: str):
    """A headless Chromium, Debian's; skips without one."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("no Chromium: apt-get install chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    always = ("headless=new", "no-sandbox", "disable-dev-shm-usage", "force-color-profile=srgb")
    for argument in (*always, *arguments):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def chromium():
    with started() as driver:
        yield driver


@pytest.fixture
def browser(chromium):
    """Chromium with a window of 1000 x 800; resized by `resize`."""
    resize(chromium, 1000, 800, 1.0)
    return chromium


def resize(browser, width: int, height: int, ratio: float, **settings) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": ratio, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**metrics, **settings})


def open_viewer(browser, page: pathlib.Path, index: int):
    """Opens the page; the viewer of a test image, scrolled into view."""
    browser.get(page.as_uri())
    viewer = browser.find_elements("css selector", ".viewer")[index]
    browser.execute_script(
        "arguments[0].scrollIntoView({block: 'center'});"
        "scrollTo(0, 8 * Math.round(scrollY / 8))",  # whole pixels of the screen at 2.625 too
        part(viewer),
    )
    return viewer


def part(viewer, selector: str = ".stage"):
    return viewer.find_element("css selector", selector)


def divider(viewer) -> float:
    return float(part(viewer, "input[type=range]").get_property("value"))


def press(browser, *keys) -> None:
    from selenium.webdriver import ActionChains

    ActionChains(browser, duration=0).send_keys(*keys).perform()


def seen(browser, viewer) -> np.ndarray:
    """The pixels of the screen that show the picture, once it is decoded."""
    browser.execute_async_script(
        "const [viewer, done] = arguments;"
        "Promise.all([...viewer.querySelectorAll('img:not([hidden])')].map(i => i.decode()))"
        ".then(() => requestAnimationFrame(() => requestAnimationFrame(done)))",
        viewer,
    )
    return photographed(browser, viewer)


def photographed(browser, viewer) -> np.ndarray:
    """As `seen`, but does not wait."""
    box = browser.execute_script(
        "const box = arguments[0].getBoundingClientRect();"
        "return [box.top, box.bottom, box.left, box.right].map(each => each * devicePixelRatio)",
        part(viewer, ".scroll"),
    )
    top, bottom, left, right = map(round, box)
    screen = np.asarray(Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB"))
    return screen[top:bottom, left:right]


def check_wipe(browser, viewer, left, right, pixels: int, ratio: float = 1.0) -> None:
    """The screen shows `left` and `right` beside the divider, each pixel `pixels` wide."""
    screen = seen(browser, viewer)
    zoomed = [picture.repeat(pixels, 0).repeat(pixels, 1) for picture in (left, right)]
    assert screen.shape == zoomed[0].shape
    cut = divider(viewer) / 100 * screen.shape[1]
    handle = 12 * ratio  # pixels that the divider and its grip may cover on each side
    before, after = max(0, round(cut - handle)), round(cut + handle)
    np.testing.assert_array_equal(screen[:, :before], zoomed[0][:, :before])
    np.testing.assert_array_equal(screen[:, after:], zoomed[1][:, after:])
    if 0 < cut < screen.shape[1]:  # no more than the line is covered where the grip is not
        line = round(3 * ratio)
        top = screen[: screen.shape[0] // 2]
        left_part, right_part = (each[: len(top)] for each in zoomed)
        before, after = round(cut) - line, round(cut) + line
        np.testing.assert_array_equal(top[:, :before], left_part[:, :before])
        np.testing.assert_array_equal(top[:, after:], right_part[:, after:])


def test_the_slider_moves_by_keyboard_and_pointer(browser, page, expected):
    from selenium.webdriver import ActionChains, Keys

    for index, (_, bicubic, srcnn) in enumerate(expected):
        viewer = open_viewer(browser, page, index)
        assert (bicubic != srcnn).any()
        check_wipe(browser, viewer, bicubic, srcnn, 4)
        browser.execute_script("arguments[0].focus()", part(viewer, ".scroll"))
        press(browser, Keys.TAB, *[Keys.ARROW_LEFT] * 20)
        assert divider(viewer) == 30
        check_wipe(browser, viewer, bicubic, srcnn, 4)
        ActionChains(browser).move_to_element_with_offset(
            part(viewer), -0.2 * bicubic.shape[1] * 4, -50
        ).click_and_hold().move_by_offset(150, 20).release().perform()
        assert divider(viewer) == pytest.approx(30 + 150 / bicubic.shape[1] / 4 * 100, abs=0.5)
        check_wipe(browser, viewer, bicubic, srcnn, 4)
        press(browser, Keys.HOME)
        check_wipe(browser, viewer, bicubic, srcnn, 4)
        press(browser, Keys.END)
        check_wipe(browser, viewer, bicubic, srcnn, 4)


def test_pictures_and_zoom_are_chosen_by_keyboard(browser, page, finished, expected):
    from selenium.webdriver import ActionChains, Keys

    truth, bicubic, srcnn = expected[0]
    row = json.loads((finished / "eval.json").read_text())
    (row, _) = next(iter(row["datasets"].values()))["images"]
    psnr = {method: f"{row[method]['psnr']:.2f} dB" for method in ("bicubic", "srcnn")}
    viewer = open_viewer(browser, page, 0)

    def names() -> list[str]:
        return [part(viewer, f"[data-shown={side}]").text for side in ("left", "right")]

    assert names() == [f"bicubic {psnr['bicubic']}", f"SRCNN {psnr['srcnn']}"]
    browser.execute_script("arguments[0].focus()", part(viewer, ".scroll"))
    press(browser, "1")
    assert names()[1] == "ground truth"
    check_wipe(browser, viewer, bicubic, truth, 4)
    ActionChains(browser).key_down(Keys.SHIFT).send_keys("3").key_up(Keys.SHIFT).perform()
    press(browser, "2", "-")
    assert names() == [f"SRCNN {psnr['srcnn']}", f"bicubic {psnr['bicubic']}"]
    check_wipe(browser, viewer, srcnn, bicubic, 2)
    press(browser, "3")
    check_wipe(browser, viewer, srcnn, srcnn, 2)
    # And by the buttons: Tab goes to the one chosen, arrows to the next.
    part(viewer, "[data-part=left]:checked").send_keys(Keys.ARROW_LEFT)
    assert names()[0] == f"bicubic {psnr['bicubic']}"
    part(viewer, "[data-part=zoom]:checked").send_keys(Keys.ARROW_LEFT)
    check_wipe(browser, viewer, bicubic, srcnn, 1)


@pytest.mark.parametrize("ratio", [2.0, 3.0])
def test_on_a_phone(browser, page, expected, ratio):
    resize(browser, 360, 780, ratio, mobile=True)
    browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})  # as they soon are
    viewer = open_viewer(browser, page, 0)
    sizes = "return [document.documentElement.scrollWidth, innerWidth]"
    assert browser.execute_script(sizes) == [360, 360]
    _, bicubic, srcnn = expected[0]
    pixels = int(ratio)
    browser.execute_script("arguments[0].focus()", part(viewer, ".scroll"))
    press(browser, *"----", "+")
    check_wipe(browser, viewer, bicubic, srcnn, 2 * pixels, ratio)
    press(browser, "+", "+")  # too large: it scrolls in its own frame, under the divider
    assert browser.execute_script(sizes) == [360, 360]
    browser.execute_script("arguments[0].scrollTo(160, 80)", part(viewer, ".scroll"))
    left, top = (
        round(part(viewer, ".scroll").get_property(f"scroll{side}") * ratio)
        for side in ("Left", "Top")
    )
    assert left > 0
    assert top > 0
    height, width = seen(browser, viewer).shape[:2]
    zoomed = [each.repeat(8 * pixels, 0).repeat(8 * pixels, 1) for each in (bicubic, srcnn)]
    part_seen = [each[top : top + height, left : left + width] for each in zoomed]
    check_wipe(browser, viewer, *part_seen, 1, ratio)


def test_pixels_are_exact_on_a_screen_of_fractional_ratio(page, expected):
    ratio = 2.625
    with started(f"force-device-scale-factor={ratio}", "window-size=600,900") as browser:
        for index, (_, bicubic, srcnn) in enumerate(expected):
            viewer = open_viewer(browser, page, index)
            pixels = 3 * int(part(viewer, "[data-part=zoom]:checked").get_property("value"))
            check_wipe(browser, viewer, bicubic, srcnn, pixels, ratio)


def test_the_divider_follows_a_finger(browser, page):
    resize(browser, 360, 780, 2.0, mobile=True)
    viewer = open_viewer(browser, page, 0)
    box = browser.execute_script(
        "return arguments[0].getBoundingClientRect().toJSON()", part(viewer)
    )
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 3
    for kind, move in (("Start", 0), ("Move", 30), ("Move", 60), ("End", None)):
        points = [] if move is None else [{"x": x + move, "y": y}]
        browser.execute_cdp_cmd(
            "Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points}
        )
    assert divider(viewer) == pytest.approx(50 + 60 / box["width"] * 100, abs=1)


def test_nothing_is_fetched_run_or_reported(browser, page):
    for log in ("performance", "browser"):
        browser.get_log(log)
    browser.get(page.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [
        message["params"]["request"]["url"]
        for message in messages
        if message["method"] == "Network.requestWillBeSent"
    ]
    assert page.as_uri() in requests
    assert all(url == page.as_uri() or url.startswith("data:") for url in requests)
    assert browser.get_log("browser") == []
    # Names from files are text: no element, no attribute came of them.
    assert browser.find_element("css selector", "#scores h3").text == NASTY
    assert NASTY in browser.find_element("css selector", ".viewer figcaption").text
    assert NASTY in browser.find_element("css selector", "#scores tbody th").text
    assert not browser.find_elements("css selector", "[onerror], img:not([src^='data:'])")
    assert len(browser.find_elements("css selector", "#scores tr.mean")) == 1
    # And if one had: the page's policy lets no script of it run, and nothing be fetched.
    browser.execute_script("document.body.insertAdjacentHTML('beforeend', arguments[0])", NASTY)
    assert (
        browser.execute_async_script(
            "const done = arguments[0];"
            "fetch('data:,').then(() => done('fetched'), () => done('refused'))"
        )
        == "refused"
    )


def test_without_javascript(browser, page, expected):
    from selenium.webdriver.support.wait import WebDriverWait

    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(page.as_uri())
        for selector in (
            "#summary table",
            "#scores table",
            "#curves svg",
            "#filters img",
            ".sheet",
        ):
            assert browser.find_element("css selector", selector).is_displayed()
        assert not browser.find_element("css selector", ".choices").is_displayed()
        viewer = browser.find_element("css selector", ".viewer")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", viewer)
        _, bicubic, srcnn = expected[0]
        half = bicubic.shape[1] // 2
        shown = np.concatenate([bicubic[:, :half], srcnn[:, half:]], axis=1)
        middle = slice(half - 1, half + 2)  # the cut may be within a pixel

        def as_expected(browser) -> bool:
            difference = photographed(browser, viewer) != shown
            return not np.delete(difference, middle, axis=1).any()

        WebDriverWait(browser, 10).until(as_expected)
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
