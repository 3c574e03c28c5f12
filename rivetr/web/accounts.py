"""First set-up, sign-in and sign-out."""

from urllib.parse import urlsplit

from flask import Response, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_user, logout_user

from rivetr.errors import Invalid, RivetrError, Unauthenticated
from rivetr.models import LoginSession
from rivetr.services import users
from rivetr.specs.parsing import from_form, parse
from rivetr.specs.user import AccountSpec, SignInSpec
from rivetr.web import blueprint
from rivetr.web.session import SignedIn


@blueprint.get("/setup")
def setup() -> ResponseReturnValue:
    code = request.args.get("code", "")
    users.check_setup_code(code)
    return render_template("accounts/setup.html", code=code, values={}, fields={})


@blueprint.post("/setup")
def set_up() -> ResponseReturnValue:
    code = request.form.get("code", "")
    try:
        values = parse(AccountSpec(), from_form(AccountSpec(), request.form))
    except Invalid as error:
        return render_template("accounts/setup.html", code=code, values=request.form, fields=error.fields), 422
    return _enter(users.open_session(users.set_up(code, values)), url_for("web.list_apps"))


@blueprint.get("/login")
def sign_in() -> ResponseReturnValue:
    if current_user.is_authenticated:
        return redirect(_safe_next(), 303)
    return _sign_in_page("", None)


def _sign_in_page(email: str, problem: str | None) -> str:
    has_people = users.any_exists()
    return render_template(
        "accounts/sign_in.html", next=_safe_next(), email=email, problem=problem, has_people=has_people
    )


@blueprint.post("/login")
def signing_in() -> ResponseReturnValue:
    form = request.form
    try:
        values = parse(SignInSpec(), from_form(SignInSpec(), form))
        # The address of the connection: a header could be anybody's claim.
        opened = users.sign_in(values, request.remote_addr or "")
    except RivetrError as error:
        if not isinstance(error, Invalid | Unauthenticated) and error.status != 429:
            raise
        problem = "Give an e-mail address and a password." if isinstance(error, Invalid) else error.message
        response = make_response(_sign_in_page(form.get("email", ""), problem), error.status)
        if error.status == 429:
            response.headers["Retry-After"] = "60"
        return response
    return _enter(opened, _safe_next())


def _enter(opened: LoginSession, target: str) -> Response:
    signed_in = SignedIn(opened.id, opened.user.email, users.actor_of(opened.user))
    login_user(signed_in, remember=False)
    return make_response(redirect(target, 303))


def _safe_next() -> str:
    """Where to go after sign-in: a path of ours, or the start page."""
    wanted = request.values.get("next", "")
    parts = urlsplit(wanted)
    is_ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and not parts.netloc and not parts.scheme
    return wanted if is_ours and wanted.isprintable() and "\\" not in wanted else url_for("web.list_apps")


@blueprint.post("/logout")
def sign_out() -> ResponseReturnValue:
    users.close_session(current_user.session_id)
    logout_user()
    return redirect(url_for("web.sign_in"), 303)
