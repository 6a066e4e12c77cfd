/* Checksums, and Reed-Solomon for the log pages: 16 parity bytes correct up to 8 wrong bytes of a block. */
#include <string.h>

#include "app.h"

uint32_t crc32_of(const void *data, size_t length)
{
    const uint8_t *p = data;
    uint32_t crc = ~0u;
#if CRC32_SLICES == 4
    for (; length >= 4; length -= 4, p += 4) {
        crc ^= p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
        crc = crc32_table[3][crc & 255] ^ crc32_table[2][crc >> 8 & 255] ^ crc32_table[1][crc >> 16 & 255]
              ^ crc32_table[0][crc >> 24];
    }
#endif
    while (length--)
        crc = crc >> 8 ^ crc32_table[0][(crc ^ *p++) & 255];
    return ~crc;
}

uint16_t crc16_modbus(const uint8_t *data, size_t length)
{
    uint16_t crc = 0xFFFF;
    while (length--)
        crc = crc >> 8 ^ crc16_table[(crc ^ *data++) & 255];
    return crc;
}

uint16_t crc16_ccitt(const uint8_t *data, size_t length)
{
    uint16_t crc = 0xFFFF;
    while (length--)
        crc = crc << 8 ^ crc_ccitt_table[(crc >> 8 ^ *data++) & 255];
    return crc;
}

enum { PARITY = 16 };

static uint8_t multiply(uint8_t a, uint8_t b) { return a && b ? gf_exp[gf_log[a] + gf_log[b]] : 0; }
static uint8_t inverse(uint8_t a) { return gf_exp[255 - gf_log[a]]; }

void rs_encode(const uint8_t *data, size_t length, uint8_t parity[PARITY])
{
    uint8_t generator[PARITY + 1] = {1};
    for (unsigned i = 0; i < PARITY; i++)
        for (unsigned j = i + 1; j > 0; j--)
            generator[j] ^= multiply(generator[j - 1], gf_exp[i]);
    memset(parity, 0, PARITY);
    for (size_t i = 0; i < length; i++) {
        uint8_t feedback = data[i] ^ parity[0];
        memmove(parity, parity + 1, PARITY - 1);
        parity[PARITY - 1] = 0;
        for (unsigned j = 0; j < PARITY; j++)
            parity[j] ^= multiply(feedback, generator[j + 1]);
    }
}

/* Corrects a block (data, then parity) in place. Returns the bytes corrected, -1 if there are too many. */
int rs_correct(uint8_t *block, size_t length)
{
    uint8_t syndrome[PARITY], any = 0;
    for (unsigned i = 0; i < PARITY; i++) {
        uint8_t sum = 0;
        for (size_t j = 0; j < length; j++)
            sum = multiply(sum, gf_exp[i]) ^ block[j];
        syndrome[i] = sum;
        any |= sum;
    }
    if (!any)
        return 0;
    /* Berlekamp-Massey */
    uint8_t locator[PARITY + 1] = {1}, old[PARITY + 1] = {1}, last = 1;
    unsigned errors = 0, shift = 1;
    for (unsigned n = 0; n < PARITY; n++, shift++) {
        uint8_t delta = syndrome[n];
        for (unsigned i = 1; i <= errors; i++)
            delta ^= multiply(locator[i], syndrome[n - i]);
        if (!delta)
            continue;
        uint8_t copy[PARITY + 1], factor = multiply(delta, inverse(last));
        memcpy(copy, locator, sizeof copy);
        for (unsigned i = shift; i <= PARITY; i++)
            locator[i] ^= multiply(factor, old[i - shift]);
        if (2 * errors <= n) {
            errors = n + 1 - errors;
            memcpy(old, copy, sizeof old);
            last = delta;
            shift = 0;
        }
    }
    if (errors > PARITY / 2)
        return -1;
    uint8_t evaluator[PARITY] = {0};
    for (unsigned i = 0; i < PARITY; i++)
        for (unsigned j = 0; j <= i && j <= errors; j++)
            evaluator[i] ^= multiply(locator[j], syndrome[i - j]);
    /* Chien search and Forney */
    unsigned found = 0;
    for (size_t position = 0; position < length; position++) {
        unsigned power = (length - 1 - position) % 255;
        uint8_t x_inverse = gf_exp[(255 - power) % 255], value = 0, derivative = 0, top = 0;
        for (unsigned i = 0; i <= errors; i++)
            value ^= multiply(locator[i], gf_exp[gf_log[x_inverse] * i % 255]);
        if (value)
            continue;
        for (unsigned i = 1; i <= errors; i += 2)
            derivative ^= multiply(locator[i], gf_exp[gf_log[x_inverse] * (i - 1) % 255]);
        for (unsigned i = 0; i < errors; i++)
            top ^= multiply(evaluator[i], gf_exp[gf_log[x_inverse] * i % 255]);
        if (!derivative)
            return -1;
        block[position] ^= multiply(gf_exp[power], multiply(top, inverse(derivative)));
        found++;
    }
    return found == errors ? (int)found : -1;
}
