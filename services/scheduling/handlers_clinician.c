/* SPDX-License-Identifier: Apache-2.0 */
/* Clinicians: who can make visits, where and when. */
#include "cairn/scheduling.handlers.h"
#include "services/scheduling/rules.h"

static void s_clinician_put(struct cn_op *op, struct cn_record *clinician)
{
    clinician_check(op, clinician->body);
    cn_record_branch(op, clinician);
    cn_put(op, clinician);
}

void clinician_create(struct cn_op *op, const Sch__CreateClinicianRequest *body)
{
    s_clinician_put(
        op, cn_record_new(op, &sch__clinician__resource, body->clinician));
}

void clinician_update(struct cn_op *op, const Sch__UpdateClinicianRequest *body)
{
    struct cn_record *clinician =
        cn_take(op, &sch__clinician__resource, body->id);
    cn_patch(op, clinician, body->clinician, body->update_mask,
             body->n_update_mask);
    s_clinician_put(op, clinician);
}
