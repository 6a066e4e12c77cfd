// Start-up of the test programs: vector table, copy of data, main. Linked by link.ld.
#include <stdint.h>

extern uint32_t stack_top, data_load, data_start, data_end, bss_start, bss_end;
int main(void);
void on_systick(void);
void on_irq(void);
void on_svc(void);
void on_fault(void);

void reset(void) {
    uint32_t *from = &data_load;
    for (uint32_t *to = &data_start; to < &data_end;) *to++ = *from++;
    for (uint32_t *to = &bss_start; to < &bss_end;) *to++ = 0;
    main();
    for (;;) __asm volatile("wfi");
}

__attribute__((weak)) void on_systick(void) { __asm volatile("bkpt 0"); }
__attribute__((weak)) void on_irq(void) { __asm volatile("bkpt 0"); }
__attribute__((weak)) void on_svc(void) { __asm volatile("bkpt 0"); }
__attribute__((weak)) void on_fault(void) { __asm volatile("bkpt 0"); }

__attribute__((section(".vectors"), used)) const void *const vectors[16 + 82] = {
    [0] = &stack_top, [1] = reset, [2] = on_fault, [3] = on_fault, [11] = on_svc, [15] = on_systick,
    [16 ... 97] = on_irq,
};
