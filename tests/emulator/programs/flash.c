// Erases and programs a sector from code in RAM (which goes on meanwhile) and from code in flash (which stalls).
#include "registers.h"

#define SECTOR2 0x08008000u

__attribute__((section(".ramcode"), noinline, long_call)) static uint32_t from_ram(void) {
    uint32_t turns = 0;
    FLASH_CR = 2u << 8 | 2u << 3 | 2u | 1u << 16; // erase sector 2, x32
    while (FLASH_SR & 1u << 16) turns++;
    return turns;
}

static uint32_t from_flash(void) {
    uint32_t turns = 0;
    FLASH_CR = 2u << 8 | 2u << 3 | 2u | 1u << 16;
    while (FLASH_SR & 1u << 16) turns++;
    return turns;
}

int main(void) {
    DEMCR = 1u << 24;
    DWT_CTRL = 1;
    FLASH_KEYR = 0x45670123;
    FLASH_KEYR = 0xCDEF89AB;
    uint32_t start = CYCCNT;
    RESULT[1] = from_ram();
    RESULT[2] = CYCCNT - start;
    start = CYCCNT;
    RESULT[3] = from_flash();
    RESULT[4] = CYCCNT - start;
    FLASH_CR = 2u << 8 | 1;
    REG(SECTOR2) = 0x12345678;
    while (FLASH_SR & 1u << 16) {}
    REG(SECTOR2 + 4) = 0xCAFEF00D;
    while (FLASH_SR & 1u << 16) {}
    FLASH_CR = 1u << 31;
    RESULT[5] = REG(SECTOR2);
    RESULT[6] = REG(SECTOR2 + 4);
    RESULT[0] = 0x600D;
    return 0;
}
