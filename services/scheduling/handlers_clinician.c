/* SPDX-License-Identifier: Apache-2.0 */
/* Clinicians: who can make visits, where and when. */
#include "cairn/scheduling.handlers.h"
#include "common/store/reach.h"
#include "common/wire/json.h"
#include "common/wire/message.h"
#include "services/scheduling/rules.h"
#include "services/scheduling/store.h"

#include <string.h>

static const struct cn_uuid NO_PATIENT;

/* Reads a clinician within the caller's reach. */
static enum cn_code s_clinician_in_reach(const struct cn_request *request,
                                         const char *text_id,
                                         struct clinician_row *ret_row,
                                         struct cn_err *err)
{
    struct cn_store store = cn_store_of_request(request);
    struct cn_uuid id;
    struct clinician_row row;
    if (!cn_id_parse("cln", text_id, &id)) {
        return cn_fail(err, CN_NOT_FOUND, "no such clinician");
    }
    enum cn_code rc = clinician_store_get(&store, id, &row, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (!cn_reach_includes(request, row.branch_id)) {
        return cn_fail(err, CN_NOT_FOUND, "no such clinician");
    }
    *ret_row = row;
    return CN_OK;
}

static void s_clinician_answer(const Sch__Clinician *clinician,
                               struct cn_reply *reply)
{
    reply->body = &clinician->base;
    reply->version = clinician->version;
    reply->updated_at = clinician->updated_at;
}

/* The branch that the clinician names, else the caller's own. A caller who sees
 * some branches alone makes nothing that they could not see. */
static enum cn_code s_clinician_branch(const struct cn_request *request,
                                       Sch__Clinician *clinician,
                                       struct cn_uuid *ret_branch_id,
                                       struct cn_err *err)
{
    struct cn_uuid branch_id = request->principal.branch_id;
    if (clinician->branch_id == NULL && !cn_uuid_is_nil(branch_id)) {
        clinician->branch_id = cn_id_text(request->arena, "brn", branch_id);
    }
    if (clinician->branch_id != NULL &&
        !cn_id_parse("brn", clinician->branch_id, &branch_id)) {
        return cn_fail_field(err, "/branch_id", "invalid_value",
                             "is not the id of a branch");
    }
    if (!cn_reach_includes(request, branch_id)) {
        return cn_fail_field(err, "/branch_id", "unknown_branch",
                             "is no branch of yours");
    }
    *ret_branch_id = branch_id;
    return CN_OK;
}

/* Adds the event, the audit row, and commits. */
static enum cn_code s_clinician_commit(const struct cn_request *request,
                                       struct cn_write *write,
                                       struct cn_reply *reply,
                                       const struct clinician_row *row,
                                       const char *action,
                                       int64_t event_seq,
                                       struct cn_err *err)
{
    Sch__ClinicianEvent *event =
        CN_NEW(request->arena, sch__clinician_event, Sch__ClinicianEvent);
    if (event == NULL) {
        return cn_fail(err, CN_NOMEM, "%s", action);
    }
    event->clinician = row->clinician;
    s_clinician_answer(row->clinician, reply);
    cn_write_event(write, "clinician.updated", "clinician", row->id, event_seq,
                   &event->base);
    cn_write_audit(write, action, row->clinician->id, NO_PATIENT);
    return cn_write_commit(write, err);
}

enum cn_code clinician_create(void *self,
                              const struct cn_request *request,
                              struct cn_reply *reply,
                              struct cn_err *err)
{
    (void)self;
    const Sch__CreateClinicianRequest *body = request->body;
    struct cn_store store = cn_store_of_request(request);
    enum cn_code rc = clinician_check(body->clinician, err);
    if (rc != CN_OK) {
        return rc;
    }
    struct clinician_row row = {
        .id = cn_uuid_new(request->env),
        .clinician = cn_message_copy(request->arena, &body->clinician->base),
    };
    struct cn_write *write = cn_write_begin(request, reply);
    if (row.clinician == NULL || write == NULL) {
        return cn_fail(err, CN_NOMEM, "create clinician");
    }
    rc = s_clinician_branch(request, row.clinician, &row.branch_id, err);
    if (rc != CN_OK) {
        return rc;
    }
    row.clinician->id = cn_id_text(request->arena, "cln", row.id);
    CN_SET(row.clinician, version, 1);
    CN_SET(row.clinician, created_at, request->now_at);
    CN_SET(row.clinician, updated_at, request->now_at);
    reply->location =
        cn_arena_printf(request->arena, "/v1/clinicians/%s", row.clinician->id);
    cn_write_lock(write, "clinician", row.id);
    rc = clinician_store_insert(&store, write, &row, err);
    return rc == CN_OK ? s_clinician_commit(request, write, reply, &row,
                                            "clinician.create", 1, err)
                       : rc;
}

enum cn_code clinician_get(void *self,
                           const struct cn_request *request,
                           struct cn_reply *reply,
                           struct cn_err *err)
{
    (void)self;
    const Sch__GetClinicianRequest *body = request->body;
    struct clinician_row row;
    enum cn_code rc = s_clinician_in_reach(request, body->id, &row, err);
    if (rc == CN_OK) {
        s_clinician_answer(row.clinician, reply);
    }
    return rc;
}

enum cn_code clinician_update(void *self,
                              const struct cn_request *request,
                              struct cn_reply *reply,
                              struct cn_err *err)
{
    (void)self;
    const Sch__UpdateClinicianRequest *body = request->body;
    struct cn_store store = cn_store_of_request(request);
    struct clinician_row row;
    enum cn_code rc = s_clinician_in_reach(request, body->id, &row, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (request->has_expected_version &&
        request->expected_version != row.version) {
        return cn_fail_stale(err, "clinician", row.version);
    }
    if (body->clinician != NULL) {
        rc = cn_message_merge(request->arena, &row.clinician->base,
                              &body->clinician->base, body->update_mask,
                              body->n_update_mask, err);
    }
    if (rc == CN_OK) {
        rc = clinician_check(row.clinician, err);
    }
    if (rc == CN_OK) {
        rc = s_clinician_branch(request, row.clinician, &row.branch_id, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    struct cn_write *write = cn_write_begin(request, reply);
    if (write == NULL) {
        return cn_fail(err, CN_NOMEM, "update clinician");
    }
    CN_SET(row.clinician, version, row.version + 1);
    CN_SET(row.clinician, updated_at, request->now_at);
    cn_write_lock(write, "clinician", row.id);
    rc = clinician_store_update(&store, write, &row, err);
    return rc == CN_OK
               ? s_clinician_commit(request, write, reply, &row,
                                    "clinician.update", row.event_seq + 1, err)
               : rc;
}

enum cn_code clinicians_list(void *self,
                             const struct cn_request *request,
                             struct cn_reply *reply,
                             struct cn_err *err)
{
    (void)self;
    const Sch__ListCliniciansRequest *body = request->body;
    Sch__ListCliniciansResponse *response =
        CN_NEW(request->arena, sch__list_clinicians_response,
               Sch__ListCliniciansResponse);
    if (response == NULL) {
        return cn_fail(err, CN_NOMEM, "list clinicians");
    }
    struct cn_filter filter;
    cn_filter_begin(&filter, request, "clinicians");
    struct cn_param disciplines =
        cn_filter_words(&filter, &sch__clinician__discipline__descriptor,
                        body->discipline, body->n_discipline);
    struct cn_page page;
    struct clinician_row *rows = NULL;
    size_t count = 0;
    enum cn_code rc = cn_filter_end(&filter, err);
    if (rc == CN_OK) {
        rc = cn_page_open(request, filter.text, body->has_limit, body->limit,
                          body->cursor, &page, err);
    }
    if (rc == CN_OK) {
        rc = clinicians_page(request, disciplines, &page, &rows, &count, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    response->n_data = cn_page_count(&page, count);
    response->data = cn_arena_array(request->arena, response->n_data + 1,
                                    sizeof(Sch__Clinician *));
    if (response->data == NULL) {
        return cn_fail(err, CN_NOMEM, "list clinicians");
    }
    struct cn_cursor last = { .key = 0 };
    for (size_t i = 0; i < response->n_data; i++) {
        response->data[i] = rows[i].clinician;
        last = (struct cn_cursor){ rows[i].clinician->created_at, rows[i].id };
    }
    reply->body = &response->base;
    rc = cn_page_next(request, &page, count, last, &response->next_cursor, err);
    CN_SET(response, has_more, response->next_cursor != NULL);
    return rc;
}
