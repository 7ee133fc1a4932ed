#!/bin/sh
# Native XDP_TX on a veth: where do the frames go? Needs root; cleans up.
. "$(dirname "$0")/lib.sh"

network
program reflect
program pass
attach lb veth6 xdpdrv reflect
echo 1 >"$TRAP_TRACE/events/xdp/xdp_bulk_tx/enable"

# round WHAT: three frames from the client; how many come back, and what the tracepoint says.
round() {
    echo >"$TRAP_TRACE/trace"
    rm -f "$TRAP_FOLDER/stop" "$TRAP_FOLDER/ready"
    ip netns exec client python3 "$here/frames.py" count veth0 "$TRAP_FOLDER/stop" >"$TRAP_FOLDER/count" 2>"$TRAP_FOLDER/ready" &
    counter=$!
    tries=0
    until grep -qs ready "$TRAP_FOLDER/ready"; do
        tries=$((tries + 1))
        [ $tries -lt 200 ] || fail "the counter does not start" "$(cat "$TRAP_FOLDER/ready")"
        sleep 0.05
    done
    ip netns exec client python3 "$here/frames.py" send veth0 3
    sleep 0.2
    touch "$TRAP_FOLDER/stop"
    wait $counter
    # out: as sent by the client; in: come back to it.
    echo "$1: $(cat "$TRAP_FOLDER/count")"
    sed -n 's/.*xdp_bulk_tx: .*action=\([A-Z]*\) \(sent.*\)/  xdp_bulk_tx \1 \2/p' "$TRAP_TRACE/trace" | sort | uniq -c | sed 's/^ *\([0-9]*\) /  \1 times/'
}

ip netns exec client ethtool -K veth0 gro off
round "peer without XDP, GRO off"
ip netns exec client ethtool -K veth0 gro on
round "peer without XDP, GRO on"
ip netns exec client ethtool -K veth0 gro off
attach client veth0 xdpdrv pass
round "peer with XDP_PASS"
