# What setup.sh and teardown.sh share: the names of the topology, and how a namespace of ours is told
# from somebody else's. Sourced, never run.

namespaces="sw h1 h2 h3 lb"

# Every namespace of ours carries this text as the alias of its `lo`. It is written before the
# namespace has a name, so there is no moment at which one of ours is unmarked.
mark="xdplb topology"

# fail WHAT [EVIDENCE-OR-TRY...]: says where and what, then the evidence, and stops.
fail() {
    echo "error: $script: $1" >&2
    shift
    for line in "$@"; do
        echo "  $line" >&2
    done
    exit 1
}

# attempt WHAT COMMAND...: runs it, and on failure says what it was for and what the command said.
attempt() {
    what=$1
    shift
    if ! said=$("$@" 2>&1); then
        fail "$what: \`$*\` failed" "$said"
    fi
}

require_root() {
    [ "$(id -u)" -eq 0 ] || fail "network namespaces need root (EPERM)" "try: sudo tools/$script"
    command -v ip >/dev/null || fail "the command \`ip\` is missing" "try: cargo xtask setup"
}

# state NS: absent | ours | foreign | stale. A stale name is a file under /run/netns with no namespace
# mounted on it, which is what an interrupted `ip netns add` or `attach` leaves behind.
state() {
    if [ ! -e "/run/netns/$1" ]; then
        echo absent
    elif [ "$(stat -f -c %T "/run/netns/$1")" != nsfs ]; then
        echo stale
    elif ip -n "$1" -d link show dev lo | grep -qF "alias $mark"; then
        echo ours
    else
        echo foreign
    fi
}
