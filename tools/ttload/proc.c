#include "tools/ttload/proc.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t tt_proc_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t tt_proc_thread_cpu_ns(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static uint64_t ticks_to_ms(uint64_t ticks)
{
    return ticks * 1000u / (uint64_t)sysconf(_SC_CLK_TCK);
}

/* "0-3,8" into bits. */
static void parse_cores(const char *text, struct tt_proc_target *target)
{
    while (*text >= '0' && *text <= '9') {
        char *end;
        unsigned long first = strtoul(text, &end, 10);
        unsigned long last = first;
        if (*end == '-') last = strtoul(end + 1, &end, 10);
        for (unsigned long i = first; i <= last && i < TT_PROC_CORES_MAX; i++) {
            target->cores[i / 8] |= (uint8_t)(1u << i % 8);
            target->core_count++;
        }
        text = *end == ',' ? end + 1 : end;
    }
}

enum tt_status tt_proc_target_init(struct tt_proc_target *target, uint32_t pid)
{
    static const char field[] = "Cpus_allowed_list:";
    char path[64];
    char line[4096];

    *target = (struct tt_proc_target){.pid = pid};
    snprintf(path, sizeof path, "/proc/%" PRIu32 "/status", pid);
    FILE *file = fopen(pid == 0 ? "/proc/self/status" : path, "re");
    if (file == NULL) return TT_ENOENT;
    if (pid == 0) {
        memset(target->cores, 0xFF, sizeof target->cores);
        target->core_count = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    } else {
        while (fgets(line, sizeof line, file) != NULL) {
            if (strncmp(line, field, sizeof field - 1) != 0) continue;
            parse_cores(line + sizeof field - 1 + strspn(line + sizeof field - 1, " \t"), target);
        }
    }
    fclose(file);
    return target->core_count == 0 ? TT_ENOENT : TT_OK;
}

/* utime and stime, fields 14 and 15; the name in parentheses may hold anything. */
static void add_thread_stat(const char *path, struct tt_proc_sample *sample)
{
    char text[1024];
    FILE *file = fopen(path, "re");
    if (file == NULL) return;
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = '\0';
    char *at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < 14; field++) at = strchr(at + 1, ' ');
    if (at == NULL) return;
    char *end;
    sample->user_ms += ticks_to_ms(strtoull(at, &end, 10));
    sample->system_ms += ticks_to_ms(strtoull(end, NULL, 10));
}

static void add_thread_run(const char *path, struct tt_proc_sample *sample)
{
    char text[128];
    FILE *file = fopen(path, "re");
    if (file == NULL) return;
    if (fgets(text, sizeof text, file) != NULL) sample->run_ns += strtoull(text, NULL, 10);
    fclose(file);
}

static enum tt_status sample_process(uint32_t pid, struct tt_proc_sample *sample)
{
    char path[96];
    char line[256];

    snprintf(path, sizeof path, "/proc/%" PRIu32 "/task", pid);
    DIR *threads = opendir(path);
    if (threads == NULL) return TT_ENOENT;
    for (struct dirent *d = readdir(threads); d != NULL; d = readdir(threads)) {
        if (d->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%" PRIu32 "/task/%.20s/stat", pid, d->d_name);
        add_thread_stat(path, sample);
        snprintf(path, sizeof path, "/proc/%" PRIu32 "/task/%.20s/schedstat", pid, d->d_name);
        add_thread_run(path, sample);
    }
    closedir(threads);
    snprintf(path, sizeof path, "/proc/%" PRIu32 "/status", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) return TT_ENOENT;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "VmRSS:", 6) == 0) {
            sample->rss_bytes = strtoull(line + 6, NULL, 10) * 1024u;
        }
    }
    fclose(file);
    return TT_OK;
}

/* A line "cpu3 user nice system idle iowait irq softirq steal ..." of /proc/stat. */
static void add_core(const char *line, const struct tt_proc_target *target,
                     struct tt_proc_sample *sample)
{
    char *at;
    uint64_t t[8] = {0};
    unsigned long core = strtoul(line + 3, &at, 10);

    for (int i = 0; i < 8; i++) t[i] = ticks_to_ms(strtoull(at, &at, 10));
    sample->machine_busy_ms += t[0] + t[1] + t[2] + t[5] + t[6];
    if (core >= TT_PROC_CORES_MAX || (target->cores[core / 8] >> core % 8 & 1) == 0) return;
    sample->core_user_ms += t[0] + t[1];
    sample->core_system_ms += t[2];
    sample->core_softirq_ms += t[5] + t[6];
    sample->core_idle_ms += t[3] + t[4];
    sample->core_steal_ms += t[7];
}

enum tt_status tt_proc_sample(const struct tt_proc_target *target, struct tt_proc_sample *sample)
{
    char line[4096];

    *sample = (struct tt_proc_sample){.when_ns = clock_ns(CLOCK_MONOTONIC)};
    FILE *file = fopen("/proc/stat", "re");
    if (file != NULL) {
        while (fgets(line, sizeof line, file) != NULL) {
            if (strncmp(line, "cpu", 3) == 0 && line[3] >= '0' && line[3] <= '9') {
                add_core(line, target, sample);
            }
        }
        fclose(file);
    }
    file = fopen("/proc/net/sockstat", "re");
    if (file != NULL) {
        while (fgets(line, sizeof line, file) != NULL) {
            const char *mem = strncmp(line, "TCP:", 4) == 0 ? strstr(line, " mem ") : NULL;
            if (mem == NULL) continue;
            sample->tcp_bytes = strtoull(mem + 5, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
        }
        fclose(file);
    }
    return target->pid == 0 ? TT_OK : sample_process(target->pid, sample);
}
