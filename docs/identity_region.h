/*
 * The identity region of a board programmed by panelflash, layout version 1.
 *
 * Written from the table in host/ledger/src/region/layout.rs; do not edit:
 *     cargo run -p panel-ledger --example write-identity-header
 *
 * Little-endian. The region lies at an address that the release names, in flash or OTP, and is followed by
 * 0xFF up to the next flash programming unit. Texts are printable ASCII and end with at least one zero.
 *
 * Named blobs may follow, the first one PANEL_IDENTITY_BLOBS bytes after the beginning of the region, each at a multiple
 * of PANEL_BLOB_ALIGN bytes from there: a head, its bytes, their CRC-32. A unit whose release asks for a certificate
 * carries it as the blob "certificate" (X.509, DER).
 */
#ifndef PANEL_IDENTITY_H
#define PANEL_IDENTITY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PANEL_IDENTITY_MAGIC   UINT32_C(0x44494650)
#define PANEL_IDENTITY_VERSION 1
#define PANEL_IDENTITY_LENGTH  340

typedef struct {
    uint32_t magic;                 /* PANEL_IDENTITY_MAGIC, the bytes "PFID" */
    uint16_t version;               /* layout version, PANEL_IDENTITY_VERSION */
    uint16_t length;                /* bytes from magic to crc32, both included */
    char     product[32];           /* product (part number) */
    char     hardware[8];           /* hardware revision of the board */
    char     serial[64];            /* serial number */
    uint32_t date;                  /* date of personalisation, decimal YYYYMMDD in UTC, 0 if unknown */
    uint8_t  eui48_count;           /* addresses used in eui48 */
    uint8_t  eui64_count;           /* addresses used in eui64 */
    uint8_t  key_count;             /* slots used in the key fields */
    uint8_t  reserved;              /* 0 */
    uint8_t  eui48[8][6];           /* EUI-48 addresses, first octet first */
    uint8_t  eui64[4][8];           /* EUI-64 addresses, first octet first */
    uint8_t  key_kind[4];           /* kind of key: 0 none, 1 Ed25519, 2 ECDSA P-256 */
    uint8_t  key_use[4];            /* what key_data holds: 0 nothing, 1 secret key, 2 SHA-256 of the public key */
    uint8_t  key_data[4][32];       /* 32 bytes per key slot */
    uint32_t crc32;                 /* CRC-32/ISO-HDLC of all bytes before it */
} panel_identity_t;

#define PANEL_IDENTITY_BLOBS 352
#define PANEL_BLOB_MAGIC     UINT32_C(0x4c424650)
#define PANEL_BLOB_ALIGN     16

typedef struct {
    uint32_t magic;                 /* PANEL_BLOB_MAGIC, the bytes "PFBL" */
    uint32_t length;                /* bytes that follow this head, without the CRC-32 behind them */
    char     name[24];              /* what it is, such as "certificate" (X.509, DER) */
} panel_blob_t;

#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
_Static_assert(sizeof(panel_identity_t) == PANEL_IDENTITY_LENGTH, "the structure has gaps");
_Static_assert(offsetof(panel_identity_t, magic) == 0, "magic lies elsewhere");
_Static_assert(offsetof(panel_identity_t, version) == 4, "version lies elsewhere");
_Static_assert(offsetof(panel_identity_t, length) == 6, "length lies elsewhere");
_Static_assert(offsetof(panel_identity_t, product) == 8, "product lies elsewhere");
_Static_assert(offsetof(panel_identity_t, hardware) == 40, "hardware lies elsewhere");
_Static_assert(offsetof(panel_identity_t, serial) == 48, "serial lies elsewhere");
_Static_assert(offsetof(panel_identity_t, date) == 112, "date lies elsewhere");
_Static_assert(offsetof(panel_identity_t, eui48_count) == 116, "eui48_count lies elsewhere");
_Static_assert(offsetof(panel_identity_t, eui64_count) == 117, "eui64_count lies elsewhere");
_Static_assert(offsetof(panel_identity_t, key_count) == 118, "key_count lies elsewhere");
_Static_assert(offsetof(panel_identity_t, reserved) == 119, "reserved lies elsewhere");
_Static_assert(offsetof(panel_identity_t, eui48) == 120, "eui48 lies elsewhere");
_Static_assert(offsetof(panel_identity_t, eui64) == 168, "eui64 lies elsewhere");
_Static_assert(offsetof(panel_identity_t, key_kind) == 200, "key_kind lies elsewhere");
_Static_assert(offsetof(panel_identity_t, key_use) == 204, "key_use lies elsewhere");
_Static_assert(offsetof(panel_identity_t, key_data) == 208, "key_data lies elsewhere");
_Static_assert(offsetof(panel_identity_t, crc32) == 336, "crc32 lies elsewhere");
_Static_assert(sizeof(panel_blob_t) == 32, "the head has gaps");
_Static_assert(offsetof(panel_blob_t, magic) == 0, "magic lies elsewhere");
_Static_assert(offsetof(panel_blob_t, length) == 4, "length lies elsewhere");
_Static_assert(offsetof(panel_blob_t, name) == 8, "name lies elsewhere");
#endif

/* CRC-32/ISO-HDLC (zlib, Ethernet): reflected, polynomial 0xEDB88320, start and final XOR 0xFFFFFFFF. */
static inline uint32_t panel_identity_crc32(const uint8_t *bytes, size_t length)
{
    uint32_t crc = UINT32_C(0xFFFFFFFF);
    for (size_t i = 0; i < length; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (UINT32_C(0xEDB88320) & (UINT32_C(0) - (crc & 1u)));
        }
    }
    return crc ^ UINT32_C(0xFFFFFFFF);
}

/* The identity at `address`, or NULL if none was written there or it is damaged. */
static inline const panel_identity_t *panel_identity_at(const void *address)
{
    const panel_identity_t *identity = (const panel_identity_t *)address;
    if (identity->magic != PANEL_IDENTITY_MAGIC || identity->version != PANEL_IDENTITY_VERSION
        || identity->length != PANEL_IDENTITY_LENGTH) {
        return NULL;
    }
    if (panel_identity_crc32((const uint8_t *)address, 336) != identity->crc32) {
        return NULL;
    }
    return identity;
}

/*
 * The bytes of the blob called `name` behind the identity at `address`, and their number; NULL if there is none or it is
 * damaged. `space` is what the release sets aside for the region.
 */
static inline const uint8_t *panel_identity_blob(const void *address, size_t space, const char *name, uint32_t *length)
{
    const uint8_t *memory = (const uint8_t *)address;
    size_t at = PANEL_IDENTITY_BLOBS;
    while (at + sizeof(panel_blob_t) + 4u <= space) {
        panel_blob_t head;
        memcpy(&head, memory + at, sizeof head);
        if (head.magic != PANEL_BLOB_MAGIC || head.length > space - at - sizeof head - 4u) {
            return NULL;
        }
        const size_t end = sizeof head + head.length;
        uint32_t crc;
        memcpy(&crc, memory + at + end, sizeof crc);
        if (panel_identity_crc32(memory + at, end) != crc) {
            return NULL;
        }
        if (strncmp(head.name, name, sizeof head.name) == 0) {
            *length = head.length;
            return memory + at + sizeof head;
        }
        at += (end + 4u + PANEL_BLOB_ALIGN - 1u) / PANEL_BLOB_ALIGN * PANEL_BLOB_ALIGN;
    }
    return NULL;
}

#endif
