/* SPDX-License-Identifier: Apache-2.0 */
/* Patients. A change of a patient may complete their referrals, which are then
 * validated in the same unit. */
#include "cairn/referrals.handlers.h"
#include "common/store/listing.h"
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

/* An identifier in its form as a key; none when it is nobody's key. */
static struct cn_records s_identified(struct cn_op *op,
                                      const Ref__ListPatientsRequest *body,
                                      struct cn_uuid after)
{
    Ref__Patient__Identifier identifier = REF__PATIENT__IDENTIFIER__INIT;
    Ref__Patient__Identifier *identifiers = &identifier;
    Ref__Patient patient = REF__PATIENT__INIT;
    const char *system = NULL;
    const char *value = NULL;
    identifier.system = body->identifier_system;
    identifier.value = body->identifier_value;
    patient.identifiers = &identifiers;
    patient.n_identifiers = 1;
    return patient_keys(op->arena, &patient, &system, &value, 1) == 1
               ? patients_by_identifier(op, system, value, after)
               : (struct cn_records){ 0 };
}

/* A list has one order: by name, by change, or the one who has a number. */
static void s_ways_check(struct cn_op *op, const Ref__ListPatientsRequest *body)
{
    together_check(op, "identifier_system", body->identifier_system,
                   "identifier_value", body->identifier_value);
    if ((body->family != NULL) + (body->identifier_value != NULL) +
            (body->has_updated_since != 0) >
        1) {
        cn_refuse_field(
            op,
            body->has_updated_since ? "/updated_since" : "/identifier_value",
            "either_or", "give family, an identifier or updated_since");
    }
}

void patients_list(struct cn_op *op, const Ref__ListPatientsRequest *body)
{
    const char *family = name_norm(op->arena, body->family);
    struct cn_records records = { 0 };
    struct cn_filter filter;
    cn_filter_begin(&filter, op->request,
                    cn_arena_printf(op->arena, "patients family=%s", family));
    cn_filter_text(&filter, "system", body->identifier_system);
    cn_filter_text(&filter, "value", body->identifier_value);
    int64_t since =
        cn_filter_at(&filter, body->has_updated_since, body->updated_since);
    s_ways_check(op, body);
    struct cn_page page = cn_page_open(op, filter.text);
    if (cn_failed(op)) {
        return;
    }
    if (body->identifier_value != NULL) {
        records = s_identified(op, body, page.after.id);
    } else if (body->has_updated_since) {
        page.after.key = page.after.key != 0 ? page.after.key : since;
        records = patients_changed(op, page.after, page.limit + 1);
    } else {
        records = patients_by_name(op, family, page.after.id, page.limit + 1);
    }
    cn_list_answer(op, &page, records, "patient.list", NULL);
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
