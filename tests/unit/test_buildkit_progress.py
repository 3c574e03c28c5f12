"""What is said of a failed BuildKit build, from the words of old (20.10) and newer clients."""

import pytest

from rivetr.runtimes.buildkit_progress import BuildKitProgress

DIGEST = "sha256:" + "a" * 64
RUN = "#5 [stage-0 2/2] RUN --mount=type=cache,target=/c make"


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            f"{RUN}\n#5 0.2 cc\n#5 ERROR: executor failed running [/bin/sh -c make]: exit code: 2\n"
            "executor failed running [/bin/sh -c make]: exit code: 2",
            "The step 'RUN --mount=type=cache,target=/c make' failed with exit code 2.",
        ),
        (
            f'{RUN}\n#5 ERROR: process "/bin/sh -c make" did not complete successfully: exit code: 137\n'
            'ERROR: failed to solve: process "/bin/sh -c make" did not complete successfully: exit code: 137',
            "The step 'RUN --mount=type=cache,target=/c make' failed with exit code 137. It was killed: "
            "most likely it needed more memory than this machine has.",
        ),
        (
            f"#2 [internal] load metadata for docker.io/library/a:1\n{RUN}\n#5 ERROR: context canceled\n"
            "#2 ERROR: docker.io/library/a:1: not found\nERROR: failed to solve: a:1: not found",
            "The base image a:1 is not on this machine and could not be pulled: docker.io/library/a:1: not found. "
            "Check its name and this machine's network, or run: docker pull a:1",
        ),
        (
            f"#4 [1/2] FROM ghcr.io/o/a:1@{DIGEST}\n#4 ERROR: connection reset",
            "The base image ghcr.io/o/a:1 is not on this machine and could not be pulled: connection reset. "
            "Check its name and this machine's network, or run: docker pull ghcr.io/o/a:1",
        ),
        (
            "#2 resolve image config for docker-image://docker.io/docker/dockerfile:1\n#2 ERROR: no such host",
            "The Dockerfile's '# syntax=' line asks for the image docker/dockerfile:1, which could not be pulled: "
            "no such host. Check its name and this machine's network, or leave the line out.",
        ),
        (
            "failed to solve with frontend dockerfile.v0: failed to create LLB definition: "
            "dockerfile parse error line 2: unexpected key 'a' in 'a=3'",
            "Line 2 of the Dockerfile was not understood: unexpected key 'a' in 'a=3'.",
        ),
        (
            "ERROR: failed to solve: dockerfile parse error on line 3: unknown instruction: ECHO",
            "Line 3 of the Dockerfile was not understood: unknown instruction: ECHO. Here-documents and newer flags "
            "may be beyond this engine's own BuildKit: update the engine (to 23 or newer), or make "
            "'# syntax=docker/dockerfile:1' the first line, upon which the engine downloads that.",
        ),
        (
            '#6 [2/2] COPY a /b\n#6 ERROR: failed to compute cache key: "/a" not found\nfailed: more',
            "The step 'COPY a /b' failed: \"/a\" not found.",
        ),
        (
            f"{RUN}\n#5 ERROR: write /x: no space left on device",
            "The disk is full: free some space on this machine and deploy again (write /x: no space left on device).",
        ),
        ("ERROR: rpc error: code = Unknown desc = it is gone", "It is gone."),
        ("error during connect: no daemon", "Error during connect: no daemon."),
        ("", "The docker command line ended with status 125."),
    ],
)
def test_the_reason(output: str, said: str) -> None:
    progress = BuildKitProgress(lambda line: None)
    for line in output.split("\n"):
        progress.line(line)
    assert progress.failure(125) == said


def test_layers_on_their_way_do_not_fill_the_log() -> None:
    seen: list[str] = []
    progress = BuildKitProgress(seen.append)
    kept = [RUN, f"#5 0.1 {DIGEST}", f"#4 {DIGEST} 3MB / 3MB 1.0s done", f"#4 extracting {DIGEST} done", "#4 DONE 1.0s"]
    noise = [
        "",
        f"#5 {DIGEST}",
        f"#4 {DIGEST} 1MB / 3MB 0.5s",
        f"#4 extracting {DIGEST}",
        f"#4 extracting {DIGEST} 0.1s",
    ]
    for line in [*noise, *kept, *noise]:
        progress.line(line)
    assert seen == kept
