"""The worker of the baseline: frames with a 4-byte length and JSON. Shows the cost of a blocking Python loop without a pool."""
import json
import socket
import struct
import sys

sock = socket.socket(fileno=int(sys.argv[1]))
decode, encode = json.loads, json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
buffer = b""
while chunk := sock.recv(65536):
    buffer += chunk
    out = []
    while len(buffer) >= 4 and len(buffer) >= 4 + (size := struct.unpack_from("<I", buffer)[0]):
        reply = encode(decode(buffer[4 : 4 + size])).encode()
        out.append(struct.pack("<I", len(reply)) + reply)
        buffer = buffer[4 + size :]
    sock.sendall(b"".join(out))
