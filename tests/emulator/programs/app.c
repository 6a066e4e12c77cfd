// The application of the tests: lights PC1, then says its version and its image's size on USART1 (PA9, 115200 8N1) and
// sleeps. BALLAST bytes that are not blank make it as large as a test wants it.
#include "registers.h"

#ifndef VERSION
#define VERSION "1"
#endif

__attribute__((used)) const uint8_t ballast[BALLAST] = {[0 ... BALLAST - 1] = 0x5A};

// The registers that it uses (RM0090; RM0440 for G4, RM0444 for G0, RM0008 for F1).
#ifdef F103xE
#define USART_BRR REG(0x40013808)
#define USART_CR1 REG(0x4001380C)
#define USART_ON (1u << 13 | 1u << 3)
#define USART_STATUS REG(0x40013800)
#define USART_DATA REG(0x40013804)
static void set_up(void) {
    REG(0x40021018) |= 1u << 2 | 1u << 4 | 1u << 14; // RCC_APB2ENR: ports A and C, USART1
    REG(0x40011000) = (REG(0x40011000) & ~(0xFu << 4)) | 2u << 4; // PC1 output
    REG(0x40011010) = 1u << 1;
    REG(0x40010804) = (REG(0x40010804) & ~(0xFu << 4)) | 0xBu << 4; // PA9: USART1
    USART_BRR = 69; // 8 MHz / 115200
    USART_CR1 = USART_ON;
}
#else
#if defined G431 || defined G474 || defined G0B1
#ifdef G0B1
#define GPIOA 0x50000000u
#define GPIO_CLOCKS REG(0x40021034)  // RCC_IOPENR
#define USART_CLOCK REG(0x40021040)  // RCC_APBENR2
#define USART_FUNCTION 1u
#else
#define GPIOA 0x48000000u
#define GPIO_CLOCKS REG(0x4002104C)  // RCC_AHB2ENR
#define USART_CLOCK REG(0x40021060)  // RCC_APB2ENR
#define USART_FUNCTION 7u
#endif
#define USART_CLOCK_BIT 14
#define USART_BRR REG(0x4001380C)
#define USART_CR1 REG(0x40013800)
#define USART_ON (1u << 3 | 1u)
#define USART_STATUS REG(0x4001381C)
#define USART_DATA REG(0x40013828)
#else
#define GPIOA 0x40020000u
#define GPIO_CLOCKS REG(RCC + 0x30)  // AHB1ENR
#define USART_CLOCK REG(RCC + 0x44)  // APB2ENR
#define USART_FUNCTION 7u
#define USART_CLOCK_BIT 4
#define USART_BRR REG(0x40011008)
#define USART_CR1 REG(0x4001100C)
#define USART_ON (1u << 13 | 1u << 3)
#define USART_STATUS REG(0x40011000)
#define USART_DATA REG(0x40011004)
#endif
#define GPIOC (GPIOA + 0x800)

static void set_up(void) {
    GPIO_CLOCKS |= 1u << 0 | 1u << 2; // ports A and C
    USART_CLOCK |= 1u << USART_CLOCK_BIT;
    REG(GPIOC) = (REG(GPIOC) & ~(3u << 2)) | 1u << 2; // PC1 output
    REG(GPIOC + 0x18) = 1u << 1;
    REG(GPIOA + 0x24) = (REG(GPIOA + 0x24) & ~(0xFu << 4)) | USART_FUNCTION << 4; // PA9
    REG(GPIOA) = (REG(GPIOA) & ~(3u << 18)) | 2u << 18;
    USART_BRR = 139; // 16 MHz / 115200
    USART_CR1 = USART_ON;
}
#endif

int main(void) {
    set_up();
    for (const char *text = "application " VERSION "\r\n"; *text; text++) {
        while (!(USART_STATUS & 1u << 7)) {} // TXE
        USART_DATA = (uint8_t)*text;
    }
    return 0;
}
