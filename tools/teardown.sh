#!/bin/sh
# Removes what setup.sh made, however far it came; with nothing there it succeeds and says nothing.
# A namespace of the same name that setup.sh did not make is left alone, and named.
set -eu
script=teardown.sh
. "$(dirname "$0")/topology.sh"

require_root
foreign=
for ns in $namespaces; do
    case $(state "$ns") in
    absent) ;;
    stale) attempt "namespace $ns" ip netns delete "$ns" ;;
    foreign) foreign="$foreign $ns" ;;
    ours)
        # A process inside keeps a namespace alive after its name is gone. It is somebody's, so it is
        # named, not killed; its devices go all the same, and XDP programs with them.
        pids=$(ip netns pids "$ns" | tr '\n' ' ')
        if [ -n "$pids" ]; then
            echo "note: still running in $ns: process $pids" >&2
        fi
        # The kernel takes a namespace down some time after its last user; a device it deletes now.
        for device in $(ip -n "$ns" -brief link show | sed 's/[@ ].*//'); do
            # `lo` cannot be deleted.
            ip -n "$ns" link delete dev "$device" 2>/dev/null || true
        done
        attempt "namespace $ns" ip netns delete "$ns"
        ;;
    esac
done

if [ -n "$foreign" ]; then
    echo "note: left alone, as setup.sh did not make them:$foreign" >&2
fi
