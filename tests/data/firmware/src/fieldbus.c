/* The instrument on field buses: Modbus RTU, ISO-TP over CAN, and a CANopen object dictionary with SDO. */
#include <string.h>

#include "app.h"

/* --- objects: one list of values that every bus reads and writes ----------------------------------------- */

enum { READ = 1, WRITE = 2 };
struct object { uint16_t index; uint8_t sub, access; int32_t low, high; const char *name; };

static const struct object objects[] = {
    {0x1000, 0, READ, 0, 0, "device type"}, {0x1001, 0, READ, 0, 255, "error register"},
    {0x1005, 0, READ | WRITE, 0, 0x7FF, "sync identifier"}, {0x1006, 0, READ | WRITE, 0, 10000000, "sync period us"},
    {0x1014, 0, READ | WRITE, 0, 0x7FF, "emergency identifier"}, {0x1017, 0, READ | WRITE, 0, 60000, "heartbeat ms"},
    {0x1018, 1, READ, 0, 0, "vendor"}, {0x1018, 2, READ, 0, 0, "product"}, {0x1018, 3, READ, 0, 0, "revision"},
    {0x1018, 4, READ, 0, 0, "serial number"}, {0x2000, 1, READ | WRITE, 0, 5, "channel 1 shape"},
    {0x2000, 2, READ | WRITE, 0, 20000000, "channel 1 frequency mHz"},
    {0x2000, 3, READ | WRITE, 0, 65535, "channel 1 amplitude"}, {0x2000, 4, READ | WRITE, -32768, 32767, "channel 1 offset"},
    {0x2000, 5, READ | WRITE, 0, 2560, "channel 1 sweep octaves"}, {0x2001, 1, READ | WRITE, 0, 5, "channel 2 shape"},
    {0x2001, 2, READ | WRITE, 0, 20000000, "channel 2 frequency mHz"},
    {0x2001, 3, READ | WRITE, 0, 65535, "channel 2 amplitude"}, {0x2001, 4, READ | WRITE, -32768, 32767, "channel 2 offset"},
    {0x2001, 5, READ | WRITE, 0, 2560, "channel 2 sweep octaves"}, {0x2010, 1, READ | WRITE, 0, 3, "analyser window"},
    {0x2010, 2, READ, 0, 0, "analyser peak bin"}, {0x2010, 3, READ, 0, 0, "analyser level cdB"},
    {0x2010, 4, READ, 0, 0, "analyser noise cdB"}, {0x2010, 5, READ, 0, 0, "analyser distortion cdB"},
    {0x2020, 1, READ, 0, 0, "board temperature"}, {0x2020, 2, READ, 0, 0, "probe temperature"},
    {0x2020, 3, READ, 0, 0, "furnace temperature"}, {0x2020, 4, READ | WRITE, 0, 13000, "furnace target"},
    {0x2020, 5, READ | WRITE, 0, 100000, "controller kp"}, {0x2020, 6, READ | WRITE, 0, 100000, "controller ki"},
    {0x2020, 7, READ | WRITE, 0, 100000, "controller kd"}, {0x2030, 1, READ | WRITE, 0, 100, "brightness"},
    {0x2030, 2, READ | WRITE, 0, 4, "language"}, {0x2040, 1, READ, 0, 0, "uptime ms"},
    {0x2040, 2, READ, 0, 0, "image checksum"}, {0x2040, 3, READ, 0, 0, "frames received"},
    {0x2040, 4, READ, 0, 0, "frames refused"},
};

enum { OBJECTS = sizeof objects / sizeof *objects };
static int32_t values[OBJECTS];

static int find(uint16_t index, uint8_t sub)
{
    int low = 0, high = OBJECTS - 1;
    uint32_t key = (uint32_t)index << 8 | sub;
    while (low <= high) {
        int middle = (low + high) / 2;
        uint32_t here = (uint32_t)objects[middle].index << 8 | objects[middle].sub;
        if (here == key)
            return middle;
        if (here < key)
            low = middle + 1;
        else
            high = middle - 1;
    }
    return -1;
}

int32_t *object_value(uint16_t index, uint8_t sub)
{
    int which = find(index, sub);
    return which < 0 ? NULL : &values[which];
}

/* Expedited SDO upload and download (CiA 301). Abort codes are the standard's. */
bool sdo_answer(const struct frame *request, struct frame *answer)
{
    if (request->length != 8 || (request->id & 0x780) != 0x600)
        return false;
    const uint8_t *d = request->data;
    uint16_t index = d[1] | d[2] << 8;
    uint32_t abort = 0, data = 0;
    int which = find(index, d[3]);
    answer->id = 0x580 | (request->id & 0x7F);
    answer->length = 8;
    memcpy(answer->data, d, 4);
    if (which < 0) {
        abort = 0x06020000;
    } else if (d[0] == 0x40) {
        answer->data[0] = 0x43;
        data = (uint32_t)values[which];
    } else if ((d[0] & 0xE3) == 0x23) {
        int32_t value = (int32_t)(d[4] | d[5] << 8 | d[6] << 16 | (uint32_t)d[7] << 24);
        if (!(objects[which].access & WRITE))
            abort = 0x06010002;
        else if (value > objects[which].high)
            abort = 0x06090031;
        else if (value < objects[which].low)
            abort = 0x06090032;
        else
            values[which] = value;
        answer->data[0] = 0x60;
    } else {
        abort = 0x05040001;
    }
    if (abort) {
        answer->data[0] = 0x80;
        data = abort;
    }
    for (unsigned i = 0; i < 4; i++)
        answer->data[4 + i] = data >> 8 * i;
    return true;
}

/* --- Modbus RTU: objects as pairs of holding registers ---------------------------------------------------- */

enum { UNIT = 17 };

static size_t modbus_error(uint8_t *answer, uint8_t function, uint8_t code)
{
    answer[1] = function | 0x80;
    answer[2] = code;
    return 3;
}

size_t modbus_answer(const uint8_t *request, size_t length, uint8_t *answer)
{
    if (length < 8 || request[0] != UNIT || crc16_modbus(request, length) != 0)
        return 0;
    uint8_t function = request[1];
    unsigned first = request[2] << 8 | request[3], count = request[4] << 8 | request[5];
    size_t used;
    answer[0] = UNIT;
    answer[1] = function;
    if (function == 3 || function == 4) {
        if (count == 0 || count > 125 || first + count > 2 * OBJECTS) {
            used = modbus_error(answer, function, 2);
        } else {
            answer[2] = 2 * count;
            used = 3;
            for (unsigned i = first; i < first + count; i++) {
                uint32_t value = (uint32_t)values[i / 2];
                uint16_t half = i % 2 ? value & 0xFFFF : value >> 16;
                answer[used++] = half >> 8;
                answer[used++] = half;
            }
        }
    } else if (function == 16) {
        if (count != 2 || first % 2 || first + 2 > 2 * OBJECTS || length != 13 || request[6] != 4) {
            used = modbus_error(answer, function, 3);
        } else {
            const uint8_t *d = request + 7;
            const struct object *object = &objects[first / 2];
            int32_t value = (int32_t)((uint32_t)d[0] << 24 | d[1] << 16 | d[2] << 8 | d[3]);
            if (!(object->access & WRITE) || value < object->low || value > object->high) {
                used = modbus_error(answer, function, 3);
            } else {
                values[first / 2] = value;
                memcpy(answer + 2, request + 2, 4);
                used = 6;
            }
        }
    } else {
        used = modbus_error(answer, function, 1);
    }
    uint16_t crc = crc16_modbus(answer, used);
    answer[used++] = crc;
    answer[used++] = crc >> 8;
    return used;
}

/* --- ISO-TP (ISO 15765-2): read-data-by-identifier and the log, in segments --------------------------------- */

enum { REQUEST_ID = 0x7E0, ANSWER_ID = 0x7E8 };
static struct {
    uint8_t in[256], out[512];
    unsigned in_length, in_have, out_length, out_sent, block, separation;
    uint8_t in_next, out_next;
    bool receiving, sending, wait_flow;
    uint32_t deadline, next_at;
} tp;

static void tp_send(const uint8_t *data, unsigned length)
{
    struct frame frame = {ANSWER_ID, 8, {0xCC, 0xCC, 0xCC, 0xCC, 0xCC, 0xCC, 0xCC, 0xCC}};
    memcpy(frame.data, data, length);
    can_send(&frame);
}

static void tp_start(unsigned length)
{
    uint8_t head[8];
    tp.out_length = length;
    if (length <= 7) {
        head[0] = length;
        memcpy(head + 1, tp.out, length);
        tp_send(head, length + 1);
        return;
    }
    head[0] = 0x10 | length >> 8;
    head[1] = length;
    memcpy(head + 2, tp.out, 6);
    tp.out_sent = 6;
    tp.out_next = 1;
    tp.sending = tp.wait_flow = true;
    tp.deadline = board_milliseconds() + 1000;
    tp_send(head, 8);
}

static void tp_request(void)
{
    const uint8_t *in = tp.in;
    uint8_t *out = tp.out;
    unsigned used = 3;
    out[0] = in[0] + 0x40;
    out[1] = in[1];
    out[2] = in[2];
    if (in[0] == 0x3E && tp.in_length == 2) {
        used = 2;
    } else if (in[0] == 0x22 && tp.in_length == 3) {
        uint16_t id = in[1] << 8 | in[2];
        if (id == 0xF189) {
            memcpy(out + 3, "3.4.1", 5);
            used = 8;
        } else if (id == 0xF190) {
            used += lz_pack((const uint8_t *)screen, 4096, out + 3, sizeof tp.out - 3);
        } else {
            int32_t *value = object_value(0x2000 | id >> 8, id & 0xFF);
            if (!value) {
                memcpy(out, (uint8_t[]){0x7F, 0x22, 0x31}, 3);
            } else {
                memcpy(out + 3, value, 4);
                used = 7;
            }
        }
    } else {
        out[0] = 0x7F;
        out[1] = in[0];
        out[2] = 0x11;
    }
    tp_start(used);
}

void isotp_receive(const struct frame *frame)
{
    if (frame->id != REQUEST_ID || frame->length == 0)
        return;
    const uint8_t *d = frame->data;
    switch (d[0] >> 4) {
    case 0:
        if (d[0] == 0 || d[0] >= frame->length)
            return;
        tp.in_length = d[0];
        memcpy(tp.in, d + 1, d[0]);
        tp_request();
        break;
    case 1:
        tp.in_length = (d[0] & 15u) << 8 | d[1];
        if (frame->length != 8 || tp.in_length > sizeof tp.in || tp.in_length < 8) {
            tp_send((uint8_t[]){0x32, 0, 0}, 3);
            return;
        }
        memcpy(tp.in, d + 2, 6);
        tp.in_have = 6;
        tp.in_next = 1;
        tp.receiving = true;
        tp_send((uint8_t[]){0x30, 8, 1}, 3);
        break;
    case 2:
        if (!tp.receiving || (d[0] & 15) != tp.in_next) {
            tp.receiving = false;
            return;
        }
        tp.in_next = (tp.in_next + 1) & 15;
        for (unsigned i = 1; i < frame->length && tp.in_have < tp.in_length; i++)
            tp.in[tp.in_have++] = d[i];
        if (tp.in_have == tp.in_length) {
            tp.receiving = false;
            tp_request();
        } else if ((tp.in_next - 1) % 8 == 0) {
            tp_send((uint8_t[]){0x30, 8, 1}, 3);
        }
        break;
    case 3:
        if (!tp.sending || (d[0] & 15) == 2) {
            tp.sending = false;
        } else if ((d[0] & 15) == 0) {
            tp.wait_flow = false;
            tp.block = d[1];
            tp.separation = d[2] <= 127 ? d[2] : 1;
            tp.next_at = board_milliseconds();
        }
        break;
    }
}

void isotp_poll(uint32_t now)
{
    if (!tp.sending)
        return;
    if (tp.wait_flow) {
        if ((int32_t)(now - tp.deadline) >= 0)
            tp.sending = false;
        return;
    }
    if ((int32_t)(now - tp.next_at) < 0)
        return;
    uint8_t part[8] = {0x20 | tp.out_next};
    unsigned count = tp.out_length - tp.out_sent;
    if (count > 7)
        count = 7;
    memcpy(part + 1, tp.out + tp.out_sent, count);
    tp_send(part, count + 1);
    tp.out_sent += count;
    tp.out_next = (tp.out_next + 1) & 15;
    tp.next_at = now + tp.separation;
    tp.deadline = now + 1000;
    if (tp.out_sent == tp.out_length)
        tp.sending = false;
    else if (tp.block && --tp.block == 0)
        tp.wait_flow = true;
}
