"""What is wired to what in the web process: Flask, its extensions, the doors' blueprints."""

import logging
from datetime import timedelta

from flask import Flask, request
from flask.typing import ResponseReturnValue
from flask_login import LoginManager
from flask_sqlalchemy import SQLAlchemy
from flask_wtf.csrf import CSRFProtect
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException

from rivetr import api, config, crypto, db, hooks, web
from rivetr.api import errors as api_errors
from rivetr.bootstrap import ROOT
from rivetr.errors import Busy, RivetrError
from rivetr.models import Setting
from rivetr.web import errors as web_errors

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 2 * 1024 * 1024


def create_app(settings: config.Settings) -> Flask:
    """The control plane's WSGI application; the process must have been started by `bootstrap`."""
    app = Flask("rivetr", root_path=str(ROOT), static_folder="static", template_folder="templates")
    secure = settings.dashboard_url.startswith("https://")
    app.config.update(
        SQLALCHEMY_DATABASE_URI=db.url(settings.database),
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        SESSION_COOKIE_NAME="__Host-rivetr" if secure else "rivetr",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=secure,
        PERMANENT_SESSION_LIFETIME=timedelta(days=14),
        WTF_CSRF_TIME_LIMIT=None,
        WTF_CSRF_CHECK_DEFAULT=False,
        SEND_FILE_MAX_AGE_DEFAULT=timedelta(days=7),
    )
    _open_database(app)
    web.session.set_up(LoginManager(app), CSRFProtect(app), app)
    app.register_error_handler(Exception, _answer)
    api.register_views()
    web.register_views()
    for blueprint in (api.blueprint, api.public, hooks.blueprint, web.blueprint):
        app.register_blueprint(blueprint)
    return app


def _open_database(app: Flask) -> None:
    extension = SQLAlchemy(model_class=db.Base)
    extension.init_app(app)
    with app.app_context():
        db.configure(extension.engine)
        db.use_sessions(extension.session)
        sealed = db.session().get_one(Setting, "session_key").value
        app.secret_key = crypto.unseal(sealed, "session_key")


# Paths whose callers are programs; everybody else gets a page.
_PROGRAM_PATHS = ("/api/", "/webhooks/", "/health", "/metrics")


def _answer(error: Exception) -> ResponseReturnValue:
    """Every error becomes an answer here, in the form that the caller reads."""
    known = _as_rivetr_error(error)
    if known.status >= 500 and not isinstance(error, RivetrError | OperationalError):
        log.error("%s %s failed", request.method, request.path, exc_info=error)
    if request.path.startswith(_PROGRAM_PATHS):
        return api_errors.answer(known)
    return web_errors.answer(known)


def _as_rivetr_error(error: Exception) -> RivetrError:
    if isinstance(error, RivetrError):
        return error
    if isinstance(error, OperationalError):
        db.session().rollback()
        full = "full" in str(error.orig)
        return Busy(
            "The server's disk is full: free some space, then try again."
            if full
            else "The database is busy: try again in a moment."
        )
    known = RivetrError("Something went wrong on the server; its log says what.")
    if isinstance(error, HTTPException):
        known = RivetrError(error.description or error.name)
        known.status = error.code or 500
        known.code = error.name.lower().replace(" ", "_")
    return known
