/* How many events a second one connection can publish as NDJSON.
 *
 *   build/release/bench_ndjson [--events=N] [broker options...]
 *
 * Starts the broker that lies beside this program on a new data directory, sends N quotes (default
 * 1,000,000 of about 150 bytes, over 200 channels) in one chunked request, and waits for the
 * answer, which must count them all. The goal is 100,000 events a second (exit status 1 below it).
 * The sender takes part of the machine: on few cores the broker alone could do more. */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BLOCK_LINES  1000u
#define BLOCK_BYTES  (BLOCK_LINES * 200u)
#define GOAL         100000.0
#define OPTIONS_MAX  16
#define READY_PREFIX "tickertape ready http=127.0.0.1:"

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

__attribute__((noreturn)) static void die(const char *what)
{
    (void)fprintf(stderr, "bench_ndjson: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* Starts the broker; returns its process and the port from its ready line. */
static pid_t start_broker(const char *self, char *const options[], char *data_option, int *port)
{
    char path[4096], line[512];
    int out[2];
    const char *slash = strrchr(self, '/');
    (void)snprintf(path, sizeof path, "%.*stickertape", slash == NULL ? 0 : (int)(slash - self + 1),
                   self);
    if (pipe(out) != 0) die("pipe");
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) {
        char *arguments[OPTIONS_MAX + 6] = {path, "--listen=127.0.0.1:0",
                                            "--ops-listen=127.0.0.1:0", data_option};
        for (int i = 0; options[i] != NULL && i < OPTIONS_MAX; i++) arguments[4 + i] = options[i];
        (void)dup2(out[1], STDOUT_FILENO);
        (void)close(out[0]);
        (void)execv(path, arguments);
        die(path);
    }
    (void)close(out[1]);
    FILE *lines = fdopen(out[0], "r");
    if (lines == NULL || fgets(line, sizeof line, lines) == NULL) die("the broker did not start");
    if (strncmp(line, READY_PREFIX, strlen(READY_PREFIX)) != 0) die(line);
    *port = (int)strtol(line + strlen(READY_PREFIX), NULL, 10);
    (void)printf("%s", line);
    return pid;
}

static int connect_to(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) die("connect");
    return fd;
}

static void send_all(int fd, const char *bytes, size_t size)
{
    while (size != 0) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0) die("send");
        bytes += sent;
        size -= (size_t)sent;
    }
}

/* One chunk of BLOCK_LINES quotes. */
static size_t make_block(char *block)
{
    static char lines[BLOCK_BYTES];
    size_t size = 0;
    for (unsigned i = 0; i < BLOCK_LINES; i++)
        size += (size_t)snprintf(
            lines + size, sizeof lines - size,
            "{\"channel\":\"stock.S%03u\",\"type\":\"quote\",\"payload\":{\"symbol\":\"S%03u\","
            "\"bid\":%u.%02u,\"ask\":%u.%02u,\"bidSize\":%u,\"askSize\":%u,\"venue\":\"XNAS\"}}\n",
            i % 200, i % 200, 100 + i % 77, i % 100, 101 + i % 77, i % 100, i % 900, i % 800);
    size_t head = (size_t)snprintf(block, 32, "%zx\r\n", size);
    memcpy(block + head, lines, size);
    memcpy(block + head + size, "\r\n", 2);
    return head + size + 2;
}

/* The whole answer, terminated. */
static void read_answer(int fd, char *answer, size_t capacity)
{
    size_t size = 0;
    ssize_t got;
    answer[0] = 0;
    while (strstr(answer, "}\n") == NULL &&
           (got = recv(fd, answer + size, capacity - 1 - size, 0)) > 0) {
        size += (size_t)got;
        answer[size] = 0;
    }
}

static void remove_data(const char *directory)
{
    char command[256];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", directory);
    if (system(command) != 0) (void)fprintf(stderr, "bench_ndjson: %s remains\n", directory);
}

int main(int argc, char **argv)
{
    static char block[BLOCK_BYTES + 64];
    char directory[] = "/tmp/tickertape-bench-XXXXXX", data_option[64], answer[4096];
    unsigned long long events = 1000000, counted = 0;
    int port, first = 1;
    if (argc > 1 && strncmp(argv[1], "--events=", 9) == 0) {
        events = strtoull(argv[1] + 9, NULL, 10);
        first = 2;
    }
    events = (events + BLOCK_LINES - 1) / BLOCK_LINES * BLOCK_LINES;
    if (mkdtemp(directory) == NULL) die("mkdtemp");
    (void)snprintf(data_option, sizeof data_option, "--data=%s", directory);
    pid_t broker = start_broker(argv[0], argv + first, data_option, &port);
    size_t block_bytes = make_block(block);
    int fd = connect_to(port);
    static const char head[] = "POST /publish HTTP/1.1\r\nHost: bench\r\nContent-Type: "
                               "application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";
    double start = now_s();
    send_all(fd, head, sizeof head - 1);
    for (unsigned long long sent = 0; sent < events; sent += BLOCK_LINES)
        send_all(fd, block, block_bytes);
    send_all(fd, "0\r\n\r\n", 5);
    read_answer(fd, answer, sizeof answer);
    double seconds = now_s() - start;

    struct rusage usage;
    (void)kill(broker, SIGTERM);
    (void)waitpid(broker, NULL, 0);
    (void)getrusage(RUSAGE_CHILDREN, &usage);
    remove_data(directory);
    const char *count = strstr(answer, "\"count\":");
    if (count != NULL) counted = strtoull(count + 8, NULL, 10);
    if (strncmp(answer, "HTTP/1.1 202 ", 13) != 0 || counted != events) {
        (void)fprintf(stderr, "bench_ndjson: not all was taken: %s\n", answer);
        return 2;
    }
    double cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
    double rate = (double)events / seconds;
    unsigned long long blocks = events / BLOCK_LINES;
    (void)printf(
        "ndjson: %llu events of %zu bytes in %.2f s: %.0f events/s, %.1f MB/s; broker %.2f "
        "us of CPU an event; goal %.0f events/s: %s\n",
        events, block_bytes / BLOCK_LINES, seconds, rate,
        (double)(block_bytes * blocks) / seconds / 1e6, cpu / (double)events * 1e6, GOAL,
        rate >= GOAL ? "reached" : "missed");
    return rate >= GOAL ? 0 : 1;
}
