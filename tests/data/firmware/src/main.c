/* A bench instrument: signal generator and analyser with console, display, CAN and Modbus. */
#include <stdio.h>

#include "app.h"

extern bool crystal_ok;

static void take_frames(void)
{
    struct frame frame, answer;
    static int32_t received;
    while (can_receive(&frame)) {
        received++;
        isotp_receive(&frame);
        if (sdo_answer(&frame, &answer))
            can_send(&answer);
    }
    int32_t *count = object_value(0x2040, 3), *uptime = object_value(0x2040, 1);
    if (count)
        *count = received;
    if (uptime)
        *uptime = (int32_t)board_milliseconds();
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    printf("\npanel instrument 3.4.1 on " NAME ", linked at %p\n", (void *)vectors);
    if (!crystal_ok)
        printf("%s\n", message(NO_CRYSTAL));
    printf("%s\n", message(self_test() ? SELF_TEST : FAILED));
    if (!can_start(500000))
        printf("%s\n", message(BUS_OFF));
    char language[4];
    if (setting_get("language", language, sizeof language))
        message_language(language);
    printf("%s\n", message(READY));
    journal_add("started");

    static char line[200];
    size_t used = 0;
    for (;;) {
        uint32_t now = board_milliseconds();
        board_led(now / 500 % 2);
        take_frames();
        isotp_poll(now);
        int byte = board_get();
        if (byte < 0)
            continue;
        if (byte == '\r' || byte == '\n') {
            line[used] = 0;
            used = 0;
            putchar('\n');
            console_line(line);
        } else if (used + 1 < sizeof line) {
            line[used++] = byte;
        }
    }
}
