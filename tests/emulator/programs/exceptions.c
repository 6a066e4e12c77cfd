// SysTick interrupts a loop that sleeps, a supervisor call is made from it, a pended interrupt pre-empts the handler.
#include "registers.h"

static volatile uint32_t ticks, calls, nested, order;

void on_systick(void) {
    ticks++;
    REG(0xE000E200) = 1u << 5; // pend interrupt 5, which has a higher priority
    __asm volatile("dsb; isb; nop; nop");
    order = order % 10 * 10 + 1;
}

void on_irq(void) {
    nested++;
    order = order % 10 * 10 + 2;
}

void on_svc(void) { calls++; }

// Registers of the interrupted code must survive: a sum over r0-r12 that an interrupt would spoil.
__attribute__((noipa)) static uint32_t busy(uint32_t n) {
    uint32_t a = 1, b = 2, c = 3, d = 4, e = 5, f = 6;
    while (n--) {
        a += b; b ^= c; c += d; d ^= e; e += f; f ^= a;
    }
    return a + b + c + d + e + f;
}

int main(void) {
    REG(0xE000ED20) = 0x80u << 24;              // SysTick: priority 0x80
    *(volatile uint8_t *)0xE000E405 = 0x40;     // interrupt 5: 0x40
    REG(0xE000E100) = 1u << 5;
    uint32_t quiet = busy(20000);
    SYST_RVR = 16000 - 1;
    SYST_CVR = 0;
    SYST_CSR = 7;
    uint32_t loud = busy(20000);
    uint32_t during = ticks;
    while (ticks < during + 5) __asm volatile("wfi");
    __asm volatile("svc 1");
    __asm volatile("cpsid i");
    uint32_t before = ticks;
    for (volatile int i = 0; i < 10000; i++) {}
    uint32_t masked = ticks - before;
    __asm volatile("cpsie i; isb; nop; nop; nop; nop");
    SYST_CSR = 0;
    RESULT[1] = quiet == loud;
    RESULT[2] = during;
    RESULT[3] = nested == ticks;
    RESULT[4] = calls;
    RESULT[5] = masked;
    RESULT[6] = ticks - before;
    RESULT[7] = order;
    RESULT[0] = 0x600D;
    return 0;
}
