// Reads where nothing is: a HardFault whose handler skips the instruction.
#include "registers.h"

__attribute__((naked)) void on_fault(void) {
    __asm volatile("ldr r0, [sp, #24]\n adds r0, #4\n str r0, [sp, #24]\n"
                   "ldr r1, =0x20003004\n ldr r2, [r1]\n adds r2, #1\n str r2, [r1]\n bx lr\n");
}

__attribute__((noinline, naked)) static uint32_t probe(uint32_t address) {
    __asm volatile("ldr.w r0, [r0]\n bx lr\n"); // four bytes
}

int main(void) {
    RESULT[1] = 0;
    RESULT[2] = probe(0x08000000);
    probe(0x30000000);
    probe(0x0C000000);
    RESULT[0] = 0x600D;
    return 0;
}
