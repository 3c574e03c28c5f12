"""The bundled example as a Git repository of its own, so that a first deployment clones like any other."""

import shutil
from pathlib import Path

from rivetr.bootstrap import ROOT

_AUTHOR = "Rivetr"


def make_repository(folder: Path) -> Path:
    """A repository with one commit of `examples/hello` on `main`, made anew unless it is there."""
    target = folder / "hello"
    if (target / ".git").exists():
        return target
    import git

    aside = folder / ".hello.part"
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(ROOT / "examples" / "hello", aside)
    repository = git.Repo.init(aside, initial_branch="main")
    author = git.Actor(_AUTHOR, "rivetr@localhost")
    repository.git.add("--all")
    repository.index.commit("Hello from Rivetr", author=author, committer=author)
    repository.close()
    aside.rename(target)
    return target
