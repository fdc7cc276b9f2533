"""NTLMv2 for Squid's helper protocol, believing nothing: NTProofStr and MIC are recomputed (MS-NLMP 3.3.2).

Called with a file of three lines (domain, user, password) and a log file. Reads `YR`, `YR BLOB` and `KK BLOB`,
answers `TT BLOB`, `AF user`, `NA reason` or `BH reason`. Written for tests, without the product's code; MD4 is
here because OpenSSL 3 no longer offers it.
"""

import base64
import hashlib
import hmac
import os
import struct
import sys
import time

SIGNATURE = b"NTLMSSP\0"
# Unicode, request target, NTLM, always sign, extended session security, target info, version, 128 bit.
FLAGS = 0x22888205
KEY_EXCHANGE = 0x40000000
HAS_MIC = 2


def md4(message):
    """RFC 1320."""
    mask = 0xFFFFFFFF

    def rotate(value, count):
        value &= mask
        return (value << count | value >> (32 - count)) & mask

    length = struct.pack("<Q", len(message) * 8)
    message += b"\x80"
    message += b"\0" * ((56 - len(message)) % 64) + length
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476]
    rounds = (
        (lambda x, y, z: x & y | ~x & z, 0, range(16), (3, 7, 11, 19)),
        (lambda x, y, z: x & y | x & z | y & z, 0x5A827999, (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), (3, 5, 9, 13)),
        (lambda x, y, z: x ^ y ^ z, 0x6ED9EBA1, (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15), (3, 9, 11, 15)),
    )
    for start in range(0, len(message), 64):
        words = struct.unpack("<16I", message[start:start + 64])
        a, b, c, d = state
        for function, constant, order, shifts in rounds:
            for step, index in enumerate(order):
                mixed = rotate(a + function(b, c, d) + words[index] + constant, shifts[step % 4])
                a, b, c, d = d, mixed, b, c
        state = [(old + new) & mask for old, new in zip(state, (a, b, c, d))]
    return struct.pack("<4I", *state)


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.md5).digest()


def utf16(text):
    return text.encode("utf-16-le")


def payload(message, at):
    length, _, offset = struct.unpack_from("<HHI", message, at)
    if offset + length > len(message):
        raise ValueError("a buffer lies outside the message")
    return message[offset:offset + length]


def pairs(info):
    found = {}
    while len(info) >= 4:
        kind, length = struct.unpack_from("<HH", info)
        if kind == 0:
            return found
        found[kind] = info[4:4 + length]
        info = info[4 + length:]
    raise ValueError("AV pairs without an end")


def challenge(domain):
    now = int((time.time() + 11644473600) * 10_000_000)
    name = utf16(domain)
    info = b""
    for kind, value in ((2, name), (1, utf16("SQUID")), (4, utf16("corp.test")), (3, utf16("squid.corp.test")),
                        (7, struct.pack("<Q", now)), (0, b"")):
        info += struct.pack("<HH", kind, len(value)) + value
    nonce = os.urandom(8)
    message = SIGNATURE + struct.pack("<I", 2)
    message += struct.pack("<HHI", len(name), len(name), 56)
    message += struct.pack("<I", FLAGS) + nonce + b"\0" * 8
    message += struct.pack("<HHI", len(info), len(info), 56 + len(name))
    message += bytes((10, 0, 0x61, 0x4A, 0, 0, 0, 15)) + name + info
    return nonce, message


def verify(account, negotiate, sent, nonce, message):
    """The user name, or a ValueError that says what is wrong."""
    domain, user, password = account
    if not message.startswith(SIGNATURE) or struct.unpack_from("<I", message, 8)[0] != 3:
        raise ValueError("no AUTHENTICATE message")
    lm, nt = payload(message, 12), payload(message, 20)
    given_domain = payload(message, 28).decode("utf-16-le")
    given_user = payload(message, 36).decode("utf-16-le")
    if given_user.lower() != user.lower() or given_domain.lower() != domain.lower():
        raise ValueError("another user or domain")
    if struct.unpack_from("<I", message, 60)[0] & KEY_EXCHANGE:
        raise ValueError("key exchange was not offered")
    proof, blob = nt[:16], nt[16:]
    key = mac(md4(utf16(password)), utf16(given_user.upper()), utf16(given_domain))
    if not hmac.compare_digest(mac(key, nonce, blob), proof):
        raise ValueError("NTProofStr does not fit")
    if any(lm):
        raise ValueError("an LM response beside a timestamp")
    flags = pairs(blob[28:]).get(6, b"\0\0\0\0")
    if not struct.unpack("<I", flags)[0] & HAS_MIC:
        raise ValueError("a timestamp asks for a MIC")
    zeroed = message[:72] + b"\0" * 16 + message[88:]
    if not hmac.compare_digest(mac(mac(key, proof), negotiate, sent, zeroed), message[72:88]):
        raise ValueError("the MIC does not fit")
    return given_user


def serve(account, log):
    negotiate = sent = nonce = None
    for line in sys.stdin:
        verb, _, rest = line.strip().partition(" ")
        try:
            blob = base64.b64decode(rest) if rest else b""
            if verb == "YR":
                negotiate = blob
                nonce, sent = challenge(account[0])
                answer = "TT " + base64.b64encode(sent).decode()
            elif verb == "KK" and sent:
                user = verify(account, negotiate, sent, nonce, blob)
                answer = "AF " + user
                sent = None
            else:
                answer = "BH unexpected " + verb
        except (ValueError, struct.error, UnicodeDecodeError) as error:
            answer = "NA " + str(error)
        log.write(verb + " -> " + (answer if not answer.startswith("TT") else "TT") + "\n")
        log.flush()
        print(answer, flush=True)


def main():
    assert md4(b"abc").hex() == "a448017aaf21d8525fc10ae87aa6729d", "RFC 1320 A.5"
    # MS-NLMP 4.2.4.1.1
    key = mac(md4(utf16("Password")), utf16("USER"), utf16("Domain"))
    assert key.hex() == "0c868a403bfd7a93a3001ef22ef02e3f", "NTOWFv2"
    with open(sys.argv[1], encoding="utf-8") as account, open(sys.argv[2], "a", encoding="utf-8") as log:
        serve(account.read().splitlines(), log)


if __name__ == "__main__":
    main()
