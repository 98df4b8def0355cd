"""The page in a real Chromium."""

import contextlib
import io
import json
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from experiments.report import groups, read
from experiments.report import page as page_module
from experiments.report.__main__ import main as report_main
from srcnn_jax import datasets, evaluate, weights
from srcnn_jax.predict import predict

SCALE = 3
NASTY = "<img src=x onerror=alert(1)>&\"'"


@pytest.fixture(scope="module")
def page(tmp_path_factory, finished) -> pathlib.Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    report_main([str(finished), "-o", str(path)])
    return path


@pytest.fixture(scope="module")
def page_of_a_sweep(tmp_path_factory, sweep) -> pathlib.Path:
    path = tmp_path_factory.mktemp("sweep_page") / "report.html"
    report_main([str(sweep), "-o", str(path)])
    return path


@pytest.fixture(scope="module")
def expected(pictures) -> list[list[np.ndarray]]:
    """Ground truth, bicubic and SRCNN of each picture, (H, W, 3)."""
    network = weights.load_pretrained(SCALE, "915")
    return [
        [
            np.broadcast_to(pixels.reshape(*pixels.shape[:2], -1), (*pixels.shape[:2], 3))
            for pixels in evaluate.pictures(
                test, predict(network, test.enlarged), "y", SCALE
            ).values()
        ]
        for test in evaluate.create_test_images(datasets.load(pictures), SCALE, "y")
    ]


def test_a_part_is_that_where_bicubic_errs_most_and_as_of_the_whole_image(finished):
    network = weights.load(finished)
    truth = np.full((90, 120), 100, np.uint8)
    truth[50:60, 70:80] = np.indices((10, 10)).sum(0) % 2 * 200
    test = evaluate.create_test_images(
        datasets.Dataset("a", "here", "", "gray", (("a", truth),)), SCALE, "y"
    )[0]
    rows, columns = part_shown = page_module._worst_part(test, "y", 40)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (40, 40)
    assert rows.start <= 50 < 60 <= rows.stop
    assert columns.start <= 70 < 80 <= columns.stop
    whole = evaluate.pictures(test, predict(network, test.enlarged), "y", SCALE)
    group = groups.Group("a", [read.read_run(finished)])
    made = page_module._pictures_of(test, group, part_shown)
    for name, pixels in made.items():
        np.testing.assert_array_equal(pixels, whole[name][part_shown])


def test_pictures_are_cropped_to_the_pixels_of_a_page():
    assert page_module._side([(90, 120)] * 3) == 120  # whole images
    side = page_module._side([(510, 510)] * 75)
    assert 1.4 * 75 * side**2 <= page_module.PIXELS < 1.4 * 75 * (side + 4) ** 2
    assert page_module._side([(510, 510)] * 10_000) == page_module.MIN_SIDE


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
    from selenium.webdriver.support.select import Select

    browser.get(page.as_uri())
    Select(browser.find_element("id", "image")).select_by_index(index)
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
    # And by the selectors.
    part(viewer, "[data-part=left]").send_keys(Keys.ARROW_UP)
    assert names()[0] == f"bicubic {psnr['bicubic']}"
    part(viewer, "[data-part=zoom]").send_keys(Keys.ARROW_UP)
    check_wipe(browser, viewer, bicubic, srcnn, 1)


def test_another_image_keeps_the_pictures_that_were_chosen(browser, page):
    from selenium.webdriver.support.select import Select

    viewer = open_viewer(browser, page, 0)
    Select(part(viewer, "[data-part=left]")).select_by_index(0)
    Select(browser.find_element("id", "image")).select_by_index(1)
    first, second = browser.find_elements("css selector", ".viewer")
    assert not first.is_displayed()
    assert part(second, "[data-shown=left]").text == "ground truth"


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
            pixels = 3 * int(part(viewer, "[data-part=zoom]").get_property("value"))
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


@pytest.mark.parametrize("width", [1280, 390])
def test_a_sweep_begins_with_a_sentence_and_a_table_that_is_not_cut(
    browser, page_of_a_sweep, width
):
    resize(browser, width, 900, 1.0, mobile=width < 500)
    browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    browser.get(page_of_a_sweep.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    sizes = "return [document.documentElement.scrollWidth, innerWidth]"
    assert browser.execute_script(sizes) == [width, width]
    cut = (
        "return [...document.querySelectorAll('.wide')].filter(e => e.scrollWidth > e.clientWidth)"
    )
    assert browser.execute_script(cut) == []
    parts = [browser.find_element("css selector", each) for each in (".answer", ".cards", "#image")]
    tops = [each.location["y"] for each in parts]
    assert tops == sorted(tops)
    assert tops[0] < 200
    assert "bytes" not in browser.find_element("tag name", "body").text


def test_a_long_table_shows_the_best_until_all_are_chosen(browser, tmp_path, sweep, monkeypatch):
    monkeypatch.setattr(page_module, "ROWS", 3)
    report_main([str(sweep), "-o", str(tmp_path / "report.html"), "--images="])
    browser.get((tmp_path / "report.html").as_uri())
    rows = browser.find_elements("css selector", "#summary tbody tr:not(.other)")
    assert [row.is_displayed() for row in rows] == [True] * 3 + [False] * 2
    browser.find_element("css selector", ".show-more").click()
    assert all(row.is_displayed() for row in rows)


def test_the_best_few_are_shown_and_the_rest_by_a_choice(browser, page_of_a_sweep):
    browser.get(page_of_a_sweep.as_uri())
    lines = browser.find_elements("css selector", "#curves > .curves [data-curve]")
    assert [line.is_displayed() for line in lines] == [True] * 4 + [False]
    browser.find_element("css selector", ".legend-rest summary").click()
    browser.find_element("css selector", ".legend-rest input").click()
    assert lines[4].is_displayed()
    browser.find_element("css selector", ".legend input").click()
    assert not lines[0].is_displayed()
    valid = browser.find_elements("css selector", ".curves")[1]
    assert not valid.is_displayed()
    browser.find_element("css selector", "#curves > details > summary").click()
    assert valid.is_displayed()


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
    assert browser.find_element("css selector", "#scores summary").text == NASTY
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
            ".answer",
        ):
            assert browser.find_element("css selector", selector).is_displayed()
        assert not browser.find_element("css selector", ".choices").is_displayed()
        assert not browser.find_element("css selector", ".legend input").is_displayed()
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
