#!/bin/sh
# What a TCP segment's checksum field holds on a veth. Needs root; cleans up.
. "$(dirname "$0")/lib.sh"

network

round() {
    echo "$1"
    rm -f "$TRAP_FOLDER/ready"
    ip netns exec lb python3 "$here/frames.py" checksum veth6 2>"$TRAP_FOLDER/ready" &
    seen=$!
    tries=0
    until grep -qs ready "$TRAP_FOLDER/ready"; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || fail "the listener does not start" "$(cat "$TRAP_FOLDER/ready")"
        sleep 0.05
    done
    # Nobody listens there: the first segment is all that is wanted.
    ip netns exec client python3 -c 'import socket; s = socket.socket(); s.settimeout(1); s.connect_ex(("10.0.0.10", 8000))'
    wait $seen || fail "no segment came" "$(cat "$TRAP_FOLDER/ready")"
}

round "the sender's device computes checksums (a veth says so, and does not)"
ip netns exec client ethtool -K veth0 tx off >/dev/null
round "ethtool -K veth0 tx off"
