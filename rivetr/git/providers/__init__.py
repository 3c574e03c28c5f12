"""The kinds of Git server whose webhooks are understood, by the name in the webhook's address."""

from rivetr.git.providers.base import Provider
from rivetr.git.providers.bitbucket import Bitbucket
from rivetr.git.providers.gitea import Gitea
from rivetr.git.providers.github import GitHub
from rivetr.git.providers.gitlab import GitLab

PROVIDERS: dict[str, Provider] = {each.name: each for each in (GitHub(), GitLab(), Gitea(), Bitbucket())}
