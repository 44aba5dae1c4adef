#!/bin/sh
# Makes sure that the browser tests have a Chromium: the one that is there, or Debian's where apt is at hand.
set -eu
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    if command -v "$name" >/dev/null 2>&1; then
        echo "Browser for the tests: $(command -v "$name")"
        exit 0
    fi
done
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" -eq 0 ]; then
    echo "Installing Chromium for the browser tests"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null
    exit 0
fi
echo "No Chromium found: install one (Debian: apt-get install chromium) and run again." >&2
exit 1
