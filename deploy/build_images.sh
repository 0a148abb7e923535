#!/usr/bin/env bash
# Build images: deploy/build_images.sh [TARGET ...], default cpu. Each is tagged posbake:TARGET.
#
#   BUILDER        docker, podman or buildah; default: the first that works on this host
#   BASE           base image; default: the Dockerfile's. BASE=debootstrap (buildah only) builds one from Debian's packages
#   BUILD_OPTIONS  further options of the builder, separated by spaces, for example to configure pip for another index:
#                  --build-arg PIP_INDEX_URL=URL, or, in podman and buildah, --volume FILE:/etc/pip.conf:ro and
#                  --volume DIRECTORY:/etc/ssl/certs:ro
set -euo pipefail
cd "$(dirname "$0")/.."

builder=${BUILDER:-}
if [ -z "$builder" ]; then
    if docker info >/dev/null 2>&1; then builder=docker # requires a running daemon
    elif command -v buildah >/dev/null; then builder=buildah
    elif command -v podman >/dev/null; then builder=podman
    fi
fi
[ -n "$builder" ] || { echo "$0: docker, buildah and podman are not usable; install one of them" >&2; exit 1; }

# Base image like python:slim: Python with venv, and certificates.
debootstrap_base() {
    local scratch
    scratch=$(mktemp -d)
    mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$scratch/base.tar"
    printf 'FROM scratch\nADD base.tar /\n' >"$scratch/Dockerfile"
    buildah bud --quiet --format docker --isolation chroot --tag localhost/python:bookworm "$scratch"
    rm -r "$scratch"
}

options=()
case $builder in
    docker | podman) build=("$builder" build) ;;
    # Chroot isolation requires no permission to start containers. docker's format supports health checks.
    buildah) build=(buildah bud --isolation chroot --network host --layers --format docker) ;;
    *) echo "$0: BUILDER is $builder; expected docker, podman or buildah" >&2; exit 2 ;;
esac
if [ "${BASE:-}" = debootstrap ]; then
    [ "$builder" = buildah ] || { echo "$0: BASE=debootstrap requires BUILDER=buildah" >&2; exit 2; }
    buildah inspect --type image localhost/python:bookworm >/dev/null 2>&1 || debootstrap_base
    options+=(--build-arg BASE=localhost/python:bookworm)
elif [ -n "${BASE:-}" ]; then
    options+=(--build-arg "BASE=$BASE")
fi
read -r -a further <<<"${BUILD_OPTIONS:-}"
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)

for target in "${@:-cpu}"; do
    echo "$builder: posbake:$target" >&2
    "${build[@]}" "${options[@]}" "${further[@]}" --build-arg "REVISION=$revision" --target "$target" --tag "posbake:$target" .
done
