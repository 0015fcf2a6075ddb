/* Addresses as text and as sockaddr. No name is ever looked up: a look-up blocks. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "proto/base/assert.h"
#include "shard/io/backend.h"

_Static_assert(sizeof((struct tt_address){0}.path) <= sizeof((struct sockaddr_un){0}.sun_path),
               "a path fits the kernel's address");

static bool parse_ip(const char *host, struct tt_address *a)
{
    if (strcmp(host, "localhost") == 0) host = "127.0.0.1";
    if (inet_pton(AF_INET, host, a->ip) == 1) {
        a->family = TT_ADDRESS_IP4;
        return true;
    }
    if (inet_pton(AF_INET6, host, a->ip) == 1) {
        a->family = TT_ADDRESS_IP6;
        return true;
    }
    return false;
}

enum tt_status tt_address_parse(struct tt_bytes text, struct tt_address *address)
{
    struct tt_bytes prefix = TT_BYTES_LITERAL("unix:");
    *address = (struct tt_address){0};
    if (memchr(text.data, 0, text.size) != NULL) return TT_EINVAL;
    if (tt_bytes_starts(text, prefix)) {
        struct tt_bytes path = tt_bytes_from(text, prefix.size);
        if (path.size == 0 || path.size >= sizeof address->path) return TT_EINVAL;
        address->family = TT_ADDRESS_UNIX;
        memcpy(address->path, path.data, path.size);
        return TT_OK;
    }
    size_t colon = text.size;
    while (colon > 0 && text.data[colon - 1] != ':') colon--;
    if (colon == 0) return TT_EINVAL;
    uint64_t port = 0;
    if (tt_bytes_to_u64(tt_bytes_from(text, colon), 65535, &port) != TT_OK) return TT_EINVAL;
    const uint8_t *host = text.data;
    size_t size = colon - 1;
    bool bracketed = size >= 2 && host[0] == '[' && host[size - 1] == ']';
    if (bracketed) {
        host++;
        size -= 2;
    }
    char copy[INET6_ADDRSTRLEN];
    if (size == 0 || size >= sizeof copy) return TT_EINVAL;
    memcpy(copy, host, size);
    copy[size] = '\0';
    struct tt_address parsed = {.port = (uint16_t)port};
    if (!parse_ip(copy, &parsed)) return TT_EINVAL;
    /* "::1:80" could be meant either way, so an IPv6 address needs its brackets. */
    if (bracketed != (parsed.family == TT_ADDRESS_IP6)) return TT_EINVAL;
    *address = parsed;
    return TT_OK;
}

void tt_address_text(const struct tt_address *a, char text[TT_ADDRESS_TEXT_MAX])
{
    char host[INET6_ADDRSTRLEN] = "";
    char port[8] = "";
    if (a->port != 0) (void)snprintf(port, sizeof port, ":%u", (unsigned)a->port);
    switch ((enum tt_address_family)a->family) {
    case TT_ADDRESS_NONE: (void)snprintf(text, TT_ADDRESS_TEXT_MAX, "none"); return;
    case TT_ADDRESS_IP4:
        (void)inet_ntop(AF_INET, a->ip, host, sizeof host);
        (void)snprintf(text, TT_ADDRESS_TEXT_MAX, "%s%s", host, port);
        return;
    case TT_ADDRESS_IP6:
        (void)inet_ntop(AF_INET6, a->ip, host, sizeof host);
        (void)snprintf(text, TT_ADDRESS_TEXT_MAX, "[%s]%s", host, port);
        return;
    case TT_ADDRESS_UNIX: (void)snprintf(text, TT_ADDRESS_TEXT_MAX, "unix:%s", a->path); return;
    }
    TT_UNREACHABLE();
}

bool tt_address_is_loopback(const struct tt_address *a)
{
    static const uint8_t ip6_loopback[16] = {[15] = 1};
    static const uint8_t ip4_mapped[12] = {[10] = 0xFF, [11] = 0xFF};
    switch ((enum tt_address_family)a->family) {
    case TT_ADDRESS_NONE: return false;
    case TT_ADDRESS_IP4: return a->ip[0] == 127;
    case TT_ADDRESS_IP6:
        return memcmp(a->ip, ip6_loopback, 16) == 0 ||
               (memcmp(a->ip, ip4_mapped, 12) == 0 && a->ip[12] == 127);
    case TT_ADDRESS_UNIX: return true;
    }
    TT_UNREACHABLE();
}

socklen_t tt_io_sockaddr_of(const struct tt_address *a, struct sockaddr_storage *sa)
{
    memset(sa, 0, sizeof *sa);
    if (a->family == TT_ADDRESS_IP4) {
        struct sockaddr_in *in = (struct sockaddr_in *)(void *)sa;
        in->sin_family = AF_INET;
        in->sin_port = htons(a->port);
        memcpy(&in->sin_addr, a->ip, 4);
        return sizeof *in;
    }
    if (a->family == TT_ADDRESS_IP6) {
        struct sockaddr_in6 *in = (struct sockaddr_in6 *)(void *)sa;
        in->sin6_family = AF_INET6;
        in->sin6_port = htons(a->port);
        memcpy(&in->sin6_addr, a->ip, 16);
        return sizeof *in;
    }
    TT_ASSERT(a->family == TT_ADDRESS_UNIX);
    struct sockaddr_un *un = (struct sockaddr_un *)(void *)sa;
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, a->path, sizeof a->path);
    return sizeof *un;
}

void tt_io_address_of(const struct sockaddr_storage *sa, socklen_t size, struct tt_address *a)
{
    *a = (struct tt_address){0};
    if (sa->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;
        a->family = TT_ADDRESS_IP4;
        a->port = ntohs(in->sin_port);
        memcpy(a->ip, &in->sin_addr, 4);
    } else if (sa->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)(const void *)sa;
        a->family = TT_ADDRESS_IP6;
        a->port = ntohs(in->sin6_port);
        memcpy(a->ip, &in->sin6_addr, 16);
    } else if (sa->ss_family == AF_UNIX) {
        const struct sockaddr_un *un = (const struct sockaddr_un *)(const void *)sa;
        size_t header = offsetof(struct sockaddr_un, sun_path);
        a->family = TT_ADDRESS_UNIX;
        /* A client's socket has no path. */
        if (size > header) memcpy(a->path, un->sun_path, sizeof a->path - 1);
    }
}
