# What the scripts of this folder share. Sourced, never run.
#
# A script runs twice: outside it makes a folder and an instance of the kernel's trace, and starts itself inside
# namespaces of its own (network, mounts, processes). What happens inside needs no cleaning up: it goes with its last process.
# The folder and the instance are removed however the script ends; a killed one leaves them, named xdplb-trap-PID.

set -eu

fail() {
    echo "error: $(basename "$0"): $1" >&2
    shift
    for line in "$@"; do echo "  $line" >&2; done
    exit 1
}

if [ "${TRAP_FOLDER-}" = "" ]; then
    [ "$(id -u)" -eq 0 ] || fail "network namespaces need root (EPERM)" "try: sudo $0"
    for program in xdplb-ld bpftool ethtool python3 ip unshare; do
        command -v "$program" >/dev/null || fail "the command \`$program\` is missing" "try: cargo xtask setup, and the book's first chapter"
    done
    [ -d /sys/kernel/tracing/instances ] || fail "no tracefs at /sys/kernel/tracing" "try: mount -t tracefs tracefs /sys/kernel/tracing"
    # What cleans up is there before there is anything to clean up.
    TRAP_TRACE=/sys/kernel/tracing/instances/xdplb-trap-$$
    inside=
    clean() {
        # unshare ignores what is milder; its child, the first process inside, dies with it, and takes the others along.
        [ "$inside" = "" ] || kill -KILL "$inside" 2>/dev/null || true
        wait 2>/dev/null || true
        # It is busy until the last reader has closed its file.
        [ ! -d "$TRAP_TRACE" ] || rmdir "$TRAP_TRACE" 2>/dev/null || { sleep 0.2; rmdir "$TRAP_TRACE"; }
        rm -rf "/tmp/xdplb-trap-$$"-*
    }
    trap clean EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    TRAP_FOLDER=$(mktemp -d "/tmp/xdplb-trap-$$-XXXXXX")
    mkdir "$TRAP_TRACE"
    export TRAP_FOLDER TRAP_TRACE
    # In the background, since a shell hears a signal only while it waits.
    unshare --mount --net --pid --fork --kill-child --mount-proc "$0" "$@" &
    inside=$!
    wait "$inside" || exit $?
    inside=
    exit 0
fi

here=$(dirname "$0")
mount -t tmpfs run /run
mount -t bpf bpf /sys/fs/bpf

# Two hosts and a cable: `client` with veth0 10.0.0.1, `lb` with veth6 10.0.0.10, as in the tutorial, but without a bridge.
network() {
    for name in client lb; do
        ip netns add $name
        ip netns exec $name sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
    done
    ip -n client link add veth0 address de:ad:be:ef:00:01 type veth peer name veth6 netns lb
    ip -n lb link set veth6 address de:ad:be:ef:00:10
    ip -n client address add 10.0.0.1/24 dev veth0
    ip -n lb address add 10.0.0.10/24 dev veth6
    # Nobody asks for addresses, so that no frame is there but those that a script sends.
    ip -n client link set veth0 arp off up
    ip -n lb link set veth6 arp off up
    ip -n client neighbour replace 10.0.0.10 lladdr de:ad:be:ef:00:10 dev veth0
    ip -n lb neighbour replace 10.0.0.1 lladdr de:ad:be:ef:00:01 dev veth6
}

# program NAME: compiles NAME.rs of this folder, links it, loads it, and pins it as /sys/fs/bpf/NAME.
program() {
    "$here/../bpf-rustc.sh" "$here/$1.rs" "$TRAP_FOLDER/$1.unlinked.o"
    xdplb-ld "$TRAP_FOLDER/$1.unlinked.o" -o "$TRAP_FOLDER/$1.o"
    bpftool prog load "$TRAP_FOLDER/$1.o" "/sys/fs/bpf/$1" type xdp >"$TRAP_FOLDER/load" 2>&1 ||
        fail "load $1" "$(cat "$TRAP_FOLDER/load")"
}

# attach NAMESPACE DEVICE xdpdrv|xdpgeneric NAME
attach() { nsenter --net="/run/netns/$1" bpftool net attach "$3" pinned "/sys/fs/bpf/$4" dev "$2" overwrite; }
