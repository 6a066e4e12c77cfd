/* The smallest program: blinks an LED. Linked with ld's defaults at an address that is no multiple of its
 * page size, so that the ELF file's own headers end up inside the loaded segment. */
#include <stdint.h>

extern uint32_t stack_top[];
#define REG(address) (*(volatile uint32_t *)(address))

static const uint16_t morse[] = {0x1500, 0x7770, 0x1500};

void Reset_Handler(void)
{
    REG(0x40023830) |= 1;
    REG(0x40020000) |= 1u << 10;
    for (unsigned symbol = 0;; symbol = (symbol + 1) % 3)
        for (int bit = 15; bit >= 0; bit--) {
            REG(0x40020018) = morse[symbol] >> bit & 1 ? 1u << 5 : 1u << 21;
            for (volatile unsigned wait = 0; wait < 400000; wait++)
                ;
        }
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {stack_top, Reset_Handler};
