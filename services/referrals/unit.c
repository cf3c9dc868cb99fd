/* SPDX-License-Identifier: Apache-2.0 */
#include "services/referrals/unit.h"

#include "common/loop/fiber.h"
#include "common/store/audit.h"
#include "common/store/page.h"
#include "common/store/reach.h"
#include "common/wire/message.h"
#include "services/referrals/clock.h"
#include "services/referrals/rules.h"

#include <stdio.h>
#include <string.h>

/* ---- ids and branches ---- */

enum cn_code branch_of(const struct cn_request *request,
                       const char *named,
                       struct cn_uuid *ret_id,
                       struct cn_err *err)
{
    struct cn_uuid id = request->principal.branch_id;
    if (named == NULL && cn_uuid_is_nil(id)) {
        return cn_fail_field(err, "/branch_id", "required",
                             "the credential has no default branch");
    }
    if (named != NULL && (!cn_id_parse(BRANCH_PREFIX, named, &id) ||
                          !cn_reach_includes(request, id))) {
        return cn_fail_field(err, "/branch_id", "unknown_branch",
                             "is no branch within reach");
    }
    *ret_id = id;
    return CN_OK;
}

static bool s_own_branch(const struct cn_request *request, struct cn_uuid id)
{
    bool own = cn_uuid_equal(request->principal.branch_id, id);
    for (size_t i = 0; i < request->principal.branch_count; i++) {
        own = own || cn_uuid_equal(request->principal.branches[i], id);
    }
    return own;
}

enum cn_code branch_await(const struct cn_request *request,
                          struct cn_uuid id,
                          const char **zone,
                          struct cn_err *err)
{
    const struct cn_store store = cn_store_of_request(request);
    if (*zone == NULL && !s_own_branch(request, id)) {
        return cn_fail_field(err, "/branch_id", "unknown_branch",
                             "is no branch of the agency");
    }
    for (int64_t waited = 0; *zone == NULL; waited += BRANCH_LOOK_US) {
        if (waited >= BRANCH_WAIT_US ||
            cn_fiber_sleep(BRANCH_LOOK_US) != CN_OK) {
            return cn_fail(err, CN_UNAVAILABLE, "branch not yet known");
        }
        enum cn_code rc = branch_zone(&store, id, zone, err);
        if (rc != CN_OK) {
            return rc;
        }
    }
    return CN_OK;
}

enum cn_code version_check(const struct cn_request *request,
                           int64_t version,
                           struct cn_err *err)
{
    if (request->has_expected_version && request->expected_version != version) {
        enum cn_code rc =
            cn_fail(err, CN_STALE, "the present version is another");
        err->version = version;
        return rc;
    }
    return CN_OK;
}

static const char *s_path(struct cn_arena *arena,
                          const char *collection,
                          const char *prefix,
                          struct cn_uuid id)
{
    char text[CN_ID_TEXT_MAX];
    cn_id_format(prefix, id, text);
    return cn_arena_printf(arena, "/v1/%s/%s", collection, text);
}

const char *referral_path(struct cn_arena *arena, struct cn_uuid id)
{
    return s_path(arena, "referrals", REFERRAL_PREFIX, id);
}

const char *patient_path(struct cn_arena *arena, struct cn_uuid id)
{
    return s_path(arena, "patients", PATIENT_PREFIX, id);
}

/* ---- what is shown and told ---- */

/* The identifiers without social security numbers; false without memory. */
static bool s_drop_ssn(struct cn_arena *arena, Ref__Patient *patient)
{
    Ref__Patient__Identifier **kept =
        cn_arena_array(arena, patient->n_identifiers + 1, sizeof(void *));
    size_t count = 0;
    for (size_t i = 0; kept != NULL && i < patient->n_identifiers; i++) {
        if (!identifier_is_ssn(patient->identifiers[i])) {
            kept[count++] = patient->identifiers[i];
        }
    }
    patient->identifiers = kept;
    patient->n_identifiers = count;
    return kept != NULL;
}

Ref__Referral *referral_shown(struct cn_arena *arena,
                              const struct referral_row *row)
{
    Ref__Referral *shown = CN_NEW(arena, ref__referral, Ref__Referral);
    Ref__Patient *summary = CN_NEW(arena, ref__patient, Ref__Patient);
    if (shown == NULL || summary == NULL) {
        return NULL;
    }
    const Ref__Patient *patient = row->patient.patient;
    *shown = *row->referral;
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
    summary->language = patient->language;
    summary->time_zone = patient->time_zone;
    shown->patient = summary;
    return s_drop_ssn(arena, summary) ? shown : NULL;
}

/* What other services act on; a social security number they never need. */
static Ref__Patient *s_patient_told(struct cn_arena *arena,
                                    const Ref__Patient *patient)
{
    Ref__Patient *told = CN_NEW(arena, ref__patient, Ref__Patient);
    if (told == NULL) {
        return NULL;
    }
    *told = *patient;
    return s_drop_ssn(arena, told) ? told : NULL;
}

Ref__ReferralEvent *referral_event(struct cn_arena *arena,
                                   const struct referral_row *row)
{
    Ref__ReferralEvent *event =
        CN_NEW(arena, ref__referral_event, Ref__ReferralEvent);
    Ref__Referral *told = CN_NEW(arena, ref__referral, Ref__Referral);
    Ref__Patient *patient = s_patient_told(arena, row->patient.patient);
    if (event == NULL || told == NULL || patient == NULL) {
        return NULL;
    }
    *told = *row->referral;
    told->patient = NULL;
    event->referral = told;
    event->patient = patient;
    return event;
}

enum cn_code referral_tell(const struct cn_store *store,
                           struct cn_write *write,
                           const struct referral_row *row,
                           const char *type,
                           int64_t aggregate_seq,
                           struct cn_err *err)
{
    Ref__ReferralEvent *event = referral_event(store->arena, row);
    if (event == NULL) {
        return cn_fail(err, CN_NOMEM, "referral event");
    }
    cn_write_event(write, type, "referral", row->id, aggregate_seq,
                   &event->base);
    return CN_OK;
}

Ref__PatientEvent *patient_event(struct cn_arena *arena,
                                 const struct patient_row *row)
{
    Ref__PatientEvent *event =
        CN_NEW(arena, ref__patient_event, Ref__PatientEvent);
    Ref__Patient *patient = s_patient_told(arena, row->patient);
    if (event == NULL || patient == NULL) {
        return NULL;
    }
    event->patient = patient;
    return event;
}

enum cn_code patient_tell(const struct cn_store *store,
                          struct cn_write *write,
                          const struct patient_row *row,
                          const char *type,
                          int64_t aggregate_seq,
                          struct cn_err *err)
{
    Ref__PatientEvent *event = patient_event(store->arena, row);
    if (event == NULL) {
        return cn_fail(err, CN_NOMEM, "patient event");
    }
    cn_write_event(write, type, "patient", row->id, aggregate_seq,
                   &event->base);
    return CN_OK;
}

enum cn_code referral_warn(struct cn_arena *arena,
                           Ref__Referral *referral,
                           const char *warning,
                           struct cn_err *err)
{
    size_t count = referral->n_warnings;
    const char **warnings = cn_arena_array(arena, count + 1, sizeof(*warnings));
    if (warnings == NULL) {
        return cn_fail(err, CN_NOMEM, "warning");
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(referral->warnings[i], warning) == 0) {
            return CN_OK;
        }
        warnings[i] = referral->warnings[i];
    }
    warnings[count] = warning;
    referral->warnings = warnings;
    referral->n_warnings = count + 1;
    return CN_OK;
}

enum cn_code messages_equal(struct cn_arena *arena,
                            const ProtobufCMessage *a,
                            const ProtobufCMessage *b,
                            bool *ret_equal,
                            struct cn_err *err)
{
    struct cn_bytes left;
    struct cn_bytes right;
    enum cn_code rc = cn_message_pack(arena, a, &left, err);
    if (rc == CN_OK) {
        rc = cn_message_pack(arena, b, &right, err);
    }
    if (rc == CN_OK) {
        *ret_equal =
            left.size == right.size &&
            (left.size == 0 || memcmp(left.data, right.data, left.size) == 0);
    }
    return rc;
}

/* ---- answering and saving ---- */

static enum cn_code s_fill(const struct cn_request *request,
                           struct cn_reply *reply,
                           const struct referral_row *row,
                           struct cn_err *err)
{
    Ref__Referral *shown = referral_shown(request->arena, row);
    if (shown == NULL) {
        return cn_fail(err, CN_NOMEM, "referral");
    }
    reply->body = &shown->base;
    reply->version = shown->version;
    reply->updated_at = shown->updated_at;
    return CN_OK;
}

enum cn_code referral_answer(const struct cn_request *request,
                             struct cn_reply *reply,
                             const struct referral_row *row,
                             struct cn_err *err)
{
    enum cn_code rc = s_fill(request, reply, row, err);
    if (rc != CN_OK) {
        return rc;
    }
    return cn_audit_read(request, "referral.read", row->referral->id,
                         &row->patient_id, 1, err);
}

enum cn_code referral_save(const struct cn_request *request,
                           struct cn_reply *reply,
                           struct referral_row *row,
                           const struct referral_save *save,
                           struct cn_err *err)
{
    const struct cn_store store = cn_store_of_request(request);
    struct cn_write *write = cn_write_begin(request, reply);
    if (write == NULL) {
        return cn_fail(err, CN_NOMEM, "%s", save->action);
    }
    int events = (save->events[0] != NULL) + (save->events[1] != NULL);
    struct cn_deadline deadline;
    enum cn_code rc = soc_deadline(&store, row, false, &deadline, err);
    if (rc != CN_OK) {
        return rc;
    }
    CN_SET(row->referral, version, row->version + 1);
    CN_SET(row->referral, updated_at, request->now_at);
    cn_write_lock(write, "referral", row->id);
    cn_write_lock(write, "patient", row->patient_id);
    patient_require(write, store.tenant_id, row->patient_id,
                    row->patient.version);
    rc = referral_change(&store, write, row, events, err);
    if (rc == CN_OK) {
        rc = cn_deadline_change(&store, write, &deadline, err);
    }
    for (int i = 0; rc == CN_OK && i < events; i++) {
        rc = referral_tell(&store, write, row, save->events[i],
                           row->event_seq + i + 1, err);
    }
    if (rc == CN_OK) {
        rc = cn_deadline_tell(&store, write, &deadline, err);
    }
    if (rc == CN_OK) {
        rc = s_fill(request, reply, row, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_audit(write, save->action, row->referral->id, row->patient_id);
    rc = cn_write_commit(write, err);
    if (rc == CN_CONFLICT &&
        strcmp(err->word, "referral_source_external_id") == 0) {
        return referral_duplicate(request, row->referral->source, err);
    }
    return rc;
}

static enum cn_code
s_duplicate(const char *path, const char *noun, struct cn_err *err)
{
    enum cn_code rc = cn_fail_as(err, CN_CONFLICT, "duplicate",
                                 "another %s has this identifier", noun);
    if (path != NULL) {
        (void)snprintf(err->location, sizeof(err->location), "%s", path);
    }
    return rc;
}

enum cn_code referral_duplicate(const struct cn_request *request,
                                const Ref__Referral__Source *source,
                                struct cn_err *err)
{
    const struct cn_store store = cn_store_of_request(request);
    struct referral_row other;
    cn_err_clear(err);
    enum cn_code rc = referral_load_by_source(&store, source->system,
                                              source->external_id, &other, err);
    if (rc == CN_NOT_FOUND) {
        return cn_fail(err, CN_STALE, "the other referral is gone");
    }
    if (rc != CN_OK) {
        return rc;
    }
    bool seen = cn_reach_includes(request, other.branch_id);
    return s_duplicate(seen ? referral_path(request->arena, other.id) : NULL,
                       "referral", err);
}

enum cn_code patient_duplicate(const struct cn_request *request,
                               const struct patient_row *row,
                               struct cn_err *err)
{
    const struct cn_store store = cn_store_of_request(request);
    const char *systems[PATIENT_KEYS_MAX];
    const char *values[PATIENT_KEYS_MAX];
    const char *path = NULL;
    struct cn_uuid keys_of = row->id;
    size_t count =
        patient_keys(row->patient, systems, values, PATIENT_KEYS_MAX);
    cn_err_clear(err);
    for (size_t i = 0; i < count && path == NULL; i++) {
        struct intake intake;
        enum cn_code rc =
            intake_load(&store, row->branch_id, &systems[i], &values[i], 1,
                        cn_reach_branches(request), &intake, err);
        if (rc != CN_OK) {
            return rc;
        }
        if (intake.match_count > 0 &&
            !cn_uuid_equal(intake.match.id, keys_of)) {
            path = patient_path(request->arena, intake.match.id);
        }
    }
    return s_duplicate(path, "patient", err);
}
