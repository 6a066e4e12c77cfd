/* The commands of the console, and the self-test that runs at switching on. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifndef SMALL
#include <complex.h>
#include <math.h>
#include <wchar.h>
#endif

#include "app.h"

static int16_t samples[FFT_SIZE];
static struct generator channels[2];
static struct biquad filter;

static void record(const struct generator *source, bool filtered)
{
    struct generator g = *source;
    for (size_t i = 0; i < FFT_SIZE; i++) {
        int16_t sample = generator_next(&g);
        samples[i] = filtered ? biquad_step(&filter, sample) : sample;
    }
}

/* Prints a number of hundredths. */
static void hundredths(const char *name, long value, const char *unit)
{
    printf("%s %s%ld.%02ld %s", name, value < 0 ? "-" : "", labs(value) / 100, labs(value) % 100, unit);
}

#ifndef SMALL
static void calc(char *text)
{
    double value;
    const char *error;
    if (calc_evaluate(text, &value, &error))
        printf("%.12g\n", value);
    else
        printf("%s\n", error);
}

static void impedance(char *text)
{
    double complex value;
    const char *error;
    if (!cplx_evaluate(text, &value, &error)) {
        printf("%s\n", error);
        return;
    }
    printf("%.9g %+.9gi  = %.6g at %.3f degrees\n", creal(value), cimag(value), cabs(value), carg(value) * 57.29578);
}

static void wide(char *text)
{
    wchar_t line[80];
    size_t length = mbstowcs(line, text, 79);
    if (length == (size_t)-1) {
        printf("%s\n", message(UNKNOWN));
        return;
    }
    line[length] = 0;
    wchar_t out[120];
    swprintf(out, 120, L"%ls: %u characters, half of them %.1f", line, (unsigned)length, length / 2.0);
    for (wchar_t *p = out; *p; p++)
        printf("%lc", (wint_t)*p);
    putchar('\n');
}
#endif

static void generate(char *text)
{
    static const char *const names[] = {"sine", "square", "saw", "triangle", "heart", "noise"};
    unsigned channel = 0, hertz = 0, percent = 0, octaves = 0;
    char shape[12] = "";
    int found = sscanf(text, "%u %11s %u %u %u", &channel, shape, &hertz, &percent, &octaves);
    if (found < 4 || channel < 1 || channel > 2 || hertz > 20000 || percent > 100 || octaves > 10) {
        printf("%s gen CHANNEL SHAPE HERTZ PERCENT [OCTAVES]\n", message(USAGE));
        return;
    }
    for (unsigned i = 0; i < 6; i++)
        if (!strcmp(shape, names[i])) {
            struct generator *g = &channels[channel - 1];
            generator_set(g, (enum shape)i, hertz * 1000, percent * 65535 / 100);
            if (found == 5) {
                generator_sweep(g, octaves << 8, 48000);
                printf("%s\n", message(SWEEP));
            }
            int32_t *value = object_value(0x1FFF + channel, 2);
            if (value)
                *value = (int32_t)hertz * 1000;
            return;
        }
    printf("%s\n", message(UNKNOWN));
}

static void analyser(char *text)
{
    static const char *const names[] = {"none", "hann", "blackman", "flattop"};
    struct spectrum s;
    unsigned channel = 1;
    char window[12] = "hann";
    sscanf(text, "%u %11s", &channel, window);
    record(&channels[channel == 2], false);
    for (unsigned i = 0; i < 4; i++)
        if (!strcmp(names[i], window)) {
            analyse(samples, (enum window)i, &s);
            printf("peak %lu Hz", (unsigned long)s.peak * 48000 / FFT_SIZE);
            hundredths(", level", s.level, "dBFS");
            hundredths(", noise", s.noise, "dB");
            hundredths(", harmonics", s.distortion, "dB");
            printf(", Goertzel %ld\n", (long)goertzel(samples, FFT_SIZE, s.peak));
            if (s.level < -8000)
                printf("%s\n", message(NO_SIGNAL));
        }
}

static void show(char *text)
{
    (void)text;
    record(&channels[0], false);
    display_clear();
    display_trace(samples, FFT_SIZE);
    char line[24];
    snprintf(line, sizeof line, "%lu Hz", (unsigned long)(((uint64_t)channels[0].step * 48000 + (1u << 31)) >> 32));
    display_text(4, 2, line);
    display_dump();
}

static void temperature(char *text)
{
    int code = 0, ohm = 0, microvolt = 0;
    if (sscanf(text, "%d %d %d", &code, &ohm, &microvolt) != 3) {
        code = board_adc(0);
        ohm = board_adc(1) * 10;
        microvolt = board_adc(2) * 12;
    }
    int board = ntc_read(code), probe = pt100_read(ohm), furnace = thermocouple_read(microvolt, board);
    hundredths("board", board * 10, "");
    hundredths("probe", probe * 10, "");
    hundredths("furnace", furnace * 10, "degrees\n");
    if (board > 850)
        printf("%s\n", message(TOO_HOT));
}

static void filter_command(char *text)
{
    unsigned hertz, tenths;
    if (sscanf(text, "%u %u", &hertz, &tenths) != 2 || hertz == 0 || hertz >= 24000 || tenths == 0) {
        printf("%s filter HERTZ QUALITY_IN_TENTHS\n", message(USAGE));
        return;
    }
    biquad_lowpass(&filter, hertz / 48000.0f, tenths / 10.0f);
    record(&channels[0], true);
    int16_t slow[FFT_SIZE / 4];
    size_t count = resample(samples, FFT_SIZE, slow, FFT_SIZE / 4, 3u << 16);
    int32_t peak = 0;
    for (size_t i = 0; i < count; i++)
        peak = labs(slow[i]) > peak ? labs(slow[i]) : peak;
    hundredths("peak", peak * 10000 / 32768, "percent of full scale");
    printf(" over %u samples\n", (unsigned)count);
}

static void memory_sum(char *text)
{
    char *end;
    uint32_t address = strtoul(text, &end, 0), length = strtoul(end, NULL, 0);
    if (length == 0) {
        address = (uint32_t)image_start;
        length = (uint32_t)image_end - address;
    }
    struct sha256 s;
    uint8_t digest[32];
    sha256_start(&s);
    sha256_add(&s, (const void *)address, length);
    sha256_end(&s, digest);
    printf("0x%08" PRIx32 " +%" PRIu32 " crc32 %08" PRIx32 " sha256 ", address, length,
           crc32_of((const void *)address, length));
    for (unsigned i = 0; i < 32; i++)
        printf("%02x", digest[i]);
    putchar('\n');
}

static void program(char *text)
{
    uint8_t code[256];
    size_t length;
    const char *error;
    int32_t result;
    if (!vm_assemble(text, code, sizeof code, &length, &error) || !vm_run(code, length, &result, &error))
        printf("%s\n", error);
    else
        printf("result %" PRId32 "\n", result);
}

#ifndef SMALL
extern time_t clock_offset;

static void date(char *text)
{
    struct tm when = {0};
    if (sscanf(text, "%d-%d-%d %d:%d:%d", &when.tm_year, &when.tm_mon, &when.tm_mday, &when.tm_hour, &when.tm_min,
               &when.tm_sec) == 6) {
        when.tm_year -= 1900;
        when.tm_mon -= 1;
        clock_offset = mktime(&when) - board_milliseconds() / 1000;
    }
    time_t now = time(NULL);
    char line[64];
    strftime(line, sizeof line, "%A %d %B %Y, %H:%M:%S, day %j, week %V", localtime(&now));
    printf("%s\n", line);
}

#endif

static void configure(char *text)
{
    char value[64], quoted[128];
    char *path = strtok(text, " "), *json = strtok(NULL, "");
    if (!path || !json || !json_find(json, path, value, sizeof value)) {
        printf("%s config PATH JSON\n", message(USAGE));
        return;
    }
    json_quote(value, quoted, sizeof quoted);
    printf("{\"%s\": \"%s\"}\n", path, quoted);
    printf("%s\n", message(setting_put(path, value) ? SAVED : NOT_SAVED));
}

#ifndef SMALL
static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void statistics(char *text)
{
    double values[64], sum = 0, squares = 0;
    size_t count = 0;
    for (char *word = strtok(text, " ,"); word && count < 64; word = strtok(NULL, " ,"))
        values[count++] = strtod(word, NULL);
    if (count == 0) {
        printf("%s stat NUMBER...\n", message(USAGE));
        return;
    }
    qsort(values, count, sizeof *values, ascending);
    for (size_t i = 0; i < count; i++)
        sum += values[i];
    for (size_t i = 0; i < count; i++)
        squares += (values[i] - sum / count) * (values[i] - sum / count);
    double mean = sum / count, deviation = count > 1 ? sqrt(squares / (count - 1)) : 0;
    printf("n %u min %g median %g max %g mean %g deviation %g", (unsigned)count, values[0], values[count / 2],
           values[count - 1], mean, deviation);
    if (deviation > 0)
        printf(" Cpk(+-10%%) %.2f z(0.99) %g", fabs(mean) * 0.1 / (3 * deviation), 0.5 * erfc(-2.326 * 0.70710678));
    putchar('\n');
}

#endif

static void language(char *text)
{
    printf("%s\n", message_language(text) ? message(READY) : message(UNKNOWN));
}

static void log_command(char *text)
{
    if (*text)
        journal_add(text);
    journal_print();
}

static void voice(char *text)
{
    long sum = 0, count = 0;
    for (; *text; text++, count++)
        sum += labs((long)mulaw_decode[(uint8_t)*text] - alaw_decode[(uint8_t)*text]);
    int32_t cosine, sine;
    cordic((int32_t)(sum << 16), &cosine, &sine);
    printf("mu-law against A-law over %ld codes: %ld; phase %" PRId32 " %" PRId32 "\n", count, sum, cosine, sine);
}

static void help(char *text);

static const struct { const char *name; void (*run)(char *); const char *help; } commands[] = {
    {"help", help, "this list"},
    {"gen", generate, "CHANNEL SHAPE HERTZ PERCENT [OCTAVES]"},
    {"analyse", analyser, "[CHANNEL [WINDOW]]: spectrum, level, noise, harmonics"},
    {"show", show, "the screen as text"},
    {"temp", temperature, "[CODE CENTIOHM MICROVOLT]: the three temperatures"},
    {"filter", filter_command, "HERTZ QUALITY_IN_TENTHS: low-pass channel 1 and measure"},
    {"sum", memory_sum, "[ADDRESS LENGTH]: CRC-32 and SHA-256 of memory; of this firmware without arguments"},
    {"run", program, "WORDS: assemble and run a test sequence"},
    {"config", configure, "PATH JSON: take one value out of a configuration and save it"},
    {"lang", language, "CODE: en, de, fr, es, it"},
    {"log", log_command, "[TEXT]: add to the journal and print it"},
    {"voice", voice, "TEXT: compare the two companding laws"},
#ifndef SMALL
    {"calc", calc, "EXPRESSION: functions, constants, variables a to z, prefixes p n u m k M G"},
    {"date", date, "[YYYY-MM-DD hh:mm:ss]: show or set the clock"},
    {"stat", statistics, "NUMBER...: describe measurements"},
    {"z", impedance, "RPN: complex impedances, `gamma` for the reflection at 50 ohms"},
    {"wide", wide, "TEXT: count the characters of UTF-8"},
#endif
};

static void help(char *text)
{
    (void)text;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        printf("%-8s %s\n", commands[i].name, commands[i].help);
}

void console_line(char *line)
{
    line += strspn(line, " ");
    size_t length = strcspn(line, " ");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strlen(commands[i].name) == length && !memcmp(commands[i].name, line, length)) {
            commands[i].run(line + length + strspn(line + length, " "));
            return;
        }
    if (length)
        printf("%s\n", message(UNKNOWN));
}

static bool check(const char *name, bool good)
{
    printf("  %-12s %s\n", name, good ? "ok" : "FAILED");
    return good;
}

bool self_test(void)
{
    bool good = check("crc32", crc32_of("123456789", 9) == 0xCBF43926);
    good &= check("crc16", crc16_modbus((const uint8_t *)"123456789", 9) == 0x4B37);
    uint8_t digest[32];
    struct sha256 s;
    sha256_start(&s);
    sha256_add(&s, "abc", 3);
    sha256_end(&s, digest);
    good &= check("sha256", digest[0] == 0xBA && digest[1] == 0x78 && digest[31] == 0xAD);

    struct aes a;
    uint8_t key[16], block[16];
    for (unsigned i = 0; i < 16; i++) {
        key[i] = i;
        block[i] = i * 0x11;
    }
    aes_key(&a, key);
    aes_encrypt(&a, block, block);
    good &= check("aes", block[0] == 0x69 && block[1] == 0xC4 && block[15] == 0x5A);
#ifndef SMALL
    aes_decrypt(&a, block, block);
    good &= check("aes back", block[0] == 0x00 && block[1] == 0x11 && block[15] == 0xFF);
#endif

    uint8_t page[64];
    for (unsigned i = 0; i < 48; i++)
        page[i] = i * 7;
    rs_encode(page, 48, page + 48);
    page[3] ^= 0x55;
    page[40] ^= 0xAA;
    page[60] ^= 1;
    good &= check("rs", rs_correct(page, 64) == 3 && page[3] == 21 && page[40] == (uint8_t)280);

    struct spectrum spectrum;
    generator_set(&channels[0], SINE, FFT_SIZE == 1024 ? 4687500 : 18750000, 60000);
    record(&channels[0], false);
    analyse(samples, BLACKMAN_HARRIS, &spectrum);
    good &= check("fft", spectrum.peak == 100 && spectrum.level > -3000 && spectrum.noise < -6000);

    const char *error;
#ifndef SMALL
    double value;
    good &= check("calc", calc_evaluate("2^10 + sin(pi/6)*2 - par(2k, 2k)", &value, &error) && fabs(value - 25) < 1e-9);
#endif
    const uint8_t text[] = "the rain in spain, the rain in spain stays mainly in the plain, in the plain";
    uint8_t packed[96], plain[96];
    size_t size = lz_pack(text, sizeof text, packed, sizeof packed);
    good &= check("lz", size && size < sizeof text && lz_unpack(packed, size, plain, sizeof plain) == sizeof text
                            && !memcmp(plain, text, sizeof text));
    uint8_t code[64];
    size_t length;
    int32_t result = 0;
    good &= check("vm", vm_assemble("0 10 :l swap over add swap 1 sub dup jnz l drop halt", code, sizeof code, &length, &error)
                            && vm_run(code, length, &result, &error) && result == 55);
    good &= check("sensors", abs(pt100_read(13851) - 1000) <= 20 && abs(thermocouple_read(41276, 0) - 10000) <= 40
                                 && abs(ntc_read(2048) - 250) <= 5);
    const uint8_t request[] = {17, 3, 0, 0, 0, 2, 0xC6, 0x9B};
    uint8_t answer[16];
    good &= check("modbus", modbus_answer(request, sizeof request, answer) == 9 && answer[2] == 4);
    struct control heater = {256, 16, 0, 0, 0, 0, 1000};
    good &= check("control", control_step(&heater, 500, 100) > 300 && brightness(100) == 4095);
    return good;
}
