"""The dashboard in a real browser."""

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from proxy import contract
from tests.git_server import Repository
from tests.instance import Instance, fetch, running

EMAIL, PASSWORD = "ann@example.com", "a sentence to remember"
Make = Callable[..., Repository]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    with running(tmp_path_factory.mktemp("pages")) as instance:
        yield instance


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def state(own: Instance, browser: Browser) -> str:
    """The cookies of the first account, made with the set-up link, which then works no more."""
    context = browser.new_context()
    page = context.new_page()
    link = own.setup_link()
    page.goto(f"http://localhost:{own.api_port}/")
    expect(page.get_by_text("Nobody has an account here yet")).to_be_visible()
    page.goto(link)
    page.get_by_label("E-mail address").fill(EMAIL)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_role("heading", name="Apps")).to_be_visible()
    page.goto(link)
    expect(page.get_by_text("This set-up link is used or wrong")).to_be_visible()
    path = str(own.folder / "state.json")
    context.storage_state(path=path)
    context.close()
    return path


@pytest.fixture
def page(browser: Browser, state: str) -> Iterator[Page]:
    """A signed-in page that must not log errors of its own."""
    context = browser.new_context(storage_state=state, viewport={"width": 1440, "height": 900})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield page
    context.close()
    assert [error for error in errors if "status of 4" not in error] == []


def home(own: Instance) -> str:
    return f"http://localhost:{own.api_port}"


def test_an_app_is_made_deployed_and_followed_to_its_end(own: Instance, page: Page, repository: Make) -> None:
    source = repository("paged")
    page.goto(home(own))
    page.get_by_role("link", name="New app").click()
    page.get_by_label("Name").fill("Not a name")
    page.get_by_label("Git repository").fill(source.file_url)
    page.get_by_role("button", name="Make and deploy").click()
    expect(page.get_by_text("DNS label")).to_be_visible()
    expect(page.get_by_label("Name")).to_be_focused()
    expect(page.get_by_label("Webhook secret")).to_be_hidden()
    page.get_by_label("Name").fill("paged")
    page.get_by_role("button", name="Make and deploy").click()
    page.wait_for_url("**/deployments/*")
    expect(page.locator("h1 .badge")).to_have_text("running", timeout=60_000)
    expect(page.locator("pre.log")).to_contain_text("The new version serves.")
    expect(page.locator("ol.stages li.done")).to_have_count(6)
    assert own.visit("paged.localhost").text == "paged"
    page.goto(f"{home(own)}/apps/paged")
    page.get_by_label("Key").fill("SECRET_KEY")
    page.get_by_label("Value").fill("hush")
    page.get_by_label("Secret", exact=True).check()
    page.get_by_role("button", name="Set", exact=True).click()
    expect(page.locator("#environment")).to_contain_text("SECRET_KEY")
    assert "hush" not in page.content()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("h1 .badge")).to_have_text("stopped")
    expect(page.locator("tbody .badge")).to_have_text("stopped")
    page.get_by_role("button", name="Start", exact=True).click()
    top = page.locator("pre.log").bounding_box()
    expect(page.locator("h1 .badge")).to_have_text("running", timeout=60_000)
    expect(page.get_by_role("link", name="paged.localhost")).to_be_visible()
    assert page.locator("pre.log").bounding_box() == top


def test_an_open_page_follows_what_starts_elsewhere(own: Instance, page: Page, browser: Browser, state: str) -> None:
    page.goto(f"{home(own)}/apps/paged")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("h1 .badge")).to_have_text("stopped")
    expect(page.locator("[data-stream-state]")).to_be_empty()
    context = browser.new_context(storage_state=state)
    other = context.new_page()
    other.goto(page.url)
    other.get_by_role("button", name="Start", exact=True).click()
    other.wait_for_url("**/deployments/*")
    context.close()
    page.get_by_role("link", name="Settings").focus()
    expect(page.locator("[data-stream-state]")).to_have_text("live", timeout=60_000)
    expect(page.get_by_role("link", name="Settings")).to_be_focused()


def test_a_page_works_without_javascript(own: Instance, browser: Browser, state: str) -> None:
    context = browser.new_context(storage_state=state, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{home(own)}/apps/new")
    page.get_by_label("Name").fill("plain")
    page.get_by_label("Git repository").fill("--upload-pack=x")
    page.get_by_role("button", name="Make and deploy").click()
    expect(page.get_by_text("Must be a plain URL")).to_be_visible()
    expect(page.get_by_label("Name")).to_have_value("plain")
    context.close()


@pytest.mark.parametrize("path", ["/", "/apps/new", "/apps/paged", "/apps/paged/settings", "/nothing", "/api/docs"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_a_phone(own: Instance, browser: Browser, state: str, path: str, scheme: str) -> None:
    context = browser.new_context(
        storage_state=state,
        viewport={"width": 375, "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = context.new_page()
    page.goto(home(own) + path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    context.close()


def test_strangers_are_sent_to_sign_in_and_wrong_passwords_refused(own: Instance, state: str, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{home(own)}/apps/paged")
    expect(page).to_have_url(re.compile(r"/login\?next="))
    page.get_by_label("E-mail address").fill(EMAIL)
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("is wrong")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{home(own)}/apps/paged")
    page.get_by_role("button", name="Sign out").click()
    page.goto(home(own))
    expect(page).to_have_url(re.compile("/login"))
    context.close()


def test_a_form_without_its_token_changes_nothing(own: Instance, state: str) -> None:
    answer = fetch(own.api_port, "/login", method="POST", body=b"email=a@b.c&password=x")
    assert answer.status == 400


def test_guessing_passwords_is_slowed_down(own: Instance, state: str, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    for _ in range(12):
        page.goto(f"{home(own)}/login")
        page.get_by_label("E-mail address").fill("guess@example.com")
        page.get_by_label("Password").fill("guess")
        page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("Too many tries")
    context.close()


def count(own: Instance, host: str, requests: int, errors: int = 0) -> None:
    """What a proxy counts in this minute."""
    buckets = (0, 0, 0, requests, *(0,) * (len(contract.LATENCY_BOUNDS) - 4))
    minute = contract.Minute(int(time.time()) // 60, host, "/", requests, errors, 0, buckets)
    with closing(contract.open_state(own.data_dir / "proxy.db")) as state:
        contract.add_minutes(state, [minute])


def test_traffic_is_drawn_and_goes_on_while_its_table_stays_open(own: Instance, page: Page) -> None:
    own.create_app("busy", "https://example.com/busy.git")
    page.goto(f"{home(own)}/apps/busy")
    panel = page.locator("#traffic")
    expect(panel).to_contain_text("No requests yet")
    height = panel.bounding_box()
    count(own, "busy.localhost", 200, 50)
    image = panel.get_by_role("img", name="Requests a minute")
    expect(image).to_be_visible(timeout=10_000)
    expect(image.locator("desc")).to_contain_text("200 requests in all, 50 of them failed")
    assert height and (now := panel.bounding_box()) and abs(now["height"] - height["height"]) < 60
    expect(panel.locator(".figures")).to_contain_text("25.0 %")
    panel.get_by_text("Figures by minute").click()
    count(own, "busy.localhost", 100)
    expect(image.locator("desc")).to_contain_text("300 requests in all", timeout=10_000)
    expect(panel.get_by_role("row").last).to_contain_text("300")


def test_traffic_is_asked_for_only_while_it_is_seen(own: Instance, page: Page) -> None:
    own.create_app("unseen", "https://example.com/unseen.git")
    page.goto(f"{home(own)}/apps/unseen")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.set_viewport_size({"width": 1440, "height": 120})
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(6000)
    assert not [url for url in asked if url.endswith("/traffic")]
    assert [url for url in asked if url.endswith("/apps/unseen")]


def test_traffic_shows_without_javascript(own: Instance, browser: Browser, state: str) -> None:
    own.create_app("calm", "https://example.com/calm.git")
    count(own, "calm.localhost", 5)
    context = browser.new_context(storage_state=state, java_script_enabled=False)
    page = context.new_page()
    for path in ("/apps/calm", "/apps/calm/traffic"):
        page.goto(home(own) + path)
        expect(page.get_by_role("img", name="Requests a minute")).to_be_visible()
        page.get_by_text("Figures by minute").click()
        expect(page.locator("#traffic tbody tr").first).to_be_visible()
    context.close()


def test_rules_are_checked_by_field_saved_and_shown_as_states(own: Instance, page: Page) -> None:
    own.create_app("ruled", "https://example.com/ruled.git")
    page.goto(f"{home(own)}/apps/ruled/settings")
    form = page.locator("#traffic-rules")
    form.get_by_label("Pause").check()
    form.get_by_label("Maintenance", exact=True).check()
    form.get_by_label("Message").fill("Back at noon.")
    form.get_by_label("User name").fill("ann")
    form.get_by_label("Allowed addresses").fill("10.0.0.0/8, home")
    form.get_by_label("Requests from one address").fill("100")
    form.get_by_label("Largest upload").fill("10m")
    form.get_by_role("button", name="Save rules").click()
    expect(form.locator(".field.wrong .problem")).to_have_text(re.compile("'home' is no address"))
    expect(form.get_by_label("Pause")).to_be_checked()
    form.get_by_label("Allowed addresses").fill("10.1.0.0/16")
    form.get_by_role("button", name="Save rules").click()
    expect(form.locator(".field.wrong .problem")).to_have_text(re.compile("Has no password yet"))
    form.get_by_label("Password for visitors").fill("hush hush")
    form.get_by_role("button", name="Save rules").click()
    page.wait_for_url("**/apps/ruled")
    expect(page.locator("h1 .badge.maintenance")).to_be_visible()
    assert own.get("/api/apps/ruled")["policy"] == {
        "paused": {"limit_seconds": 30},
        "maintenance": {"message": "Back at noon."},
        "basic_auth": {"realm": "Restricted", "users": {"ann": None}},
        "allow": ["10.1.0.0/16"],
        "rate_limit": {"requests": 100, "seconds": 60},
        "max_body_bytes": 10 * 2**20,
    }
    page.goto(f"{home(own)}/apps/ruled/settings")
    expect(form.get_by_label("User name")).to_have_value("ann")
    expect(form.get_by_label("Largest upload")).to_have_value("10m")
    form.get_by_label("Maintenance", exact=True).uncheck()
    form.get_by_label("User name").fill("")
    form.get_by_role("button", name="Save rules").click()
    page.wait_for_url("**/apps/ruled")
    page.goto(home(own))
    expect(page.locator(".card.app", has_text="ruled").locator(".badge.paused")).to_be_visible()
    policy = own.get("/api/apps/ruled")["policy"]
    assert "basic_auth" not in policy and "maintenance" not in policy
    with closing(contract.open_routes(own.data_dir / "routes.db", read_only=True)) as routes:
        (route,) = (route for route in contract.read(routes).routes if route.host == "ruled.localhost")
    assert route.policy == {**policy, "app": "ruled", "unavailable": "starting"}
