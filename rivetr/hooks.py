"""POST /webhooks/<provider>: what Git servers send; their signature is all the authentication there is."""

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from rivetr.services import webhooks

blueprint = Blueprint("hooks", __name__)


@blueprint.post("/webhooks/<provider>")
def receive(provider: str) -> ResponseReturnValue:
    """Hand the untouched body over: the signature is made of these very bytes."""
    # WSGI gives the bytes of a header as Latin-1 (PEP 3333); a GitLab token may be any UTF-8.
    headers = {
        name.lower(): value.encode("latin-1", "replace").decode("utf-8", "replace")
        for name, value in request.headers.items()
    }
    receipt = webhooks.receive(provider, headers, request.get_data(cache=False))
    if not receipt.ignored:
        return jsonify(deployments=receipt.deployments), 202
    if receipt.deployments:
        return jsonify(ignored=receipt.ignored, deployments=receipt.deployments), 200
    return jsonify(ignored=receipt.ignored), 200
