/* SPDX-License-Identifier: Apache-2.0 */
/* Ids: UUIDv7 (RFC 9562) in the database, "ref_" + base32 outside. */
#ifndef CN_ID_H
#define CN_ID_H

#include "common/base/arena.h"
#include "common/base/err.h"

#include <stdint.h>

struct cn_env;

struct cn_uuid {
    uint8_t bytes[16];
};

enum {
    CN_ID_BASE32_SIZE = 26, /* characters of 16 bytes, Crockford alphabet */
    CN_ID_TEXT_MAX = 40,    /* prefix, '_', base32, NUL */
    CN_UUID_TEXT_SIZE = 37  /* 8-4-4-4-12 and NUL */
};

/* A new id by the env's clock. It is above all ids that this env has made. */
struct cn_uuid cn_uuid_new(struct cn_env *env);
/* When such an id was made, to the millisecond; -1 for an id of another form.
 */
int64_t cn_uuid_made_at(struct cn_uuid id);
bool cn_uuid_equal(struct cn_uuid a, struct cn_uuid b);
bool cn_uuid_is_nil(struct cn_uuid id);
int cn_uuid_compare(struct cn_uuid a, struct cn_uuid b);
void cn_uuid_format(struct cn_uuid id, char text[CN_UUID_TEXT_SIZE]);
CN_CHECKED bool cn_uuid_parse(const char *text, struct cn_uuid *ret_id);

/* Before the id of an agency, which is the tenant. */
#define CN_TENANT_PREFIX "agc"

/* "ref_" + lower-case base32 (Crockford, without i l o u). */
void cn_id_format(const char *prefix,
                  struct cn_uuid id,
                  char text[CN_ID_TEXT_MAX]);
/* The same in the arena. */
char *cn_id_text(struct cn_arena *arena, const char *prefix, struct cn_uuid id);
/* False for another prefix or anything that is not such an id (NULL too). */
CN_CHECKED bool
cn_id_parse(const char *prefix, const char *text, struct cn_uuid *ret_id);

#endif
