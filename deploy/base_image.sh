#!/bin/sh
# Makes sure that the sandbox's base image is there: Debian with Python, pytest and flake8. Where a
# registry answers it starts from Debian's image; where none does it bootstraps from Debian's mirror.
#
# Usage: deploy/base_image.sh [NAME]        (default goalkeeper-base:1; DOCKER_HOST is honoured)
set -eu

name=${1:-goalkeeper-base:1}
suite=bookworm
upstream=docker.io/library/debian:$suite-slim
packages="python3 python3-pytest python3-flake8 flake8"
include=$(printf '%s' "$packages" | tr ' ' ',')

fail() {
    printf 'base image: %s\n' "$1" >&2
    exit 1
}

# The configuration of the image is the same whichever way its files came about.
import() {
    docker import \
        --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change 'ENV LANG=C.UTF-8' \
        --change 'ENV PYTHONDONTWRITEBYTECODE=1' \
        --change 'ENV PYTHONUNBUFFERED=1' \
        --change 'WORKDIR /workspace' \
        --change 'CMD ["python3"]' \
        --change 'LABEL goalkeeper.base=1' \
        --message "Debian $suite with $packages" \
        - "$name" >/dev/null
}

from_registry() {
    timeout 30 docker pull --quiet "$upstream" >/dev/null 2>&1 || return 1
    docker run --name "$container" --env DEBIAN_FRONTEND=noninteractive "$upstream" sh -euc "
        apt-get -qq update
        apt-get -qq install --yes --no-install-recommends $packages
        rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/* /usr/share/doc/* /usr/share/man/*
        mkdir -p /workspace" >/dev/null 2>&1 || return 1
    # Through a file: a pipe would hide a failed export from sh.
    docker export "$container" >"$scratch/base.tar" && import <"$scratch/base.tar"
}

# A mirror that this machine is set up to use, so that an internal one is honoured.
mirror() {
    # shellcheck disable=SC2016  # apt expands these, not the shell
    found=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 2>/dev/null |
        awk -v suite="$suite" '$2 == suite { print $1; exit }')
    printf '%s' "${found:-http://deb.debian.org/debian/}"
}

bootstrap() {
    if ! command -v mmdebstrap >/dev/null 2>&1; then
        command -v apt-get >/dev/null 2>&1 || fail "no registry answers, and mmdebstrap can only be installed where apt-get is; load an image from elsewhere (docker load) and tag it $name"
        [ "$(id -u)" = 0 ] || fail "no registry answers and mmdebstrap is missing; run 'sudo apt-get install mmdebstrap' and run this again"
        DEBIAN_FRONTEND=noninteractive
        export DEBIAN_FRONTEND
        { apt-get -qq update && apt-get -qq install --yes --no-install-recommends mmdebstrap debian-archive-keyring; } \
            >"$scratch/log" 2>&1 || fail "apt-get could not install mmdebstrap: $(tail -n 3 "$scratch/log")"
    fi
    mmdebstrap --quiet --variant=minbase --include="$include" \
        --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/* "$1"/var/log/*' \
        --customize-hook='mkdir -p "$1/workspace"' \
        "$suite" "$scratch/base.tar" "$(mirror)" >"$scratch/log" 2>&1 ||
        fail "mmdebstrap failed: $(tail -n 5 "$scratch/log")"
    import <"$scratch/base.tar"
}

install_command() {
    { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; } ||
        fail "the docker command is missing; install it (Debian: docker.io, from 13 on docker-cli) and run this again"
    package=docker.io
    apt-get -qq update >/dev/null 2>&1 || true
    if apt-cache show docker-cli >/dev/null 2>&1; then package=docker-cli; fi
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "$package" >/dev/null 2>&1 ||
        fail "apt-get could not install $package, which holds the docker command"
}

command -v docker >/dev/null 2>&1 || install_command
docker version --format '{{.Server.Version}}' >/dev/null 2>&1 ||
    fail "no Docker Engine answers; run deploy/engine.sh first"
if docker image inspect "$name" >/dev/null 2>&1; then exit 0; fi
printf 'base image: building %s (about half a minute, once)\n' "$name" >&2
scratch=$(mktemp -d "${TMPDIR:-/tmp}/goalkeeper-base.XXXXXX")
container=goalkeeper-base-$$
trap 'rm -rf "$scratch"; docker rm -f "$container" >/dev/null 2>&1 || true' EXIT
trap 'exit 1' INT TERM
from_registry || bootstrap
