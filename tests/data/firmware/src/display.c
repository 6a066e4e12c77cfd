/* A grey-scale screen, four bits a dot: soft-edged text, lines, and an oscilloscope trace. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"

#ifdef SMALL
enum { WIDTH = 128, HEIGHT = 64 };
#else
enum { WIDTH = 256, HEIGHT = 64 };
#endif
uint8_t screen[WIDTH * HEIGHT / 2 < 4096 ? 4096 : WIDTH * HEIGHT / 2];

static uint8_t dot(int x, int y) { return screen[(y * WIDTH + x) / 2] >> (x & 1 ? 0 : 4) & 15; }

static void light(int x, int y, uint8_t level)
{
    if (x < 0 || y < 0 || x >= WIDTH || y >= HEIGHT || level <= dot(x, y))
        return;
    uint8_t *byte = &screen[(y * WIDTH + x) / 2];
    *byte = x & 1 ? (*byte & 0xF0) | level : (*byte & 0x0F) | level << 4;
}

void display_clear(void) { memset(screen, 0, sizeof screen); }

void display_text(int x, int y, const char *text)
{
    for (; *text; text++, x += GLYPH_WIDTH) {
        unsigned code = (uint8_t)*text;
        const uint8_t *glyph = font_glyphs[code >= 32 && code < 127 ? code - 32 : '?' - 32];
        for (int row = 0; row < GLYPH_HEIGHT; row++)
            for (int column = 0; column < GLYPH_WIDTH; column++) {
                unsigned i = row * GLYPH_WIDTH + column;
                light(x + column, y + row, glyph[i / 2] >> (i & 1 ? 0 : 4) & 15);
            }
    }
}

void display_line(int x0, int y0, int x1, int y1, uint8_t level)
{
    int dx = abs(x1 - x0), dy = -abs(y1 - y0), sx = x0 < x1 ? 1 : -1, sy = y0 < y1 ? 1 : -1, error = dx + dy;
    for (;;) {
        light(x0, y0, level);
        if (x0 == x1 && y0 == y1)
            return;
        int twice = 2 * error;
        if (twice >= dy) {
            error += dy;
            x0 += sx;
        }
        if (twice <= dx) {
            error += dx;
            y0 += sy;
        }
    }
}

void display_trace(const int16_t *samples, size_t count)
{
    for (int x = 0; x < WIDTH; x += 16)
        display_line(x, 0, x, HEIGHT - 1, 2);
    int last = 0;
    for (int x = 0; x < WIDTH; x++) {
        int y = HEIGHT / 2 - samples[(size_t)x * count / WIDTH] * (HEIGHT / 2 - 1) / 32768;
        if (x)
            display_line(x - 1, last, x, y, 15);
        last = y;
    }
}

void display_dump(void)
{
    static const char shades[] = " .:-=+*#%@";
    for (int y = 0; y < HEIGHT; y += 2) {
        for (int x = 0; x < WIDTH; x++)
            putchar(shades[(dot(x, y) + dot(x, y + 1 < HEIGHT ? y + 1 : y)) * 9 / 30]);
        putchar('\n');
    }
}
