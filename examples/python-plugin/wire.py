"""Protocol buffers by hand: just enough to write and read the messages of the gateway.

A message is written as (field number, value) pairs, ascending. Text, bytes and numbers that are
empty or zero are left out, as the canonical form wants; `always` keeps them.
"""


def varint(number):
    number &= (1 << 64) - 1  # negative numbers are written as if they had 64 bits
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def always(number, value):
    """One field, even if it says nothing."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def message(*fields):
    """A message of (number, value) pairs. A list is a repeated field, a dict is a map."""
    out = bytearray()
    for number, value in fields:
        if isinstance(value, list):
            for item in value:
                out += always(number, item)
        elif isinstance(value, dict):
            for key in sorted(value):
                out += always(number, always(1, key) + always(2, value[key]))
        elif value:
            out += always(number, value)
    return bytes(out)


def read_varint(data, at):
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift > 63:
            raise ValueError("a number of the message is too long")


def fields(data):
    """The fields of a message: number -> list of values (int or bytes)."""
    found, at = {}, 0
    while at < len(data):
        tag, at = read_varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = read_varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = data[at : at + size], at + size
        elif kind == 2:
            size, at = read_varint(data, at)
            if at + size > len(data):
                raise ValueError("the message ends in the middle of a field")
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"field of kind {kind}")
        found.setdefault(tag >> 3, []).append(value)
    return found


def one(found, number, default=b""):
    """The last value of a field."""
    return found.get(number, [default])[-1]


def text(found, number):
    """A field as text."""
    return one(found, number).decode("utf-8", "replace")
