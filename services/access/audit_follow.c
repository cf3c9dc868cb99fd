/* SPDX-License-Identifier: Apache-2.0 */
/* One fiber for each service that is followed: fetch, check, copy. */
#include "services/access/audit_follow.h"

#include "common/audit/audit_chain.h"
#include "common/audit/audit_seal.h"
#include "common/audit/audit_sealed.h"
#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/bus/bus.h"
#include "common/db/db.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"
#include "common/loop/metrics.h"
#include "common/wire/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ARENA_MAX = 16 << 20,
    BUDGET_US = 5000000,
    IDLE_US = 1000000, /* while it is another replica's to do, or in trouble */
    NAME_MAX_SIZE = 64,
    LABELS_MAX = 100,
    HASH_TEXT_SIZE = 2 * CN_SHA256_SIZE + 1,
    UNIT_STEPS = 5,
    TELL_AFTER = 10
};

CN_SQL_RELAY(SQL_AUDIT_PLACE,
             "WITH made AS (INSERT INTO access.audit_follow (service, seq)"
             " VALUES ($1, 0) ON CONFLICT (service) DO NOTHING RETURNING seq)"
             " SELECT m.seq FROM made m UNION ALL"
             " SELECT f.seq FROM access.audit_follow f WHERE f.service = $1"
             " LIMIT 1");

CN_SQL_RELAY(SQL_AUDIT_CHAINS,
             "SELECT t.tenant_id, c.n, c.hash"
             " FROM unnest($2::uuid[]) AS t (tenant_id)"
             " LEFT JOIN access.audit_chain c"
             " ON c.tenant_id = t.tenant_id AND c.service = $1");

CN_SQL_RELAY(SQL_AUDIT_MOVE,
             "WITH moved AS (UPDATE access.audit_follow f SET seq = $3"
             " WHERE f.service = $1 AND f.seq = $2 RETURNING 1)"
             " SELECT access.require(EXISTS (SELECT 1 FROM moved),"
             " 'audit_follow_moved')");

/* What was copied first stays: it is the witness. */
CN_SQL_RELAY(SQL_AUDIT_ENTRIES,
             "INSERT INTO access.audit_entry (tenant_id, service, n, hash, id,"
             " at, actor, role, action, resource, patients, request_id)"
             " SELECT r.tenant_id, $1, r.n::bigint, substring($2::bytea FROM"
             " (32 * (r.place - 1) + 1)::int FOR 32), r.id, r.at::timestamptz,"
             " r.actor, r.role, r.action, NULLIF(r.resource, ''),"
             " r.patients::uuid[], NULLIF(r.request_id, '')"
             " FROM unnest($3::uuid[], $4::text[], $5::uuid[], $6::text[],"
             " $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],"
             " $12::text[]) WITH ORDINALITY AS r (tenant_id, n, id, at, actor,"
             " role, action, resource, patients, request_id, place)"
             " ON CONFLICT DO NOTHING");
CN_SQL_RELAY(SQL_AUDIT_PATIENTS,
             "INSERT INTO access.audit_patient"
             " (tenant_id, patient_id, at, id, service, n)"
             " SELECT r.tenant_id, p.id, r.at::timestamptz, r.id, $1,"
             " r.n::bigint FROM unnest($2::uuid[], $3::text[], $4::uuid[],"
             " $5::text[], $6::text[]) AS r (tenant_id, n, id, at, patients)"
             " CROSS JOIN LATERAL unnest(r.patients::uuid[]) AS p (id)"
             " WHERE p.id IS NOT NULL ON CONFLICT DO NOTHING");

CN_SQL_RELAY(SQL_AUDIT_CHAIN_PUT,
             "INSERT INTO access.audit_chain AS c (tenant_id, service, n, hash)"
             " SELECT r.tenant_id, $1, r.n::bigint, decode(r.hash, 'hex')"
             " FROM unnest($2::uuid[], $3::text[], $4::text[])"
             " AS r (tenant_id, n, hash)"
             " ON CONFLICT (tenant_id, service)"
             " DO UPDATE SET n = EXCLUDED.n, hash = EXCLUDED.hash");

CN_SQL_RELAY(SQL_AUDIT_BREAKS,
             "INSERT INTO access.audit_break (tenant_id, service, n, found_at)"
             " SELECT r.tenant_id, $1, r.n::bigint, $4"
             " FROM unnest($2::uuid[], $3::text[]) AS r (tenant_id, n)"
             " ON CONFLICT DO NOTHING");

CN_SQL_RELAY(SQL_AUDIT_BREAK_COUNT,
             "SELECT count(*) FROM access.audit_break b WHERE b.service = $1");

/* ---- one page ---- */

static const struct cn_metric COPIED = { "cairn_audit_copied_total",
                                         "Sealed audit rows that were copied.",
                                         CN_METRIC_COUNTER };
static const struct cn_metric BREAKS = {
    "cairn_audit_breaks",
    "Places at which the audit of a service does not continue what was "
    "copied before: run cairn-audit verify.",
    CN_METRIC_GAUGE
};

/* The end of a tenant's chain while a page is checked. */
struct chain {
    struct cn_uuid tenant_id;
    int64_t n;
    uint8_t hash[CN_SHA256_SIZE];
};

struct breakage {
    struct cn_uuid tenant_id;
    int64_t n;
};

struct copy {
    struct cn_env *env;
    struct cn_arena *arena;
    const char *service;
    const Aud__FetchSealedResponse *page;
    struct cn_audit_entry *entries;
    struct chain *chains;
    size_t chain_count;
    struct breakage *breaks;
    size_t break_count;
};

static bool s_uuid_of(const ProtobufCBinaryData *data, struct cn_uuid *ret_id)
{
    if (data->len != sizeof(ret_id->bytes)) {
        return false;
    }
    memcpy(ret_id->bytes, data->data, sizeof(ret_id->bytes));
    return true;
}

static bool s_entry_of(const Aud__Sealed *sealed, struct cn_audit_entry *entry)
{
    *entry = (struct cn_audit_entry){
        .n = sealed->n,
        .seq = sealed->seq,
        .form = sealed->form,
        .has_row = sealed->has_row && sealed->actor != NULL &&
                   sealed->role != NULL && sealed->action != NULL &&
                   sealed->patients != NULL,
        .at = sealed->at,
        .actor = sealed->actor,
        .role = sealed->role,
        .action = sealed->action,
        .resource = sealed->resource,
        .patients = sealed->patients,
        .request_id = sealed->request_id,
        .epoch = sealed->epoch,
        .xid = (int64_t)sealed->xid,
    };
    if (sealed->hash.len != sizeof(entry->hash)) {
        return false;
    }
    memcpy(entry->hash, sealed->hash.data, sizeof(entry->hash));
    return s_uuid_of(&sealed->tenant_id, &entry->tenant_id) &&
           s_uuid_of(&sealed->id, &entry->id);
}

/* The tenant's chain, added to the list if it is not there. The search is
 * linear: a page is of few tenants. */
static struct chain *s_copy_chain(struct copy *self, struct cn_uuid tenant_id)
{
    size_t i = 0;
    while (i < self->chain_count &&
           !cn_uuid_equal(self->chains[i].tenant_id, tenant_id)) {
        i++;
    }
    if (i == self->chain_count) {
        struct chain *chain = &self->chains[self->chain_count++];
        *chain = (struct chain){ .tenant_id = tenant_id };
        cn_audit_chain_begin(self->service, tenant_id, chain->hash);
    }
    return &self->chains[i];
}

static enum cn_code s_copy_prepare(struct copy *self, struct cn_err *err)
{
    size_t count = self->page->n_sealed;
    self->entries =
        cn_arena_array(self->arena, count + 1, sizeof(*self->entries));
    self->chains =
        cn_arena_array(self->arena, count + 1, sizeof(*self->chains));
    self->breaks =
        cn_arena_array(self->arena, count + 1, sizeof(*self->breaks));
    for (size_t i = 0; i < count; i++) {
        if (!s_entry_of(self->page->sealed[i], &self->entries[i])) {
            return cn_fail(err, CN_MALFORMED,
                           "a sealed row has an id or hash of another size");
        }
        (void)s_copy_chain(self, self->entries[i].tenant_id);
    }
    return CN_OK;
}

/* Where the chains of the page's tenants ended when they were last copied. */
static enum cn_code s_copy_chains_load(struct copy *self, struct cn_err *err)
{
    struct cn_uuid *tenants =
        cn_arena_array(self->arena, self->chain_count + 1, sizeof(*tenants));
    const struct cn_rows *rows = NULL;
    for (size_t i = 0; i < self->chain_count; i++) {
        tenants[i] = self->chains[i].tenant_id;
    }
    const struct cn_param params[] = { cn_text(self->service),
                                       cn_uuids(tenants, self->chain_count) };
    enum cn_code rc = cn_db_read_all(self->env->db, self->arena,
                                     &SQL_AUDIT_CHAINS, params, 2, &rows, err);
    for (size_t i = 0; rc == CN_OK && i < cn_rows_count(rows); i++) {
        struct chain *chain = s_copy_chain(self, cn_row_uuid(rows, i, 0));
        struct cn_bytes hash = cn_row_bytes(rows, i, 2);
        if (hash.size == sizeof(chain->hash)) {
            chain->n = cn_row_int(rows, i, 1);
            memcpy(chain->hash, hash.data, sizeof(chain->hash));
        }
    }
    return rc;
}

/* Each entry must continue the chain after the one before it. Where it does
 * not, that is noted as a break, and the chain is followed from there. */
static void s_copy_check(struct copy *self)
{
    for (size_t i = 0; i < self->page->n_sealed; i++) {
        const struct cn_audit_entry *entry = &self->entries[i];
        struct chain *chain = s_copy_chain(self, entry->tenant_id);
        uint8_t hash[CN_SHA256_SIZE];
        bool right = entry->n == chain->n + 1 &&
                     cn_audit_chain_next(chain->hash, entry, hash) &&
                     memcmp(hash, entry->hash, sizeof(hash)) == 0;
        if (!right) {
            self->breaks[self->break_count++] =
                (struct breakage){ entry->tenant_id, entry->n };
        }
        chain->n = entry->n;
        memcpy(chain->hash, entry->hash, sizeof(chain->hash));
    }
}

/* Where the next page begins. A log with fewer rows than were copied has lost
 * rows: it was cut, or an older state of the database was restored. */
static int64_t s_place_after(struct copy *self, int64_t from)
{
    size_t count = self->page->n_sealed;
    if (count > 0) {
        return self->entries[count - 1].seq;
    }
    if (self->page->last_seq < from) {
        cn_log(CN_LOG_ERROR,
               "audit of %s: %lld rows were copied, and it has only %lld: run "
               "cairn-audit verify",
               self->service, (long long)from, (long long)self->page->last_seq);
        self->breaks[self->break_count++] =
            (struct breakage){ .n = self->page->last_seq + 1 };
        return self->page->last_seq;
    }
    return from;
}

/* Columns of the rows of a page, as lists. */
struct columns {
    size_t count;
    struct cn_uuid *tenants;
    struct cn_uuid *ids;
    uint8_t *hashes;
    const char **places;
    const char **ats;
    const char **actors;
    const char **roles;
    const char **actions;
    const char **resources;
    const char **patients;
    const char **request_ids;
};

static void s_columns_new(struct copy *self, struct columns *columns)
{
    size_t count = self->page->n_sealed + 1;
    const char ***texts[] = { &columns->places,   &columns->ats,
                              &columns->actors,   &columns->roles,
                              &columns->actions,  &columns->resources,
                              &columns->patients, &columns->request_ids };
    for (size_t i = 0; i < CN_COUNT(texts); i++) {
        *texts[i] = cn_arena_array(self->arena, count, sizeof(const char *));
    }
    columns->tenants =
        cn_arena_array(self->arena, count, sizeof(*columns->tenants));
    columns->ids = cn_arena_array(self->arena, count, sizeof(*columns->ids));
    columns->hashes = cn_arena_array(self->arena, count, CN_SHA256_SIZE);
}

static void s_columns_fill(struct copy *self, struct columns *columns)
{
    for (size_t i = 0; i < self->page->n_sealed; i++) {
        const struct cn_audit_entry *entry = &self->entries[i];
        char at[CN_TIME_TEXT_MAX];
        size_t at_row = columns->count;
        if (!entry->has_row) {
            continue; /* Its audit row is gone: only the seal is left. */
        }
        cn_time_format(entry->at, at);
        columns->tenants[at_row] = entry->tenant_id;
        columns->ids[at_row] = entry->id;
        memcpy(columns->hashes + at_row * CN_SHA256_SIZE, entry->hash,
               CN_SHA256_SIZE);
        columns->places[at_row] =
            cn_arena_printf(self->arena, "%lld", (long long)entry->n);
        columns->ats[at_row] = cn_arena_strdup(self->arena, at);
        columns->actors[at_row] = entry->actor;
        columns->roles[at_row] = entry->role;
        columns->actions[at_row] = entry->action;
        columns->resources[at_row] =
            entry->resource == NULL ? "" : entry->resource;
        columns->patients[at_row] = entry->patients;
        columns->request_ids[at_row] =
            entry->request_id == NULL ? "" : entry->request_id;
        columns->count++;
    }
}

/* Parameters of SQL_AUDIT_CHAIN_PUT after the first. */
static void s_chain_params(struct copy *self, struct cn_param params[3])
{
    size_t count = self->chain_count;
    struct cn_uuid *tenants =
        cn_arena_array(self->arena, count + 1, sizeof(*tenants));
    const char **places =
        cn_arena_array(self->arena, count + 1, sizeof(*places));
    const char **hashes =
        cn_arena_array(self->arena, count + 1, sizeof(*hashes));
    for (size_t i = 0; i < count; i++) {
        char hash[HASH_TEXT_SIZE];
        cn_hex(self->chains[i].hash, CN_SHA256_SIZE, hash);
        tenants[i] = self->chains[i].tenant_id;
        places[i] =
            cn_arena_printf(self->arena, "%lld", (long long)self->chains[i].n);
        hashes[i] = cn_arena_strdup(self->arena, hash);
    }
    params[0] = cn_uuids(tenants, count);
    params[1] = cn_texts(places, count);
    params[2] = cn_texts(hashes, count);
}

/* Parameters of SQL_AUDIT_BREAKS after the first. */
static void s_break_params(struct copy *self, struct cn_param params[3])
{
    size_t count = self->break_count;
    struct cn_uuid *tenants =
        cn_arena_array(self->arena, count + 1, sizeof(*tenants));
    const char **places =
        cn_arena_array(self->arena, count + 1, sizeof(*places));
    for (size_t i = 0; i < count; i++) {
        tenants[i] = self->breaks[i].tenant_id;
        places[i] =
            cn_arena_printf(self->arena, "%lld", (long long)self->breaks[i].n);
    }
    params[0] = cn_uuids(tenants, count);
    params[1] = cn_texts(places, count);
    params[2] = cn_at(self->env->now(self->env));
}

static enum cn_code s_copy_unit(struct copy *self,
                                const struct cn_db_step *steps,
                                size_t count,
                                struct cn_err *err)
{
    struct cn_db_result result = { 0 };
    enum cn_code rc = cn_db_unit(self->env->db, CN_LANE_RELAY, self->arena,
                                 steps, count, &result, err);
    if (rc != CN_OK || result.outcome == CN_COMMITTED) {
        return rc;
    }
    if (strcmp(result.constraint, "audit_follow_moved") == 0) {
        return cn_fail(err, CN_CONFLICT, "another replica has copied it");
    }
    return cn_fail(err, CN_UNAVAILABLE, "copy the audit: SQLSTATE %s",
                   result.sqlstate);
}

static enum cn_code
s_copy_write(struct copy *self, int64_t from, int64_t to, struct cn_err *err)
{
    struct columns columns = { .count = 0 };
    const struct cn_param service = cn_text(self->service);
    const struct cn_param move[] = { service, cn_int(from), cn_int(to) };
    struct cn_param chains[4] = { service };
    struct cn_param breaks[4] = { service };
    s_columns_new(self, &columns);
    s_columns_fill(self, &columns);
    s_chain_params(self, &chains[1]);
    s_break_params(self, &breaks[1]);
    size_t n = columns.count;
    const struct cn_param entries[] = {
        service,
        cn_bytes(columns.hashes, n * CN_SHA256_SIZE),
        cn_uuids(columns.tenants, n),
        cn_texts(columns.places, n),
        cn_uuids(columns.ids, n),
        cn_texts(columns.ats, n),
        cn_texts(columns.actors, n),
        cn_texts(columns.roles, n),
        cn_texts(columns.actions, n),
        cn_texts(columns.resources, n),
        cn_texts(columns.patients, n),
        cn_texts(columns.request_ids, n),
    };
    const struct cn_param patients[] = {
        service,
        cn_uuids(columns.tenants, n),
        cn_texts(columns.places, n),
        cn_uuids(columns.ids, n),
        cn_texts(columns.ats, n),
        cn_texts(columns.patients, n),
    };
    struct cn_db_step steps[UNIT_STEPS] = { { &SQL_AUDIT_MOVE, move, 3 } };
    size_t count = 1;
    if (n > 0) {
        steps[count++] = (struct cn_db_step){ &SQL_AUDIT_ENTRIES, entries,
                                              CN_COUNT(entries) };
        steps[count++] = (struct cn_db_step){ &SQL_AUDIT_PATIENTS, patients,
                                              CN_COUNT(patients) };
    }
    if (self->chain_count > 0) {
        steps[count++] = (struct cn_db_step){ &SQL_AUDIT_CHAIN_PUT, chains, 4 };
    }
    if (self->break_count > 0) {
        steps[count++] = (struct cn_db_step){ &SQL_AUDIT_BREAKS, breaks, 4 };
    }
    return s_copy_unit(self, steps, count, err);
}

/* Called after the commit, so that of several replicas only the one that copied
 * the page logs its breaks. */
static void s_alarm(const struct copy *self)
{
    for (size_t i = 0; i < self->break_count; i++) {
        char tenant[CN_ID_TEXT_MAX];
        cn_id_format(CN_TENANT_PREFIX, self->breaks[i].tenant_id, tenant);
        cn_log(CN_LOG_ERROR,
               "audit of %s, tenant %s: row %lld does not continue the chain "
               "that was copied before: run cairn-audit verify",
               self->service, tenant, (long long)self->breaks[i].n);
    }
}

enum cn_code audit_follow_copy(struct cn_env *env,
                               const char *service,
                               int64_t from,
                               const Aud__FetchSealedResponse *page,
                               int64_t *ret_seq,
                               size_t *ret_breaks,
                               struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_MAX);
    struct copy copy = {
        .env = env, .arena = arena, .service = service, .page = page
    };
    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "copy the audit");
    }
    enum cn_code rc = s_copy_prepare(&copy, err);
    if (rc == CN_OK && page->n_sealed > 0) {
        rc = s_copy_chains_load(&copy, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    s_copy_check(&copy);
    int64_t to = s_place_after(&copy, from);
    if (to != from) {
        rc = s_copy_write(&copy, from, to, err);
    }
    if (rc == CN_OK) {
        s_alarm(&copy);
        *ret_seq = to;
        *ret_breaks = copy.break_count;
    }
    return rc;
}

/* The number that a statement reads of a service. */
static enum cn_code s_number_read(struct cn_env *env,
                                  const struct cn_statement *statement,
                                  const char *service,
                                  int64_t *ret_number,
                                  struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_MAX);
    const struct cn_param param = cn_text(service);
    const struct cn_rows *rows = NULL;
    enum cn_code rc =
        cn_db_read_all(env->db, arena, statement, &param, 1, &rows, err);
    if (rc == CN_OK && cn_rows_count(rows) == 0) {
        rc = cn_fail(err, CN_UNAVAILABLE, "another replica is making the row");
    }
    if (rc == CN_OK) {
        *ret_number = cn_row_int(rows, 0, 0);
    }
    return rc;
}

enum cn_code audit_follow_place(struct cn_env *env,
                                const char *service,
                                int64_t *ret_seq,
                                struct cn_err *err)
{
    return s_number_read(env, &SQL_AUDIT_PLACE, service, ret_seq, err);
}

/* ---- the fibers ---- */

struct follower {
    struct follower *next;
    struct cn_env *env;
    char service[NAME_MAX_SIZE];
    bool own; /* access itself: its rows are read without a call */
    bool known;
    int64_t seq;
    unsigned failures;
    uint64_t copied;
    int64_t breaks;
};

/* One loop, one thread. */
static struct follower *s_followers;

static enum cn_code s_sealed_fetch(struct follower *self,
                                   struct cn_arena *arena,
                                   const Aud__FetchSealedResponse **ret_page,
                                   struct cn_err *err)
{
    Aud__FetchSealedRequest request = AUD__FETCH_SEALED_REQUEST__INIT;
    struct cn_bus_call call = {
        .service = self->service,
        .method = "audit.v1.Audit/FetchSealed",
        .budget_us = BUDGET_US,
    };
    const ProtobufCMessage *message = NULL;
    CN_SET(&request, after, self->seq);
    enum cn_code rc =
        cn_bus_ask(self->env->bus, arena, &call, &request.base,
                   &aud__fetch_sealed_response__descriptor, &message, err);
    if (rc == CN_OK) {
        *ret_page = (const Aud__FetchSealedResponse *)message;
    }
    return rc;
}

/* *ret_more: there may be more at once. */
static enum cn_code
s_follower_round(struct follower *self, bool *ret_more, struct cn_err *err)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(ARENA_MAX);
    const Aud__FetchSealedResponse *page = NULL;
    enum cn_code rc = CN_OK;
    size_t breaks = 0;
    if (arena == NULL) {
        return cn_fail(err, CN_NOMEM, "copy the audit");
    }
    if (!self->known) {
        rc = audit_follow_place(self->env, self->service, &self->seq, err);
        if (rc == CN_OK) {
            rc = s_number_read(self->env, &SQL_AUDIT_BREAK_COUNT, self->service,
                               &self->breaks, err);
        }
        self->known = rc == CN_OK;
    }
    if (rc == CN_OK) {
        rc = self->own ? cn_audit_sealed_read(self->env, arena, self->seq, 0,
                                              &page, err)
                       : s_sealed_fetch(self, arena, &page, err);
    }
    if (rc == CN_OK) {
        rc = audit_follow_copy(self->env, self->service, self->seq, page,
                               &self->seq, &breaks, err);
    }
    if (rc != CN_OK) {
        self->known = false;
        return rc;
    }
    self->copied += page->n_sealed;
    self->breaks += (int64_t)breaks;
    *ret_more = page->n_sealed > 0 && self->seq < page->last_seq;
    return CN_OK;
}

static void s_follower_tell(struct follower *self,
                            enum cn_code rc,
                            const struct cn_err *err)
{
    if (rc == CN_OK || rc == CN_CONFLICT) {
        if (self->failures >= TELL_AFTER) {
            cn_log(CN_LOG_INFO, "audit of %s: copied again", self->service);
        }
        self->failures = 0;
        return;
    }
    if (++self->failures == TELL_AFTER) {
        cn_log(CN_LOG_WARN, "audit of %s: %s", self->service, err->msg);
    }
}

static void s_follower_metrics(void *arg, struct cn_metrics_page *page)
{
    char labels[LABELS_MAX];
    (void)arg;
    for (const struct follower *self = s_followers; self != NULL;
         self = self->next) {
        (void)snprintf(labels, sizeof(labels), "service=\"%s\"", self->service);
        cn_metrics_value(page, &COPIED, labels, (double)self->copied);
    }
    for (const struct follower *self = s_followers; self != NULL;
         self = self->next) {
        (void)snprintf(labels, sizeof(labels), "service=\"%s\"", self->service);
        cn_metrics_value(page, &BREAKS, labels, (double)self->breaks);
    }
}

static void s_follower_forget(struct follower *self)
{
    struct follower **link = &s_followers;
    while (*link != self) {
        link = &(*link)->next;
    }
    *link = self->next;
    free(self);
}

static void s_follower_run(void *arg)
{
    struct follower *self = arg;
    int64_t rest_us = IDLE_US;
    do {
        struct cn_err err = { 0 };
        bool more = false;
        rest_us = AUDIT_FOLLOW_POLL_US;
        if (!cn_audit_sealing(self->env)) {
            self->known = false;
            continue;
        }
        cn_fiber_set_deadline(cn_clock_monotonic() + BUDGET_US);
        enum cn_code rc = s_follower_round(self, &more, &err);
        cn_fiber_set_deadline(INT64_MAX);
        if (cn_loop_stopping(self->env->loop)) {
            break;
        }
        s_follower_tell(self, rc, &err);
        if (rc != CN_OK) {
            rest_us = IDLE_US;
        } else if (more) {
            rest_us = 0;
        }
    } while (cn_fiber_sleep(rest_us) == CN_OK);
    s_follower_forget(self);
}

static enum cn_code s_follower_start(struct cn_env *env,
                                     const char *service,
                                     bool own,
                                     struct cn_err *err)
{
    struct follower *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return cn_fail(err, CN_NOMEM, "copy the audit");
    }
    self->env = env;
    self->own = own;
    (void)snprintf(self->service, sizeof(self->service), "%s", service);
    enum cn_code rc =
        cn_fiber_spawn(env->loop, s_follower_run, self, INT64_MAX, err);
    if (rc != CN_OK) {
        free(self);
        return rc;
    }
    if (s_followers == NULL) {
        cn_metrics_register(s_follower_metrics, NULL);
    }
    self->next = s_followers;
    s_followers = self;
    return CN_OK;
}

enum cn_code audit_follow_start(struct cn_env *env,
                                const char *service,
                                const char *endpoints,
                                struct cn_err *err)
{
    enum cn_code rc = s_follower_start(env, service, true, err);
    char *copy = strdup(endpoints);
    char *rest = copy;
    if (copy == NULL) {
        return cn_fail(err, CN_NOMEM, "copy the audit");
    }
    while (rc == CN_OK && rest != NULL) {
        char *item = strsep(&rest, ";");
        char *end = strchr(item, '=');
        if (end != NULL) {
            *end = '\0';
            if (strcmp(item, service) != 0) {
                rc = s_follower_start(env, item, false, err);
            }
        }
    }
    free(copy);
    return rc;
}
