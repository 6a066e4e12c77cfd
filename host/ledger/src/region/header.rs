//! The C header for firmware, written from the layout table.

use std::fmt::Write;

use super::layout::{
    BLOB_ALIGN, BLOB_HEAD, BLOB_LAYOUT, BLOB_MAGIC, BLOBS, Field, LAYOUT, LENGTH, MAGIC, Shape, VERSION,
    offset_in, offset_of,
};

/// The text of `docs/identity_region.h`.
#[must_use]
pub fn c_header() -> String {
    let (members, asserts) = structure(&LAYOUT, "panel_identity_t");
    let (blob_members, blob_asserts) = structure(&BLOB_LAYOUT, "panel_blob_t");
    let crc_at = offset_of("crc32");
    format!(
        r#"/*
 * The identity region of a board programmed by panelflash, layout version {VERSION}.
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

#define PANEL_IDENTITY_MAGIC   UINT32_C({MAGIC:#010x})
#define PANEL_IDENTITY_VERSION {VERSION}
#define PANEL_IDENTITY_LENGTH  {LENGTH}

typedef struct {{
{members}}} panel_identity_t;

#define PANEL_IDENTITY_BLOBS {BLOBS}
#define PANEL_BLOB_MAGIC     UINT32_C({BLOB_MAGIC:#010x})
#define PANEL_BLOB_ALIGN     {BLOB_ALIGN}

typedef struct {{
{blob_members}}} panel_blob_t;

#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
_Static_assert(sizeof(panel_identity_t) == PANEL_IDENTITY_LENGTH, "the structure has gaps");
{asserts}_Static_assert(sizeof(panel_blob_t) == {BLOB_HEAD}, "the head has gaps");
{blob_asserts}#endif

/* CRC-32/ISO-HDLC (zlib, Ethernet): reflected, polynomial 0xEDB88320, start and final XOR 0xFFFFFFFF. */
static inline uint32_t panel_identity_crc32(const uint8_t *bytes, size_t length)
{{
    uint32_t crc = UINT32_C(0xFFFFFFFF);
    for (size_t i = 0; i < length; i++) {{
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) {{
            crc = (crc >> 1) ^ (UINT32_C(0xEDB88320) & (UINT32_C(0) - (crc & 1u)));
        }}
    }}
    return crc ^ UINT32_C(0xFFFFFFFF);
}}

/* The identity at `address`, or NULL if none was written there or it is damaged. */
static inline const panel_identity_t *panel_identity_at(const void *address)
{{
    const panel_identity_t *identity = (const panel_identity_t *)address;
    if (identity->magic != PANEL_IDENTITY_MAGIC || identity->version != PANEL_IDENTITY_VERSION
        || identity->length != PANEL_IDENTITY_LENGTH) {{
        return NULL;
    }}
    if (panel_identity_crc32((const uint8_t *)address, {crc_at}) != identity->crc32) {{
        return NULL;
    }}
    return identity;
}}

/*
 * The bytes of the blob called `name` behind the identity at `address`, and their number; NULL if there is none or it is
 * damaged. `space` is what the release sets aside for the region.
 */
static inline const uint8_t *panel_identity_blob(const void *address, size_t space, const char *name, uint32_t *length)
{{
    const uint8_t *memory = (const uint8_t *)address;
    size_t at = PANEL_IDENTITY_BLOBS;
    while (at + sizeof(panel_blob_t) + 4u <= space) {{
        panel_blob_t head;
        memcpy(&head, memory + at, sizeof head);
        if (head.magic != PANEL_BLOB_MAGIC || head.length > space - at - sizeof head - 4u) {{
            return NULL;
        }}
        const size_t end = sizeof head + head.length;
        uint32_t crc;
        memcpy(&crc, memory + at + end, sizeof crc);
        if (panel_identity_crc32(memory + at, end) != crc) {{
            return NULL;
        }}
        if (strncmp(head.name, name, sizeof head.name) == 0) {{
            *length = head.length;
            return memory + at + sizeof head;
        }}
        at += (end + 4u + PANEL_BLOB_ALIGN - 1u) / PANEL_BLOB_ALIGN * PANEL_BLOB_ALIGN;
    }}
    return NULL;
}}

#endif
"#
    )
}

/// The members of a C structure, and what is asserted of their places.
fn structure(layout: &[Field], name: &str) -> (String, String) {
    let mut members = String::new();
    let mut asserts = String::new();
    for field in layout {
        let member = field.name;
        let declared = match field.shape {
            Shape::U8 => format!("uint8_t  {member};"),
            Shape::U16 => format!("uint16_t {member};"),
            Shape::U32 => format!("uint32_t {member};"),
            Shape::Text(size) => format!("char     {member}[{size}];"),
            Shape::Runs(runs, 1) => format!("uint8_t  {member}[{runs}];"),
            Shape::Runs(runs, size) => format!("uint8_t  {member}[{runs}][{size}];"),
        };
        // Writing to a String does not fail.
        let _ = writeln!(members, "    {declared:<32}/* {} */", field.meaning);
        let offset = offset_in(layout, member);
        let _ = writeln!(
            asserts,
            "_Static_assert(offsetof({name}, {member}) == {offset}, \"{member} lies elsewhere\");"
        );
    }
    (members, asserts)
}
