#!/usr/bin/env python3
"""Computes the constant tables of the demonstration firmware and writes them as one C file.

Every table has a purpose in the firmware (named beside it); none is filler. With `small` as argument the
tables of the 64 KiB builds are written: shorter ones, the same names.
"""
import math
import sys

SMALL = "small" in sys.argv[1:]
SINE = 1024 if SMALL else 4096
FFT = 256 if SMALL else 1024
WAVE = 256 if SMALL else 1024
out, head = [], []


def table(section, ctype, name, values, dims=None, why=""):
    values = list(values)
    dims = dims or [len(values)]
    shape = "".join(f"[{d}]" for d in dims)
    head.append(f"extern const {ctype} {name}{shape};")
    out.append(f"/* {why} */\n__attribute__((section(\".table.{section}\"), aligned(4)))")
    lines = [", ".join(str(v) for v in values[i:i + 12]) for i in range(0, len(values), 12)]
    body = ",\n    ".join(lines)
    if len(dims) > 1:
        step = len(values) // dims[0]
        body = ",\n    ".join("{" + ", ".join(map(str, values[i:i + step])) + "}" for i in range(0, len(values), step))
    out.append(f"const {ctype} {name}{shape} = {{\n    {body}\n}};\n")


def q15(x):
    return max(-32768, min(32767, round(x * 32768)))


# --- signal generation and analysis --------------------------------------------------------------------
head.append(f"#define SINE_SIZE {SINE}\n#define FFT_SIZE {FFT}\n#define WAVE_SIZE {WAVE}")
table("wave", "int16_t", "sine_q15", (q15(math.sin(2 * math.pi * i / SINE)) for i in range(SINE)),
      why="direct digital synthesis: one period, Q15")
table("wave", "int16_t", "twiddle_q15",
      (q15(f(2 * math.pi * i / FFT)) for i in range(FFT // 2) for f in (math.cos, lambda a: -math.sin(a))),
      [FFT // 2, 2], "twiddle factors of the FFT, cosine and minus sine, Q15")


def window(a):
    n = FFT
    return (q15(sum((-1) ** k * c * math.cos(2 * math.pi * k * i / (n - 1)) for k, c in enumerate(a)) * 0.9999)
            for i in range(n // 2))


table("wave", "int16_t", "window_hann", window([0.5, 0.5]), why="first half of a Hann window, Q15")
table("wave", "int16_t", "window_blackman_harris", window([0.35875, 0.48829, 0.14128, 0.01168]),
      why="first half of a four-term Blackman-Harris window, Q15")
table("wave", "int16_t", "window_flattop",
      window([0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368]),
      why="first half of a flat-top window for level measurement, Q15")


def bandlimited(kind):
    values = []
    for i in range(WAVE):
        x, s = 2 * math.pi * i / WAVE, 0.0
        for k in range(1, 32):
            sigma = math.sin(math.pi * k / 32) / (math.pi * k / 32)
            if kind == "square" and k % 2:
                s += sigma * math.sin(k * x) / k * 4 / math.pi
            elif kind == "saw":
                s += sigma * math.sin(k * x) / k * 2 / math.pi * (-1) ** (k + 1)
            elif kind == "triangle" and k % 2:
                s += sigma * math.sin(k * x) / (k * k) * 8 / math.pi ** 2 * (-1) ** ((k - 1) // 2)
        values.append(q15(0.9 * s))
    return values


def heart():
    waves = [(-0.2, 0.11, 0.025), (-0.03, -0.12, 0.011), (0.0, 1.0, 0.012), (0.03, -0.25, 0.012), (0.27, 0.3, 0.05)]
    return [q15(0.85 * sum(h * math.exp(-((i / WAVE - 0.4 - t) / w) ** 2 / 2) for t, h, w in waves)) for i in range(WAVE)]


WAVES = ["square", "saw", "triangle"]
table("wave", "int16_t", "arbitrary_wave", [v for k in WAVES for v in bandlimited(k)] + heart(), [4, WAVE],
      "band-limited square, saw and triangle, and a heart beat, Q15")

PHASES, TAPS = (16, 16) if SMALL else (64, 32)


def bessel_i0(x):
    term, s, k = 1.0, 1.0, 1
    while term > 1e-12 * s:
        term *= (x / (2 * k)) ** 2
        s, k = s + term, k + 1
    return s


def prototype(i):
    n = PHASES * TAPS
    t = (i - (n - 1) / 2) / PHASES
    sinc = 1.0 if t == 0 else math.sin(math.pi * 0.9 * t) / (math.pi * 0.9 * t)
    kaiser = bessel_i0(8.0 * math.sqrt(max(0.0, 1 - (2 * i / (n - 1) - 1) ** 2))) / bessel_i0(8.0)
    return 0.9 * sinc * kaiser


head.append(f"#define RESAMPLE_PHASES {PHASES}\n#define RESAMPLE_TAPS {TAPS}")
table("wave", "int16_t", "resample_q15", (q15(prototype(p + PHASES * t) * 0.99) for p in range(PHASES) for t in range(TAPS)),
      [PHASES, TAPS], "polyphase resampler: Kaiser-windowed sinc, Q15")
table("wave", "uint32_t", "cordic_atan", (round(math.atan(2.0 ** -i) / math.pi * 2 ** 31) for i in range(31)),
      why="CORDIC: arc tangents of powers of two, in half turns, Q31")

# --- scales ---------------------------------------------------------------------------------------------
STEPS = 512 if SMALL else 4096
LEVELS = 512 if SMALL else 1024
head.append(f"#define DECIBEL_STEPS {STEPS}\n#define GAMMA_LEVELS {LEVELS}")
table("scale", "int16_t", "decibel", (round(2000 * math.log10(max(i, 0.5) / STEPS)) for i in range(STEPS)),
      why="level of an amplitude in hundredths of a decibel below full scale")
table("scale", "uint16_t", "gamma_levels", (round(4095 * (i / (LEVELS - 1)) ** 2.2) for i in range(LEVELS)),
      why="light output for a brightness, exponent 2.2")
table("scale", "uint16_t", "reciprocal_q16", (round(65536 * 256 / (256 + i)) - 1 for i in range(256)),
      why="reciprocal of 1.0 to 2.0, Q16, for division in the control loop")
table("scale", "uint16_t", "root_q16", (round(65535 * math.sqrt(i / 255)) for i in range(256)),
      why="square root of 0 to 1, Q16")
table("scale", "uint32_t", "exp2_q30", (round(2 ** 30 * 2 ** (i / 256)) for i in range(256)),
      why="powers of two for logarithmic frequency sweeps, Q30")


def mulaw(code):
    code = ~code & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 0x84) << ((code & 0x70) >> 4)) - 0x84
    return -magnitude if code & 0x80 else magnitude


def alaw(code):
    code ^= 0x55
    e, m = (code >> 4) & 7, code & 15
    magnitude = (m << 4) + 8 if e == 0 else ((m << 4) + 0x108) << (e - 1)
    return magnitude if code & 0x80 else -magnitude


table("scale", "int16_t", "mulaw_decode", map(mulaw, range(256)), why="G.711 mu-law")
table("scale", "int16_t", "alaw_decode", map(alaw, range(256)), why="G.711 A-law")

# --- sensors --------------------------------------------------------------------------------------------


def ntc(code):
    r = 10000 * max(code, 1) / (4096 - min(code, 4095))
    return round(10 * (1 / (1 / 298.15 + math.log(r / 10000) / 3950) - 273.15))


NTC_STEP = 16 if SMALL else 4
head.append(f"#define NTC_STEP {NTC_STEP}")
table("sensor", "int16_t", "ntc_decidegree", (max(-900, min(3000, ntc(i))) for i in range(0, 4097, NTC_STEP)),
      why="10 kOhm NTC with beta 3950 in a divider: tenths of a degree for an ADC code")


def pt100(t):
    a, b, c = 3.9083e-3, -5.775e-7, -4.183e-12
    return 100 * (1 + a * t + b * t * t + (c * (t - 100) * t ** 3 if t < 0 else 0))


assert abs(pt100(100) - 138.5055) < 1e-3
table("sensor", "uint16_t", "pt100_centiohm", (round(100 * pt100(t)) for t in range(-200, 851, 4 if SMALL else 1)),
      why="Pt100 (IEC 60751): hundredths of an ohm for each degree from -200")


def type_k(t):
    c = [-0.176004136860e-1, 0.389212049750e-1, 0.185587700320e-4, -0.994575928740e-7, 0.318409457190e-9,
         -0.560728448890e-12, 0.560750590590e-15, -0.320207200030e-18, 0.971511471520e-22, -0.121047212750e-25]
    return sum(k * t ** i for i, k in enumerate(c)) + 0.118597600 * math.exp(-0.118343200e-3 * (t - 126.9686) ** 2)


assert abs(type_k(100) - 4.096) < 1e-3 and abs(type_k(1000) - 41.276) < 1e-3
table("sensor", "uint16_t", "type_k_microvolt", (max(0, round(1000 * type_k(t))) for t in range(0, 1373, 8 if SMALL else 1)),
      why="thermocouple type K (ITS-90): microvolts for each degree from 0")

# --- coding and integrity -------------------------------------------------------------------------------


def crc(poly, value, bits, reflected=True):
    for _ in range(8):
        if reflected:
            value = value >> 1 ^ (poly if value & 1 else 0)
        else:
            value = (value << 1 ^ (poly if value >> (bits - 1) & 1 else 0)) & ((1 << bits) - 1)
    return value


crc32 = [crc(0xEDB88320, i, 32) for i in range(256)]
slices = [crc32]
for _ in range(0 if SMALL else 3):
    slices.append([v >> 8 ^ crc32[v & 255] for v in slices[-1]])
head.append(f"#define CRC32_SLICES {len(slices)}")
table("code", "uint32_t", "crc32_table", (f"0x{v:08X}u" for s in slices for v in s), [len(slices), 256],
      "CRC-32 of firmware and log pages, four bytes a step")
table("code", "uint16_t", "crc16_table", (f"0x{crc(0xA001, i, 16):04X}" for i in range(256)), why="CRC of Modbus RTU")
table("code", "uint16_t", "crc_ccitt_table", (f"0x{crc(0x1021, i << 8, 16, False):04X}" for i in range(256)),
      why="CRC of settings records")

exp, log, x = [0] * 512, [0] * 256, 1
for i in range(255):
    exp[i] = exp[i + 255] = x
    log[x] = i
    x = x << 1 ^ (0x11D if x & 0x80 else 0)
table("code", "uint8_t", "gf_exp", exp, why="Reed-Solomon over GF(256), polynomial 0x11D: powers")
table("code", "uint8_t", "gf_log", log, why="and logarithms")


def aes_sbox():
    box, p, q = [0] * 256, 1, 1
    while True:
        p ^= (p << 1 & 0xFF) ^ (0x1B if p & 0x80 else 0)
        q ^= q << 1
        q ^= q << 2
        q ^= q << 4
        q &= 0xFF
        q ^= 0x09 if q & 0x80 else 0
        rot = [(q << n | q >> (8 - n)) & 0xFF for n in range(5)]
        box[p] = rot[0] ^ rot[1] ^ rot[2] ^ rot[3] ^ rot[4] ^ 0x63
        if p == 1:
            break
    box[0] = 0x63
    return box


def mul(a, b):
    r = 0
    while b:
        r ^= a if b & 1 else 0
        a = a << 1 ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return r


box = aes_sbox()
assert box[0x53] == 0xED
inv = [box.index(i) for i in range(256)]
table("code", "uint8_t", "aes_sbox", box, why="AES substitution (FIPS 197)")
table("code", "uint32_t", "aes_enc", (f"0x{mul(s, 2) | s << 8 | s << 16 | mul(s, 3) << 24:08X}u" for s in box),
      why="AES round: substitution and column mix")
if not SMALL:
    table("code", "uint8_t", "aes_inverse", inv, why="AES inverse substitution")
    table("code", "uint32_t", "aes_dec",
          (f"0x{mul(s, 14) | mul(s, 9) << 8 | mul(s, 13) << 16 | mul(s, 11) << 24:08X}u" for s in inv),
          why="AES inverse round")


def frac(root, p, bits=32):
    """The first fractional bits of the root of a prime, exactly."""
    n, lo = p << (root * bits), 0
    hi = 1 << (bits + 5)
    while hi - lo > 1:
        mid = (lo + hi) // 2
        lo, hi = (mid, hi) if mid ** root <= n else (lo, mid)
    return lo & ((1 << bits) - 1)


primes = [p for p in range(2, 320) if all(p % d for d in range(2, p))][:64]
table("code", "uint32_t", "sha256_k", (f"0x{frac(3, p):08X}u" for p in primes), why="SHA-256 (FIPS 180-4)")
table("code", "uint32_t", "sha256_h", (f"0x{frac(2, p):08X}u" for p in primes[:8]), why="SHA-256 initial value")
assert frac(3, 2) == 0x428A2F98

# --- display: a sixteen-segment face, drawn with soft edges ---------------------------------------------
# Segments of a cell: a1 a2 (top), b c (right), d2 d1 (bottom), e f (left), g1 g2 (middle), h i j (upper
# diagonals and stem), k l m (lower). Letters are lists of them.
W, H = (8, 14) if SMALL else (14, 22)
x0, x1, xm, y0, y1, ym = 0.12, 0.80, 0.46, 0.10, 0.90, 0.50
SEGMENTS = {
    "a1": (x0, y0, xm, y0), "a2": (xm, y0, x1, y0), "b": (x1, y0, x1, ym), "c": (x1, ym, x1, y1),
    "d2": (x1, y1, xm, y1), "d1": (xm, y1, x0, y1), "e": (x0, y1, x0, ym), "f": (x0, ym, x0, y0),
    "g1": (x0, ym, xm, ym), "g2": (xm, ym, x1, ym), "h": (x0, y0, xm, ym), "i": (xm, y0, xm, ym),
    "j": (x1, y0, xm, ym), "k": (xm, ym, x0, y1), "l": (xm, ym, xm, y1), "m": (xm, ym, x1, y1),
    "p": (xm, y1, xm, y1), "q": (xm, 0.35, xm, 0.35), "u": (x0, 0.98, x1, 0.98), "s": (xm, y0, xm, 0.25),
}
A, D, G = "a1 a2 ", "d1 d2 ", "g1 g2 "
GLYPHS = {
    "!": "i p", '"': "f s", "#": G + D + "b c i l", "$": A + D + G + "f c i l", "%": "a1 f i g1 j k g2 m l d2 c",
    "&": "a1 h i g1 e m " + D, "'": "s", "(": "j m", ")": "h k", "*": G + "h i j k l m", "+": G + "i l", ",": "k",
    "-": G, ".": "p", "/": "j k", "0": A + D + "b c e f j k", "1": "b c j", "2": A + D + G + "b e", "3": A + D + "b c g2",
    "4": "f b c " + G, "5": A + D + G + "f c", "6": A + D + G + "f e c", "7": A + "j l", "8": A + D + G + "b c e f",
    "9": A + D + G + "b c f", ":": "p q", ";": "q k", "<": "j m g1", "=": G + D, ">": "h k g2", "?": A + "b g2 l",
    "@": A + D + "b e f g2 i", "A": A + G + "b c e f", "B": A + D + "b c i l g2", "C": A + D + "e f", "D": A + D + "b c i l",
    "E": A + D + "e f g1", "F": A + "e f g1", "G": A + D + "e f c g2", "H": G + "b c e f", "I": A + D + "i l", "J": D + "b c e",
    "K": "e f g1 j m", "L": D + "e f", "M": "b c e f h j", "N": "b c e f h m", "O": A + D + "b c e f", "P": A + G + "b e f",
    "Q": A + D + "b c e f m", "R": A + G + "b e f m", "S": A + D + G + "f c", "T": A + "i l", "U": D + "b c e f", "V": "e f j k",
    "W": "b c e f k m", "X": "h j k m", "Y": "h j l", "Z": A + D + "j k", "[": "a2 d2 i l", "\\": "h m", "]": "a1 d1 i l",
    "^": "k m", "_": D, "`": "h", "a": D + "e l g1", "b": D + "e f c " + G, "c": D + "e " + G, "d": D + "b c e " + G,
    "e": D + "e k g1", "f": "a2 i l " + G, "g": A + D + "b c f g1 g2 u", "h": "e f c " + G, "i": "l q", "j": "i l d1 q",
    "k": "i l j m", "l": "i l d2", "m": "e l c " + G, "n": "e c " + G, "o": D + "e c " + G, "p": "a1 e f i g1",
    "q": "a1 f i g1 l", "r": "e " + G, "s": "d2 g2 m", "t": "e f g1 d1", "u": D + "e c", "v": "e k", "w": "e c k m", "x": "h j k m",
    "y": D + "b c i g2", "z": D + "k g1", "{": "a2 i l d2 g1", "|": "i l", "}": "a1 i l d1 g2", "~": "g1 j m", " ": "",
}


def coverage(char, px, py):
    best = 9.0
    for name in GLYPHS[char].split():
        ax, ay, bx, by = (v * s for v, s in zip(SEGMENTS[name], (W, H, W, H)))
        dx, dy = bx - ax, by - ay
        t = 0 if dx == dy == 0 else max(0, min(1, ((px - ax) * dx + (py - ay) * dy) / (dx * dx + dy * dy)))
        best = min(best, math.hypot(px - ax - t * dx, py - ay - t * dy))
    return max(0, min(15, round(15 * (W / 12 + 0.5 - best))))


glyphs = []
for code in range(32, 127):
    dots = [coverage(chr(code), c + 0.5, r + 0.5) for r in range(H) for c in range(W)]
    glyphs += [hi << 4 | lo for hi, lo in zip(dots[::2], dots[1::2])]
head.append(f"#define GLYPH_WIDTH {W}\n#define GLYPH_HEIGHT {H}")
table("font", "uint8_t", "font_glyphs", glyphs, [95, W * H // 2], "ASCII 32 to 126, four bits a dot")

with open("tables.c", "w") as f:
    f.write('/* Made by tables.py. */\n#include "tables.h"\n\n' + "\n".join(out))
with open("tables.h", "w") as f:
    f.write("/* Made by tables.py. */\n#pragma once\n#include <stdint.h>\n\n" + "\n".join(head) + "\n")
