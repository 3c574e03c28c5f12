#!/bin/sh
# Makes sure that a container engine answers: uses the one that is there, starts one that is installed,
# installs Debian's where it may. Nothing is changed on a machine whose engine answers.
set -eu
cd "$(dirname "$0")/.."

socket=${RIVETR_RUNTIME__DOCKER_SOCKET:-/var/run/docker.sock}
log=/var/log/rivetr-dockerd.log

say() { echo "==> $*"; }
have() { command -v "$1" >/dev/null 2>&1; }
answers() { .venv/bin/python -m rivetr.runtimes.detect; }

wait_for_engine() {
    for _ in $(seq 100); do
        if answers >/dev/null 2>&1; then return 0; fi
        sleep 0.2
    done
    return 1
}

start_engine() {
    if [ -d /run/systemd/system ]; then
        systemctl start docker
    else
        # Without systemd nobody else would start it; it outlives us, as a service does.
        rm -f /var/run/docker.pid
        setsid dockerd >"$log" 2>&1 </dev/null &
    fi
}

if answers >/dev/null 2>&1; then exit 0; fi

if [ "$(id -u)" != 0 ]; then
    answers || true
    echo "Start Docker and let this user reach it, or run this as root, which installs and starts it." >&2
    exit 1
fi
if ! have dockerd; then
    have apt-get || { echo "Install Docker for this system, then run this again." >&2; exit 1; }
    say "Installing Docker (Debian's docker.io)"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends docker.io iptables >/dev/null
fi
if ! complaint=$(answers 2>&1); then
    say "Starting Docker"
    start_engine
    if ! wait_for_engine; then
        echo "Docker was started but does not answer at $socket: $complaint" >&2
        [ -f "$log" ] && tail -n 5 "$log" >&2
        exit 1
    fi
fi
