"""/api/system"""

from typing import Any

from rivetr.api import blueprint
from rivetr.api.auth import actor
from rivetr.api.operation import operation
from rivetr.services import system


@blueprint.get("/system")
@operation("Versions, disk, queue and processes of this instance")
def overview() -> dict[str, Any]:
    return system.overview(actor())
