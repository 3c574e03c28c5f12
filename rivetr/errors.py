"""Every error Rivetr raises on purpose; the doors turn `status` and `code` into an answer.

RivetrError(code, status)
├── Invalid(fields)            422  a value somebody gave is wrong
├── Unreadable                 400  a body that cannot be parsed at all
├── Unauthenticated            401  no credentials, or wrong ones
├── Forbidden                  403  known, but lacks the scope
├── NotFound                   404  not there, or not yours
├── Conflict                   409  name or domain taken, deployment already over
├── TooMany(retry_after)       429  slow down
├── Misconfigured              500  a start that must not go on (bad settings, wrong key)
├── StageFailed(stage)              a deployment cannot go on; the message is shown to people
│   ├── InvalidPlan CloneFailed BuildFailed DeployFailed HealthCheckFailed SwitchFailed
├── Cancelled                       somebody asked a running deployment to stop
└── OutsideError(permanent)         an adapter's other side failed
    ├── RuntimeFailed               the container engine refused
    │   └── RuntimeUnavailable 503  the container engine does not answer
    └── GitFailed                   Git refused
"""

from collections.abc import Mapping


class RivetrError(Exception):
    """Root of the tree: `message` is a sentence for people, `code` a word for programs."""

    code = "error"
    status = 500

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Invalid(RivetrError):
    """Some values were wrong: `fields` maps each one to what is wrong and how to mend it."""

    code = "invalid"
    status = 422

    def __init__(self, fields: Mapping[str, str], message: str | None = None) -> None:
        described = "; ".join(f"{name}: {why}" for name, why in fields.items())
        super().__init__(message or f"Some values need mending: {described}.")
        self.fields = dict(fields)


class Unreadable(RivetrError):
    """The body could not be parsed at all."""

    code = "unreadable"
    status = 400


class Unauthenticated(RivetrError):
    """No credentials, or credentials that are not (or no longer) good."""

    code = "unauthenticated"
    status = 401


class Forbidden(RivetrError):
    """The caller is known but may not do this."""

    code = "forbidden"
    status = 403


class NotFound(RivetrError):
    """There is no such thing, or it is not the caller's."""

    code = "not_found"
    status = 404


class Conflict(RivetrError):
    """The request contradicts what is there; `fields` as in `Invalid` when one value is to blame."""

    code = "conflict"
    status = 409

    def __init__(self, message: str, fields: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.fields = dict(fields or {})


class TooMany(RivetrError):
    """Too many tries; try again in `retry_after` seconds."""

    code = "too_many"
    status = 429

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Busy(RivetrError):
    """The database could not be used in time; nothing was changed."""

    code = "busy"
    status = 503
    retry_after = 5


class Misconfigured(RivetrError):
    """A process must not start like this; the message says which setting to mend."""

    code = "misconfigured"


class StageFailed(RivetrError):
    """A pipeline stage could not do its work; `stage` names it."""

    code = "stage_failed"
    stage = ""


class InvalidPlan(StageFailed):
    """What is to be deployed contradicts itself."""

    stage = "validate"


class CloneFailed(StageFailed):
    """The source could not be fetched."""

    stage = "clone"


class BuildFailed(StageFailed):
    """No image came out of the source."""

    stage = "build"


class DeployFailed(StageFailed):
    """The containers could not be started."""

    stage = "deploy"


class HealthCheckFailed(StageFailed):
    """The containers started but never answered as they should."""

    stage = "health"


class SwitchFailed(StageFailed):
    """The proxy did not take the new version over."""

    stage = "switch"


class Cancelled(RivetrError):
    """Somebody asked the running deployment to stop."""

    code = "cancelled"


class OutsideError(RivetrError):
    """Something outside our process failed; `permanent` says that trying again is useless."""

    code = "outside"
    status = 502
    permanent = True


class RuntimeFailed(OutsideError):
    """The container engine refused or broke off what it was asked to do."""

    code = "runtime_failed"


class RuntimeUnavailable(RuntimeFailed):
    """No container engine answers."""

    code = "runtime_unavailable"
    status = 503
    permanent = False
    retry_after = 10


class GitFailed(OutsideError):
    """Git could not do what it was asked to."""

    code = "git_failed"
