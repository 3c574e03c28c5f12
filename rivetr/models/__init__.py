"""The tables. Importing this package registers every model with `rivetr.db.Base`."""

from rivetr.models.app import App, Domain, EnvVar
from rivetr.models.delivery import Delivery, Webhook
from rivetr.models.deployment import Deployment, DeploymentStage, LogEntry
from rivetr.models.release import Release
from rivetr.models.route import ManualRoute
from rivetr.models.setting import Setting
from rivetr.models.user import ApiToken, LoginSession, User

__all__ = [
    "ApiToken",
    "App",
    "Delivery",
    "Deployment",
    "DeploymentStage",
    "Domain",
    "EnvVar",
    "LogEntry",
    "LoginSession",
    "ManualRoute",
    "Release",
    "Setting",
    "User",
    "Webhook",
]
