/* What the modules of the application offer each other. */
#pragma once
#ifndef SMALL
#include <complex.h>
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "board.h"
#include "tables.h"

/* calc.c, cplx.c: expressions */
#ifndef SMALL
bool calc_evaluate(const char *text, double *result, const char **error);
bool cplx_evaluate(const char *text, double complex *result, const char **error);
#endif

/* dsp.c */
struct biquad { int32_t b0, b1, b2, a1, a2, x1, x2, y1, y2; };
struct spectrum { unsigned peak; int level, noise, distortion; };
enum window { RECTANGLE, HANN, BLACKMAN_HARRIS, FLATTOP };
void fft_q15(int16_t (*data)[2]);
void biquad_lowpass(struct biquad *filter, float frequency, float quality);
int16_t biquad_step(struct biquad *filter, int16_t input);
void analyse(const int16_t *samples, enum window window, struct spectrum *result);
size_t resample(const int16_t *in, size_t count, int16_t *out, size_t room, uint32_t ratio_q16);
void cordic(int32_t angle, int32_t *cosine, int32_t *sine);
int32_t goertzel(const int16_t *samples, size_t count, unsigned bin);

/* dds.c */
enum shape { SINE, SQUARE, SAW, TRIANGLE, HEART, NOISE };
struct generator { enum shape shape; uint32_t phase, step, end_step, sweep, noise; uint16_t amplitude; int16_t offset; };
void generator_set(struct generator *g, enum shape shape, uint32_t millihertz, uint16_t amplitude);
void generator_sweep(struct generator *g, uint32_t octaves_q8, uint32_t samples);
int16_t generator_next(struct generator *g);

/* sensor.c */
int ntc_read(uint16_t code);
int pt100_read(uint32_t centiohm);
int thermocouple_read(int microvolt, int cold_decidegree);
uint16_t brightness(unsigned percent);
struct control { int32_t kp, ki, kd, integral, last, low, high; };
int32_t control_step(struct control *c, int32_t target, int32_t actual);

/* integrity.c, aes.c, sha256.c, rs.c */
uint32_t crc32_of(const void *data, size_t length);
uint16_t crc16_modbus(const uint8_t *data, size_t length);
uint16_t crc16_ccitt(const uint8_t *data, size_t length);
struct sha256 { uint32_t state[8]; uint64_t length; uint8_t block[64]; };
void sha256_start(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *data, size_t length);
void sha256_end(struct sha256 *s, uint8_t digest[32]);
struct aes { uint32_t keys[44]; };
void aes_key(struct aes *a, const uint8_t key[16]);
void aes_encrypt(const struct aes *a, const uint8_t in[16], uint8_t out[16]);
void aes_ctr(const struct aes *a, uint8_t counter[16], uint8_t *data, size_t length);
void aes_decrypt(const struct aes *a, const uint8_t in[16], uint8_t out[16]);
void rs_encode(const uint8_t *data, size_t length, uint8_t parity[16]);
int rs_correct(uint8_t *block, size_t length);

/* modbus.c, isotp.c, objects.c */
size_t modbus_answer(const uint8_t *request, size_t length, uint8_t *answer);
void isotp_receive(const struct frame *frame);
void isotp_poll(uint32_t now);
bool sdo_answer(const struct frame *request, struct frame *answer);
int32_t *object_value(uint16_t index, uint8_t sub);

/* vm.c */
bool vm_assemble(const char *source, uint8_t *code, size_t room, size_t *length, const char **error);
bool vm_run(const uint8_t *code, size_t length, int32_t *result, const char **error);

/* display.c, messages.c */
extern uint8_t screen[];
void display_clear(void);
void display_text(int x, int y, const char *text);
void display_line(int x0, int y0, int x1, int y1, uint8_t level);
void display_trace(const int16_t *samples, size_t count);
void display_dump(void);
enum message { READY, OVERLOAD, NO_SIGNAL, NO_CRYSTAL, SELF_TEST, CALIBRATION, BUS_OFF, LOW_SUPPLY, TOO_HOT,
               SAVED, NOT_SAVED, UNKNOWN, USAGE, SWEEP, STOPPED, MEMORY, CLOCK, FAILED, MESSAGES };
const char *message(enum message which);
bool message_language(const char *code);

/* settings.c, lz.c, json.c, journal.c */
bool setting_get(const char *key, char *value, size_t room);
bool setting_put(const char *key, const char *value);
size_t lz_pack(const uint8_t *in, size_t length, uint8_t *out, size_t room);
size_t lz_unpack(const uint8_t *in, size_t length, uint8_t *out, size_t room);
bool json_find(const char *text, const char *path, char *value, size_t room);
size_t json_quote(const char *text, char *out, size_t room);
void journal_add(const char *text);
void journal_print(void);

/* console.c */
void console_line(char *line);
bool self_test(void);
