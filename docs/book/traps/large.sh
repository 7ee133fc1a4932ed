#!/bin/sh
# How long is a frame on a link with an MTU of 1500? Needs root; cleans up.
. "$(dirname "$0")/lib.sh"

network

# What the program kept: its only map's only value, as bpftool shows it by the types (BTF).
longest() {
    id=$(bpftool -j prog show pinned /sys/fs/bpf/longest | python3 -c 'import json, sys; print(json.load(sys.stdin)["map_ids"][0])')
    bpftool map dump id "$id" | sed -n 's/.*"LONGEST": *\([0-9]*\).*/\1/p'
}

transfer() {
    rm -f "$TRAP_FOLDER/ready"
    ip netns exec lb python3 -c 'import socket
s = socket.create_server(("10.0.0.10", 8000)); print("ready", flush=True)
c, _ = s.accept()
while c.recv(1 << 20): pass' >"$TRAP_FOLDER/ready" &
    server=$!
    tries=0
    until grep -qs ready "$TRAP_FOLDER/ready"; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || fail "the server does not start"
        sleep 0.05
    done
    ip netns exec client python3 -c 'import socket
s = socket.create_connection(("10.0.0.10", 8000), 10); s.sendall(bytes(4 << 20)); s.close()'
    wait $server
}

for mode in xdpgeneric xdpdrv; do
    rm -f /sys/fs/bpf/longest
    program longest
    attach lb veth6 $mode longest
    transfer
    length=$(longest)
    if [ "$length" -gt 1514 ]; then word="more than a frame of the MTU"; else word="no more than a frame of the MTU"; fi
    echo "$mode: the longest is $length bytes, $word"
    nsenter --net=/run/netns/lb bpftool net detach $mode dev veth6
done
