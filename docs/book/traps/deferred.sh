#!/bin/sh
# What a TCP segment's checksum field holds on a veth. Needs root; cleans up.
. "$(dirname "$0")/lib.sh"

network

round() {
    echo "$1"
    ip netns exec lb timeout 10 python3 "$here/frames.py" checksum veth6 &
    seen=$!
    sleep 0.3
    # Nobody listens there: the first segment is all that is wanted.
    ip netns exec client python3 -c 'import socket; s = socket.socket(); s.settimeout(1); s.connect_ex(("10.0.0.10", 8000))'
    wait $seen
}

round "the sender's device computes checksums (a veth says so, and does not)"
ip netns exec client ethtool -K veth0 tx off >/dev/null
round "ethtool -K veth0 tx off"
