"""What is wired to what in the web process: Flask, its extensions, the doors' blueprints."""

from datetime import timedelta

from flask import Flask
from flask_login import LoginManager
from flask_sqlalchemy import SQLAlchemy
from flask_wtf.csrf import CSRFProtect

from rivetr import api, config, crypto, db, hooks, models, web
from rivetr.answers import register_error_answers
from rivetr.bootstrap import ROOT
from rivetr.models import Setting

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
    register_error_answers(app)
    api.register_views()
    web.register_views()
    for blueprint in (api.blueprint, api.public, hooks.blueprint, web.blueprint):
        app.register_blueprint(blueprint)
    return app


def _open_database(app: Flask) -> None:
    assert models  # noqa: S101 - imported for its tables
    extension = SQLAlchemy(model_class=db.Base)
    extension.init_app(app)
    with app.app_context():
        db.configure(extension.engine)
        db.use_sessions(extension.session)
        sealed = db.session().get_one(Setting, "session_key").value
        app.secret_key = crypto.unseal(sealed, "session_key")
