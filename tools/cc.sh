#!/bin/sh
# The linker that cargo calls for programs of this machine: its `cc`, with nothing added.
#
# On a machine without a C compiler not even `cargo xtask setup` could be linked, so the first thing it
# installs has to be installed here. That happens only under a `cargo xtask` command, whose work it is;
# any other cargo command is told what to run.
set -eu

if command -v cc >/dev/null; then
    exec cc "$@"
fi

# The cargo above us: rustc runs the linker, cargo runs rustc. Its first argument is what the user typed.
xtask=
pid=$PPID
while [ "$pid" -gt 1 ]; do
    if [ "$(tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | sed -n 2p)" = xtask ]; then
        xtask=$pid
        break
    fi
    pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status")
done

if [ -z "$xtask" ] || ! command -v apt-get >/dev/null; then
    echo "error: no C compiler to link with: \`cc\` is missing" >&2
    if command -v apt-get >/dev/null; then
        echo "  try: cargo xtask setup" >&2
    else
        echo "  try: install gcc and the C library's development files by hand" >&2
    fi
    exit 1
fi

# rustc shows what a linker says only if it fails; what is installed is to be read before, so it goes
# where cargo's own messages go.
say() { echo "$1" 2>/dev/null >>"/proc/$xtask/fd/2" || true; }

install() {
    sudo=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || {
            echo "error: no C compiler to link with: \`cc\` is missing, and there is no sudo here" >&2
            echo "  try: as root: apt-get install -y gcc libc6-dev" >&2
            exit 1
        }
        sudo="sudo"
        [ -z "${CI-}" ] || sudo="sudo -n"
        say "   sudo, for this only: apt-get install gcc libc6-dev"
    fi
    get="$sudo env DEBIAN_FRONTEND=noninteractive apt-get -q"
    if ! apt-cache show gcc >/dev/null 2>&1; then
        $get update
    fi
    $get install -y --no-install-recommends gcc libc6-dev || {
        # Lists that are too old name packages that the archive no longer has.
        $get update
        $get install -y --no-install-recommends gcc libc6-dev
    }
}

# cargo links several things at once; the first one here installs, the others wait for it.
exec 9<"$0"
flock 9
if ! command -v cc >/dev/null; then
    say "This machine lacks gcc and libc6-dev (they link what runs on this machine); it gets them now"
    install >&2
fi
exec 9<&-
exec cc "$@"
