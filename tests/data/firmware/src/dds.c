/* The signal generator: direct digital synthesis with a 32-bit phase, logarithmic sweeps, white noise. */
#include "app.h"

enum { SAMPLE_RATE = 48000 };

void generator_set(struct generator *g, enum shape shape, uint32_t millihertz, uint16_t amplitude)
{
    g->shape = shape;
    g->phase = 0;
    g->step = (uint32_t)(((uint64_t)millihertz << 32) / (SAMPLE_RATE * 1000ull));
    g->end_step = g->step;
    g->sweep = 0;
    g->noise = 0xACE1ACE1u;
    g->amplitude = amplitude;
    g->offset = 0;
}

/* Over `samples`, the frequency rises by `octaves_q8`, by the same factor every sample. */
void generator_sweep(struct generator *g, uint32_t octaves_q8, uint32_t samples)
{
    uint64_t end = g->step;
    end = (end * exp2_q30[octaves_q8 & 0xFF]) >> 30 << (octaves_q8 >> 8);
    g->end_step = end > 0x7FFFFFFFu ? 0x7FFFFFFFu : (uint32_t)end;
    g->sweep = samples ? (uint32_t)(((uint64_t)octaves_q8 * 47640000ull / 256) / samples) : 0;
}

static int16_t between(const int16_t *table, uint32_t phase, unsigned bits)
{
    uint32_t index = phase >> (32 - bits), next = (index + 1) & ((1u << bits) - 1);
    int32_t part = (phase >> (17 - bits)) & 0x7FFF;
    return table[index] + ((table[next] - table[index]) * part >> 15);
}

int16_t generator_next(struct generator *g)
{
    const unsigned sine_bits = __builtin_ctz(SINE_SIZE), wave_bits = __builtin_ctz(WAVE_SIZE);
    int32_t value;
    if (g->shape == SINE) {
        value = between(sine_q15, g->phase, sine_bits);
    } else if (g->shape == NOISE) {
        g->noise = g->noise * 1664525u + 1013904223u;
        value = (int16_t)(g->noise >> 16);
    } else {
        value = between(arbitrary_wave[g->shape - SQUARE], g->phase, wave_bits);
    }
    g->phase += g->step;
    if (g->step < g->end_step)
        g->step += (uint32_t)(((uint64_t)g->step * g->sweep) >> 36) + 1;
    return (int16_t)((value * g->amplitude >> 16) + g->offset);
}
