/* The board: registers of one STM32 family, chosen by the build. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REG(address) (*(volatile uint32_t *)(address))

#if defined(FAMILY_F4)
#define NAME "F405"
#define CORE_HZ 168000000u
#define UART_BASE 0x40011000u
#define CAN_BASE 0x40006400u
#define IRQS 82
#elif defined(FAMILY_G4)
#define NAME "G4"
#define CORE_HZ 170000000u
#define UART_BASE 0x40013800u
#define CAN_BASE 0x40006400u
#define CAN_RAM 0x4000A400u
#define IRQS 102
#elif defined(FAMILY_F1)
#define NAME "F103"
#define CORE_HZ 72000000u
#define UART_BASE 0x40013800u
#define CAN_BASE 0x40006400u
#define IRQS 60
#else
#error "define FAMILY_F4, FAMILY_G4 or FAMILY_F1"
#endif

struct frame {
    uint32_t id;
    uint8_t length;
    uint8_t data[8];
};

/* From the linker script. */
extern uint32_t vectors[], settings_start[], settings_end[], image_start[], image_end[];

void board_start(void);
uint32_t board_milliseconds(void);
void board_put(uint8_t byte);
int board_get(void); /* -1: nothing received */
void board_led(bool on);
uint16_t board_adc(unsigned channel);
void board_dac(uint16_t value);

bool can_start(unsigned bits_per_second);
bool can_send(const struct frame *frame);
bool can_receive(struct frame *frame);
