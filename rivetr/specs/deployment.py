"""What a deploy may be asked for."""

from rivetr.specs.fields import Text
from rivetr.specs.git import check_ref
from rivetr.specs.parsing import Spec


class DeploySpec(Spec):
    """Body of POST /api/apps/{app}/deploy: a branch, tag or commit instead of the app's branch."""

    ref = Text(check_ref)
