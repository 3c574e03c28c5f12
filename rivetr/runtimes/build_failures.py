"""What to say of a failed build, in the same words whichever builder it was."""


def disk_is_full(words: str) -> str | None:
    """The sentence for a full disk, if that is what the engine's `words` mean."""
    if "no space left" not in words.lower():
        return None
    return f"The disk is full: free some space on this machine and deploy again ({words})."


def no_base_image(base: str, words: str) -> str:
    """The sentence for a base image that is nowhere."""
    return (
        f"The base image {base} is not on this machine and could not be pulled: {words}. "
        f"Check its name and this machine's network, or run: docker pull {base}"
    )
