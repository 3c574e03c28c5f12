"""What an app may be made from, and how it may be changed."""

from marshmallow import ValidationError, fields, validates_schema

from rivetr.specs import names, quantities
from rivetr.specs.fields import Count, Flag, Part, Text, length, one_of
from rivetr.specs.git import check_ref
from rivetr.specs.parsing import Spec
from rivetr.specs.policy import PolicySpec

MAX_DOMAINS = 50


class AppSpec(Spec):
    """Body of POST and PUT /api/apps, and (each field alone) of PATCH."""

    name = Text(names.app_name, required=True)
    git_url = Text(length(1, 2048), required=True)
    branch = Text(check_ref, load_default="main")
    dockerfile = Text(names.relative_path, load_default="Dockerfile")
    domain = Text(names.host_name)
    domains = fields.List(
        Text(names.host_name, required=True),
        load_default=None,
        allow_none=True,
        error_messages={"invalid": "must be a list of host names"},
    )
    port = Count(1, 65535, load_default=3000)
    healthcheck = Text(names.url_path)
    cpu_limit = Text(quantities.cpus, load_default="1")
    memory_limit = Text(quantities.memory_bytes, load_default="512m")
    environment = Text(one_of("development", "staging", "production"), load_default="production")
    project_id = Text(one_of())
    strategy = Text(one_of("rolling", "blue-green"), load_default="rolling")
    replicas = Count(1, 20, load_default=1)
    auto_deploy = Flag(load_default=True)
    webhook_secret = Text(length(8, 256))
    policy = Part(PolicySpec, load_default=dict)

    @validates_schema
    def _domains_agree(self, data: dict[str, object], **_: object) -> None:
        domain, domains = data.get("domain"), data.get("domains")
        if not isinstance(domains, list):
            return
        if len(domains) > MAX_DOMAINS or len(set(domains)) != len(domains):
            raise ValidationError(f"must be at most {MAX_DOMAINS} different host names", "domains")
        if domain and domains and domains[0] != domain:
            raise ValidationError("must start with the same name as domain (or leave domain out)", "domains")
