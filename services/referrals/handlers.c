/* SPDX-License-Identifier: Apache-2.0 */
/* Referrals: create, read, list, change, decide. Patients are in
 * handlers_patient.c, HL7 in handlers_hl7.c. */
#include "cairn/referrals.handlers.h"
#include "common/store/audit.h"
#include "common/store/page.h"
#include "common/store/reach.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "services/referrals/arrival.h"
#include "services/referrals/rules.h"
#include "services/referrals/unit.h"

#include <string.h>

/* ---- create ---- */

/* The source's referral is here already: 200 with it when its sender sent the
 * same, else 409; both name it. */
static enum cn_code s_existing(const struct cn_request *request,
                               struct cn_reply *reply,
                               const struct arrival *arrival,
                               struct cn_err *err)
{
    const struct cn_store store = cn_store_of_request(request);
    const Ref__Referral__Source *source = arrival->row.referral->source;
    struct referral_row row;
    cn_err_clear(err);
    enum cn_code rc = referral_load_by_source(&store, source->system,
                                              source->external_id, &row, err);
    if (rc == CN_NOT_FOUND) {
        return cn_fail(err, CN_STALE, "the other referral is gone");
    }
    if (rc != CN_OK) {
        return rc;
    }
    struct cn_bytes sent = arrival->row.content_hash;
    bool same = row.content_hash.size == sent.size &&
                memcmp(row.content_hash.data, sent.data, sent.size) == 0;
    if (!same || !cn_reach_includes(request, row.branch_id)) {
        return referral_duplicate(request, source, err);
    }
    *reply = (struct cn_reply){ .status = 200 };
    reply->location = referral_path(request->arena, row.id);
    if (reply->location == NULL) {
        return cn_fail(err, CN_NOMEM, "create referral");
    }
    return referral_answer(request, reply, &row, err);
}

static enum cn_code s_create(const struct cn_request *request,
                             struct cn_reply *reply,
                             struct arrival *arrival,
                             struct cn_err *err)
{
    const struct cn_store store = cn_store_of_request(request);
    struct cn_write *write = cn_write_begin(request, reply);
    Ref__Referral *shown = referral_shown(request->arena, &arrival->row);
    reply->location = referral_path(request->arena, arrival->row.id);
    if (write == NULL || shown == NULL || reply->location == NULL) {
        return cn_fail(err, CN_NOMEM, "create referral");
    }
    arrival_lock(arrival, write);
    enum cn_code rc = arrival_change(&store, arrival, write, err);
    if (rc == CN_OK) {
        rc = arrival_tell(&store, arrival, write, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_audit(write, "referral.create", shown->id,
                   arrival->row.patient_id);
    reply->body = &shown->base;
    reply->version = shown->version;
    reply->updated_at = shown->updated_at;
    return cn_write_commit(write, err);
}

enum cn_code referral_create(void *self,
                             const struct cn_request *request,
                             struct cn_reply *reply,
                             struct cn_err *err)
{
    (void)self;
    const Ref__CreateReferralRequest *body = request->body;
    const Ref__Referral *sent = body->referral;
    if (sent == NULL) {
        return cn_fail_field(err, "", "required", "a referral is needed");
    }
    if (sent->patient != NULL && sent->patient_id != NULL) {
        return cn_fail_field(err, "/patient_id", "either_or",
                             "give patient_id or patient, not both");
    }
    struct arrival_facts facts = {
        .referral = sent,
        .patient = sent->patient,
        .patient_id = sent->patient_id,
        .content_hash = { request->fingerprint, CN_FINGERPRINT_SIZE },
    };
    struct arrival arrival;
    enum cn_code rc =
        branch_of(request, sent->branch_id, &facts.branch_id, err);
    if (rc == CN_OK) {
        rc = arrival_make(request, &facts, &arrival, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    rc = s_create(request, reply, &arrival, err);
    if (rc != CN_CONFLICT) {
        return rc;
    }
    if (strcmp(err->word, "referral_source_external_id") == 0) {
        return s_existing(request, reply, &arrival, err);
    }
    if (strcmp(err->word, "patient_identifier_key") == 0) {
        /* Somebody made this patient meanwhile: from the read again. */
        cn_err_clear(err);
        return cn_fail(err, CN_STALE, "the patient was made meanwhile");
    }
    return rc;
}

/* ---- read ---- */

static enum cn_code s_load(const struct cn_request *request,
                           const char *text,
                           struct referral_row *ret_row,
                           struct cn_err *err)
{
    const struct cn_store store = cn_store_of_request(request);
    struct cn_uuid id;
    if (!cn_id_parse(REFERRAL_PREFIX, text, &id)) {
        return cn_fail(err, CN_NOT_FOUND, "no such referral");
    }
    return referral_load(&store, id, cn_reach_branches(request), ret_row, err);
}

enum cn_code referral_get(void *self,
                          const struct cn_request *request,
                          struct cn_reply *reply,
                          struct cn_err *err)
{
    (void)self;
    const Ref__GetReferralRequest *body = request->body;
    struct referral_row row;
    enum cn_code rc = s_load(request, body->id, &row, err);
    return rc == CN_OK ? referral_answer(request, reply, &row, err) : rc;
}

enum cn_code referral_raw_get(void *self,
                              const struct cn_request *request,
                              struct cn_reply *reply,
                              struct cn_err *err)
{
    (void)self;
    const Ref__GetReferralRawRequest *body = request->body;
    const struct cn_store store = cn_store_of_request(request);
    struct referral_row row;
    struct raw_row raw;
    enum cn_code rc = s_load(request, body->id, &row, err);
    if (rc == CN_OK) {
        rc = raw_load(&store, row.id, &raw, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    Ref__RawMessage *shown =
        CN_NEW(request->arena, ref__raw_message, Ref__RawMessage);
    if (shown == NULL) {
        return cn_fail(err, CN_NOMEM, "raw message");
    }
    shown->has_content = 1;
    shown->content.len = raw.content.size;
    shown->content.data =
        cn_arena_copy(request->arena, raw.content.data, raw.content.size);
    shown->content_type = raw.content_type;
    if (shown->content.data == NULL) {
        return cn_fail(err, CN_NOMEM, "raw message");
    }
    reply->body = &shown->base;
    return cn_audit_read(request, "referral.raw.read", row.referral->id,
                         &row.patient_id, 1, err);
}

enum cn_code referral_deadlines_list(void *self,
                                     const struct cn_request *request,
                                     struct cn_reply *reply,
                                     struct cn_err *err)
{
    (void)self;
    const Dln__ListDeadlinesRequest *body = request->body;
    struct referral_row row;
    enum cn_code rc = s_load(request, body->id, &row, err);
    if (rc != CN_OK) {
        return rc;
    }
    const struct cn_deadline_subject subject = soc_subject(&row);
    return cn_deadlines_answer(request, reply, &subject, err);
}

/* ---- list ---- */

/* Every state: what is listed when none is named. */
static struct cn_param s_all_statuses(struct cn_arena *arena)
{
    const ProtobufCEnumDescriptor *states = &ref__referral__status__descriptor;
    const char **words =
        cn_arena_array(arena, states->n_values, sizeof(*words));
    for (unsigned i = 0; words != NULL && i < states->n_values; i++) {
        words[i] = cn_enum_word(states, states->values[i].value);
    }
    return cn_texts(words, states->n_values);
}

/* CN_NOT_FOUND: nothing can be in such a list. */
static enum cn_code s_filter(const struct cn_request *request,
                             const Ref__ListReferralsRequest *body,
                             struct referral_filter *ret_filter,
                             const char **ret_text,
                             struct cn_err *err)
{
    struct cn_filter filter;
    struct cn_uuid *branch = cn_arena_alloc(request->arena, sizeof(*branch));
    if (branch == NULL) {
        return cn_fail(err, CN_NOMEM, "list referrals");
    }
    cn_filter_begin(&filter, request, "referrals");
    struct referral_filter found = {
        .reach = cn_reach_branches(request),
        .statuses = cn_filter_words(&filter, &ref__referral__status__descriptor,
                                    body->status, body->n_status),
        .patient_id = cn_filter_id(&filter, PATIENT_PREFIX, body->patient_id),
    };
    *branch = cn_filter_id(&filter, BRANCH_PREFIX, body->branch_id);
    if (body->branch_id != NULL) {
        /* A branch out of reach has no rows for this reader. */
        found.reach =
            cn_uuids(branch, cn_reach_includes(request, *branch) ? 1 : 0);
    }
    if (body->n_status == 0) {
        found.statuses = s_all_statuses(request->arena);
    }
    *ret_filter = found;
    *ret_text = filter.text;
    return cn_filter_end(&filter, err);
}

static enum cn_code s_list_reply(const struct cn_request *request,
                                 struct cn_reply *reply,
                                 const struct cn_page *page,
                                 const struct referral_row *rows,
                                 size_t rows_read,
                                 struct cn_err *err)
{
    struct cn_arena *arena = request->arena;
    size_t count = cn_page_count(page, rows_read);
    Ref__ListReferralsResponse *list =
        CN_NEW(arena, ref__list_referrals_response, Ref__ListReferralsResponse);
    struct cn_uuid *patients =
        cn_arena_array(arena, count + 1, sizeof(*patients));
    if (list == NULL || patients == NULL) {
        return cn_fail(err, CN_NOMEM, "list referrals");
    }
    list->data = cn_arena_array(arena, count + 1, sizeof(void *));
    for (size_t i = 0; list->data != NULL && i < count; i++) {
        patients[i] = rows[i].patient_id;
        list->data[i] = referral_shown(arena, &rows[i]);
        if (list->data[i] == NULL) {
            return cn_fail(err, CN_NOMEM, "list referrals");
        }
    }
    if (list->data == NULL) {
        return cn_fail(err, CN_NOMEM, "list referrals");
    }
    list->n_data = count;
    CN_SET(list, has_more, rows_read > count);
    struct cn_cursor last = { 0 };
    if (count > 0) {
        last =
            (struct cn_cursor){ rows[count - 1].sort_at, rows[count - 1].id };
    }
    enum cn_code rc =
        cn_page_next(request, page, rows_read, last, &list->next_cursor, err);
    if (rc != CN_OK) {
        return rc;
    }
    reply->body = &list->base;
    return count == 0 ? CN_OK
                      : cn_audit_read(request, "referral.list", NULL, patients,
                                      count, err);
}

enum cn_code referrals_list(void *self,
                            const struct cn_request *request,
                            struct cn_reply *reply,
                            struct cn_err *err)
{
    (void)self;
    const Ref__ListReferralsRequest *body = request->body;
    const struct cn_store store = cn_store_of_request(request);
    struct referral_filter filter;
    struct referral_row *rows = NULL;
    struct cn_page page;
    size_t count = 0;
    const char *text = NULL;
    enum cn_code rc = s_filter(request, body, &filter, &text, err);
    bool nothing = rc == CN_NOT_FOUND;
    if (rc == CN_OK || nothing) {
        cn_err_clear(err);
        rc = cn_page_open(request, text, body->has_limit, body->limit,
                          body->cursor, &page, err);
    }
    if (rc == CN_OK && !nothing) {
        rc = referrals_page(&store, &filter, page.after, page.limit + 1, &rows,
                            &count, err);
    }
    return rc == CN_OK ? s_list_reply(request, reply, &page, rows, count, err)
                       : rc;
}

/* ---- change ---- */

/* What a PATCH of a referral may not touch. */
static enum cn_code s_patch_check(const Ref__UpdateReferralRequest *body,
                                  const struct referral_row *row,
                                  struct cn_err *err)
{
    const char *const *mask = (const char *const *)body->update_mask;
    size_t count = body->n_update_mask;
    const char *patient_id =
        body->referral != NULL ? body->referral->patient_id : NULL;
    if (cn_mask_has(mask, count, "patient")) {
        return cn_fail_field(err, "/patient", "read_only_field",
                             "change the patient by PATCH /v1/patients/{id}");
    }
    if (cn_mask_has(mask, count, "patient_id") &&
        (patient_id == NULL ||
         strcmp(patient_id, row->referral->patient_id) != 0)) {
        return cn_fail_field(err, "/patient_id", "read_only_field",
                             "a referral stays with its patient");
    }
    return CN_OK;
}

/* A referral may move to another branch within reach. */
static enum cn_code s_patch_branch(const struct cn_request *request,
                                   struct referral_row *row,
                                   struct cn_err *err)
{
    const struct cn_store store = cn_store_of_request(request);
    const char *named = row->referral->branch_id;
    struct cn_uuid id;
    if (named == NULL) {
        return cn_fail_field(err, "/branch_id", "required",
                             "a referral belongs to a branch");
    }
    enum cn_code rc = branch_of(request, named, &id, err);
    if (rc != CN_OK || cn_uuid_equal(id, row->branch_id)) {
        return rc;
    }
    rc = branch_zone(&store, id, &row->zone, err);
    if (rc == CN_OK) {
        rc = branch_await(request, id, &row->zone, err);
    }
    if (rc == CN_OK) {
        row->branch_id = id;
    }
    return rc;
}

static enum cn_code s_patch(const struct cn_request *request,
                            const Ref__UpdateReferralRequest *body,
                            struct referral_row *row,
                            bool *ret_validated,
                            struct cn_err *err)
{
    const char *const *mask = (const char *const *)body->update_mask;
    size_t count = body->n_update_mask;
    const Ref__Referral empty = REF__REFERRAL__INIT;
    const Ref__Referral *patch =
        body->referral != NULL ? body->referral : &empty;
    Ref__Referral *referral = row->referral;
    const char *ordered = referral->ordered_soc_date;
    const struct cn_store store = cn_store_of_request(request);
    const struct cn_clock_rule *c01 = NULL;
    enum cn_code rc = cn_message_merge(request->arena, &referral->base,
                                       &patch->base, mask, count, err);
    if (rc == CN_OK && cn_mask_has(mask, count, "branch_id")) {
        rc = s_patch_branch(request, row, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    rc = soc_rule(&store, referral, row->patient.patient, &c01, err);
    if (rc != CN_OK) {
        return rc;
    }
    const char *now_ordered = referral->ordered_soc_date;
    if (now_ordered == NULL) {
        referral->has_ordered_soc_at = 0;
        referral->ordered_soc_at = 0;
    } else if (ordered == NULL || strcmp(ordered, now_ordered) != 0) {
        CN_SET(referral, ordered_soc_at, request->now_at);
    }
    return referral_settle(request->arena, referral, row->patient.patient,
                           row->zone, c01, request->now_at, ret_validated, err);
}

enum cn_code referral_update(void *self,
                             const struct cn_request *request,
                             struct cn_reply *reply,
                             struct cn_err *err)
{
    (void)self;
    const Ref__UpdateReferralRequest *body = request->body;
    struct referral_row row;
    enum cn_code rc = s_load(request, body->id, &row, err);
    if (rc == CN_OK) {
        rc = version_check(request, row.version, err);
    }
    if (rc == CN_OK) {
        rc = s_patch_check(body, &row, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    Ref__Referral *before =
        cn_message_copy(request->arena, &row.referral->base);
    bool validated = false;
    bool equal = false;
    if (before == NULL) {
        return cn_fail(err, CN_NOMEM, "update referral");
    }
    rc = s_patch(request, body, &row, &validated, err);
    if (rc == CN_OK) {
        rc = messages_equal(request->arena, &before->base, &row.referral->base,
                            &equal, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    if (equal) {
        return referral_answer(request, reply, &row, err);
    }
    const struct referral_save save = {
        .action = "referral.update",
        .events = { validated ? "referral.validated" : "referral.updated" },
    };
    return referral_save(request, reply, &row, &save, err);
}

/* ---- decide ---- */

/* Reads the referral and takes it through the command. *ret_validated: it
 * became valid on the way. */
static enum cn_code s_command(const struct cn_request *request,
                              const char *id,
                              enum referral_command command,
                              struct referral_row *row,
                              bool *ret_validated,
                              bool *ret_moved,
                              struct cn_err *err)
{
    const struct cn_store store = cn_store_of_request(request);
    const struct cn_clock_rule *c01 = NULL;
    struct referral_passage passage;
    enum cn_code rc = s_load(request, id, row, err);
    if (rc == CN_OK) {
        rc = version_check(request, row->version, err);
    }
    if (rc == CN_OK) {
        rc = soc_rule(&store, row->referral, row->patient.patient, &c01, err);
    }
    if (rc == CN_OK) {
        rc = referral_settle(request->arena, row->referral,
                             row->patient.patient, row->zone, c01,
                             request->now_at, ret_validated, err);
    }
    if (rc == CN_OK) {
        rc = referral_pass(row->referral, row->patient.patient, command,
                           &passage, err);
    }
    if (rc == CN_OK) {
        *ret_moved = passage.to != row->referral->status || *ret_validated;
        row->referral->status = passage.to;
    }
    return rc;
}

static enum cn_code s_decide(const struct cn_request *request,
                             Ref__Referral *referral,
                             Ref__Referral__Outcome outcome,
                             const char *reason_code,
                             const char *note,
                             struct cn_err *err)
{
    Ref__Referral__Decision *decision = CN_NEW(
        request->arena, ref__referral__decision, Ref__Referral__Decision);
    if (decision == NULL) {
        return cn_fail(err, CN_NOMEM, "decision");
    }
    CN_SET(decision, outcome, outcome);
    decision->reason_code = reason_code;
    decision->note = note;
    decision->decided_by = request->principal.subject;
    CN_SET(decision, decided_at, request->now_at);
    referral->decision = decision;
    return CN_OK;
}

enum cn_code referral_validate(void *self,
                               const struct cn_request *request,
                               struct cn_reply *reply,
                               struct cn_err *err)
{
    (void)self;
    const Ref__ValidateReferralRequest *body = request->body;
    struct referral_row row;
    bool validated = false;
    bool moved = false;
    enum cn_code rc = s_command(request, body->id, REFERRAL_VALIDATE, &row,
                                &validated, &moved, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (!moved) {
        return referral_answer(request, reply, &row, err);
    }
    const struct referral_save save = { .action = "referral.validate",
                                        .events = { "referral.validated" } };
    return referral_save(request, reply, &row, &save, err);
}

enum cn_code referral_accept(void *self,
                             const struct cn_request *request,
                             struct cn_reply *reply,
                             struct cn_err *err)
{
    (void)self;
    const Ref__AcceptReferralRequest *body = request->body;
    struct referral_row row;
    bool validated = false;
    bool moved = false;
    enum cn_code rc = s_command(request, body->id, REFERRAL_ACCEPT, &row,
                                &validated, &moved, err);
    if (rc == CN_OK) {
        rc = s_decide(request, row.referral, REF__REFERRAL__OUTCOME__ACCEPT,
                      NULL, body->note, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    struct referral_save save = { .action = "referral.accept",
                                  .events = { "referral.accepted" } };
    if (validated) {
        save.events[0] = "referral.validated";
        save.events[1] = "referral.accepted";
    }
    return referral_save(request, reply, &row, &save, err);
}

enum cn_code referral_decline(void *self,
                              const struct cn_request *request,
                              struct cn_reply *reply,
                              struct cn_err *err)
{
    (void)self;
    const Ref__DeclineReferralRequest *body = request->body;
    struct referral_row row;
    bool validated = false;
    bool moved = false;
    if (body->reason_code == NULL) {
        return cn_fail_field(err, "/reason_code", "required",
                             "a decline gives its reason");
    }
    if (!referral_reason_known(body->reason_code)) {
        return cn_fail_field(err, "/reason_code", "invalid_value",
                             "is no reason of the list");
    }
    enum cn_code rc = s_command(request, body->id, REFERRAL_DECLINE, &row,
                                &validated, &moved, err);
    if (rc == CN_OK) {
        rc = s_decide(request, row.referral, REF__REFERRAL__OUTCOME__DECLINE,
                      body->reason_code, body->note, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    const struct referral_save save = { .action = "referral.decline",
                                        .events = { "referral.declined" } };
    return referral_save(request, reply, &row, &save, err);
}
