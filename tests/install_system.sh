#!/bin/sh
# Makes sure of what the tests use and pip cannot bring: a Chromium, axe-core, which judges the page's accessibility, and, where
# there is apt, an emulator of other processors, a compiler for 64-bit ARM, the program that links network namespaces, and
# Debian's copy of Fashion-MNIST.
set -eu
axe=axe-core-4.14.1
axe_sha512=1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b734f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5
folder=$(dirname "$0")/../build
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
[ -e "$folder/$axe/axe.min.js" ] || command -v npm >/dev/null || missing="$missing npm"
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
if [ ! -e "$folder/$axe/axe.min.js" ]; then
    mkdir -p "$folder/$axe"
    npm pack --silent --pack-destination "$folder" "$(echo "$axe" | sed 's/-\([0-9]\)/@\1/')" >/dev/null
    echo "$axe_sha512  $folder/$axe.tgz" | sha512sum --check --quiet
    tar -xzf "$folder/$axe.tgz" -C "$folder/$axe" --strip-components=1 package/axe.min.js
    rm "$folder/$axe.tgz"
fi
echo "Accessibility rules for the tests: $axe"
