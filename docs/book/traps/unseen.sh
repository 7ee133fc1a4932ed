#!/bin/sh
# A packet socket (tcpdump) beside an XDP program: what does it see of XDP_TX? Needs root; cleans up.
. "$(dirname "$0")/lib.sh"

network
program reflect
program pass
attach lb veth6 xdpdrv reflect
attach client veth0 xdpdrv pass

for place in "lb veth6" "client veth0"; do
    set -- $place
    ip netns exec "$1" python3 "$here/frames.py" count "$2" "$TRAP_FOLDER/stop" >"$TRAP_FOLDER/$1" 2>"$TRAP_FOLDER/$1.ready" &
done
tries=0
until grep -qs ready "$TRAP_FOLDER/lb.ready" && grep -qs ready "$TRAP_FOLDER/client.ready"; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || fail "the counters do not start"
    sleep 0.05
done
ip netns exec client python3 "$here/frames.py" send veth0 3
sleep 0.2
touch "$TRAP_FOLDER/stop"
wait
echo "at the client: $(cat "$TRAP_FOLDER/client")"
echo "at the balancer: $(cat "$TRAP_FOLDER/lb")"
