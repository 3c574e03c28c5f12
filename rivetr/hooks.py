"""Placeholder until the webhooks door is written (helper 8 overwrites this file)."""

from flask import Blueprint

blueprint = Blueprint("hooks", __name__)
