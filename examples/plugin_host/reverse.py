#!/usr/bin/env python3
"""A plugin in one file and without dependencies: it speaks PROTOCOL.md, with JSON."""

import json
import os
import struct
import sys

COOKIE = "ACME_PLUGIN"
SERVICE, VERSION = "Transform", 1
MAGIC = b"\x89panpipe"
HELLO, REFUSE, CALL, ONEWAY, REPLY, CANCEL, GOODBYE, CLOSE = range(1, 9)
PART, LAST_PART = 13, 14
JSON, VALUE, ERROR, UNKNOWN_METHOD, MALFORMED = 4, 0, 1, 7, 8


def method(signature):
    """The hash that addresses a method."""
    h = 0xCBF29CE484222325
    for byte in signature.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        h = (h ^ h >> 33) * factor % 2**64
    return h ^ h >> 33


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def take_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def string(text):
    return varint(len(text.encode())) + text.encode()


class Connection:
    def __init__(self, read, write):
        self.input, self.output = os.fdopen(read, "rb"), os.fdopen(write, "wb")
        self.incomplete = {}

    def send(self, kind, call, body=b""):
        frame = bytes([kind, 0]) + varint(call) + body
        self.output.write(struct.pack("<I", len(frame)) + frame)
        self.output.flush()

    def messages(self):
        """What comes, as kind, id and body, until the stream ends."""
        while head := self.input.read(4):
            frame = self.input.read(struct.unpack("<I", head)[0])
            kind = frame[0] & 0x3F
            _, at = take_varint(frame, 1)
            number, at = take_varint(frame, at)
            if kind in (PART, LAST_PART):
                whole = self.incomplete.setdefault(number, bytearray())
                whole += frame[at:]
                if kind == PART:
                    continue
                frame = bytes(self.incomplete.pop(number))
                kind = frame[0] & 0x3F
                _, at = take_varint(frame, 1)
                number, at = take_varint(frame, at)
            yield kind, number, frame[at:]


def apply(text):
    return text[::-1]


METHODS = {method("apply(String)->Result<String,String>"): apply}


def answer(body):
    """The body of the reply to a call."""
    called = METHODS.get(struct.unpack_from("<Q", body)[0])
    if called is None:
        return bytes([UNKNOWN_METHOD])
    _, at = take_varint(body, 8)
    try:
        return bytes([VALUE]) + json.dumps(called(*json.loads(body[at:]))).encode()
    except (ValueError, TypeError) as error:
        return bytes([MALFORMED]) + string(str(error)[:1000])


def serve(connection):
    if connection.input.read(8) != MAGIC:
        sys.exit("the host does not speak panpipe")
    for kind, number, body in connection.messages():
        if kind == HELLO:
            # Protocol 1, JSON, no features; 16 MiB a message, 16 calls of 16 MiB;
            # wants nothing, offers the service; no ports.
            hello = b"".join(map(varint, (1, JSON, 0, 1 << 24, 16, 1 << 24)))
            hello += string("") + varint(0) + string(SERVICE) + varint(VERSION)
            connection.output.write(MAGIC)
            connection.send(HELLO, 0, hello)
        elif kind == CALL:
            connection.send(REPLY, number, answer(body))
        elif kind == GOODBYE:
            # Every call has been answered already.
            connection.send(GOODBYE, 0)
            return
        elif kind in (REFUSE, CLOSE):
            sys.exit("the host has closed the connection")


def main():
    handles = os.environ.get(COOKIE)
    if handles is None:
        sys.exit(f"this program is a plugin: a host has to start it, and tell it by {COOKIE}")
    serve(Connection(*map(int, handles.split(","))))


if __name__ == "__main__":
    main()
