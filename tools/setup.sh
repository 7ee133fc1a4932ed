#!/bin/sh
# Builds the tutorial's network out of namespaces only; the machine's own root namespace is never touched.
#
#        h1 (client)          lb (balancer)         h2 (server)          h3 (server)
#   veth0 10.0.0.1       veth6 10.0.0.10       veth3 10.0.0.2       veth5 10.0.0.3
#   …:00:01  |           …:00:10  |            …:00:02  |           …:00:03  |
#          veth1                veth7                 veth2                veth4
#            +--------------------+--- br0, in sw ------+--------------------+
#
# May be run again at any time: what is there stays as it is, what is missing is added.
# Offloads keep their defaults. teardown.sh removes all of it.
set -eu
script=setup.sh
. "$(dirname "$0")/topology.sh"

# make_namespace NS: a namespace that is marked and without IPv6 (no duplicate address detection to
# wait for, no router solicitations among the packets that are counted) before it gets its name.
# Interrupted before `attach`, it dies with the shell that is its only member.
make_namespace() {
    attempt "namespace $1" unshare --net sh -euc '
        ip link set dev lo alias "$2"
        for conf in all default; do
            switch=/proc/sys/net/ipv6/conf/$conf/disable_ipv6
            if [ -e "$switch" ]; then echo 1 >"$switch"; fi
        done
        ip link set dev lo up
        ip netns attach "$1" $$
    ' sh "$1" "$mark"
}

ensure_namespace() {
    case $(state "$1") in
    ours) ;;
    absent) make_namespace "$1" ;;
    stale)
        attempt "namespace $1" ip netns delete "$1"
        make_namespace "$1"
        ;;
    foreign)
        fail "a network namespace \`$1\` exists that this script did not make" \
            "$(ip -n "$1" -brief link show | tr -s ' ' | tr '\n' ';')" \
            "try: ip netns delete $1 (if nothing needs it any more)"
        ;;
    esac
}

has() { ip -n "$1" link show dev "$2" >/dev/null 2>&1; }

# wire PORT NS DEVICE ADDRESS MAC: a veth pair from the bridge to a host. It is created in the two
# namespaces themselves, so it never passes through the machine's own.
wire() {
    port=$1 ns=$2 device=$3 address=$4 mac=$5
    if ! has sw "$port" || ! has "$ns" "$device"; then
        # Half a pair is somebody's renaming or moving: begin anew.
        ip -n sw link delete dev "$port" 2>/dev/null || true
        ip -n "$ns" link delete dev "$device" 2>/dev/null || true
        attempt "pair $port $device" ip -n sw link add "$port" type veth peer name "$device" netns "$ns"
    fi
    # Without traffic of its own the bridge needs no address; its ports only carry frames.
    attempt "port $port" ip -n sw link set dev "$port" master br0 up
    if ! ip -n "$ns" link show dev "$device" | grep -qF "$mac"; then
        attempt "MAC of $device" ip -n "$ns" link set dev "$device" address "$mac"
    fi
    attempt "address of $device" ip -n "$ns" address replace "$address/24" dev "$device"
    attempt "device $device" ip -n "$ns" link set dev "$device" up
}

# Whether every port of the bridge has its carrier and forwards: from then on no frame is lost.
forwarding() {
    [ "$(ip -n sw -d link show master br0 | grep -cF 'state forwarding')" -eq 4 ]
}

require_root
for ns in $namespaces; do
    ensure_namespace "$ns"
done

if ! has sw br0; then
    attempt "bridge br0" ip -n sw link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0
fi
attempt "bridge br0" ip -n sw link set dev br0 up

wire veth1 h1 veth0 10.0.0.1 de:ad:be:ef:00:01
wire veth2 h2 veth3 10.0.0.2 de:ad:be:ef:00:02
wire veth4 h3 veth5 10.0.0.3 de:ad:be:ef:00:03
wire veth7 lb veth6 10.0.0.10 de:ad:be:ef:00:10

tries=0
until forwarding; do
    tries=$((tries + 1))
    if [ "$tries" -gt 100 ]; then
        fail "not every port of br0 forwards after 5 seconds" "$(ip -n sw -brief link show)" "try: tools/teardown.sh, then again"
    fi
    sleep 0.05
done

echo "h1 10.0.0.1 (client)   lb 10.0.0.10 (veth6)   h2 10.0.0.2   h3 10.0.0.3"
