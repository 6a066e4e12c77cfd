// Registers of STM32F405 that the test programs use (RM0090).
#include <stdint.h>
#define REG(a) (*(volatile uint32_t *)(a))
#define RCC 0x40023800u
#define FLASH_KEYR REG(0x40023C04)
#define FLASH_SR REG(0x40023C0C)
#define FLASH_CR REG(0x40023C10)
#define SYST_CSR REG(0xE000E010)
#define SYST_RVR REG(0xE000E014)
#define SYST_CVR REG(0xE000E018)
#define DEMCR REG(0xE000EDFC)
#define DWT_CTRL REG(0xE0001000)
#define CYCCNT REG(0xE0001004)
#define RESULT ((volatile uint32_t *)0x20003000)
