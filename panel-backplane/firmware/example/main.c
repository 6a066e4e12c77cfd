/* An application for STM32F405 behind the resident bootloader: it blinks PC0, prints a line on USART1, answers test
 * item 1 of the multidrop protocol (docs/protocol.md, sections 12 and 14), and goes back to the bootloader when a
 * host looks for boards. Needs no library; registers are those of RM0090. */
#include <stddef.h>
#include <stdint.h>

#define REG(address) (*(volatile uint32_t *)(address))
#define RCC_AHB1ENR REG(0x40023830)
#define RCC_APB2ENR REG(0x40023844)
#define GPIOA_MODER REG(0x40020000)
#define GPIOA_AFRH REG(0x40020024)
#define GPIOC_MODER REG(0x40020800)
#define GPIOC_BSRR REG(0x40020818)
#define USART1_SR REG(0x40011000)
#define USART1_DR REG(0x40011004)
#define USART1_BRR REG(0x40011008)
#define USART1_CR1 REG(0x4001100C)
#define SYST_CSR REG(0xE000E010)
#define SYST_RVR REG(0xE000E014)
#define SYST_CVR REG(0xE000E018)
#define AIRCR REG(0xE000ED0C)

/* Four words at the end of RAM: note, complement, argument, reset flags (docs/node.md). */
#define MAILBOX ((volatile uint32_t *)0x2001FFF0)
#define NOTE_STAY 0x54534650u /* "PFST" */

enum { DISCOVER = 0x01, TEST = 0x36, DONE = 6, READING = 7, UNSUPPORTED = 10, UNIT_COUNT = 5 };

static uint32_t blinks;

/* Back to the bootloader, which stays there until a host starts the application again. */
static void enter_bootloader(void) {
    MAILBOX[1] = ~NOTE_STAY;
    MAILBOX[0] = NOTE_STAY;
    __asm volatile("dsb");
    AIRCR = 0x05FA0004;
    for (;;) {}
}

static void put(uint8_t byte) {
    while (!(USART1_SR & 0x80)) {}
    USART1_DR = byte;
}

static void print(const char *text) {
    while (*text) put((uint8_t)*text++);
}

static uint32_t crc32(const uint8_t *bytes, size_t len) {
    uint32_t crc = 0xFFFFFFFF;
    while (len--) {
        crc ^= *bytes++;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

/* Sends a frame of at most eight bytes as a record: zero, COBS, zero. */
static void send(uint32_t id, const uint8_t *data, size_t len) {
    uint8_t record[16], out[18];
    size_t at = 0, code = 0, n;
    for (n = 0; n < 4; n++) record[at++] = (uint8_t)(id >> 8 * n);
    for (n = 0; n < len; n++) record[at++] = data[n];
    uint32_t crc = crc32(record, at);
    for (n = 0; n < 4; n++) record[at++] = (uint8_t)(crc >> 8 * n);
    size_t to = 1;
    for (n = 0; n < at; n++, to++) {
        if (record[n]) {
            out[to] = record[n];
        } else {
            out[code] = (uint8_t)(to - code);
            code = to;
        }
    }
    out[code] = (uint8_t)(to - code);
    put(0);
    for (n = 0; n < to; n++) put(out[n]);
    put(0);
}

/* A reply goes out in parts of seven bytes behind a head: number of the part, bit 7 in the last. */
static void reply(uint8_t node, const uint8_t *bytes, size_t len) {
    for (uint8_t part = 0; len; part++) {
        uint8_t frame[8];
        size_t size = len < 7 ? len : 7;
        len -= size;
        frame[0] = part | (len ? 0 : 0x80);
        for (size_t n = 0; n < size; n++) frame[1 + n] = *bytes++;
        send(0x280 + node, frame, 1 + size);
    }
}

/* The value as IEEE 754 binary32, which the wire carries. */
static void put_float(uint8_t *out, float value) {
    union { float number; uint32_t bits; } word = { value };
    for (int n = 0; n < 4; n++) out[n] = (uint8_t)(word.bits >> 8 * n);
}

/* A frame has come: id, then up to eight bytes. */
static void handle(uint32_t id, const uint8_t *data, size_t len) {
    if (id == 0x300 && len >= 4 && data[0] == DISCOVER) enter_bootloader();
    if ((id & ~0x7Fu) != 0x180 || len < 7 || data[0] != TEST) return;
    uint8_t node = id & 0x7F;
    if (data[1] == 1) { /* item 1: how often the LED has blinked */
        uint8_t answer[8] = { READING, data[1], data[2], UNIT_COUNT };
        put_float(answer + 4, (float)blinks);
        reply(node, answer, sizeof answer);
    } else {
        uint8_t refusal[7] = { DONE, TEST, UNSUPPORTED, data[1] };
        reply(node, refusal, sizeof refusal);
    }
}

/* Takes the next byte of the stream; a whole record with a right CRC-32 is handled. */
static void take(uint8_t byte) {
    static uint8_t record[80];
    static size_t len;
    static uint8_t run, begun;
    if (byte == 0) {
        if (run == 0 && len >= 8 && len <= 16) {
            uint32_t crc = 0, id = 0;
            for (int n = 3; n >= 0; n--) {
                crc = crc << 8 | record[len - 4 + n];
                id = id << 8 | record[n];
            }
            if (crc32(record, len - 4) == crc) handle(id, record + 4, len - 8);
        }
        len = run = begun = 0;
        return;
    }
    if (run == 0) {
        if (begun && len < sizeof record) record[len++] = 0; /* the zero between two stretches */
        begun = 1;
        run = byte;
    } else if (len < sizeof record) {
        record[len++] = byte;
    }
    run--;
}

int main(void) {
    RCC_AHB1ENR |= 1u << 0 | 1u << 2;
    RCC_APB2ENR |= 1u << 4;
    GPIOC_MODER |= 1u;                                       /* PC0: output */
    GPIOA_AFRH = (GPIOA_AFRH & ~0xFF0u) | 0x770u;            /* PA9, PA10: USART1 */
    GPIOA_MODER = (GPIOA_MODER & ~(0xFu << 18)) | 0xAu << 18;
    USART1_BRR = 139;                                        /* 16 MHz / 115200 */
    USART1_CR1 = 1u << 13 | 1u << 3 | 1u << 2;
    SYST_RVR = 16000 * 250 - 1;                              /* a quarter of a second */
    SYST_CVR = 0;
    SYST_CSR = 5;
    print("panelflash example: running\r\n");
    for (;;) {
        if (USART1_SR & 0x2F) take((uint8_t)USART1_DR);
        if (SYST_CSR & 1u << 16) {
            blinks++;
            GPIOC_BSRR = blinks & 1 ? 1u : 1u << 16;
        }
    }
}

extern uint32_t _stack_top, _data_load, _data_start, _data_end, _bss_start, _bss_end;

void reset(void) {
    for (uint32_t *from = &_data_load, *to = &_data_start; to < &_data_end;) *to++ = *from++;
    for (uint32_t *to = &_bss_start; to < &_bss_end;) *to++ = 0;
    main();
    for (;;) {}
}

static void trap(void) { enter_bootloader(); }

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    &_stack_top, (void *)reset, (void *)trap, (void *)trap, (void *)trap, (void *)trap, (void *)trap,
    0, 0, 0, 0, (void *)trap, (void *)trap, 0, (void *)trap, (void *)trap,
};
