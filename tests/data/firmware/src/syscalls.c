/* What newlib asks of a system: the console as the only file, a heap, a clock. */
#include <errno.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/times.h>

#include "board.h"

extern char heap_start[], heap_end[];
time_t clock_offset = 1767225600; /* 2026-01-01 00:00 UTC until someone sets the clock */

int _write(int file, const char *data, int length)
{
    (void)file;
    for (int i = 0; i < length; i++) {
        if (data[i] == '\n')
            board_put('\r');
        board_put(data[i]);
    }
    return length;
}

int _read(int file, char *data, int length)
{
    (void)file;
    int count = 0;
    while (count < length) {
        int byte = board_get();
        if (byte < 0)
            break;
        data[count++] = byte;
    }
    return count;
}

void *_sbrk(ptrdiff_t size)
{
    static char *top;
    if (!top)
        top = heap_start;
    if (size > heap_end - top) {
        errno = ENOMEM;
        return (void *)-1;
    }
    char *old = top;
    top += size;
    return old;
}

int _gettimeofday(struct timeval *now, void *zone)
{
    (void)zone;
    uint32_t ms = board_milliseconds();
    now->tv_sec = clock_offset + ms / 1000;
    now->tv_usec = ms % 1000 * 1000;
    return 0;
}

clock_t _times(struct tms *times)
{
    clock_t now = board_milliseconds() / (1000 / CLOCKS_PER_SEC ? 1000 / CLOCKS_PER_SEC : 1);
    times->tms_utime = times->tms_stime = now;
    times->tms_cutime = times->tms_cstime = 0;
    return now;
}

int _fstat(int file, struct stat *status)
{
    (void)file;
    status->st_mode = S_IFCHR;
    return 0;
}

int _isatty(int file) { return file <= 2; }
int _close(int file) { (void)file; return -1; }
int _lseek(int file, int offset, int whence) { (void)file, (void)offset, (void)whence; return 0; }
int _getpid(void) { return 1; }
int _kill(int pid, int signal) { (void)pid, (void)signal; errno = EINVAL; return -1; }
void _exit(int status) { (void)status; for (;;) ; }
void _init(void) {}
void _fini(void) {}
