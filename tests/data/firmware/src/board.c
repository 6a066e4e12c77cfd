/* Clocks, pins, the console's UART and the tick, by register. Every wait is bounded: a board with a dead
 * crystal still starts, on its internal oscillator, and says so. */
#include "board.h"

static volatile uint32_t milliseconds;
bool crystal_ok;

static bool wait_for(uint32_t address, uint32_t mask, uint32_t value)
{
    for (unsigned i = 0; i < 20000; i++)
        if ((REG(address) & mask) == value)
            return true;
    return false;
}

#if defined(FAMILY_F4)
enum { RCC = 0x40023800, FLASH = 0x40023C00, GPIOA = 0x40020000, GPIOB = 0x40020400, ADC = 0x40012000, DAC = 0x40007400 };

static void clocks(void)
{
    REG(RCC) |= 1u << 16; /* crystal, 8 MHz */
    crystal_ok = wait_for(RCC, 1u << 17, 1u << 17);
    uint32_t source = crystal_ok ? 8u | 336u << 6 | 1u << 22 | 7u << 24 : 16u | 336u << 6 | 7u << 24;
    REG(RCC + 0x04) = source;
    REG(RCC) |= 1u << 24;
    wait_for(RCC, 1u << 25, 1u << 25);
    REG(FLASH) = 5u | 7u << 8; /* five wait states, caches and prefetch */
    REG(RCC + 0x08) = 2u | 5u << 10 | 4u << 13;
    wait_for(RCC + 0x08, 3u << 2, 2u << 2);
    REG(RCC + 0x30) |= 3u;                   /* GPIOA, GPIOB */
    REG(RCC + 0x40) |= 1u << 25 | 1u << 29;  /* CAN1, DAC */
    REG(RCC + 0x44) |= 1u << 4 | 1u << 8;    /* USART1, ADC1 */
    REG(GPIOA) = (REG(GPIOA) & ~(0xFu << 18)) | 2u << 18 | 2u << 20 | 1u << 10;
    REG(GPIOA + 0x24) = (REG(GPIOA + 0x24) & ~0xFF0u) | 0x770u;
    REG(GPIOB) = (REG(GPIOB) & ~(0xFu << 16)) | 2u << 16 | 2u << 18;
    REG(GPIOB + 0x24) = (REG(GPIOB + 0x24) & ~0xFFu) | 0x99u;
    REG(ADC + 0x08) |= 1u;
    REG(DAC) |= 1u;
}

static void uart(void)
{
    REG(UART_BASE + 0x08) = CORE_HZ / 2 / 115200;
    REG(UART_BASE + 0x0C) = 1u << 13 | 3u << 2;
}
#elif defined(FAMILY_G4)
enum { RCC = 0x40021000, FLASH = 0x40022000, PWR = 0x40007000, GPIOA = 0x48000000, GPIOB = 0x48000400, ADC = 0x50000000, DAC = 0x50000800 };

static void clocks(void)
{
    REG(RCC + 0x58) |= 1u << 28 | 1u << 25; /* PWR, FDCAN */
    REG(PWR + 0x80) &= ~(1u << 8);          /* range 1 boost */
    REG(RCC) |= 1u << 16;
    crystal_ok = wait_for(RCC, 1u << 17, 1u << 17);
    REG(RCC + 0x0C) = (crystal_ok ? 3u : 2u) | 3u << 4 | 85u << 8 | 1u << 24;
    REG(RCC) |= 1u << 24;
    wait_for(RCC, 1u << 25, 1u << 25);
    REG(FLASH) = (REG(FLASH) & ~0xFu) | 4u | 7u << 8;
    REG(RCC + 0x08) = (REG(RCC + 0x08) & ~3u) | 3u;
    wait_for(RCC + 0x08, 3u << 2, 3u << 2);
    REG(RCC + 0x4C) |= 3u | 1u << 13 | 1u << 16; /* GPIOA, GPIOB, ADC12, DAC1 */
    REG(RCC + 0x60) |= 1u << 14;                 /* USART1 */
    REG(RCC + 0x88) = (REG(RCC + 0x88) & ~(3u << 24)) | 2u << 24;
    REG(GPIOA) = (REG(GPIOA) & ~(0xFu << 18)) | 2u << 18 | 2u << 20;
    REG(GPIOA + 0x24) = (REG(GPIOA + 0x24) & ~0xFF0u) | 0x770u;
    REG(GPIOB) = (REG(GPIOB) & ~(0xFu << 16)) | 2u << 16 | 2u << 18;
    REG(GPIOB + 0x24) = (REG(GPIOB + 0x24) & ~0xFFu) | 0x99u;
    REG(ADC + 0x08) = 1u << 28;
    wait_for(ADC + 0x08, 1u << 28, 1u << 28);
    REG(ADC + 0x08) |= 1u;
    REG(DAC) |= 1u;
}

static void uart(void)
{
    REG(UART_BASE + 0x0C) = CORE_HZ / 115200;
    REG(UART_BASE) = 1u | 3u << 2;
}
#else
enum { RCC = 0x40021000, FLASH = 0x40022000, GPIOA = 0x40010800, ADC = 0x40012400, DAC = 0x40007400 };

static void clocks(void)
{
    REG(RCC) |= 1u << 16;
    crystal_ok = wait_for(RCC, 1u << 17, 1u << 17);
    REG(FLASH) = 2u | 1u << 4;
    REG(RCC + 0x04) = 4u << 8 | 2u << 14 | (crystal_ok ? 1u << 16 | 7u << 18 : 14u << 18);
    REG(RCC) |= 1u << 24;
    wait_for(RCC, 1u << 25, 1u << 25);
    REG(RCC + 0x04) |= 2u;
    wait_for(RCC + 0x04, 3u << 2, 2u << 2);
    REG(RCC + 0x18) |= 1u << 2 | 1u << 9 | 1u << 14; /* GPIOA, ADC1, USART1 */
    REG(RCC + 0x1C) |= 1u << 25;                     /* CAN */
    REG(GPIOA + 0x04) = (REG(GPIOA + 0x04) & ~0xFFFF0u) | 0x4B4B0u;
    REG(ADC + 0x08) |= 1u;
}

static void uart(void)
{
    REG(UART_BASE + 0x08) = CORE_HZ / 115200;
    REG(UART_BASE + 0x0C) = 1u << 13 | 3u << 2;
}
#endif

void board_start(void)
{
    REG(0xE000ED08) = (uint32_t)vectors; /* VTOR */
    clocks();
    uart();
    REG(0xE000E014) = CORE_HZ / 1000 - 1; /* SysTick */
    REG(0xE000E018) = 0;
    REG(0xE000E010) = 7;
}

void SysTick_Handler(void) { milliseconds++; }

uint32_t board_milliseconds(void) { return milliseconds; }

void board_put(uint8_t byte)
{
#if defined(FAMILY_G4)
    wait_for(UART_BASE + 0x1C, 1u << 7, 1u << 7);
    REG(UART_BASE + 0x28) = byte;
#else
    wait_for(UART_BASE, 1u << 7, 1u << 7);
    REG(UART_BASE + 0x04) = byte;
#endif
}

int board_get(void)
{
#if defined(FAMILY_G4)
    return REG(UART_BASE + 0x1C) & 1u << 5 ? (int)(REG(UART_BASE + 0x24) & 0xFF) : -1;
#else
    return REG(UART_BASE) & 1u << 5 ? (int)(REG(UART_BASE + 0x04) & 0xFF) : -1;
#endif
}

void board_led(bool on)
{
#if defined(FAMILY_F1)
    REG(GPIOA + 0x10) = on ? 1u << 5 : 1u << 21;
#else
    REG(GPIOA + 0x18) = on ? 1u << 5 : 1u << 21;
#endif
}

uint16_t board_adc(unsigned channel)
{
#if defined(FAMILY_G4)
    REG(ADC + 0x30) = (channel & 31u) << 6;
    REG(ADC + 0x08) |= 1u << 2;
    wait_for(ADC, 1u << 2, 1u << 2);
    return REG(ADC + 0x40) & 0xFFF;
#else
    REG(ADC + 0x34) = channel & 31u;
    REG(ADC + 0x08) |= 1u << 30;
    wait_for(ADC, 1u << 1, 1u << 1);
    return REG(ADC + 0x4C) & 0xFFF;
#endif
}

void board_dac(uint16_t value) { REG(DAC + 0x08) = value & 0xFFF; }
