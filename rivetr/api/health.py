"""/health, for load balancers and people in a hurry"""

from typing import Any

from flask import jsonify

from rivetr.api import public
from rivetr.api.operation import operation
from rivetr.services import system


@public.get("/health")
@operation("Say what is up; 503 when something is down", is_public=True)
def health() -> Any:
    report = system.health()
    answer = jsonify(report)
    answer.status_code = 200 if report["status"] == "ok" else 503
    return answer
