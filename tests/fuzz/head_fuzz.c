/* SPDX-License-Identifier: Apache-2.0 */
/* Reads any bytes as requests of one connection, whole and byte by byte: both
 * find the same requests, and what is read is within the rules. */
#include "common/http/body.h"
#include "common/http/head.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { REQUESTS_MAX = 8 };

/* Where each request ended; 0: it did not. */
struct found {
    size_t ends[REQUESTS_MAX];
    size_t count;
    size_t body_size;
    bool broken;
};

static bool head_read(const char *data,
                      const struct cn_head *head,
                      struct cn_framing *framing)
{
    struct cn_framing_head parts = { 0 };
    struct cn_err err = { 0 };
    struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    char *text = cn_arena_strndup(arena, data + head->begin,
                                  head->line - 2 - head->begin);
    enum cn_code rc = cn_head_cut(text, &parts, &err);
    assert(rc == CN_OK || rc == CN_MALFORMED);
    if (rc == CN_OK) {
        rc = cn_framing_check(&parts, arena, framing, &err);
        assert(rc == CN_OK || rc == CN_MALFORMED || rc == CN_TOO_LARGE);
    }
    if (rc == CN_OK) {
        assert(parts.path[0] == '/' || strcmp(parts.path, "*") == 0);
        assert(!framing->chunked || framing->body_size == 0);
        for (size_t i = 0; i < parts.field_count; i++) {
            assert(parts.fields[i].name[0] != '\0' &&
                   strpbrk(parts.fields[i].name, " \t:\r\n") == NULL &&
                   strpbrk(parts.fields[i].value, "\r\n") == NULL);
        }
    }
    cn_arena_free(arena);
    return rc == CN_OK;
}

/* Reads one request that begins at data and returns how many bytes it has; 0
 * when it is broken or does not end. */
static size_t
request_read(const char *data, size_t size, size_t piece, struct found *found)
{
    struct cn_head head = { 0 };
    struct cn_framing framing = { 0 };
    struct cn_body body;
    size_t came = 0;
    enum cn_head_state state = CN_HEAD_MORE;
    while (state == CN_HEAD_MORE && came < size) {
        came = size - came < piece ? size : came + piece;
        state = cn_head_scan(&head, data, came);
    }
    found->broken = state != CN_HEAD_MORE && state != CN_HEAD_WHOLE;
    if (state != CN_HEAD_WHOLE) {
        return 0;
    }
    assert(memcmp(data + head.at - 4, "\r\n\r\n", 4) == 0);
    if (!head_read(data, &head, &framing)) {
        found->broken = true;
        return 0;
    }
    size_t at = head.at;
    cn_body_begin(&body, &framing);
    for (;;) {
        size_t used = 0;
        struct cn_bytes part = { 0 };
        size_t end = size - at < piece ? size : at + piece;
        enum cn_body_state is =
            cn_body_read(&body, data + at, end - at, &used, &part);
        assert(used <= end - at && part.size <= used);
        found->body_size += part.size;
        at += used;
        if (is == CN_BODY_WHOLE) {
            return at;
        }
        if (is == CN_BODY_BROKEN || at == size) {
            found->broken = is == CN_BODY_BROKEN;
            return 0;
        }
        assert(used > 0);
    }
}

static struct found all_read(const char *data, size_t size, size_t piece)
{
    struct found found = { 0 };
    size_t at = 0;
    while (found.count < REQUESTS_MAX && at < size) {
        size_t used = request_read(data + at, size - at, piece, &found);
        if (used == 0) {
            break;
        }
        at += used;
        found.ends[found.count++] = at;
    }
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct found whole = all_read((const char *)data, size, SIZE_MAX / 2);
    const struct found bytes = all_read((const char *)data, size, 1);
    assert(memcmp(whole.ends, bytes.ends, sizeof(whole.ends)) == 0 &&
           whole.count == bytes.count && whole.broken == bytes.broken &&
           whole.body_size == bytes.body_size);
    return 0;
}
