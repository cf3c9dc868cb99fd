/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/unit.h"

#include "common/inbox/await.h"
#include "common/store/reach.h"
#include "common/wire/message.h"
#include "services/referrals/rules.h"

#include <stdio.h>
#include <string.h>

/* ---- branches ---- */

struct cn_uuid branch_of(struct cn_op *op, const char *named)
{
    struct cn_uuid id = op->request->principal.branch_id;
    if (named == NULL && cn_uuid_is_nil(id)) {
        cn_refuse_field(op, "/branch_id", "required",
                        "the credential has no default branch");
    } else if (named != NULL && (!cn_id_parse("brn", named, &id) ||
                                 !cn_reach_includes(op->request, id))) {
        cn_refuse_field(op, "/branch_id", "unknown_branch",
                        "is no branch within reach");
    }
    return id;
}

struct branch_wanted {
    struct cn_uuid id;
    const char *zone;
};

static bool s_branch_known(struct cn_op *op, void *arg)
{
    struct branch_wanted *wanted = arg;
    wanted->zone = branch_zone(op, wanted->id);
    return wanted->zone != NULL;
}

const char *branch_await(struct cn_op *op, struct cn_uuid id, const char *zone)
{
    struct branch_wanted wanted = { id, zone };
    if (!cn_failed(op) && zone == NULL) {
        cn_await_branch(op, "access", id, s_branch_known, &wanted);
    }
    return wanted.zone;
}

const char *branch_patched(struct cn_op *op, const char *named)
{
    if (named == NULL) {
        cn_refuse_field(op, "/branch_id", "required", "must name a branch");
        return NULL;
    }
    struct cn_uuid id = branch_of(op, named);
    return branch_await(op, id, branch_zone(op, id));
}

void together_check(struct cn_op *op,
                    const char *a_name,
                    const char *a,
                    const char *b_name,
                    const char *b)
{
    if ((a == NULL) != (b == NULL)) {
        const char *missing = a == NULL ? a_name : b_name;
        cn_refuse_field(op, cn_arena_printf(op->arena, "/%s", missing),
                        "required", "%s and %s are given together", a_name,
                        b_name);
    }
}

/* ---- what is shown and told ---- */

static void s_ssn_drop(struct cn_arena *arena, Ref__Patient *patient)
{
    Ref__Patient__Identifier **kept =
        cn_arena_array(arena, patient->n_identifiers + 1, sizeof(void *));
    size_t count = 0;
    for (size_t i = 0; i < patient->n_identifiers; i++) {
        if (!identifier_is_ssn(patient->identifiers[i])) {
            kept[count++] = patient->identifiers[i];
        }
    }
    patient->identifiers = kept;
    patient->n_identifiers = count;
}

/* A client sees the referral with a summary of its patient. */
void ref_referral_show(struct cn_op *op, struct cn_record *record)
{
    const Ref__Patient *patient = record->beside->body;
    Ref__Referral *shown =
        cn_arena_copy(op->arena, record->body, sizeof(*shown));
    Ref__Patient *summary = CN_NEW(op->arena, ref__patient, Ref__Patient);
    summary->id = patient->id;
    summary->branch_id = patient->branch_id;
    summary->n_identifiers = patient->n_identifiers;
    summary->identifiers = patient->identifiers;
    summary->name = patient->name;
    summary->birth_date = patient->birth_date;
    summary->has_sex = patient->has_sex;
    summary->sex = patient->sex;
    summary->n_phones = patient->n_phones;
    summary->phones = patient->phones;
    summary->address = patient->address;
    summary->email = patient->email;
    summary->n_contacts = patient->n_contacts;
    summary->contacts = patient->contacts;
    summary->language = patient->language;
    summary->time_zone = patient->time_zone;
    s_ssn_drop(op->arena, summary);
    shown->patient = summary;
    shown->source_key = NULL;
    record->shown = shown;
}

/* What other services act on; a social security number they never need. */
static Ref__Patient *s_patient_told(struct cn_op *op,
                                    const struct cn_record *patient)
{
    Ref__Patient *told = cn_arena_copy(op->arena, patient->body, sizeof(*told));
    s_ssn_drop(op->arena, told);
    return told;
}

void *ref_referral_tell(struct cn_op *op, struct cn_record *record)
{
    Ref__ReferralEvent *event =
        CN_NEW(op->arena, ref__referral_event, Ref__ReferralEvent);
    Ref__Referral *told = cn_arena_copy(op->arena, record->body, sizeof(*told));
    told->n_warning_details = 0; /* they are for the people of intake */
    told->source_key = NULL;
    event->referral = told;
    event->patient = s_patient_told(op, record->beside);
    return event;
}

void *ref_patient_tell(struct cn_op *op, struct cn_record *record)
{
    Ref__PatientEvent *event =
        CN_NEW(op->arena, ref__patient_event, Ref__PatientEvent);
    event->patient = s_patient_told(op, record);
    return event;
}

void ref_episode_show(struct cn_op *op, struct cn_record *record)
{
    Ref__Episode *episode = record->body;
    if (episode->branch_id == NULL && !cn_uuid_is_nil(record->branch_id)) {
        episode->branch_id = cn_id_text(op->arena, "brn", record->branch_id);
    }
}

/* ---- who else has an identifier ---- */

void conflict_is_stale(struct cn_op *op, const char *why)
{
    cn_forgive(op);
    cn_refuse(op, CN_STALE, NULL, "%s", why);
}

static void s_duplicate(struct cn_op *op,
                        const char *path,
                        const char *id,
                        const char *noun)
{
    cn_refuse(op, CN_CONFLICT, "duplicate", "another %s has this identifier",
              noun);
    if (id != NULL && op->err->code == CN_CONFLICT) {
        (void)snprintf(op->err->location, sizeof(op->err->location), "%s/%s",
                       path, id);
    }
}

void referral_duplicate(struct cn_op *op, const Ref__Referral *referral)
{
    struct cn_bytes hash;
    cn_forgive(op);
    const struct cn_record *other = referral_of_key(op, referral, &hash);
    if (!other->found) {
        cn_refuse(op, CN_STALE, NULL, "the other referral is gone");
        return;
    }
    s_duplicate(op, other->resource->path,
                cn_reach_includes(op->request, other->branch_id)
                    ? cn_record_id(other)
                    : NULL,
                "referral");
}

void patient_conflict(struct cn_op *op, const char *constraint)
{
    const struct cn_record *patient = op->context;
    const char *systems[PATIENT_KEYS_MAX];
    const char *values[PATIENT_KEYS_MAX];
    const char *other = NULL;
    if (strcmp(constraint, "patient_identifier_key") != 0) {
        return;
    }
    cn_forgive(op);
    size_t count = patient_keys(op->arena, patient->body, systems, values,
                                PATIENT_KEYS_MAX);
    for (size_t i = 0; i < count && other == NULL; i++) {
        const struct intake intake = intake_find(
            op, (struct cn_uuid){ { 0 } }, NULL, &systems[i], &values[i], 1);
        if (intake.match != NULL &&
            !cn_uuid_equal(intake.match->id, patient->id)) {
            other = cn_record_id(intake.match);
        }
    }
    s_duplicate(op, patient->resource->path, other, "patient");
}

/* ---- a changed referral ---- */

static void s_referral_conflict(struct cn_op *op, const char *constraint)
{
    if (strcmp(constraint, "referral_source_external_id") == 0) {
        const struct cn_record *referral = op->context;
        referral_duplicate(op, referral->body);
    }
}

static void s_clock_put(struct cn_op *op, const struct cn_record *referral)
{
    struct cn_deadline deadline = soc_deadline(op, referral);
    cn_deadline_put(op, &deadline);
}

void referral_put(struct cn_op *op, struct cn_record *referral)
{
    int64_t version = referral->version;
    cn_put(op, referral);
    if (referral->version == version) {
        return; /* nothing has changed */
    }
    patient_require(op, referral->beside);
    s_clock_put(op, referral);
    op->context = referral;
    op->on_conflict = s_referral_conflict;
}

void referral_put_along(struct cn_op *op, struct cn_record *referral)
{
    if (!cn_changed(op, referral)) {
        return;
    }
    if (referral->event_count == 0) {
        cn_also_tell(referral, "referral.updated");
    }
    cn_lock(op, "referral", referral->id);
    cn_put_part(op, referral);
    s_clock_put(op, referral);
}
