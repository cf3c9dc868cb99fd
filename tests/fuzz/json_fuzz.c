/* SPDX-License-Identifier: Apache-2.0 */
/* Reads any text into a message. The text is refused, or the message's JSON
 * reads back as the same message. The first byte chooses the message, and
 * whether it is a patch. */
#include "common/base/array.h"
#include "common/wire/json.h"
#include "common/wire/message.h"

#include "cairn/events.cairn.h"
#include "cairn/referrals.cairn.h"
#include "cairn/scheduling.cairn.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The first three have output-only lists, which are written but not read. */
enum { ONE_WAY = 3 };
static const struct cn_shape *const SHAPES[] = {
    &ref__referral__shape,
    &ref__patient__shape,
    &sch__clinician__shape,
    &ref__patient__contact__shape,
    &ref__patient__commitment__shape,
    &ref__referral__decision__shape,
    &ref__patient__preferences__shape,
    &ref__list_referrals_request__shape,
    &evt__fetch_response__shape
};
enum { SHAPE_COUNT = CN_COUNT(SHAPES) };

static void read_back(struct cn_arena *arena,
                      const struct cn_shape *shape,
                      const ProtobufCMessage *message)
{
    struct cn_buffer once;
    struct cn_buffer twice;
    struct cn_err err = { 0 };
    cn_buffer_init(&once, 64 << 20);
    cn_buffer_init(&twice, 64 << 20);
    cn_json_write(&once, shape, message);
    ProtobufCMessage *back = cn_message_new(arena, shape->descriptor);
    if (back != NULL) {
        enum cn_code rc =
            cn_json_read(arena, shape, once.data, once.size, back, NULL, &err);
        assert(rc == CN_OK || rc == CN_NOMEM);
        if (rc == CN_OK) {
            cn_json_write(&twice, shape, back);
            assert(twice.size == once.size &&
                   memcmp(twice.data, once.data, once.size) == 0);
        }
    }
    cn_buffer_done(&once);
    cn_buffer_done(&twice);
}

static void merge(struct cn_arena *arena,
                  const struct cn_shape *shape,
                  const ProtobufCMessage *patch,
                  const struct cn_json_mask *mask)
{
    struct cn_err err = { 0 };
    ProtobufCMessage *target = cn_message_new(arena, shape->descriptor);
    if (target != NULL) {
        enum cn_code rc = cn_message_merge(arena, target, patch, mask->paths,
                                           mask->count, &err);
        assert(rc == CN_OK || rc == CN_NOMEM);
    }
}

/* "name=value", as a query has it. */
static void set(struct cn_arena *arena,
                const struct cn_shape *shape,
                const uint8_t *data,
                size_t size)
{
    struct cn_err err = { 0 };
    char *text = cn_arena_strndup(arena, (const char *)data, size);
    ProtobufCMessage *message = cn_message_new(arena, shape->descriptor);
    char *equals = text != NULL ? strchr(text, '=') : NULL;
    if (equals == NULL || message == NULL) {
        return;
    }
    *equals = '\0';
    enum cn_code rc =
        cn_json_set(arena, shape, message, text, equals + 1, &err);
    assert(rc == CN_OK || rc == CN_INVALID || rc == CN_NOT_FOUND ||
           rc == CN_NOMEM);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    size_t which = data[0] % SHAPE_COUNT;
    bool is_patch = (data[0] & 0x80) != 0;
    const struct cn_shape *shape = SHAPES[which];
    struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    struct cn_json_mask mask = { 0 };
    struct cn_err err = { 0 };
    ProtobufCMessage *message =
        arena != NULL ? cn_message_new(arena, shape->descriptor) : NULL;
    if (message == NULL) {
        return 0;
    }
    enum cn_code rc =
        cn_json_read(arena, shape, (const char *)data + 1, size - 1, message,
                     is_patch ? &mask : NULL, &err);
    assert(rc == CN_OK || rc == CN_MALFORMED || rc == CN_INVALID ||
           rc == CN_NOMEM);
    if (rc == CN_OK && is_patch) {
        merge(arena, shape, message, &mask);
    } else if (rc == CN_OK && which >= ONE_WAY) {
        read_back(arena, shape, message);
    }
    set(arena, shape, data + 1, size - 1);
    cn_arena_free(arena);
    return 0;
}
