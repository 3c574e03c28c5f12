"""/api/tokens"""

from typing import Any

from rivetr.api import blueprint
from rivetr.api.auth import actor
from rivetr.api.operation import operation
from rivetr.api.serialize import TokenAnswer
from rivetr.models import ApiToken
from rivetr.services import tokens
from rivetr.services.paging import Page, Window
from rivetr.specs.token import TokenSpec


@blueprint.get("/tokens")
@operation("List the API tokens", answer=TokenAnswer, is_list=True)
def list_tokens(window: Window) -> Page[ApiToken]:
    return tokens.page(actor(), window)


@blueprint.post("/tokens")
@operation("Make an API token; its secret is in this answer only", body=TokenSpec, status=201)
def create_token(values: dict[str, Any]) -> dict[str, Any]:
    token, secret = tokens.create(actor(), values)
    answer: dict[str, Any] = TokenAnswer().dump(token)
    return {**answer, "token": secret}


@blueprint.delete("/tokens/<id>")
@operation("Remove an API token", status=204)
def delete_token(id: str) -> None:
    tokens.delete(actor(), id)
