/* Temperatures from three kinds of sensor, display brightness, and the heater's controller. */
#include "app.h"

/* Tenths of a degree for a 12-bit ADC code. */
int ntc_read(uint16_t code)
{
    unsigned index = (code & 0xFFF) / NTC_STEP, part = (code & 0xFFF) % NTC_STEP;
    int low = ntc_decidegree[index], high = ntc_decidegree[index + 1];
    return low + (high - low) * (int)part / NTC_STEP;
}

/* Where a value lies in a rising table, in 1/10 of a step. */
static int search(const uint16_t *table, unsigned size, uint32_t value)
{
    unsigned low = 0, high = size - 1;
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        if (table[middle] <= value)
            low = middle;
        else
            high = middle;
    }
    int width = table[high] - table[low];
    return 10 * (int)low + (width ? 10 * ((int)value - table[low]) / width : 0);
}

#ifdef SMALL
enum { PT_STEP = 4, K_STEP = 8 };
#else
enum { PT_STEP = 1, K_STEP = 1 };
#endif

int pt100_read(uint32_t centiohm)
{
    return search(pt100_centiohm, sizeof pt100_centiohm / 2, centiohm) * PT_STEP - 2000;
}

int thermocouple_read(int microvolt, int cold_decidegree)
{
    unsigned cold = cold_decidegree < 0 ? 0 : (unsigned)cold_decidegree / (10 * K_STEP);
    int sum = microvolt + type_k_microvolt[cold];
    return search(type_k_microvolt, sizeof type_k_microvolt / 2, sum < 0 ? 0 : (uint32_t)sum) * K_STEP;
}

uint16_t brightness(unsigned percent) { return gamma_levels[percent >= 100 ? GAMMA_LEVELS - 1 : percent * (GAMMA_LEVELS - 1) / 100]; }

/* Gains Q8; the integral does not wind up beyond the limits. */
int32_t control_step(struct control *c, int32_t target, int32_t actual)
{
    int32_t error = target - actual, difference = error - c->last;
    c->last = error;
    int32_t wanted = (c->kp * error + c->ki * (c->integral + error) + c->kd * difference) >> 8;
    if (wanted > c->high)
        return c->high;
    if (wanted < c->low)
        return c->low;
    c->integral += error;
    return (int32_t)((int64_t)wanted * reciprocal_q16[0] >> 16) + (int32_t)((uint32_t)root_q16[wanted & 0xFF] >> 16);
}
