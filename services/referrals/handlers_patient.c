/* SPDX-License-Identifier: Apache-2.0 */
/* Patients and their episodes. A change of a patient may complete their
 * referrals, which are then validated in the same unit. */
#include "cairn/referrals.handlers.h"
#include "common/store/audit.h"
#include "common/store/page.h"
#include "common/store/reach.h"
#include "common/wire/message.h"
#include "services/referrals/clock.h"
#include "services/referrals/rules.h"
#include "services/referrals/unit.h"

#include <string.h>

/* ---- create ---- */

static enum cn_code s_make(const struct cn_request *request,
                           const Ref__Patient *sent,
                           struct patient_row *row,
                           struct cn_err *err)
{
    struct cn_arena *arena = request->arena;
    row->id = cn_uuid_new(request->env);
    row->version = 1;
    row->event_seq = 1;
    row->patient = cn_message_copy(arena, &sent->base);
    if (row->patient == NULL) {
        return cn_fail(err, CN_NOMEM, "create patient");
    }
    row->patient->id = cn_id_text(arena, PATIENT_PREFIX, row->id);
    row->patient->branch_id = cn_id_text(arena, BRANCH_PREFIX, row->branch_id);
    if (row->patient->id == NULL || row->patient->branch_id == NULL) {
        return cn_fail(err, CN_NOMEM, "create patient");
    }
    CN_SET(row->patient, version, 1);
    CN_SET(row->patient, created_at, request->now_at);
    CN_SET(row->patient, updated_at, request->now_at);
    return CN_OK;
}

static void s_fill(struct cn_reply *reply, const struct patient_row *row)
{
    reply->body = &row->patient->base;
    reply->version = row->patient->version;
    reply->updated_at = row->patient->updated_at;
}

enum cn_code patient_create(void *self,
                            const struct cn_request *request,
                            struct cn_reply *reply,
                            struct cn_err *err)
{
    (void)self;
    const Ref__CreatePatientRequest *body = request->body;
    const struct cn_store store = cn_store_of_request(request);
    struct patient_row row = { 0 };
    if (body->patient == NULL) {
        return cn_fail_field(err, "", "required", "a patient is needed");
    }
    enum cn_code rc =
        branch_of(request, body->patient->branch_id, &row.branch_id, err);
    if (rc == CN_OK) {
        rc = branch_zone(&store, row.branch_id, &row.zone, err);
    }
    if (rc == CN_OK) {
        rc = branch_await(request, row.branch_id, &row.zone, err);
    }
    if (rc == CN_OK) {
        rc = s_make(request, body->patient, &row, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    struct cn_write *write = cn_write_begin(request, reply);
    reply->location = patient_path(request->arena, row.id);
    if (write == NULL || reply->location == NULL) {
        return cn_fail(err, CN_NOMEM, "create patient");
    }
    s_fill(reply, &row);
    cn_write_lock(write, "patient", row.id);
    rc = patient_add(&store, write, &row, NULL, err);
    if (rc == CN_OK) {
        rc = patient_tell(&store, write, &row, "patient.created", 1, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    cn_write_audit(write, "patient.create", row.patient->id, row.id);
    rc = cn_write_commit(write, err);
    if (rc == CN_CONFLICT && strcmp(err->word, "patient_identifier_key") == 0) {
        return patient_duplicate(request, &row, err);
    }
    return rc;
}

/* ---- read ---- */

static enum cn_code s_load(const struct cn_request *request,
                           const char *text,
                           struct patient_row *ret_row,
                           struct cn_err *err)
{
    const struct cn_store store = cn_store_of_request(request);
    struct cn_uuid id;
    if (!cn_id_parse(PATIENT_PREFIX, text, &id)) {
        return cn_fail(err, CN_NOT_FOUND, "no such patient");
    }
    return patient_load(&store, id, cn_reach_branches(request), ret_row, err);
}

static enum cn_code s_answer(const struct cn_request *request,
                             struct cn_reply *reply,
                             const struct patient_row *row,
                             struct cn_err *err)
{
    s_fill(reply, row);
    return cn_audit_read(request, "patient.read", row->patient->id, &row->id, 1,
                         err);
}

enum cn_code patient_get(void *self,
                         const struct cn_request *request,
                         struct cn_reply *reply,
                         struct cn_err *err)
{
    (void)self;
    const Ref__GetPatientRequest *body = request->body;
    struct patient_row row;
    enum cn_code rc = s_load(request, body->id, &row, err);
    return rc == CN_OK ? s_answer(request, reply, &row, err) : rc;
}

static enum cn_code s_list_reply(const struct cn_request *request,
                                 struct cn_reply *reply,
                                 const struct cn_page *page,
                                 const struct patient_row *rows,
                                 size_t rows_read,
                                 struct cn_err *err)
{
    struct cn_arena *arena = request->arena;
    size_t count = cn_page_count(page, rows_read);
    Ref__ListPatientsResponse *list =
        CN_NEW(arena, ref__list_patients_response, Ref__ListPatientsResponse);
    struct cn_uuid *patients =
        cn_arena_array(arena, count + 1, sizeof(*patients));
    Ref__Patient **data = cn_arena_array(arena, count + 1, sizeof(void *));
    if (list == NULL || patients == NULL || data == NULL) {
        return cn_fail(err, CN_NOMEM, "list patients");
    }
    for (size_t i = 0; i < count; i++) {
        patients[i] = rows[i].id;
        data[i] = rows[i].patient;
    }
    list->data = data;
    list->n_data = count;
    CN_SET(list, has_more, rows_read > count);
    struct cn_cursor last = { 0 };
    if (count > 0) {
        last.id = rows[count - 1].id;
    }
    enum cn_code rc =
        cn_page_next(request, page, rows_read, last, &list->next_cursor, err);
    if (rc != CN_OK) {
        return rc;
    }
    reply->body = &list->base;
    return count == 0 ? CN_OK
                      : cn_audit_read(request, "patient.list", NULL, patients,
                                      count, err);
}

enum cn_code patients_list(void *self,
                           const struct cn_request *request,
                           struct cn_reply *reply,
                           struct cn_err *err)
{
    (void)self;
    const Ref__ListPatientsRequest *body = request->body;
    const struct cn_store store = cn_store_of_request(request);
    const char *family = name_norm(request->arena, body->family);
    const char *filters =
        family != NULL
            ? cn_arena_printf(request->arena, "patients family=%s", family)
            : NULL;
    struct cn_page page;
    if (filters == NULL) {
        return cn_fail(err, CN_NOMEM, "list patients");
    }
    enum cn_code rc = cn_page_open(request, filters, body->has_limit,
                                   body->limit, body->cursor, &page, err);
    if (rc != CN_OK) {
        return rc;
    }
    struct patient_row *rows = NULL;
    size_t count = 0;
    rc = patients_page(&store, cn_reach_branches(request), family,
                       page.after.id, page.limit + 1, &rows, &count, err);
    return rc == CN_OK ? s_list_reply(request, reply, &page, rows, count, err)
                       : rc;
}

/* ---- change ---- */

/* An open referral of the patient, as the change leaves it. */
struct follower {
    struct referral_row row;
    bool changed;
    bool validated;
    struct cn_deadline deadline;
};

static enum cn_code s_follow(const struct cn_request *request,
                             const struct patient_row *patient,
                             struct follower *follower,
                             struct cn_err *err)
{
    const struct cn_store store = cn_store_of_request(request);
    const struct cn_clock_rule *c01 = NULL;
    struct referral_row *row = &follower->row;
    Ref__Referral *before =
        cn_message_copy(request->arena, &row->referral->base);
    bool equal = true;
    if (before == NULL) {
        return cn_fail(err, CN_NOMEM, "update patient");
    }
    row->patient = *patient;
    enum cn_code rc =
        soc_rule(&store, row->referral, patient->patient, &c01, err);
    if (rc == CN_OK) {
        rc = referral_settle(request->arena, row->referral, patient->patient,
                             row->zone, c01, request->now_at,
                             &follower->validated, err);
    }
    if (rc == CN_OK) {
        rc = messages_equal(request->arena, &before->base, &row->referral->base,
                            &equal, err);
    }
    follower->changed = !equal;
    if (rc == CN_OK && !equal) {
        CN_SET(row->referral, version, row->version + 1);
        CN_SET(row->referral, updated_at, request->now_at);
        rc = soc_deadline(&store, row, false, &follower->deadline, err);
    }
    return rc;
}

static enum cn_code s_followers(const struct cn_request *request,
                                const struct patient_row *patient,
                                struct follower **ret_followers,
                                struct referral_row **ret_rows,
                                size_t *ret_count,
                                struct cn_err *err)
{
    const struct cn_store store = cn_store_of_request(request);
    struct referral_row *rows = NULL;
    size_t count = 0;
    enum cn_code rc = referrals_open(&store, patient->id, &rows, &count, err);
    if (rc != CN_OK) {
        return rc;
    }
    struct follower *followers =
        cn_arena_array(request->arena, count + 1, sizeof(*followers));
    if (followers == NULL) {
        return cn_fail(err, CN_NOMEM, "update patient");
    }
    for (size_t i = 0; rc == CN_OK && i < count; i++) {
        followers[i].row = rows[i];
        rc = s_follow(request, patient, &followers[i], err);
    }
    if (rc == CN_OK) {
        *ret_followers = followers;
        *ret_rows = rows;
        *ret_count = count;
    }
    return rc;
}

static enum cn_code s_save(const struct cn_request *request,
                           struct cn_reply *reply,
                           const struct patient_row *row,
                           bool identifiers,
                           struct cn_err *err)
{
    const struct cn_store store = cn_store_of_request(request);
    struct follower *followers = NULL;
    struct referral_row *rows = NULL;
    size_t count = 0;
    enum cn_code rc = s_followers(request, row, &followers, &rows, &count, err);
    struct cn_write *write = cn_write_begin(request, reply);
    if (rc != CN_OK) {
        return rc;
    }
    if (write == NULL) {
        return cn_fail(err, CN_NOMEM, "update patient");
    }
    cn_write_lock(write, "patient", row->id);
    for (size_t i = 0; i < count; i++) {
        if (followers[i].changed) {
            cn_write_lock(write, "referral", followers[i].row.id);
        }
    }
    rc = patient_change(&store, write, row, 1, identifiers, err);
    if (rc == CN_OK) {
        rc = referrals_require(&store, write, row->id, rows, count, err);
    }
    for (size_t i = 0; rc == CN_OK && i < count; i++) {
        if (followers[i].changed) {
            rc = referral_change(&store, write, &followers[i].row, 1, err);
        }
        if (rc == CN_OK) {
            rc = cn_deadline_change(&store, write, &followers[i].deadline, err);
        }
    }
    if (rc == CN_OK) {
        rc = patient_tell(&store, write, row, "patient.updated",
                          row->event_seq + 1, err);
    }
    for (size_t i = 0; rc == CN_OK && i < count; i++) {
        if (followers[i].changed) {
            rc = referral_tell(&store, write, &followers[i].row,
                               followers[i].validated ? "referral.validated"
                                                      : "referral.updated",
                               followers[i].row.event_seq + 1, err);
        }
        if (rc == CN_OK) {
            rc = cn_deadline_tell(&store, write, &followers[i].deadline, err);
        }
    }
    if (rc != CN_OK) {
        return rc;
    }
    s_fill(reply, row);
    cn_write_audit(write, "patient.update", row->patient->id, row->id);
    rc = cn_write_commit(write, err);
    if (rc == CN_CONFLICT && strcmp(err->word, "patient_identifier_key") == 0) {
        return patient_duplicate(request, row, err);
    }
    return rc;
}

static enum cn_code s_patch_branch(const struct cn_request *request,
                                   struct patient_row *row,
                                   struct cn_err *err)
{
    const struct cn_store store = cn_store_of_request(request);
    struct cn_uuid id;
    if (row->patient->branch_id == NULL) {
        return cn_fail_field(err, "/branch_id", "required",
                             "a patient belongs to a branch");
    }
    enum cn_code rc = branch_of(request, row->patient->branch_id, &id, err);
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

enum cn_code patient_update(void *self,
                            const struct cn_request *request,
                            struct cn_reply *reply,
                            struct cn_err *err)
{
    (void)self;
    const Ref__UpdatePatientRequest *body = request->body;
    const char *const *mask = (const char *const *)body->update_mask;
    const Ref__Patient empty = REF__PATIENT__INIT;
    const Ref__Patient *patch = body->patient != NULL ? body->patient : &empty;
    struct patient_row row;
    enum cn_code rc = s_load(request, body->id, &row, err);
    if (rc == CN_OK) {
        rc = version_check(request, row.version, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    Ref__Patient *before = cn_message_copy(request->arena, &row.patient->base);
    bool equal = false;
    if (before == NULL) {
        return cn_fail(err, CN_NOMEM, "update patient");
    }
    rc = cn_message_merge(request->arena, &row.patient->base, &patch->base,
                          mask, body->n_update_mask, err);
    if (rc == CN_OK && cn_mask_has(mask, body->n_update_mask, "branch_id")) {
        rc = s_patch_branch(request, &row, err);
    }
    if (rc == CN_OK) {
        rc = messages_equal(request->arena, &before->base, &row.patient->base,
                            &equal, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    if (equal) {
        return s_answer(request, reply, &row, err);
    }
    CN_SET(row.patient, version, row.version + 1);
    CN_SET(row.patient, updated_at, request->now_at);
    return s_save(request, reply, &row,
                  cn_mask_has(mask, body->n_update_mask, "identifiers"), err);
}

/* ---- episodes ---- */

static enum cn_code s_episodes_reply(const struct cn_request *request,
                                     struct cn_reply *reply,
                                     const struct cn_page *page,
                                     const struct episode_row *rows,
                                     size_t count,
                                     struct cn_err *err)
{
    struct cn_page_row *shown =
        cn_arena_array(request->arena, count + 1, sizeof(*shown));
    if (shown == NULL) {
        return cn_fail(err, CN_NOMEM, "list episodes");
    }
    for (size_t i = 0; i < count; i++) {
        shown[i] = (struct cn_page_row){
            .shown = &rows[i].episode->base,
            .patient_id = rows[i].patient_id,
            .place = { rows[i].created_at, rows[i].id },
        };
    }
    return cn_page_answer(request, reply, page, shown, count, "episode.list",
                          NULL, err);
}

enum cn_code episodes_list(void *self,
                           const struct cn_request *request,
                           struct cn_reply *reply,
                           struct cn_err *err)
{
    (void)self;
    const Ref__ListEpisodesRequest *body = request->body;
    const struct cn_store store = cn_store_of_request(request);
    struct episode_row *rows = NULL;
    struct cn_filter filter;
    struct cn_page page;
    size_t count = 0;
    cn_filter_begin(&filter, request, "episodes");
    struct cn_uuid patient_id =
        cn_filter_id(&filter, PATIENT_PREFIX, body->patient_id);
    enum cn_code rc = cn_filter_end(&filter, err);
    bool nothing = rc == CN_NOT_FOUND;
    if (rc == CN_OK || nothing) {
        cn_err_clear(err);
        rc = cn_page_open(request, filter.text, body->has_limit, body->limit,
                          body->cursor, &page, err);
    }
    if (rc == CN_OK && !nothing) {
        rc = episodes_page(&store, cn_reach_branches(request), patient_id,
                           page.after, page.limit + 1, &rows, &count, err);
    }
    return rc == CN_OK
               ? s_episodes_reply(request, reply, &page, rows, count, err)
               : rc;
}
