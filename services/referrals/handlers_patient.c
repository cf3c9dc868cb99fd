/* SPDX-License-Identifier: Apache-2.0 */
/* Patients. A change of a patient may complete their referrals, which are then
 * validated in the same unit. */
#include "cairn/referrals.handlers.h"
#include "common/wire/message.h"
#include "services/referrals/patient.h"
#include "services/referrals/rules.h"
#include "services/referrals/unit.h"

void patient_create(struct cn_op *op, const Ref__CreatePatientRequest *body)
{
    if (body->patient == NULL) {
        cn_refuse_field(op, "", "required", "a patient is needed");
        return;
    }
    struct cn_record *record =
        cn_record_new(op, &ref__patient__resource, body->patient);
    Ref__Patient *patient = record->body;
    patient_check(op, patient, "");
    struct cn_uuid branch_id = branch_of(op, patient->branch_id);
    (void)branch_await(op, branch_id, branch_zone(op, branch_id));
    patient->branch_id = cn_id_text(op->arena, "brn", branch_id);
    cn_also_tell(record, "patient.created");
    cn_put(op, record);
    patient_keys_add(op, record, NULL);
    op->context = record;
    op->on_conflict = patient_conflict;
}

void patient_get(struct cn_op *op, const Ref__GetPatientRequest *body)
{
    cn_show(op, patient_take(op, body->id));
}

void patients_list(struct cn_op *op, const Ref__ListPatientsRequest *body)
{
    const char *family = name_norm(op->arena, body->family);
    struct cn_page page = cn_page_open(
        op, cn_arena_printf(op->arena, "patients family=%s", family));
    cn_list_answer(op, &page,
                   patients_by_name(op, family, page.after.id, page.limit + 1),
                   "patient.list", NULL);
}

void patient_update(struct cn_op *op, const Ref__UpdatePatientRequest *body)
{
    struct cn_record *record = patient_take(op, body->id);
    const Ref__Patient *patient = record->body;
    int64_t version = record->version;
    if (body->patient != NULL) {
        patient_check(op, body->patient, "");
    }
    cn_patch(op, record, body->patient, body->update_mask, body->n_update_mask);
    if (cn_mask_has(body->update_mask, body->n_update_mask, "branch_id")) {
        (void)branch_patched(op, patient->branch_id);
    }
    cn_put(op, record);
    if (record->version == version) {
        return; /* nothing has changed */
    }
    if (cn_mask_has(body->update_mask, body->n_update_mask, "identifiers")) {
        patient_keys_replace(op, record);
    }
    patient_referrals_settle(op, record);
    op->context = record;
    op->on_conflict = patient_conflict;
}
