/* Settings in flash records, the journal in memory, a small packer, and a JSON reader for configurations. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app.h"

/* --- settings: records of length, CRC, key, 0, value; 0xFF where nothing was written ----------------------- */

static const uint8_t *settings_end_of_use(void)
{
    const uint8_t *p = (const uint8_t *)settings_start, *end = (const uint8_t *)settings_end;
    while (p + 3 < end && *p != 0xFF && p + 3 + *p <= end)
        p += (3 + *p + 7) & ~7;
    return p;
}

bool setting_get(const char *key, char *value, size_t room)
{
    const uint8_t *p = (const uint8_t *)settings_start, *stop = settings_end_of_use();
    bool found = false;
    for (; p < stop; p += (3 + *p + 7) & ~7) {
        uint16_t crc = p[1] | p[2] << 8;
        const char *text = (const char *)p + 3;
        size_t name = strnlen(text, *p);
        if (crc16_ccitt(p + 3, *p) != crc || name == *p || strcmp(text, key))
            continue;
        size_t length = *p - name - 1;
        if (length >= room)
            return false;
        memcpy(value, text + name + 1, length);
        value[length] = 0;
        found = true; /* the last one counts */
    }
    return found;
}

/* Programs one word; the flash is known to be blank there. */
static bool program(uint32_t address, uint32_t word)
{
#if defined(FAMILY_F4)
    enum { FLASH = 0x40023C00, KEY = 0x04, STATUS = 0x0C, CONTROL = 0x10 };
    const uint32_t enable = 1u | 2u << 8, busy = 1u << 16, lock = 1u << 31;
#elif defined(FAMILY_G4)
    enum { FLASH = 0x40022000, KEY = 0x08, STATUS = 0x10, CONTROL = 0x14 };
    const uint32_t enable = 1u, busy = 1u << 16, lock = 1u << 31;
#else
    enum { FLASH = 0x40022000, KEY = 0x04, STATUS = 0x0C, CONTROL = 0x10 };
    const uint32_t enable = 1u, busy = 1u, lock = 1u << 7;
#endif
    REG(FLASH + KEY) = 0x45670123;
    REG(FLASH + KEY) = 0xCDEF89AB;
    REG(FLASH + CONTROL) = enable;
#if defined(FAMILY_F1)
    *(volatile uint16_t *)address = word;
    *(volatile uint16_t *)(address + 2) = word >> 16;
#elif defined(FAMILY_G4)
    REG(address) = word;
    REG(address + 4) = 0xFFFFFFFF;
#else
    REG(address) = word;
#endif
    for (unsigned i = 0; i < 100000 && REG(FLASH + STATUS) & busy; i++)
        ;
    REG(FLASH + CONTROL) = lock;
    return REG(address) == word;
}

bool setting_put(const char *key, const char *value)
{
    uint8_t record[128];
    size_t name = strlen(key), length = name + 1 + strlen(value), size = (3 + length + 7) & ~7u;
    const uint8_t *to = settings_end_of_use();
    if (size > sizeof record || length > 120 || to + size > (const uint8_t *)settings_end)
        return false;
    memset(record, 0xFF, sizeof record);
    record[0] = length;
    memcpy(record + 3, key, name + 1);
    memcpy(record + 3 + name + 1, value, strlen(value));
    uint16_t crc = crc16_ccitt(record + 3, length);
    record[1] = crc;
    record[2] = crc >> 8;
    bool good = true;
    for (size_t i = 0; i < size; i += 4) {
        uint32_t word;
        memcpy(&word, record + i, 4);
        good &= program((uint32_t)to + i, word);
    }
    return good;
}

/* --- the packer: LZ77 with a hash of three bytes; a control byte for eight items ----------------------------- */

size_t lz_pack(const uint8_t *in, size_t length, uint8_t *out, size_t room)
{
    static uint16_t heads[256];
    memset(heads, 0xFF, sizeof heads);
    size_t at = 0, used = 0, control = 0;
    unsigned item = 8;
    while (at < length) {
        if (item == 8) {
            if (used >= room)
                return 0;
            control = used++;
            out[control] = 0;
            item = 0;
        }
        size_t best = 0, from = 0;
        if (at + 3 <= length) {
            unsigned hash = (in[at] * 33u ^ in[at + 1] * 5u ^ in[at + 2]) & 255;
            if (heads[hash] != 0xFFFF && at - heads[hash] < 4096) {
                from = heads[hash];
                while (best < 18 && at + best < length && in[from + best] == in[at + best])
                    best++;
            }
            heads[hash] = at;
        }
        if (used + 2 > room)
            return 0;
        if (best >= 3) {
            size_t distance = at - from;
            out[control] |= 1u << item;
            out[used++] = distance;
            out[used++] = (distance >> 8) << 4 | (best - 3);
            at += best;
        } else {
            out[used++] = in[at++];
        }
        item++;
    }
    return used;
}

size_t lz_unpack(const uint8_t *in, size_t length, uint8_t *out, size_t room)
{
    size_t at = 0, made = 0;
    while (at < length) {
        uint8_t control = in[at++];
        for (unsigned item = 0; item < 8 && at < length; item++) {
            if (!(control >> item & 1)) {
                if (made == room)
                    return 0;
                out[made++] = in[at++];
                continue;
            }
            if (at + 2 > length)
                return 0;
            size_t distance = in[at] | (in[at + 1] & 0xF0u) << 4, count = (in[at + 1] & 15u) + 3;
            at += 2;
            if (distance == 0 || distance > made || made + count > room)
                return 0;
            while (count--) {
                out[made] = out[made - distance];
                made++;
            }
        }
    }
    return made;
}

/* --- the journal: the last lines, with their times ------------------------------------------------------------ */

enum { LINES = 32 };
static struct { time_t when; char text[56]; } journal[LINES];
static unsigned written;

void journal_add(const char *text)
{
    journal[written % LINES].when = time(NULL);
    strncpy(journal[written % LINES].text, text, sizeof journal->text - 1);
    written++;
}

void journal_print(void)
{
    for (unsigned i = written > LINES ? written - LINES : 0; i < written; i++) {
#ifdef SMALL
        printf("%ld  %s\n", (long)journal[i % LINES].when, journal[i % LINES].text);
#else
        char when[32];
        struct tm *parts = gmtime(&journal[i % LINES].when);
        strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", parts);
        printf("%s  %s\n", when, journal[i % LINES].text);
#endif
    }
}

/* --- JSON: finds the value at a path such as "channels.1.shape" without building a tree ------------------------ */

static const char *space(const char *p)
{
    while (isspace((unsigned char)*p))
        p++;
    return p;
}

static const char *string_end(const char *p)
{
    for (p++; *p && *p != '"'; p++)
        if (*p == '\\' && p[1])
            p++;
    return *p ? p + 1 : p;
}

static const char *skip(const char *p, int depth)
{
    p = space(p);
    if (*p == '"')
        return string_end(p);
    if (*p == '{' || *p == '[') {
        if (depth > 20)
            return p + strlen(p);
        char close = *p == '{' ? '}' : ']';
        p = space(p + 1);
        while (*p && *p != close) {
            p = space(skip(p, depth + 1));
            if (*p == ':' || *p == ',')
                p = space(p + 1);
            else if (*p != close)
                return p + strlen(p);
        }
        return *p ? p + 1 : p;
    }
    return p + strcspn(p, ",]} \t\r\n");
}

bool json_find(const char *text, const char *path, char *value, size_t room)
{
    const char *p = space(text);
    while (*path) {
        size_t length = strcspn(path, ".");
        if (*p != '{' && *p != '[')
            return false;
        bool object = *p == '{';
        unsigned wanted = object ? 0 : strtoul(path, NULL, 10);
        p = space(p + 1);
        for (unsigned index = 0;; index++) {
            if (!*p || *p == '}' || *p == ']')
                return false;
            bool here = index == wanted;
            if (object) {
                const char *end = string_end(p);
                here = (size_t)(end - p) == length + 2 && !memcmp(p + 1, path, length);
                p = space(end);
                if (*p++ != ':')
                    return false;
                p = space(p);
            }
            if (here)
                break;
            p = space(skip(p, 0));
            if (*p == ',')
                p = space(p + 1);
        }
        path += length;
        path += *path == '.';
    }
    const char *end = skip(p, 0);
    if (*p == '"' && end > p + 1) {
        p++;
        end--;
    }
    size_t length = end - p;
    if (length >= room)
        return false;
    memcpy(value, p, length);
    value[length] = 0;
    return true;
}

size_t json_quote(const char *text, char *out, size_t room)
{
    size_t used = 0;
    for (; *text && used + 8 < room; text++) {
        unsigned char c = *text;
        if (c == '"' || c == '\\') {
            out[used++] = '\\';
            out[used++] = c;
        } else if (c < 32) {
            used += (size_t)snprintf(out + used, room - used, "\\u%04x", c);
        } else {
            out[used++] = c;
        }
    }
    out[used] = 0;
    return used;
}
