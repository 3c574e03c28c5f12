"""Which Dockerfiles need BuildKit."""

import pytest

from rivetr.runtimes.buildkit_need import buildkit_need


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("RUN --mount=type=cache,target=/c make", "RUN --mount in line 2"),
        ("run --mount=type=cache,target=/c make", "RUN --mount in line 2"),
        ("RUN \\\n  # why\n\n  --mount=type=cache,target=/c \\\n  make", "RUN --mount in line 2"),
        ("RUN --network=none true", "RUN --network in line 2"),
        ("RUN --security=insecure true", "RUN --security in line 2"),
        ("RUN true\n\n# x\nCOPY --from=a --link f /f", "COPY --link in line 5"),
        ("COPY --chmod=755 f /f", "COPY --chmod in line 2"),
        ("ADD --chmod=755 f /f", "ADD --chmod in line 2"),
        ("ADD --checksum=sha256:0 http://x/y /f", "ADD --checksum in line 2"),
        ("ONBUILD RUN --mount=type=cache,target=/c make", "RUN --mount in line 2"),
        ("FROM --platform=$BUILDPLATFORM busybox AS b", "FROM --platform=$BUILDPLATFORM in line 2"),
        ("FROM --platform=${TARGETPLATFORM:-linux/amd64} busybox", "FROM --platform=${TARGETPLATFORM:"),
        ("RUN <<EOF\necho hi\nEOF", "the here-document in line 2"),
        ("RUN sh -e <<'EOF'\r\necho hi\r\nEOF\r\n", "the here-document in line 2"),
        ("RUN <<-EOF\n\techo hi\n\tEOF", "the here-document in line 2"),
        ('RUN cat > /x <<"END" && \\\n  true\nhi\nEND', "the here-document in line 2"),
        ("RUN 3<<EOF cat\nhi\nEOF", "the here-document in line 2"),
        ("COPY <<a.txt <<b.txt /etc/\n1\na.txt\n2\nb.txt", "the here-document in line 2"),
        ("ADD <<EOF /x\nhi\nEOF", "the here-document in line 2"),
    ],
)
def test_needs_buildkit(lines: str, said: str) -> None:
    assert str(buildkit_need(f"FROM busybox\n{lines}")).startswith(said)


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "RUN echo --mount=type=cache",
        "RUN echo hi # --mount\n# RUN --mount=x\n#COPY --link",
        "COPY --from=a --chown=1:1 f /f\nADD --chown=1 f /f",
        "FROM --platform=linux/amd64 busybox",
        "RUN echo $((1<<2)) '<<EOF' \"a <<EOF\"\nEOF",
        "RUN sh <<<EOF\nEOF",
        # The shell itself takes what follows on the same line, and warns: the classic builder does that too.
        "RUN cat <<EOF\nCMD x",
        "RUN cat <<EOF\\\n hi\\\n EOF",
        "LABEL a=<<EOF\nEOF",
        'RUN ["sh", "-c", "cat <<EOF"]',
        "HEALTHCHECK --interval=5s CMD true",
        'RUN echo "unbalanced \\',
        "ONBUILD",
    ],
)
def test_the_classic_builder_will_do(lines: str) -> None:
    assert buildkit_need(f"FROM busybox\n{lines}") is None


def test_directives() -> None:
    assert buildkit_need("# syntax=docker/dockerfile:1\nFROM busybox\nRUN true") is None
    windows = "# syntax=x\n# escape=`\nFROM busybox\nRUN `\n  --mount=type=cache,target=/c x"
    assert str(buildkit_need(windows)) == "RUN --mount in line 4 of the Dockerfile"
    assert str(buildkit_need("\ufeffRUN --mount=a b")) == "RUN --mount in line 1 of the Dockerfile"


def test_a_long_hostile_file_is_read_in_a_moment() -> None:
    assert buildkit_need("RUN " + "<<A " * 200_000 + "\n" + "'\"\\ " * 100_000) is None
    assert buildkit_need("RUN a \\\n" * 100_000) is None
