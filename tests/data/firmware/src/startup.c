/* Vector table, reset, faults, and the records at the image's ends that a bootloader looks at. */
#include <stdio.h>

#include "board.h"

extern uint32_t stack_top[], data_load[], data_start[], data_end[], bss_start[], bss_end[];
int main(void);
void __libc_init_array(void);

void Reset_Handler(void)
{
#ifdef __ARM_FP
    REG(0xE000ED88) |= 0xFu << 20; /* the floating point unit, before any code that may use it */
    __asm volatile("dsb\n isb");
#endif
    for (uint32_t *to = data_start, *from = data_load; to < data_end;)
        *to++ = *from++;
    for (uint32_t *to = bss_start; to < bss_end;)
        *to++ = 0;
    board_start();
    __libc_init_array();
    main();
    for (;;)
        ;
}

static void say(const char *text, uint32_t value)
{
    while (*text)
        board_put(*text++);
    for (int shift = 28; shift >= 0; shift -= 4)
        board_put("0123456789ABCDEF"[value >> shift & 15]);
    board_put('\r');
    board_put('\n');
}

__attribute__((used)) static void fault(const uint32_t *stacked)
{
    static const char *const names[] = {"R0  ", "R1  ", "R2  ", "R3  ", "R12 ", "LR  ", "PC  ", "PSR "};
    for (unsigned i = 0; i < 8; i++)
        say(names[i], stacked[i]);
    say("CFSR ", REG(0xE000ED28));
    say("HFSR ", REG(0xE000ED2C));
    say("BFAR ", REG(0xE000ED38));
    for (;;)
        ;
}

__attribute__((naked)) void Fault_Handler(void)
{
    __asm volatile("tst lr, #4\n ite eq\n mrseq r0, msp\n mrsne r0, psp\n b fault");
}

void Default_Handler(void)
{
    uint32_t icsr = REG(0xE000ED04);
    say("unexpected interrupt ", icsr & 0x1FF);
    for (;;)
        ;
}

void SysTick_Handler(void);

#define REPEAT_2(x) x, x
#define REPEAT_10(x) REPEAT_2(x), REPEAT_2(x), REPEAT_2(x), REPEAT_2(x), REPEAT_2(x)

__attribute__((section(".vectors"), used)) static const void *const table[16 + IRQS] = {
    stack_top, Reset_Handler, Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler,
    NULL, NULL, NULL, NULL, Default_Handler, Default_Handler, NULL, Default_Handler, SysTick_Handler,
    REPEAT_10(Default_Handler), REPEAT_10(Default_Handler), REPEAT_10(Default_Handler),
    REPEAT_10(Default_Handler), REPEAT_10(Default_Handler), REPEAT_10(Default_Handler),
#if IRQS >= 82
    REPEAT_10(Default_Handler), REPEAT_10(Default_Handler), REPEAT_2(Default_Handler),
#endif
#if IRQS >= 102
    REPEAT_10(Default_Handler), REPEAT_10(Default_Handler),
#endif
};

/* Behind the vectors: where the image is and for which board. */
__attribute__((section(".boot"), used)) static const struct {
    char magic[8];
    const void *start, *end, *settings, *settings_end;
    char family[8];
    uint32_t core_hz;
} boot_record = {"PFDEMO1", image_start, image_end, settings_start, settings_end, NAME, CORE_HZ};

/* The image's last bytes: a cut-off transfer shows here. */
__attribute__((section(".version"), used)) const struct {
    char product[32], version[16], family[16], note[184];
    uint32_t link_address;
    char magic[4];
} version_record = {"panel instrument", "3.4.1", NAME,
                    "Signal generator and analyser. Demonstration firmware of the panelflash project; "
                    "MIT OR Apache-2.0. C library: newlib, see its licence texts.",
                    (uint32_t)vectors, "END"};
