# Podman on runc, and Debian images made here with debootstrap, so that no registry is needed. Sourced, never run.
# shellcheck shell=bash

SUITE=bookworm
WORK="$TOOLS/containers"
LIMITS=(--ulimit nofile=1000:1000 --ulimit nproc=1000:1000)
PODMAN=(podman --runtime runc)

ensure_podman() {
  [ "$(id -u)" = 0 ] || give_up "$(basename "$0") must run as root: debootstrap and container networks need it."
  local missing=() tool
  for tool in podman runc debootstrap; do command -v "$tool" >/dev/null || missing+=("$tool"); done
  if ! dpkg -s netavark aardvark-dns >/dev/null 2>&1; then missing+=(netavark aardvark-dns); fi
  if [ ${#missing[@]} -gt 0 ]; then
    apt_install "${missing[@]}" || give_up "missing: ${missing[*]}" "Install them with apt-get and run this again."
  fi
  mkdir -p "$WORK"
}

# debian_image NAME PACKAGE,PACKAGE…: the smallest Debian with these packages, made once. DEBIAN_MIRROR chooses a mirror.
debian_image() {
  local name="$1" packages="$2"
  if "${PODMAN[@]}" image exists "$name"; then return; fi
  say "making $name with debootstrap (about a minute)"
  rm -rf "$WORK/root"
  debootstrap --variant=minbase --include="$packages" "$SUITE" "$WORK/root" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$WORK/debootstrap.log" 2>&1 \
    || give_up "debootstrap failed; see $WORK/debootstrap.log"
  tar -C "$WORK/root" -c . | "${PODMAN[@]}" import - "$name" >/dev/null 2>&1
  rm -rf "$WORK/root"
}
