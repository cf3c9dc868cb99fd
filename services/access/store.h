/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of schema access that are asked for otherwise than by id or page. A
 * failed operation gets none. */
#ifndef ACCESS_STORE_H
#define ACCESS_STORE_H

#include "cairn/access.resources.h"
#include "services/access/rules.h"

/* Every id must be of a branch of the agency; NULL ids are skipped. Refuses the
 * field at that pointer. */
void branches_check(struct cn_op *op,
                    const char *pointer,
                    const char *const *ids,
                    size_t count);

/* Makes the text of a new key, and puts the record with the text's hash and
 * beginning. The caller shows the text, once: nothing else holds it. */
const char *api_key_put_new(struct cn_op *op, struct cn_record *record);

/* A key as it is resolved, before there is a tenant. */
struct key_row {
    bool found;
    struct cn_uuid tenant_id;
    const Acc__ApiKey *key;
    const Acc__User *user; /* NULL: an integration */
};
struct key_row key_find(struct cn_op *op, struct cn_bytes key_hash);

/* The agency must not be left without an administrator: a key of one that can
 * be used must be left beside this key and the keys of this person (nil: none
 * of them). 409 guard_failed, guard administrator. Two who end each other's
 * keys at once are decided one after the other (administrator_version). */
void administrator_require(struct cn_op *op,
                           struct cn_uuid key_id,
                           struct cn_uuid user_id);

#endif
