#!/bin/sh
# Programs that only tests use: a browser for the pages. Installed from Debian where we may.
set -eu
for program in chromium chromium-browser google-chrome; do
    if command -v "$program" >/dev/null 2>&1; then exit 0; fi
done
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "The page tests need Chromium: install it, then run this again." >&2
    exit 1
fi
echo "==> Installing Chromium (Debian)"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null
