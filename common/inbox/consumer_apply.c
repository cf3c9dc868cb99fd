/* SPDX-License-Identifier: Apache-2.0 */
/* A job: what a worker took from one or several partitions.
 *
 * inbox_position.attempts counts the attempts begun of the next event that has
 * a handler. It is counted before the attempt, in a unit of its own, for an
 * event that kills the process must count too. Copies of all partitions are
 * then one unit; when that fails, or an attempt failed before (attempts > 1),
 * they are taken event by event, and the culprit stands alone. */
#include "common/inbox/consumer_internal.h"

#include "common/base/clock.h"
#include "common/store/step.h"
#include "common/wire/message.h"

#include <assert.h>
#include <string.h>

bool consumer_is_moved(enum cn_code rc, const struct cn_err *err)
{
    return rc == CN_CONFLICT && strcmp(err->word, "inbox_position_moved") == 0;
}

bool consumer_may_pass(enum cn_code rc)
{
    return cn_code_retryable(rc) || rc == CN_STALE;
}

struct cn_event consumer_event(struct cn_env *env,
                               const struct cn_subscription *subscription,
                               const struct entry *entry,
                               struct cn_arena *arena)
{
    const Evt__Event *event = entry->event;
    return (struct cn_event){
        .env = env,
        .producer = subscription->producer,
        .type = event->type,
        .event_id = entry->event_id,
        .tenant_id = entry->tenant_id,
        .aggregate_type = event->aggregate_type,
        .aggregate_id = entry->aggregate_id,
        .aggregate_seq = event->aggregate_seq,
        .occurred_at = event->occurred_at,
        .correlation_id = event->correlation_id,
        .now_at = env->now(env),
        .arena = arena,
    };
}

enum cn_code consumer_event_open(const struct entry *entry,
                                 struct cn_event *event,
                                 struct cn_err *err)
{
    const ProtobufCMessage *payload = NULL;
    if (entry->shape == NULL) {
        return cn_fail(err, CN_INTERNAL, "event: its type has no shape");
    }
    enum cn_code rc =
        cn_message_unpack(event->arena, entry->shape->payload->descriptor,
                          (struct cn_bytes){ entry->event->payload.data,
                                             entry->event->payload.len },
                          &payload, err);
    if (rc == CN_OK) {
        event->payload = payload;
    }
    return rc;
}

enum cn_code cn_event_handle(const struct cn_service *service,
                             const struct cn_event_handler *handler,
                             const struct cn_event *event,
                             struct cn_write *write,
                             struct cn_err *err)
{
    struct cn_op op = cn_op_of_event(service, event, write, err);
    handler->effect(&op, event);
    if (err->code == CN_OK && cn_arena_failed(event->arena)) {
        (void)cn_fail(err, CN_NOMEM, "event: no memory");
    }
    return err->code;
}

/* ---- copies in one unit ---- */

static bool s_has_blocked(const struct run *run)
{
    for (size_t i = 0; i < run->count; i++) {
        if (run->entries[i]->blocked) {
            return true;
        }
    }
    return false;
}

static enum cn_code s_copies_add(const struct job *job,
                                 const struct run *run,
                                 struct cn_write *write,
                                 struct cn_err *err)
{
    const struct consumer *self = job->consumer;
    enum cn_code rc = CN_OK;
    for (size_t i = 0; rc == CN_OK && i < run->count; i++) {
        const struct entry *entry = run->entries[i];
        if (entry->handler == NULL) {
            continue;
        }
        struct cn_event event =
            consumer_event(self->env, self->subscription, entry, job->arena);
        rc = consumer_event_open(entry, &event, err);
        if (rc == CN_OK) {
            cn_write_tenant(write, entry->tenant_id);
            rc = cn_event_handle(self->service, entry->handler, &event, write,
                                 err);
        }
    }
    return rc;
}

/* All of the runs and the moves of their positions. */
static enum cn_code s_copies_try(const struct job *job,
                                 struct run *const *runs,
                                 size_t count,
                                 struct cn_err *err)
{
    struct cn_write *write =
        cn_write_begin_batch(job->consumer->env, job->arena);
    enum cn_code rc = CN_OK;
    for (size_t i = 0; rc == CN_OK && i < count; i++) {
        rc = s_copies_add(job, runs[i], write, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    consumer_move_many(job->consumer, job->arena, runs, count, write);
    cn_fiber_set_deadline(cn_clock_monotonic() + CN_EVENT_BUDGET_US);
    rc = cn_write_commit(write, err);
    cn_fiber_set_deadline(INT64_MAX);
    return rc;
}

static void s_copied(struct consumer *self, struct run *run)
{
    struct partition *partition = run->partition;
    for (size_t i = 0; i < run->count; i++) {
        if (run->entries[i]->handler != NULL) {
            self->counts.copies++;
        } else {
            self->counts.skipped++;
        }
    }
    partition->at = run->entries[run->count - 1]->position;
    partition->attempts = 0;
    partition->passing = 0;
    run->done = partition->at;
    run->ended = true;
}

/* The unit failed for a reason of all of them: they wait, and the attempt that
 * was counted does not count. */
static void
s_copies_wait(struct run *run, enum cn_code rc, const struct cn_err *err)
{
    struct partition *partition = run->partition;
    partition->forgiven = run->counted;
    run->ended = true;
    if (consumer_is_moved(rc, err)) {
        run->reload = true;
        partition->consumer->counts.moved++;
        return;
    }
    partition->passing++;
    run->reload = rc == CN_UNKNOWN;
    run->rc = rc;
    run->err = *err;
}

/* Is the failure of none of the events? Memory may be: of a payload. */
static bool s_of_all(const struct run *run, enum cn_code rc)
{
    return cn_code_retryable(rc) && rc != CN_NOMEM &&
           run->partition->passing < CN_EVENT_PASSING_MAX;
}

static void
s_copies_apply(struct job *job, struct run *const *runs, size_t count)
{
    struct cn_err err = { 0 };
    enum cn_code rc = s_copies_try(job, runs, count, &err);
    if (consumer_stopping(job->consumer) && rc != CN_OK) {
        for (size_t i = 0; i < count; i++) {
            runs[i]->ended = true;
        }
        return;
    }
    bool apart = false;
    for (size_t i = 0; i < count; i++) {
        if (rc == CN_OK) {
            s_copied(job->consumer, runs[i]);
        } else if (consumer_is_moved(rc, &err) || s_of_all(runs[i], rc)) {
            s_copies_wait(runs[i], rc, &err);
        } else {
            runs[i]->careful = true;
            apart = true;
        }
    }
    job->consumer->counts.fallbacks += apart;
}

/* ---- the job ---- */

static void s_one_by_one(struct job *job, struct run *run)
{
    struct partition *partition = run->partition;
    enum cn_code rc = run_apply(run, job->arena, &run->err);
    run->ended = true;
    if (consumer_is_moved(rc, &run->err)) {
        /* Not ours any more: read where it is and go on from there. */
        partition->consumer->counts.moved++;
        run->reload = true;
    } else if (rc != CN_OK && !consumer_stopping(job->consumer)) {
        run->reload = true;
        run->rc = rc;
    }
    partition->attempts = run->counted ? run->attempts : 0;
}

void job_apply(struct job *job)
{
    struct run *together[CN_PARTITIONS];
    struct cn_err err = { 0 };
    size_t count = 0;
    enum cn_code rc = consumer_count(job, &err);
    for (size_t i = 0; i < job->count; i++) {
        struct run *run = &job->runs[i];
        if (rc != CN_OK) {
            run->ended = true;
            run->reload = rc == CN_UNKNOWN;
            run->rc = rc;
            run->err = err;
        } else if (!run->ended && job->copies && !run->careful &&
                   !s_has_blocked(run)) {
            together[count++] = run;
        }
    }
    if (count > 0) {
        s_copies_apply(job, together, count);
    }
    for (size_t i = 0; i < job->count; i++) {
        if (!job->runs[i].ended && !consumer_stopping(job->consumer)) {
            s_one_by_one(job, &job->runs[i]);
        }
    }
}
