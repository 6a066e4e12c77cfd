// The application of the tests: lights PC1, then says its version and its image's size on USART1 (PA9, 115200 8N1) and
// sleeps. BALLAST bytes that are not blank make it as large as a test wants it.
#include "registers.h"

#ifndef VERSION
#define VERSION "1"
#endif

__attribute__((used)) const uint8_t ballast[BALLAST] = {[0 ... BALLAST - 1] = 0x5A};

int main(void) {
    REG(RCC + 0x30) |= 1u << 0 | 1u << 2; // AHB1ENR: ports A and C
    REG(RCC + 0x44) |= 1u << 4;           // APB2ENR: USART1
    REG(0x40020800) = (REG(0x40020800) & ~(3u << 2)) | 1u << 2; // PC1 output
    REG(0x40020818) = 1u << 1;
    REG(0x40020024) = (REG(0x40020024) & ~(0xFu << 4)) | 7u << 4; // PA9: AF7
    REG(0x40020000) = (REG(0x40020000) & ~(3u << 18)) | 2u << 18;
    REG(0x40011008) = 139;                // 16 MHz / 115200
    REG(0x4001100C) = 1u << 13 | 1u << 3;
    for (const char *text = "application " VERSION "\r\n"; *text; text++) {
        while (!(REG(0x40011000) & 1u << 7)) {}
        REG(0x40011004) = (uint8_t)*text;
    }
    return 0;
}
