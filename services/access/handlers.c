/* SPDX-License-Identifier: Apache-2.0 */
/* Agencies, branches and users. Keys are in handlers_key.c. */
#include "cairn/access.handlers.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"
#include "services/access/store.h"

#include <string.h>

/* ---- agencies ---- */

/* The id of a new agency follows from the operator's key and the idempotency
 * key, so the same call again looks for its record in the same tenant. */
static struct cn_uuid s_agency_id(const struct cn_request *request)
{
    const struct cn_bytes parts[] = {
        { (const uint8_t *)"agency", 7 },
        { (const uint8_t *)request->principal.subject,
          strlen(request->principal.subject) + 1 },
        { (const uint8_t *)request->idempotency_key,
          strlen(request->idempotency_key) },
    };
    uint8_t digest[CN_SHA256_SIZE];
    cn_sha256_parts(parts, 3, digest);
    struct cn_uuid id;
    memcpy(id.bytes, digest, sizeof(id.bytes));
    /* Version 8, an id made by a rule of one's own (RFC 9562 5.8). */
    id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x80);
    id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3f) | 0x80);
    return id;
}

/* The operator's request goes on as one of the agency that it makes. */
static void s_op_of_new_agency(struct cn_op *op)
{
    struct cn_request *own =
        cn_arena_copy(op->arena, op->request, sizeof(*own));
    op->tenant_id = s_agency_id(op->request);
    own->principal.tenant_id = op->tenant_id;
    op->request = own;
}

void agency_create(struct cn_op *op, const Acc__CreateAgencyRequest *body)
{
    Acc__ApiKey first = ACC__API_KEY__INIT;
    s_op_of_new_agency(op);
    struct cn_record *agency =
        cn_record_new(op, &acc__agency__resource, body->agency);
    first.name = "First administrator";
    first.role = "administrator";
    const char *key =
        api_key_put_new(op, cn_record_new(op, &acc__api_key__resource, &first));
    cn_also_tell(agency, "agency.created");
    cn_put(op, agency);
    /* Shown in the reply alone: the row and the event are without it. */
    Acc__Agency *shown = cn_message_copy(op->arena, agency->shown);
    shown->administrator_key = key;
    op->reply->body = &shown->base;
}

/* ---- branches ---- */

void branch_create(struct cn_op *op, const Acc__CreateBranchRequest *body)
{
    struct cn_record *branch =
        cn_record_new(op, &acc__branch__resource, body->branch);
    cn_also_tell(branch, "branch.created");
    cn_put(op, branch);
}

void branch_update(struct cn_op *op, const Acc__UpdateBranchRequest *body)
{
    struct cn_record *branch = cn_take(op, &acc__branch__resource, body->id);
    cn_patch(op, branch, body->branch, body->update_mask, body->n_update_mask);
    cn_put(op, branch);
}

/* ---- users ---- */

static void s_user_put(struct cn_op *op, struct cn_record *record)
{
    const Acc__User *user = record->body;
    user_check(op, user);
    branches_check(op, "/branch_ids", user->branch_ids, user->n_branch_ids);
    cn_put(op, record);
}

void user_create(struct cn_op *op, const Acc__CreateUserRequest *body)
{
    struct cn_record *record =
        cn_record_new(op, &acc__user__resource, body->user);
    Acc__User *user = record->body;
    if (!user->has_active) {
        CN_SET(user, active, 1);
    }
    cn_also_tell(record, "user.created");
    s_user_put(op, record);
}

static bool s_administers(const Acc__User *user)
{
    return user->role != NULL && strcmp(user->role, "administrator") == 0 &&
           (!user->has_active || user->active);
}

void user_update(struct cn_op *op, const Acc__UpdateUserRequest *body)
{
    struct cn_record *record = cn_take(op, &acc__user__resource, body->id);
    const Acc__User *user = record->body;
    const char *role = user->role;
    const bool administers = s_administers(user);
    cn_patch(op, record, body->user, body->update_mask, body->n_update_mask);
    if (!cn_failed(op) && strcmp(role, user->role) != 0) {
        cn_also_tell(record, "role.changed");
    }
    if (administers && !s_administers(user)) {
        administrator_require(op, (struct cn_uuid){ { 0 } }, record->id);
    }
    s_user_put(op, record);
}
