"""POST /webhooks/<provider>: what Git servers send; their signature is all the authentication there is."""

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from rivetr.services import webhooks

blueprint = Blueprint("hooks", __name__)


@blueprint.post("/webhooks/<provider>")
def receive(provider: str) -> ResponseReturnValue:
    """Hand the untouched body over: the signature is made of these very bytes."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    receipt = webhooks.receive(provider, headers, request.get_data(cache=False))
    if receipt.deployments:
        return jsonify(deployments=receipt.deployments), 202
    return jsonify(ignored=receipt.ignored), 200
