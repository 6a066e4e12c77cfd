/* Fixed-point signal analysis: FFT, windows, filters, resampling, CORDIC. Q15 samples throughout. */
#include <math.h>
#include <stdlib.h>

#include "app.h"

static int16_t clip(int32_t value) { return value > 32767 ? 32767 : value < -32768 ? -32768 : value; }

/* In place, radix 2, decimation in time; every stage halves, so the result is the spectrum / FFT_SIZE. */
void fft_q15(int16_t (*data)[2])
{
    for (unsigned i = 1, j = 0; i < FFT_SIZE; i++) {
        unsigned bit = FFT_SIZE >> 1;
        for (; j & bit; bit >>= 1)
            j ^= bit;
        j ^= bit;
        if (i < j)
            for (unsigned part = 0; part < 2; part++) {
                int16_t swap = data[i][part];
                data[i][part] = data[j][part];
                data[j][part] = swap;
            }
    }
    for (unsigned half = 1; half < FFT_SIZE; half <<= 1) {
        unsigned stride = FFT_SIZE / (2 * half);
        for (unsigned group = 0; group < FFT_SIZE; group += 2 * half)
            for (unsigned k = 0; k < half; k++) {
                int16_t *low = data[group + k], *high = data[group + k + half];
                int32_t cosine = twiddle_q15[k * stride][0], sine = twiddle_q15[k * stride][1];
                int32_t real = (high[0] * cosine - high[1] * sine) >> 15;
                int32_t imaginary = (high[0] * sine + high[1] * cosine) >> 15;
                high[0] = (low[0] - real) >> 1;
                high[1] = (low[1] - imaginary) >> 1;
                low[0] = (low[0] + real) >> 1;
                low[1] = (low[1] + imaginary) >> 1;
            }
    }
}

static const int16_t *window_table(enum window window)
{
    return window == HANN ? window_hann : window == BLACKMAN_HARRIS ? window_blackman_harris : window_flattop;
}

static int level_of(uint32_t power)
{
    uint32_t root = 0;
    for (uint32_t bit = 1u << 15; bit; bit >>= 1)
        if ((root | bit) * (root | bit) <= power)
            root |= bit;
    uint32_t step = root * DECIBEL_STEPS / 16384;
    return decibel[step < DECIBEL_STEPS ? step : DECIBEL_STEPS - 1];
}

void analyse(const int16_t *samples, enum window window, struct spectrum *result)
{
    static int16_t bins[FFT_SIZE][2];
    static uint32_t power[FFT_SIZE / 2];
    for (unsigned i = 0; i < FFT_SIZE; i++) {
        unsigned mirror = i < FFT_SIZE / 2 ? i : FFT_SIZE - 1 - i;
        int32_t weight = window == RECTANGLE ? 32767 : window_table(window)[mirror];
        bins[i][0] = samples[i] * weight >> 15;
        bins[i][1] = 0;
    }
    fft_q15(bins);
    unsigned peak = 5; /* below it lies what the widest window makes of an offset */
    for (unsigned i = 0; i < FFT_SIZE / 2; i++) {
        power[i] = bins[i][0] * bins[i][0] + bins[i][1] * bins[i][1];
        if (i > 5 && power[i] > power[peak])
            peak = i;
    }
    uint64_t noise = 0, harmonics = 0;
    unsigned counted = 0;
    for (unsigned i = 5; i < FFT_SIZE / 2; i++) {
        unsigned nearest = (i + peak / 2) / peak, distance = abs((int)i - (int)(nearest * peak));
        if (distance > 4) {
            noise += power[i];
            counted++;
        } else if (nearest > 1) {
            harmonics += power[i];
        }
    }
    result->peak = peak;
    result->level = level_of(power[peak]);
    result->noise = level_of(counted ? noise / counted : 0);
    result->distortion = level_of(harmonics > UINT32_MAX ? UINT32_MAX : harmonics) - result->level;
}

/* Second-order low-pass by the bilinear transform; coefficients Q28. frequency is a part of the sample rate. */
void biquad_lowpass(struct biquad *filter, float frequency, float quality)
{
    int32_t cosine_q30, sine_q30;
    cordic((int32_t)(frequency * 4294967296.0f), &cosine_q30, &sine_q30);
    float alpha = sine_q30 / 1073741824.0f / (2 * quality), cosine = cosine_q30 / 1073741824.0f;
    float scale = 268435456.0f / (1 + alpha);
    filter->b0 = filter->b2 = lrintf((1 - cosine) / 2 * scale);
    filter->b1 = lrintf((1 - cosine) * scale);
    filter->a1 = lrintf(-2 * cosine * scale);
    filter->a2 = lrintf((1 - alpha) * scale);
    filter->x1 = filter->x2 = filter->y1 = filter->y2 = 0;
}

int16_t biquad_step(struct biquad *f, int16_t input)
{
    int64_t sum = (int64_t)f->b0 * input + (int64_t)f->b1 * f->x1 + (int64_t)f->b2 * f->x2
                  - (int64_t)f->a1 * f->y1 - (int64_t)f->a2 * f->y2;
    f->x2 = f->x1;
    f->x1 = input;
    f->y2 = f->y1;
    f->y1 = clip((int32_t)((sum + (1 << 27)) >> 28));
    return f->y1;
}

/* ratio: input samples for one output sample, Q16. Returns the number of samples made. */
size_t resample(const int16_t *in, size_t count, int16_t *out, size_t room, uint32_t ratio_q16)
{
    uint64_t position = 0;
    size_t made = 0;
    while (made < room && (position >> 16) + RESAMPLE_TAPS <= count) {
        const int16_t *window = in + (position >> 16);
        const int16_t *taps = resample_q15[((position & 0xFFFF) * RESAMPLE_PHASES) >> 16];
        int64_t sum = 1 << 14;
        for (unsigned i = 0; i < RESAMPLE_TAPS; i++)
            sum += window[RESAMPLE_TAPS - 1 - i] * taps[i];
        out[made++] = clip((int32_t)(sum >> 15));
        position += ratio_q16;
    }
    return made;
}

/* Angle in half turns, Q31; results Q30. */
void cordic(int32_t angle, int32_t *cosine, int32_t *sine)
{
    int32_t x = 652032874, y = 0, z = angle;
    bool flip = angle > 0x40000000 || angle < -0x40000000;
    if (flip)
        z = (int32_t)((uint32_t)angle ^ 0x80000000u);
    for (unsigned i = 0; i < 31; i++) {
        int32_t dx = y >> i, dy = x >> i, dz = (int32_t)cordic_atan[i];
        if (z < 0) {
            x += dx;
            y -= dy;
            z += dz;
        } else {
            x -= dx;
            y += dy;
            z -= dz;
        }
    }
    *cosine = flip ? -x : x;
    *sine = flip ? -y : y;
}

int32_t goertzel(const int16_t *samples, size_t count, unsigned bin)
{
    int32_t cosine = sine_q15[(SINE_SIZE / 4 + bin * SINE_SIZE / FFT_SIZE) % SINE_SIZE];
    int64_t last = 0, before = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t next = (samples[i] >> 4) + ((2 * cosine * last) >> 15) - before;
        before = last;
        last = next;
    }
    int64_t power = last * last + before * before - ((2 * cosine * last) >> 15) * before;
    return (int32_t)(power / (int64_t)(count * count / 4 + 1));
}
