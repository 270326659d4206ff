"""A report becomes a page that opens from disk, in a real browser: player, timeline, people, segments; and an index."""

import io
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import VIDEO_FOLDER, MakeVideo
from PIL import Image
from playwright.sync_api import Browser, Page

from emo_affectnet import pages
from emo_affectnet.answers import Peak
from emo_affectnet.emotions import EMOTION_COLOURS, EMOTION_NAMES, Emotion
from emo_affectnet.errors import ReportError, VideoError
from emo_affectnet.pages import IndexEntry, Segment, find_segments, format_time, make_thumbnail, write_index, write_page
from emo_affectnet.video_writer import VideoWriter

FRAME = 1001 / 30_000  # s, of the 210 frames of the video
END = 210 * FRAME  # s
SETTINGS = {"head": "ensemble", "torch": "2.4.1"}
OpenPage = Callable[..., Page]


def make_table(
    parts: Sequence[tuple[Emotion | None, int]], *, interval: float = FRAME, agreement: float = 1.0
) -> pd.DataFrame:
    """Return a report whose frames show one emotion after another, each at 0.7 for a number of frames."""
    tops = np.concatenate([np.full(count, -1 if emotion is None else emotion) for emotion, count in parts])
    probabilities = np.full((len(tops), 7), 0.05)
    probabilities[np.arange(len(tops)), tops] = 0.7
    probabilities[tops < 0] = np.nan
    table = pd.DataFrame({"frame": range(1, len(tops) + 1)})
    table[list(EMOTION_NAMES)] = probabilities
    table["time"] = np.round(interval * np.arange(len(tops)), 6)
    table["agreement"] = np.where(tops < 0, np.nan, agreement)
    return table


def make_people() -> list[pd.DataFrame]:
    """Return two people for the 210 frames of the video: one leaves for 35 frames and comes back angry, one stays."""
    first = make_table([(Emotion.Happiness, 70), (None, 35), (Emotion.Anger, 105)], agreement=0.5)
    first[["x1", "y1", "x2", "y2"]] = [40, 30, 90, 100]
    return [first, make_table([(Emotion.Surprise, 210)])]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small video that gets brighter frame by frame, 7 s at 29.97 fps."""
    path = tmp_path_factory.mktemp("video") / "two_people.mp4"
    with VideoWriter(path, width=160, height=120, fps=1 / FRAME) as writer:
        for index in range(210):
            writer.write(np.full((120, 160, 3), index, np.uint8))
    return path


@pytest.fixture(scope="module")
def page_path(video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the video with two people, its player's video being the real annotated copy."""
    path = tmp_path_factory.mktemp("report") / "two_people.html"
    write_page(video, make_people(), path, settings=SETTINGS)
    return path


@pytest.fixture
def quick(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The player's video is a copy of the small one, with nothing drawn into it."""

    def copy(source: Path, people: Sequence[pd.DataFrame], save: Path, *, style: str, max_height: int) -> None:
        assert (style, max_height) == ("boxes", 480)
        shutil.copyfile(video, save)

    monkeypatch.setattr(pages, "annotate_video", copy)


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[OpenPage]:
    """Open a page from disk; at the end, no error was logged, nothing was blocked and no network was asked."""
    contexts, troubles, addresses = [], [], []

    def open_one(path: Path, **options: object) -> Page:
        contexts.append(chromium.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: (troubles.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: addresses.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert troubles == []
    assert {address.partition(":")[0] for address in addresses} <= {"file", "data", "blob"}


def wait_until(page: Page, condition: str) -> None:
    """Wait for what wait_for_function cannot ask for: the page's policy forbids to evaluate texts in it."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(25)
    raise AssertionError(f"waited 5 s for {condition}")


def wait_for_video(page: Page) -> None:
    wait_until(page, "(({readyState, seeking}) => readyState >= 2 && !seeking)(document.querySelector('video'))")


def read_time(page: Page) -> float:
    return page.evaluate("document.querySelector('video').currentTime")


def read_cursor(page: Page, person: int = 1) -> float:
    """Return where the cursor stands, in s."""
    script = f"document.querySelector('#person-{person} .cursor').style.left"
    return float(page.evaluate(script).removesuffix("%")) / 100 * END


def wait_for_cursor(page: Page, time: float) -> None:
    """Wait until video and cursor are at the frame of a time in s."""
    left = "parseFloat(document.querySelector('.cursor').style.left)"
    wait_until(page, f"Math.abs({left} / 100 * {END} - {time}) < 0.002")
    wait_for_video(page)
    assert time <= read_time(page) < time + FRAME


def test_segments_are_runs_of_the_same_top_emotion_and_absences() -> None:
    table = make_table([(Emotion.Fear, 3), (None, 1), (Emotion.Fear, 1)], interval=0.5)
    table.loc[2, ["Neutral", "Fear"]] = [0.15, 0.6]
    fear = Emotion.Fear
    found = find_segments(table)
    assert [(part.start, part.end, part.emotion) for part in found] == [(0, 1.5, fear), (1.5, 2, None), (2, 2.5, fear)]
    assert found[0].confidence == pytest.approx(2 / 3)  # (0.7 + 0.7 + 0.6) / 3
    assert found[1].confidence is None


def test_a_video_of_one_frame_has_one_segment() -> None:
    assert find_segments(make_table([(Emotion.Anger, 1)])) == [Segment(0.0, 1.0, Emotion.Anger, 0.7)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00.0"), (7.04, "0:07.0"), (59.96, "1:00.0"), (605.25, "10:05.2"), (3599.97, "1:00:00.0")],
)
def test_times_are_written_in_minutes_and_seconds(seconds: float, text: str) -> None:
    assert format_time(seconds) == text


@pytest.mark.parametrize(
    ("end", "first", "last", "count"),
    [
        (0.04, "0.00 s", "0.04 s", 5),  # one frame
        (0.5, "0.00 s", "0.50 s", 11),
        (7.007, "0:00", "0:07", 8),
        (95, "0:00", "1:30", 10),
        (3600, "0:00", "1:00:00", 13),
        (3 * 3600, "0:00", "3:00:00", 13),
        (30 * 3600, "0:00", "30:00:00", 11),  # a day of a camera
    ],
)
def test_the_axis_has_a_few_round_times(end: float, first: str, last: str, count: int) -> None:
    ticks = pages._choose_ticks(end)
    assert (ticks[0][1], ticks[-1][1], len(ticks)) == (first, last, count)


def read_curve(path: str, times: np.ndarray) -> np.ndarray:
    """Return a curve's probability at each time in s, NaN in its gaps."""
    values = np.full(len(times), np.nan)
    for piece in path.split("M")[1:]:
        x, y = np.array([point.split() for point in piece.split("L")], float).T
        inside = (1000 * times >= x[0] - 0.1) & (1000 * times < x[-1] - 0.1)
        values[inside] = 1 - np.interp(1000 * times[inside], x, y) / 1000
    return values


def test_curves_lose_nothing_but_the_points_in_between() -> None:
    table = make_table(
        [(Emotion.Fear, 500), (None, 40), (Emotion.Anger, 1), (None, 9), (Emotion.Neutral, 450)], interval=0.04
    )
    table.loc[600:650, "Anger"] += np.linspace(0, 0.2, 51)
    person = pages._sum_up(table, pages.frame_edges(table["time"].to_numpy()), 1)
    for name, curve in zip(EMOTION_NAMES, person.curves, strict=True):
        np.testing.assert_allclose(read_curve(curve, table["time"].to_numpy()), table[name], atol=0.0001)
        assert curve.count("M") == 3
    assert person.curves[Emotion.Fear].count("L") == 3  # a straight line in each piece
    assert person.curves[Emotion.Anger].count("L") > 50


def test_an_hour_stays_light(quick: None, video: Path, tmp_path: Path) -> None:
    parts = [(Emotion(second % 7), 25) for second in range(3600)]
    write_page(video, [make_table(parts, interval=0.04)], tmp_path / "a.html", settings={})
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert len(page) - 4 / 3 * video.stat().st_size < 2_500_000
    assert page.count('data-time="') == 3601  # of the segments and of the peak


def test_the_page_plays_the_annotated_video(page_path: Path, open_page: OpenPage) -> None:
    page = open_page(page_path)
    wait_for_video(page)
    assert page.evaluate("document.querySelector('video').duration") == pytest.approx(END, abs=0.1)
    assert page.evaluate("document.querySelector('video').videoHeight") == 120
    assert page.locator("h1").inner_text() == "two_people.mp4"
    assert "0:07.0 · 210 frames · 29.97 fps" in page.locator(".facts").inner_text()
    page.evaluate("document.querySelector('video').muted = true; document.querySelector('video').play()")
    wait_until(page, "document.querySelector('video').currentTime > 0.5")
    page.evaluate("document.querySelector('video').pause()")
    page.wait_for_timeout(200)
    assert read_cursor(page) == pytest.approx(read_time(page), abs=2 * FRAME)
    assert page.locator("#now-emotion").inner_text() == "Happiness"
    assert page.locator("#now-probability").inner_text() == "70%"
    assert page.locator("#now-agreement").inner_text() == "50%"
    assert [path.name for path in page_path.parent.iterdir()] == ["two_people.html"]


def test_a_click_in_the_timeline_jumps_there(page_path: Path, open_page: OpenPage) -> None:
    page = open_page(page_path)
    wait_for_video(page)
    slider = page.locator("#person-1 .slider")
    box = slider.bounding_box()
    slider.click(position={"x": box["width"] / 2, "y": 60})
    wait_for_video(page)
    assert read_time(page) == pytest.approx(END / 2, abs=FRAME)
    assert read_cursor(page) == pytest.approx(END / 2, abs=FRAME)
    assert page.locator("#now-emotion").inner_text() == "Anger"
    box = slider.bounding_box()  # the page may have scrolled
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 90, steps=3)
    page.mouse.up()
    wait_for_video(page)
    assert read_time(page) == pytest.approx(0.4 * END, abs=FRAME)
    assert page.locator("#now-emotion").inner_text() == "no face"
    assert page.locator("#now-probability").inner_text() == "–"


def test_the_cursor_follows_a_seek_by_the_player_itself(page_path: Path, open_page: OpenPage) -> None:
    page = open_page(page_path)
    wait_for_video(page)
    page.evaluate("document.querySelector('video').currentTime = 5")
    wait_for_video(page)
    assert read_cursor(page) == pytest.approx(5, abs=FRAME)
    assert page.locator("#now-time").inner_text() == "0:05.0"
    row = page.locator("#person-1 tr[aria-current=true]")
    assert row.inner_text().split() == ["0:03.5", "0:07.0", "Anger", "70%"]


def test_the_timeline_obeys_the_keyboard(page_path: Path, open_page: OpenPage) -> None:
    page = open_page(page_path)
    wait_for_video(page)
    slider = page.locator("#person-1 .slider")
    slider.focus()
    for key, frame in [
        ("ArrowRight", 29),  # frame 29 is shown until 1.001 s
        ("Shift+ArrowRight", 30),
        ("Shift+ArrowLeft", 29),
        ("ArrowLeft", 0),
        ("End", 209),
        ("Shift+ArrowRight", 209),
        ("Home", 0),
        ("ArrowLeft", 0),
    ]:
        page.keyboard.press(key)
        wait_for_cursor(page, frame * FRAME)
    assert slider.get_attribute("aria-valuetext") == "0:00.0, Happiness, 70%, heads agree 50%"
    page.keyboard.press("PageUp")
    assert slider.get_attribute("aria-valuenow") == "6.97"
    page.keyboard.press("Home")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "0:02.9, no face"
    page.keyboard.press("Space")
    wait_until(page, "!document.querySelector('video').paused")


def test_tabs_change_the_person(page_path: Path, open_page: OpenPage) -> None:
    page = open_page(page_path)
    wait_for_video(page)
    tabs = page.get_by_role("tab")
    assert [tab.inner_text() for tab in tabs.all()] == ["Person 1 Anger", "Person 2 Surprise"]
    assert page.get_by_role("tabpanel").count() == 1
    tabs.first.focus()
    for key, person, emotion in [
        ("ArrowRight", 2, "Surprise"),
        ("ArrowRight", 1, "Happiness"),
        ("ArrowLeft", 2, "Surprise"),
        ("Home", 1, "Happiness"),
        ("End", 2, "Surprise"),
    ]:
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.id") == f"tab-{person}"
        assert page.get_by_role("tabpanel").get_attribute("id") == f"person-{person}"
        assert page.locator("#now-emotion").inner_text() == emotion
    tabs.first.click()
    assert page.locator("#person-1").is_visible()
    assert not page.locator("#person-2").is_visible()


def test_a_segment_is_a_place_to_jump_to_and_the_table_can_be_copied(page_path: Path, open_page: OpenPage) -> None:
    page = open_page(page_path, permissions=["clipboard-read", "clipboard-write"])
    wait_for_video(page)
    page.locator("#person-1 .segments .jump").nth(2).click()
    wait_for_cursor(page, 105 * FRAME)
    expected = "from_s,to_s,emotion,confidence\n0,2.336,Happiness,0.7000\n2.336,3.503,,\n3.503,7.007,Anger,0.7000\n"
    page.get_by_role("button", name="Copy as CSV").click()
    page.get_by_text("Copied.").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == expected
    page.evaluate(
        "() => { navigator.clipboard.writeText = () => Promise.reject(); }"
    )  # as where the browser forbids it
    page.get_by_role("status").first.evaluate("(element) => { element.textContent = ''; }")
    page.get_by_role("button", name="Copy as TSV").click()
    page.get_by_text("Copied.").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == expected.replace(",", "\t")


def test_an_emotion_in_focus_stands_out(page_path: Path, open_page: OpenPage) -> None:
    page = open_page(page_path, reduced_motion="reduce")

    def read_opacities() -> list[float]:
        page.wait_for_timeout(250)
        script = (
            "[...document.querySelectorAll('#person-1 .curve')].map((curve) => Number(getComputedStyle(curve).opacity))"
        )
        return page.evaluate(script)

    assert read_opacities() == [1.0] * 7
    key = page.locator("#person-1 .key").last
    key.hover()
    assert read_opacities() == [0.12] * 6 + [1.0]
    key.click()
    page.locator("#person-1 .key").first.focus()
    page.keyboard.press("Space")
    page.locator("h1").click()
    assert read_opacities() == [1.0] + [0.12] * 5 + [1.0]  # both stay
    assert key.get_attribute("aria-pressed") == "true"


def test_without_scripts_and_on_paper_everything_is_there(page_path: Path, open_page: OpenPage) -> None:
    bare = open_page(page_path, java_script_enabled=False)
    printed = open_page(page_path, color_scheme="dark")
    printed.emulate_media(media="print")
    for page in (bare, printed):
        assert page.locator(".panel:visible").count() == 2
        assert page.locator(".segments tbody tr:visible").count() == 4
        assert page.locator(".timeline svg[role=img]:visible").count() == 4
        assert page.locator("h2.name").all_inner_texts() == ["Person 1", "Person 2"]
        assert page.locator("[role=tablist], .now, .slider, .buttons").locator("visible=true").count() == 0
    assert bare.locator("video").is_visible()
    assert not printed.locator("video").is_visible()
    assert printed.locator(".stills img:visible").count() == 6
    assert printed.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert printed.pdf()[:4] == b"%PDF"


# The ratio of luminances of every visible text to what lies behind it: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio
READ_CONTRASTS = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => parse(colour).slice(0, 3)
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const back = (element) => {
    const colour = getComputedStyle(element).backgroundColor;
    return parse(colour)[3] === 0 ? back(element.parentElement) : colour;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.matches("script")) continue;
    const [dark, light] = [getComputedStyle(element).color, back(element)].map(luminance).sort((a, b) => a - b);
    found.push([walker.currentNode.data.trim().slice(0, 30), (light + 0.05) / (dark + 0.05)]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(scheme: str, quick: None, video: Path, open_page: OpenPage, tmp_path: Path) -> None:
    everyone = make_table([(emotion, 30) for emotion in Emotion])
    write_page(video, [everyone, *make_people()], tmp_path / "a.html", settings=SETTINGS)
    write_index(make_entries(), tmp_path / "index.html")
    background = {}
    for name, expected in (
        ("a.html", {*EMOTION_NAMES, "Segments", "Copy as CSV"}),
        ("index.html", {"failed", "Duration"}),
    ):
        page = open_page(tmp_path / name, color_scheme=scheme)
        contrasts = page.evaluate(READ_CONTRASTS)
        assert expected <= {text for text, _ in contrasts}
        assert [item for item in contrasts if item[1] < 4.5] == []
        background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert (background == "rgb(255, 255, 255)") == (scheme == "light")


def test_nothing_sticks_out_of_a_phone(page_path: Path, open_page: OpenPage, tmp_path: Path) -> None:
    write_index(make_entries(), tmp_path / "index.html")
    for path in (page_path, tmp_path / "index.html"):
        page = open_page(path, viewport={"width": 360, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_a_page_loads_nothing_from_elsewhere(page_path: Path) -> None:
    text = page_path.read_text(encoding="utf-8")
    assert "://" not in text
    assert re.findall(r'(?:src|href)="(?!data:)[^"]*"', text) == []
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; img-src data:; media-src data: blob:; style-src 'unsafe-inline'")
    assert re.search(r"script-src '(sha256-[\w+/=]+)';", policy[1])


def test_names_are_text_and_never_run(quick: None, video: Path, open_page: OpenPage, tmp_path: Path) -> None:
    named = tmp_path / "<img src=x onerror=alert(1)>\"'&.mp4"
    shutil.copyfile(video, named)
    evil = "</script><script>alert(1)</script>"
    write_page(named, make_people(), tmp_path / "a.html", settings={evil: evil})
    write_index([IndexEntry(evil, "error", Path(f"{named.stem}#?%.html"), message=evil)], tmp_path / "b.html")
    shutil.copyfile(tmp_path / "a.html", tmp_path / f"{named.stem}#?%.html")
    page = open_page(tmp_path / "a.html")
    wait_for_video(page)
    assert page.title().startswith(named.name)
    assert page.locator("h1").inner_text() == named.name
    assert page.locator(".settings dd").inner_text() == evil
    index = open_page(tmp_path / "b.html")
    assert index.locator(".video p").inner_text() == evil
    index.get_by_role("link").click()
    index.locator("h1", has_text=named.name).wait_for()


def test_a_name_that_is_no_utf8_is_shown_and_found(
    quick: None, video: Path, open_page: OpenPage, tmp_path: Path
) -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    write_page(video, make_people(), tmp_path / f"{name}.html", settings={"file": name})
    write_index([IndexEntry(name, "ok", Path(f"{name}.html"), "Happiness")], tmp_path / "index.html")
    page = open_page(tmp_path / "index.html")
    assert page.get_by_role("link").inner_text() == "caf�"
    page.get_by_role("link").click()
    page.locator("h1", has_text="two_people").wait_for()


def test_a_large_video_lies_beside_the_page(
    quick: None, video: Path, monkeypatch: pytest.MonkeyPatch, open_page: OpenPage, tmp_path: Path
) -> None:
    monkeypatch.setattr(pages, "EMBEDDED_SIZE", 1000)
    write_page(video, make_people(), tmp_path / "a #1.html", settings={})
    assert (tmp_path / "a #1.mp4").read_bytes() == video.read_bytes()
    page = open_page(tmp_path / "a #1.html")
    wait_for_video(page)
    assert "a #1.mp4" in page.locator("footer").inner_text()
    assert not page.locator(".failure").is_visible()
    assert (tmp_path / "a #1.html").stat().st_size < 100_000


def test_a_video_is_never_replaced_by_its_player(monkeypatch: pytest.MonkeyPatch, quick: None, tmp_path: Path) -> None:
    monkeypatch.setattr(pages, "EMBEDDED_SIZE", 1000)
    video = tmp_path / "a.mp4"
    video.write_bytes((VIDEO_FOLDER / "expressions.mp4").read_bytes())
    write_page(video, make_people(), tmp_path / "a.html", settings={})
    assert video.read_bytes() == (VIDEO_FOLDER / "expressions.mp4").read_bytes()
    assert "a.player.mp4" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_a_player_without_its_video_says_so(
    quick: None, video: Path, monkeypatch: pytest.MonkeyPatch, chromium: Browser, tmp_path: Path
) -> None:
    monkeypatch.setattr(pages, "EMBEDDED_SIZE", 1000)
    write_page(video, make_people(), tmp_path / "a.html", settings={})
    (tmp_path / "a.mp4").unlink()
    page = chromium.new_page()
    page.goto((tmp_path / "a.html").as_uri())
    page.get_by_role("alert").wait_for()
    assert "is a.mp4 still beside this page?" in page.get_by_role("alert").inner_text()
    page.locator("#person-1 .slider").press("End")
    assert page.locator("#now-emotion").inner_text() == "Anger"
    page.context.close()


def test_a_video_without_a_face_has_a_page_without_curves(
    quick: None, video: Path, open_page: OpenPage, tmp_path: Path
) -> None:
    write_page(video, [make_table([(None, 210)])], tmp_path / "a.html", settings=SETTINGS)
    page = open_page(tmp_path / "a.html")
    wait_for_video(page)
    assert page.get_by_text("No face was found in this video").is_visible()
    assert page.locator("svg, .now, [role=slider], [role=tab]").count() == 0


def test_one_person_needs_no_tabs_and_one_head_no_agreement(
    quick: None, video: Path, open_page: OpenPage, tmp_path: Path
) -> None:
    write_page(video, [make_people()[0].drop(columns="agreement")], tmp_path / "a.html", settings={})
    page = open_page(tmp_path / "a.html")
    assert page.get_by_role("tab").count() == 0
    assert page.locator(".row.agreement").count() == 0
    assert page.locator("#now-agreement").inner_text() == "–"
    assert page.get_by_text("Settings and versions").count() == 0


def test_frames_of_uneven_length_are_listed() -> None:
    even, uneven = np.arange(50) / 25, np.cumsum(np.tile([0.02, 0.06], 25))
    assert pages._list_frames(even) == {"start": 0.0, "interval": pytest.approx(0.04), "count": 50}
    assert pages._list_frames(uneven) == pytest.approx(uneven.tolist())
    assert pages._list_frames(even[:1]) == {"start": 0.0, "interval": 1.0, "count": 1}


def test_what_gives_no_page_is_refused(quick: None, video: Path, tmp_path: Path) -> None:
    first, second = make_people()
    for people, message in [
        ([first.drop(columns="time")], "Analyse the video with this tool"),
        ([first.head(0)], "Analyse the video with this tool"),
        ([first, second.head(100)], "Analyse the video again with --faces all"),
    ]:
        with pytest.raises(ReportError, match=message):
            write_page(video, people, tmp_path / "a.html", settings={})
    with pytest.raises(VideoError, match="no such file"):
        write_page(tmp_path / "b.mp4", [first], tmp_path / "a.html", settings={})
    (tmp_path / "file").touch()
    with pytest.raises(ReportError, match="cannot be written"):
        write_page(video, [first], tmp_path / "file" / "a.html", settings={})
    with pytest.raises(ReportError, match="cannot be written"):
        write_index([], tmp_path / "file" / "index.html")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_thumbnail_is_from_the_middle_of_the_longest_sight(make_video: MakeVideo) -> None:
    video = make_video("a.mp4", frames=100, size=(640, 480))  # frame i has brightness i
    table = make_table([(Emotion.Fear, 10), (None, 20), (Emotion.Fear, 40), (None, 30)])
    picture = Image.open(io.BytesIO(make_thumbnail(video, table)))
    assert picture.size == (213, 160)
    assert np.asarray(picture).mean() == pytest.approx(50, abs=3)
    nobody = Image.open(io.BytesIO(make_thumbnail(video, make_table([(None, 60)]))))
    assert np.asarray(nobody).mean() == pytest.approx(30, abs=3)
    longer = Image.open(io.BytesIO(make_thumbnail(video, make_table([(None, 300)]))))
    assert np.asarray(longer).mean() == pytest.approx(99, abs=3)


def make_entries() -> list[IndexEntry]:
    file = io.BytesIO()
    Image.new("RGB", (213, 160), EMOTION_COLOURS[0]).save(file, "JPEG")
    return [
        IndexEntry(
            "b10.mp4",
            "ok",
            Path("b10.html"),
            "Sadness",
            0.9,
            0.75,
            2,
            9.4,
            thumbnail=file.getvalue(),
            peak=Peak(Emotion.Fear, 3.2, 0.62),
        ),
        IndexEntry("sub/broken.mp4", "error", message="Expected a video, but it is a folder; name one file."),
        IndexEntry("b9.mp4", "ok", Path("b9.html"), "Anger", 1.0, None, 1, 3723.0, thumbnail=file.getvalue()),
        IndexEntry("a.mp4", "no_face", Path("a.html"), None, 0.0, None, 0, 10.0, "No face was found in this video."),
    ]


def test_the_index_is_sorted_by_what_is_clicked(open_page: OpenPage, tmp_path: Path) -> None:
    write_index(make_entries(), tmp_path / "index.html")
    page = open_page(tmp_path / "index.html")

    def read_order(heading: str) -> list[str]:
        page.get_by_role("button", name=heading).press("Enter")
        return [cell.inner_text().split("\n")[0].split("/")[-1].split(".")[0] for cell in page.locator(".video").all()]

    assert page.locator(".facts").inner_text() == "4 videos: 2 with a face, 1 without, 1 failed"
    assert read_order("Video") == ["a", "b9", "b10", "broken"]  # numbers in names count as numbers
    assert page.locator("th[aria-sort]").all_inner_texts() == ["Video"]
    assert read_order("Video") == ["broken", "b10", "b9", "a"]
    assert page.locator("th[aria-sort=descending]").count() == 1
    assert read_order("Duration") == ["b10", "a", "b9", "broken"]  # 9.4 s, 10 s, an hour, unknown
    assert read_order("Duration") == ["b9", "a", "b10", "broken"]
    assert read_order("Face seen") == ["a", "b10", "b9", "broken"]
    assert read_order("Emotion") == ["b9", "broken", "a", "b10"]  # Anger, failed, no face, Sadness
    assert page.locator("th[aria-sort]").all_inner_texts() == ["Emotion"]


def test_the_index_shows_every_video_also_without_scripts(open_page: OpenPage, tmp_path: Path) -> None:
    write_index(make_entries(), tmp_path / "index.html")
    page = open_page(tmp_path / "index.html", java_script_enabled=False)
    rows = page.locator("tbody tr").all_inner_texts()
    assert [row.split() for row in rows][0] == [
        "b10.mp4",
        "Sadness",
        "Fear",
        "62%,",
        "0:03.2",
        "90%",
        "75%",
        "2",
        "0:09.4",
    ]
    assert "it is a folder; name one file." in rows[1]
    assert "failed" in rows[1]
    assert rows[2].split() == ["b9.mp4", "Anger", "–", "100%", "–", "1", "1:02:03.0"]
    assert "No face was found" in rows[3]
    assert [link.get_attribute("href") for link in page.get_by_role("link").all()] == ["b10.html", "b9.html", "a.html"]
    assert [image.get_attribute("alt") for image in page.get_by_role("img").all()] == [
        "A frame of b10.mp4",
        "A frame of b9.mp4",
    ]
    assert page.locator("th button").count() == 0
