#!/bin/sh
# Makes sure of what the tests use and pip cannot bring: a Chromium and, where there is apt, an emulator of other processors, a
# compiler for 64-bit ARM, the program that links network namespaces, and Debian's copy of Fashion-MNIST.
set -eu
browser() {
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        command -v "$name" && return
    done
    return 1
}

missing=
browser >/dev/null || missing="chromium"
[ -d /usr/share/datasets/fashion-mnist ] || missing="$missing dataset-fashion-mnist"
command -v qemu-x86_64 >/dev/null || missing="$missing qemu-user"
command -v aarch64-linux-gnu-g++ >/dev/null || missing="$missing g++-aarch64-linux-gnu"
command -v ip >/dev/null || missing="$missing iproute2"
if [ -n "$missing" ] && command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" -eq 0 ]; then
    echo "Installing for the tests: $missing"
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null
fi
if ! found=$(browser); then
    echo "No Chromium found: install one (Debian: apt-get install chromium) and run again." >&2
    exit 1
fi
echo "Browser for the tests: $found"
