//! The C header for firmware, written from the layout table.

use std::fmt::Write;

use super::layout::{LAYOUT, LENGTH, MAGIC, Shape, VERSION, offset_of};

/// The text of `docs/identity_region.h`.
#[must_use]
pub fn c_header() -> String {
    let mut members = String::new();
    let mut asserts = String::new();
    for field in LAYOUT {
        let name = field.name;
        let member = match field.shape {
            Shape::U8 => format!("uint8_t  {name};"),
            Shape::U16 => format!("uint16_t {name};"),
            Shape::U32 => format!("uint32_t {name};"),
            Shape::Text(size) => format!("char     {name}[{size}];"),
            Shape::Runs(runs, 1) => format!("uint8_t  {name}[{runs}];"),
            Shape::Runs(runs, size) => format!("uint8_t  {name}[{runs}][{size}];"),
        };
        // Writing to a String does not fail.
        let _ = writeln!(members, "    {member:<32}/* {} */", field.meaning);
        let offset = offset_of(name);
        let _ = writeln!(
            asserts,
            "_Static_assert(offsetof(panel_identity_t, {name}) == {offset}, \"{name} lies elsewhere\");"
        );
    }
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
 */
#ifndef PANEL_IDENTITY_H
#define PANEL_IDENTITY_H

#include <stddef.h>
#include <stdint.h>

#define PANEL_IDENTITY_MAGIC   UINT32_C({MAGIC:#010x})
#define PANEL_IDENTITY_VERSION {VERSION}
#define PANEL_IDENTITY_LENGTH  {LENGTH}

typedef struct {{
{members}}} panel_identity_t;

#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
_Static_assert(sizeof(panel_identity_t) == PANEL_IDENTITY_LENGTH, "the structure has gaps");
{asserts}#endif

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

#endif
"#
    )
}
