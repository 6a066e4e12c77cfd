/* The CAN controller: bxCAN of F1 and F4, FDCAN in classical mode of G4. */
#include "board.h"

static bool wait_bit(uint32_t address, uint32_t bit, bool set)
{
    for (unsigned i = 0; i < 20000; i++)
        if (((REG(address) & bit) != 0) == set)
            return true;
    return false;
}

#if defined(FAMILY_G4)
/* One message RAM block: filters at 0, receive FIFO 0 at 0xB0, transmit FIFO at 0x278; 18 words an element. */
bool can_start(unsigned bits_per_second)
{
    unsigned prescaler = CORE_HZ / (bits_per_second * 17);
    REG(CAN_BASE + 0x18) = 1u;
    if (prescaler == 0 || !wait_bit(CAN_BASE + 0x18, 1u, true))
        return false;
    REG(CAN_BASE + 0x18) |= 2u;
    REG(CAN_BASE + 0x1C) = (prescaler - 1) << 16 | (13u - 1) << 8 | (3u - 1) | (3u - 1) << 25;
    REG(CAN_BASE + 0x80) = 1u << 9; /* overwrite the oldest in FIFO 0, accept all */
    REG(CAN_BASE + 0x18) &= ~3u;
    return wait_bit(CAN_BASE + 0x18, 1u, false);
}

bool can_send(const struct frame *frame)
{
    uint32_t status = REG(CAN_BASE + 0xC4);
    if (status & 1u << 21)
        return false;
    unsigned slot = status >> 16 & 3u;
    uint32_t element = CAN_RAM + 0x278 + 72 * slot;
    REG(element) = frame->id > 0x7FF ? frame->id | 1u << 30 : frame->id << 18;
    REG(element + 4) = (uint32_t)frame->length << 16;
    for (unsigned word = 0; word < 2; word++) {
        const uint8_t *d = frame->data + 4 * word;
        REG(element + 8 + 4 * word) = d[0] | d[1] << 8 | d[2] << 16 | (uint32_t)d[3] << 24;
    }
    REG(CAN_BASE + 0xCC) = 1u << slot;
    return true;
}

bool can_receive(struct frame *frame)
{
    uint32_t status = REG(CAN_BASE + 0x90);
    if ((status & 0xF) == 0)
        return false;
    unsigned slot = status >> 8 & 3u;
    uint32_t element = CAN_RAM + 0xB0 + 72 * slot;
    uint32_t head = REG(element);
    frame->id = head & 1u << 30 ? head & 0x1FFFFFFF : head >> 18 & 0x7FF;
    unsigned length = REG(element + 4) >> 16 & 0xF;
    frame->length = length > 8 ? 8 : length;
    for (unsigned i = 0; i < frame->length; i++)
        frame->data[i] = REG(element + 8 + (i & 4)) >> 8 * (i & 3);
    REG(CAN_BASE + 0x94) = slot;
    return true;
}
#else
bool can_start(unsigned bits_per_second)
{
    unsigned clock = CORE_HZ / (CORE_HZ > 100000000u ? 4 : 2);
    unsigned quanta = clock / bits_per_second, prescaler = 1;
    while (quanta / prescaler > 18 || quanta % prescaler)
        if (++prescaler > 1024)
            return false;
    unsigned count = quanta / prescaler, second = count / 8 ? count / 8 : 1, first = count - 1 - second;
    REG(CAN_BASE) = 1u;
    if (!wait_bit(CAN_BASE + 0x04, 1u, true))
        return false;
    REG(CAN_BASE + 0x1C) = (prescaler - 1) | (first - 1) << 16 | (second - 1) << 20;
    REG(CAN_BASE + 0x200) |= 1u;      /* filters: one, mask of zero, accept all */
    REG(CAN_BASE + 0x20C) |= 1u;
    REG(CAN_BASE + 0x240) = 0;
    REG(CAN_BASE + 0x244) = 0;
    REG(CAN_BASE + 0x21C) |= 1u;
    REG(CAN_BASE + 0x200) &= ~1u;
    REG(CAN_BASE) = 1u << 6; /* leave bus-off by itself */
    return wait_bit(CAN_BASE + 0x04, 1u, false);
}

bool can_send(const struct frame *frame)
{
    uint32_t status = REG(CAN_BASE + 0x08);
    if ((status & 7u << 26) == 0)
        return false;
    uint32_t box = CAN_BASE + 0x180 + 16 * (status >> 24 & 3u);
    REG(box + 4) = frame->length;
    for (unsigned word = 0; word < 2; word++) {
        const uint8_t *d = frame->data + 4 * word;
        REG(box + 8 + 4 * word) = d[0] | d[1] << 8 | d[2] << 16 | (uint32_t)d[3] << 24;
    }
    REG(box) = (frame->id > 0x7FF ? frame->id << 3 | 4u : frame->id << 21) | 1u;
    return true;
}

bool can_receive(struct frame *frame)
{
    if ((REG(CAN_BASE + 0x0C) & 3u) == 0)
        return false;
    uint32_t id = REG(CAN_BASE + 0x1B0);
    frame->id = id & 4u ? id >> 3 : id >> 21;
    unsigned length = REG(CAN_BASE + 0x1B4) & 0xF;
    frame->length = length > 8 ? 8 : length;
    for (unsigned i = 0; i < frame->length; i++)
        frame->data[i] = REG(CAN_BASE + 0x1B8 + (i & 4)) >> 8 * (i & 3);
    REG(CAN_BASE + 0x0C) |= 1u << 5;
    return true;
}
#endif
