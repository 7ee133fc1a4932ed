"""What the scripts beside this file do with single frames, by packet sockets (packet(7)).

send DEV N           N frames of our own ethertype from DEV's address to the balancer's
count DEV FILE       how many of them a packet socket on DEV sees, as `in N, out N`; prints when FILE appears
checksum DEV         waits for a TCP segment of 10.0.0.1 and says what its checksum field holds
"""

import os
import socket
import struct
import sys
import time

ETHERTYPE = 0x88B5  # for experiments (IEEE 802, "local experimental ethertype 1")
ETH_P_ALL = 3
PACKET_OUTGOING = 4


def packet_socket(device):
    found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    found.bind((device, 0))
    found.settimeout(0.05)
    return found


def send(device, count):
    sender = packet_socket(device)
    own = sender.getsockname()[4]
    frame = bytes.fromhex("deadbeef0010") + own + struct.pack("!H", ETHERTYPE) + b"x" * 50
    for _ in range(count):
        sender.send(frame)
        time.sleep(0.01)


def count(device, file):
    listener = packet_socket(device)
    incoming = outgoing = 0
    print("ready", file=sys.stderr, flush=True)
    while True:
        try:
            frame, address = listener.recvfrom(2048)
        except socket.timeout:
            if os.path.exists(file):
                break
            continue
        if frame[12:14] == struct.pack("!H", ETHERTYPE):
            if address[2] == PACKET_OUTGOING:
                outgoing += 1
            else:
                incoming += 1
    print(f"in {incoming}, out {outgoing}")


def ones_complement_sum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def checksum(device):
    listener = packet_socket(device)
    listener.settimeout(10)
    print("ready", file=sys.stderr, flush=True)
    while True:
        frame, _ = listener.recvfrom(65536)
        if frame[12:14] == b"\x08\x00" and frame[23] == 6 and frame[26:30] == bytes([10, 0, 0, 1]):
            break
    start = 14 + 4 * (frame[14] & 15)
    length = struct.unpack("!H", frame[16:18])[0] - (start - 14)
    segment = frame[start : start + length]
    field = struct.unpack("!H", segment[16:18])[0]
    pseudo = ones_complement_sum(frame[26:34] + struct.pack("!HH", 6, length))
    blank = segment[:16] + b"\0\0" + segment[18:]
    right = 0xFFFF ^ ones_complement_sum(struct.pack("!H", pseudo) + blank)
    # RFC 1624, equation 3, for the destination 10.0.0.10 becoming 10.0.0.2.
    changed = struct.pack("!HHHHH", 0xFFFF ^ field, 0xFFFF ^ 0x0A00, 0xFFFF ^ 0x000A, 0x0A00, 0x0002)
    updated = 0xFFFF ^ ones_complement_sum(changed)
    moved = struct.pack("!HHHHH", 0xFFFF ^ right, 0xFFFF ^ 0x0A00, 0xFFFF ^ 0x000A, 0x0A00, 0x0002)
    wanted = 0xFFFF ^ ones_complement_sum(moved)
    print(f"  the field holds           {field:#06x}")
    print(f"  the pseudo-header's sum   {pseudo:#06x}{'   the same: deferred' if field == pseudo else ''}")
    print(f"  the whole checksum        {right:#06x}{'   the same: complete' if field == right else ''}")
    print(f"  updated for 10.0.0.2      {updated:#06x}, {'right' if updated == wanted else 'wrong'}")


{"send": lambda: send(sys.argv[2], int(sys.argv[3])),
 "count": lambda: count(sys.argv[2], sys.argv[3]),
 "checksum": lambda: checksum(sys.argv[2])}[sys.argv[1]]()
