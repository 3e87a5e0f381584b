"""The team page of the FastAPI example, clicked through in a real browser."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias
from uuid import uuid4

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import alert_is_present
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from flametrench_tenancy_sqlalchemy.testing.databases import Databases
from tests.support.examples import Application, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver.remote.webelement import WebElement

    from flametrench_tenancy_sqlalchemy.testing.servers import Server

NAME: Final = "Acme <i>&amp;</i> Sons"
PATIENCE: Final = 20.0
DESK: Final = (1280, 900)
PHONE: Final = (375, 812)
SCREENSHOTS: Final = os.environ.get("SCREENSHOTS")
"""A folder for pictures of the page, for whoever wants to look at it."""

# As root it has no sandbox; and it is not to call anybody.
ARGUMENTS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


@pytest.fixture(scope="module")
def application(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    databases, database = Databases(server), f"team_{uuid4().hex[:8]}"
    folder = tmp_path_factory.mktemp("team")
    with running("fastapi_app", folder, databases.create(database)) as application:
        yield application
    databases.drop(database)


class Page:
    """The page in somebody's browser, by what they see."""

    def __init__(self, driver: Chrome, address: str) -> None:
        self._driver = driver
        self._wait = WebDriverWait(
            driver, PATIENCE, ignored_exceptions=[StaleElementReferenceException]
        )
        driver.get(address)

    def shows(self, *texts: str) -> None:
        """Wait until the page shows some texts."""
        self._until(lambda: all(text in self._text() for text in texts), f"{texts}")

    def shows_no(self, text: str) -> None:
        """Wait until it does not."""
        self._until(lambda: text not in self._text(), f"no {text}")

    def click(self, label: str, *, beside: str = "") -> None:
        """Click a button: the one beside a text, if there are many."""
        self._do(f"//button[.='{label}']", beside, lambda button: button.click())

    def buttons(self, *, beside: str) -> list[str]:
        """Return the labels of the buttons beside a text."""
        self.shows(beside)
        return [button.text for button in self._all("//button", beside)]

    def fill(self, label: str, text: str, *, within: str) -> None:
        """Fill in a field of the form that has a button."""
        path = f"//form[.//button[.='{within}']]//label[contains(., '{label}')]/input"
        self._do(path, "", lambda field: field.send_keys(text))

    def choose(self, option: str, *, beside: str = "") -> None:
        """Choose a role."""
        self._do(
            "//select" if beside else "//form//select",
            beside,
            lambda field: Select(field).select_by_visible_text(option),
        )

    def roles(self, *, beside: str) -> list[str]:
        """Return the roles that can be chosen."""
        self.shows(beside)
        return [option.text for option in self._all("//select/option", beside)]

    def link(self, *, beside: str) -> str:
        """Return where a link goes."""
        self.shows(beside)
        [link] = self._all("//a", beside)
        address = link.get_attribute("href")
        assert address is not None
        return address

    def confirm(self) -> None:
        """Say yes to what the page asks."""
        self._wait.until(alert_is_present())
        self._driver.switch_to.alert.accept()

    def go(self, address: str) -> None:
        """Open an address."""
        self._driver.get("about:blank")
        self._driver.get(address)

    def sign_in(self, email: str) -> None:
        """Sign in, or up."""
        self.fill("E-mail", email, within="Sign in or up")
        self.click("Sign in or up")
        self.shows(email, "Sign out")

    def invite(self, email: str, role: str) -> None:
        """Invite somebody."""
        self.choose(role)
        self.fill("E-mail", email, within="Invite")
        self.click("Invite")
        self._until(lambda: self._offered_role() == "member", "the form as it was")

    def picture(self, name: str) -> None:
        """Expect the page to fit, and take pictures, at the width of a desk and of a phone."""
        for kind, (width, height) in (("desk", DESK), ("phone", PHONE)):
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            self._driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            wide = "return document.documentElement.scrollWidth"
            assert self._driver.execute_script(wide) <= width
            if SCREENSHOTS:
                self._driver.save_screenshot(str(Path(SCREENSHOTS, f"{name}-{kind}.png")))
        self._driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})

    def complaints(self) -> list[str]:
        """Return what the browser has found wrong with the page itself."""
        entries = self._driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [each["message"] for each in entries if each["source"] != "network"]

    def _offered_role(self) -> str:
        return Select(self._driver.find_element(By.ID, "role")).first_selected_option.text

    def _text(self) -> str:
        return self._driver.find_element(By.TAG_NAME, "body").text

    def _all(self, path: str, beside: str) -> list[WebElement]:
        row = f"//li[contains(., '{beside}')]" if beside else ""
        found = self._driver.find_elements(By.XPATH, row + path)
        return [each for each in found if each.is_displayed()]

    def _do(self, path: str, beside: str, action: Callable[[WebElement], object]) -> None:
        def done() -> bool:
            found = self._all(path, beside)
            if found:
                action(found[0])
            return bool(found)

        self._until(done, f"{path} beside {beside!r}")

    def _until(self, condition: Callable[[], bool], wanted: str) -> None:
        self._wait.until(lambda _: condition(), f"wanted: {wanted}")


Open: TypeAlias = Callable[[], Page]


@pytest.fixture
def open_page(application: Application, tmp_path: Path) -> Iterator[Open]:
    """Opens the page in a browser of somebody's own."""
    with ExitStack() as stack:

        def open_() -> Page:
            options = ChromeOptions()
            options.binary_location = os.environ["TENANCY_TEST_BROWSER"]
            for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path / uuid4().hex}"):
                options.add_argument(argument)
            driver = Chrome(options, ChromeService(os.environ["TENANCY_TEST_BROWSER_DRIVER"]))
            stack.callback(driver.quit)
            page = Page(driver, application.address)
            stack.callback(lambda: complaints.extend(page.complaints()))
            return page

        complaints: list[str] = []
        yield open_
    assert complaints == []


@pytest.fixture
def people() -> list[str]:
    return [f"{name}-{uuid4().hex[:8]}@example.com" for name in ("ann", "ben", "cy", "dee")]


def test_a_team_is_invited_managed_and_parted_with(
    application: Application, open_page: Open, people: list[str]
) -> None:
    ann, ben, cy, dee = people
    owner = open_page()
    owner.sign_in(ann)
    owner.fill("New organization", NAME, within="Create")
    owner.click("Create")
    owner.shows(NAME, "1 of 4 seats taken", "you")
    owner.click("Leave", beside=ann)
    owner.shows("Somebody has to own the organization")

    owner.invite(ben, "admin")
    owner.shows("2 of 4 seats taken", "admin, pending")
    invitee = open_page()
    invitee.go(owner.link(beside=ben))
    invitee.shows(f"To {NAME} by {ann}, as admin", "Sign in")
    invitee.shows_no("Accept")
    invitee.sign_in(ben)
    invitee.click("Accept")
    invitee.click(NAME)
    invitee.shows("2 of 4 seats taken", ann, "you")
    assert invitee.buttons(beside=ann) == []
    assert "owner" not in invitee.roles(beside=ben)

    owner.invite(cy, "viewer")
    owner.shows("3 of 4 seats taken", cy)
    link = owner.link(beside=cy)
    with application.client(ann) as client:
        offer = f"/tenancy/invitations/{link.rpartition('#')[2]}"
        until = client.get(offer).json()["expires_at"]
        owner.click("Resend", beside=cy)
        owner._until(lambda: client.get(offer).json()["expires_at"] > until, "a later end")
    owner.invite(dee, "guest")
    owner.shows("4 of 4 seats taken")
    owner.picture("team")
    owner.invite(f"eve-{dee}", "member")
    owner.shows("All seats are taken.")
    owner.click("Withdraw", beside=cy)
    owner.shows("3 of 4 seats taken")
    owner.shows_no(cy)
    invitee.go(link)
    invitee.shows("is revoked.")
    invitee.shows_no("Decline")

    owner.choose("guest", beside=ben)
    owner.shows("3 of 4 seats taken")
    invitee.go(application.address)
    invitee.shows("3 of 4 seats taken", ben)
    invitee.shows_no("Invite")
    assert invitee.roles(beside=ben) == []

    owner.click("Remove", beside=ben)
    owner.confirm()
    owner.shows("2 of 4 seats taken")
    owner.shows_no(ben)
    invitee.go(application.address)
    invitee.shows("Your organizations")
    invitee.shows_no(NAME)


def test_an_inbox_is_answered(open_page: Open, people: list[str]) -> None:
    ann, ben, *_ = people
    page = open_page()
    page.sign_in(ann)
    page.fill("New organization", NAME, within="Create")
    page.click("Create")
    page.invite(ben.upper(), "member")
    page.shows(ben)
    page.click("Sign out")
    page.sign_in(ben)
    page.shows("Invitations to you", f"{NAME}, as member")
    page.picture("inbox")
    page.click("Decline", beside=NAME)
    page.shows_no(NAME)
    page.click("Sign out")
    page.shows("Sign in")
    page.picture("sign-in")
