/* SPDX-License-Identifier: Apache-2.0 */
/* Clinicians: who can make visits, where and when. */
#include "cairn/scheduling.handlers.h"
#include "common/inbox/await.h"
#include "services/scheduling/store.h"

#include <string.h>

static bool s_clinician_branch_known(struct cn_op *op, void *arg)
{
    const struct cn_uuid *id = arg;
    return sch_branch_known(op, *id);
}

/* was: the branch that the clinician had; NULL: none. A branch of the caller's
 * own need not be looked for. */
static void
s_clinician_put(struct cn_op *op, struct cn_record *clinician, const char *was)
{
    const Sch__Clinician *body = clinician->body;
    const char *named = body->branch_id;
    struct cn_uuid id;
    clinician_check(op, body);
    cn_record_branch(op, clinician);
    if (named != NULL && (was == NULL || strcmp(named, was) != 0) &&
        cn_id_parse("brn", named, &id) &&
        !cn_policy_reaches(&op->request->principal, CN_REACH_BRANCH, id)) {
        cn_await_branch(op, "access", id, s_clinician_branch_known, &id);
    }
    cn_put(op, clinician);
}

void clinician_create(struct cn_op *op, const Sch__CreateClinicianRequest *body)
{
    s_clinician_put(
        op, cn_record_new(op, &sch__clinician__resource, body->clinician),
        NULL);
}

void clinician_update(struct cn_op *op, const Sch__UpdateClinicianRequest *body)
{
    struct cn_record *clinician =
        cn_take(op, &sch__clinician__resource, body->id);
    const char *was = ((const Sch__Clinician *)clinician->body)->branch_id;
    cn_patch(op, clinician, body->clinician, body->update_mask,
             body->n_update_mask);
    s_clinician_put(op, clinician, was);
}
