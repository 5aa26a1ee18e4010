#!/bin/sh
# Makes sure that a Docker Engine answers: does nothing when one does, installs and starts one on
# Debian as root, and otherwise says what to do. Safe to run again, and at the same time.
#
# Usage: deploy/engine.sh [LOG_FOLDER]      (DOCKER_HOST is honoured)
set -eu

logs=${1:-/var/log}
host=${DOCKER_HOST:-unix:///var/run/docker.sock}
socket=${host#unix://}

fail() {
    printf 'engine: %s\n' "$1" >&2
    exit 1
}

# The engine is asked, never the PATH: a docker command may be there without an engine.
answers() {
    if [ "$socket" = "$host" ]; then
        timeout 10 docker -H "$host" version --format '{{.Server.Version}}' >/dev/null 2>&1
    elif [ ! -S "$socket" ]; then
        return 1
    elif command -v curl >/dev/null 2>&1; then
        [ "$(curl -sS -m 10 --unix-socket "$socket" http://engine/_ping 2>/dev/null)" = OK ]
    elif command -v python3 >/dev/null 2>&1; then
        python3 - "$socket" <<'PYTHON' >/dev/null 2>&1
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(10)
s.connect(sys.argv[1])
s.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
sys.exit(b" 200 " not in s.recv(100))
PYTHON
    else
        timeout 10 docker -H "$host" version --format '{{.Server.Version}}' >/dev/null 2>&1
    fi
}

install_engine() {
    command -v apt-get >/dev/null 2>&1 ||
        fail "there is no dockerd and no apt-get to install one; install Docker Engine (https://docs.docker.com/engine/install/) and run this again"
    printf 'engine: installing docker.io\n' >&2
    export DEBIAN_FRONTEND=noninteractive
    # Since Debian 13 the command is a package of its own.
    packages=docker.io
    apt-get -qq update >"$log" 2>&1 || fail "apt-get update failed: $(tail -n 3 "$log")"
    if apt-cache show docker-cli >/dev/null 2>&1; then packages="docker.io docker-cli"; fi
    # shellcheck disable=SC2086  # two words are meant
    apt-get -qq install --yes --no-install-recommends $packages >>"$log" 2>&1 ||
        fail "apt-get could not install docker.io: $(tail -n 3 "$log")"
}

# A daemon that was killed leaves its pid behind, and one that starts refuses while any process has
# that number, whatever it is.
forget_dead_daemon() {
    pidfile=/var/run/docker.pid
    [ -f "$pidfile" ] || return 0
    name=$(cat "/proc/$(cat "$pidfile")/comm" 2>/dev/null) || name=
    state=$(sed -n 's/^State:[[:space:]]*//p' "/proc/$(cat "$pidfile")/status" 2>/dev/null) || state=
    case "$name $state" in
    "dockerd Z"*) rm -f "$pidfile" ;;
    "dockerd "*) ;;
    *) rm -f "$pidfile" ;;
    esac
}

start_engine() {
    if [ -d /run/systemd/system ]; then
        systemctl start docker >>"$log" 2>&1 || true
    else
        # Detached from this terminal and from make, so that it outlives both. The lock's
        # descriptor is closed: the daemon would hold it for ever.
        setsid nohup dockerd --host "unix://$socket" >>"$log" 2>&1 </dev/null 9>&- &
        daemon=$!
    fi
}

wait_for_engine() {
    tries=0
    while ! answers; do
        tries=$((tries + 1))
        # setsid replaces itself by the daemon when it need not fork, as here: its pid is known.
        if [ -n "$daemon" ] && ! kill -0 "$daemon" 2>/dev/null; then tries=120; fi
        [ "$tries" -lt 120 ] ||
            fail "dockerd was started and does not answer on $host; the end of $log says: $(tail -n 5 "$log")"
        sleep 0.5
    done
}

if answers; then exit 0; fi
[ "$socket" != "$host" ] || fail "no Docker Engine answers on $host; start it, or unset DOCKER_HOST to use one on this machine"
if [ -e "$socket" ] && [ ! -w "$socket" ]; then
    fail "this user may not use $socket; add it to the group that owns the socket (usermod -aG docker $(id -un)) and log in again, or run this as root"
fi
[ "$(id -u)" = 0 ] || fail "no Docker Engine answers on $host and only root can start one; run this as root, or start Docker yourself (sudo systemctl start docker)"

mkdir -p "$logs" "$(dirname "$socket")"
log=$logs/goalkeeper-dockerd.log
exec 9>"${TMPDIR:-/tmp}/goalkeeper-engine.lock"
if command -v flock >/dev/null 2>&1; then flock 9; fi
if answers; then exit 0; fi
: >"$log"
command -v dockerd >/dev/null 2>&1 || install_engine
# Installing the package may have started the service already.
daemon=
if ! answers; then
    forget_dead_daemon
    start_engine
fi
wait_for_engine
