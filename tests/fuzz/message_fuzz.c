/* SPDX-License-Identifier: Apache-2.0 */
/* Reads any bytes into a message. They are refused, or the message can be
 * packed, copied and printed. The first byte chooses the message. */
#include "common/base/array.h"
#include "common/wire/json.h"
#include "common/wire/message.h"

#include "cairn/envelope.cairn.h"
#include "cairn/events.cairn.h"
#include "cairn/referrals.cairn.h"
#include "cairn/scheduling.cairn.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct cn_shape *const SHAPES[] = {
    &evt__fetch_response__shape,
    &evt__fetch_request__shape,
    &env__request_header__shape,
    &env__reply_header__shape,
    &env__stored_reply__shape,
    &ref__referral_event__shape,
    &ref__list_referrals_request__shape,
    &ref__update_patient_request__shape,
    &sch__clinician__shape
};

static void use(struct cn_arena *arena,
                const struct cn_shape *shape,
                const ProtobufCMessage *message)
{
    struct cn_err err = { 0 };
    struct cn_bytes packed = { 0 };
    const ProtobufCMessage *again = NULL;
    struct cn_buffer buffer;
    cn_buffer_init(&buffer, 64 << 20);
    cn_json_write(&buffer, shape, message);
    cn_buffer_done(&buffer);
    /* Packing makes a canonical form, which may be longer than the input. */
    if (cn_message_pack(arena, message, &packed, &err) != CN_OK) {
        return;
    }
    enum cn_code rc =
        cn_message_unpack(arena, shape->descriptor, packed, &again, &err);
    assert(rc == CN_OK || rc == CN_NOMEM);
    if (rc == CN_OK) {
        struct cn_bytes twice = { 0 };
        rc = cn_message_pack(arena, again, &twice, &err);
        assert(rc == CN_NOMEM ||
               (twice.size == packed.size &&
                memcmp(twice.data, packed.data, packed.size) == 0));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    const struct cn_shape *shape = SHAPES[data[0] % CN_COUNT(SHAPES)];
    struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    const ProtobufCMessage *message = NULL;
    struct cn_err err = { 0 };
    if (arena == NULL) {
        return 0;
    }
    enum cn_code rc = cn_message_unpack(arena, shape->descriptor,
                                        (struct cn_bytes){ data + 1, size - 1 },
                                        &message, &err);
    assert(rc == CN_OK || rc == CN_MALFORMED || rc == CN_NOMEM);
    if (rc == CN_OK) {
        use(arena, shape, message);
    }
    cn_arena_free(arena);
    return 0;
}
