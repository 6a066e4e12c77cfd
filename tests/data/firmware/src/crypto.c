/* AES-128 with tables, and SHA-256: the log is encrypted, settings and updates are authenticated. */
#include <string.h>

#include "app.h"

static uint32_t right(uint32_t x, unsigned n) { return x >> n | x << (32 - n); }
static uint32_t left(uint32_t x, unsigned n) { return x << n | x >> (32 - n); }

static uint32_t load(const uint8_t *p) { return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24; }

static void store(uint8_t *p, uint32_t x)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = x >> 8 * i;
}

static uint32_t substitute(uint32_t x)
{
    return aes_sbox[x & 255] | aes_sbox[x >> 8 & 255] << 8 | aes_sbox[x >> 16 & 255] << 16
           | (uint32_t)aes_sbox[x >> 24] << 24;
}

void aes_key(struct aes *a, const uint8_t key[16])
{
    uint8_t round = 1;
    for (unsigned i = 0; i < 4; i++)
        a->keys[i] = load(key + 4 * i);
    for (unsigned i = 4; i < 44; i++) {
        uint32_t word = a->keys[i - 1];
        if (i % 4 == 0) {
            word = substitute(right(word, 8)) ^ round;
            round = round << 1 ^ (round & 0x80 ? 0x1B : 0);
        }
        a->keys[i] = a->keys[i - 4] ^ word;
    }
}

void aes_encrypt(const struct aes *a, const uint8_t in[16], uint8_t out[16])
{
    uint32_t s[4], t[4];
    for (unsigned i = 0; i < 4; i++)
        s[i] = load(in + 4 * i) ^ a->keys[i];
    for (unsigned round = 1; round < 10; round++) {
        for (unsigned i = 0; i < 4; i++)
            t[i] = aes_enc[s[i] & 255] ^ left(aes_enc[s[(i + 1) & 3] >> 8 & 255], 8)
                   ^ left(aes_enc[s[(i + 2) & 3] >> 16 & 255], 16) ^ left(aes_enc[s[(i + 3) & 3] >> 24], 24)
                   ^ a->keys[4 * round + i];
        memcpy(s, t, sizeof s);
    }
    for (unsigned i = 0; i < 4; i++) {
        uint32_t mixed = (s[i] & 0xFF) | (s[(i + 1) & 3] & 0xFF00) | (s[(i + 2) & 3] & 0xFF0000)
                         | (s[(i + 3) & 3] & 0xFF000000);
        store(out + 4 * i, substitute(mixed) ^ a->keys[40 + i]);
    }
}

void aes_ctr(const struct aes *a, uint8_t counter[16], uint8_t *data, size_t length)
{
    uint8_t stream[16];
    for (size_t i = 0; i < length; i++) {
        if (i % 16 == 0) {
            aes_encrypt(a, counter, stream);
            for (int j = 15; j >= 0 && ++counter[j] == 0; j--)
                ;
        }
        data[i] ^= stream[i % 16];
    }
}

#ifndef SMALL
static uint32_t unmix(uint32_t x)
{
    return aes_dec[aes_sbox[x & 255]] ^ left(aes_dec[aes_sbox[x >> 8 & 255]], 8)
           ^ left(aes_dec[aes_sbox[x >> 16 & 255]], 16) ^ left(aes_dec[aes_sbox[x >> 24]], 24);
}

void aes_decrypt(const struct aes *a, const uint8_t in[16], uint8_t out[16])
{
    uint32_t s[4], t[4];
    for (unsigned i = 0; i < 4; i++)
        s[i] = load(in + 4 * i) ^ a->keys[40 + i];
    for (unsigned round = 9; round > 0; round--) {
        for (unsigned i = 0; i < 4; i++)
            t[i] = aes_dec[s[i] & 255] ^ left(aes_dec[s[(i + 3) & 3] >> 8 & 255], 8)
                   ^ left(aes_dec[s[(i + 2) & 3] >> 16 & 255], 16) ^ left(aes_dec[s[(i + 1) & 3] >> 24], 24)
                   ^ unmix(a->keys[4 * round + i]);
        memcpy(s, t, sizeof s);
    }
    for (unsigned i = 0; i < 4; i++) {
        uint32_t word = aes_inverse[s[i] & 255] | aes_inverse[s[(i + 3) & 3] >> 8 & 255] << 8
                        | aes_inverse[s[(i + 2) & 3] >> 16 & 255] << 16
                        | (uint32_t)aes_inverse[s[(i + 1) & 3] >> 24] << 24;
        store(out + 4 * i, word ^ a->keys[i]);
    }
}
#endif

void sha256_start(struct sha256 *s)
{
    memcpy(s->state, sha256_h, sizeof s->state);
    s->length = 0;
}

static void sha256_block(struct sha256 *s)
{
    uint32_t w[64], v[8];
    for (unsigned i = 0; i < 16; i++)
        w[i] = __builtin_bswap32(load(s->block + 4 * i));
    for (unsigned i = 16; i < 64; i++)
        w[i] = w[i - 16] + w[i - 7] + (right(w[i - 15], 7) ^ right(w[i - 15], 18) ^ w[i - 15] >> 3)
               + (right(w[i - 2], 17) ^ right(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(v, s->state, sizeof v);
    for (unsigned i = 0; i < 64; i++) {
        uint32_t one = v[7] + (right(v[4], 6) ^ right(v[4], 11) ^ right(v[4], 25)) + (v[6] ^ (v[4] & (v[5] ^ v[6])))
                       + sha256_k[i] + w[i];
        uint32_t two = (right(v[0], 2) ^ right(v[0], 13) ^ right(v[0], 22)) + ((v[0] & v[1]) | (v[2] & (v[0] | v[1])));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += one;
        v[0] = one + two;
    }
    for (unsigned i = 0; i < 8; i++)
        s->state[i] += v[i];
}

void sha256_add(struct sha256 *s, const void *data, size_t length)
{
    for (const uint8_t *p = data; length--; p++) {
        s->block[s->length++ % 64] = *p;
        if (s->length % 64 == 0)
            sha256_block(s);
    }
}

void sha256_end(struct sha256 *s, uint8_t digest[32])
{
    uint64_t bits = s->length * 8;
    sha256_add(s, "\x80", 1);
    while (s->length % 64 != 56)
        sha256_add(s, "", 1);
    for (int shift = 56; shift >= 0; shift -= 8)
        sha256_add(s, (uint8_t[]){(uint8_t)(bits >> shift)}, 1);
    for (unsigned i = 0; i < 8; i++)
        store(digest + 4 * i, __builtin_bswap32(s->state[i]));
}
