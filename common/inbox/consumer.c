/* SPDX-License-Identifier: Apache-2.0 */
/* The life of the consumers: leases, a fetch per producer, and workers that
 * apply what was fetched; quietly through restarts. */
#include "common/inbox/consumer.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/inbox/consumer_internal.h"
#include "common/loop/metrics.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    /* A producer that was killed is back within a second. */
    BACKOFF_MIN_US = 50000,
    BACKOFF_MAX_US = 800000,
    BACKOFF_DOUBLINGS_MAX = 4,
    TELL_AFTER_US = 2000000,  /* trouble that is shorter is not logged */
    AWAY_AFTER_US = 30000000, /* a producer may start after its consumers */
    ENTRIES_MAX = 500,        /* of one run, those included that are skipped */
    /* So many copies in a row are a unit of their own, fewer are taken with the
     * effects around them. */
    COPIES_MIN = 8,
    NOT_OURS_US = 100000, /* when a lease was lost before its time */
    WHERE_MAX = 32
};

_Static_assert(BACKOFF_MIN_US << BACKOFF_DOUBLINGS_MAX == BACKOFF_MAX_US,
               "the longest pause");

bool consumer_stopping(const struct consumer *self)
{
    return cn_loop_stopping(self->env->loop);
}

bool consumer_held(const struct partition *partition)
{
    const struct consumer *self = partition->consumer;
    return !self->all->rebuilding &&
           cn_lease_held(self->all->leases, self->index, partition->number);
}

/* ---- troubles ---- */

void consumer_tell(const struct consumer *self,
                   struct trouble *trouble,
                   int partition,
                   enum cn_code rc,
                   const struct cn_err *err)
{
    const char *producer = self->subscription->producer;
    int64_t now = cn_clock_monotonic();
    char where[WHERE_MAX] = "";
    if (partition >= 0) {
        (void)snprintf(where, sizeof(where), ", partition %d", partition);
    }
    if (rc == CN_OK) {
        if (trouble->told) {
            cn_log(CN_LOG_INFO, "following %s%s again after %lld ms", producer,
                   where, (long long)(now - trouble->since_at) / 1000);
        }
        *trouble = (struct trouble){ 0 };
        return;
    }
    if (trouble->since_at == 0) {
        trouble->since_at = now;
    }
    const int64_t after = rc == CN_UNAVAILABLE ? AWAY_AFTER_US : TELL_AFTER_US;
    if (!trouble->told && now - trouble->since_at >= after) {
        cn_log(CN_LOG_WARN, "following %s%s: %s: %s", producer, where,
               cn_code_word(rc), err->msg);
        trouble->told = true;
    }
}

int64_t consumer_backoff_us(struct consumer *self, struct trouble *trouble)
{
    unsigned doublings = trouble->failures < BACKOFF_DOUBLINGS_MAX
                             ? trouble->failures
                             : BACKOFF_DOUBLINGS_MAX;
    int64_t most = (int64_t)BACKOFF_MIN_US << doublings;
    uint32_t number = 0;
    self->env->random(self->env, &number, sizeof(number));
    trouble->failures++;
    return most / 2 + (int64_t)number % (most / 2 + 1);
}

/* ---- what a job takes ---- */

static bool s_partition_ready(const struct partition *self, int64_t now)
{
    return self->first != NULL && !self->busy && self->known &&
           self->retry_at <= now && consumer_held(self);
}

/* Entries of a queue, one after the other. */
struct walk {
    const struct chunk *chunk;
    size_t index;
};

static struct walk s_walk(const struct partition *self)
{
    return (struct walk){ self->first, self->first ? self->first->first : 0 };
}

static struct entry *s_walk_next(struct walk *walk)
{
    while (walk->chunk != NULL && walk->index == walk->chunk->count) {
        walk->chunk = walk->chunk->next;
        walk->index = walk->chunk != NULL ? walk->chunk->first : 0;
    }
    return walk->chunk == NULL ? NULL : &walk->chunk->entries[walk->index++];
}

/* Do at least so many copies come before the next effect? */
static bool s_copies_come(struct walk walk, unsigned wanted)
{
    for (struct entry *entry;
         wanted > 0 && (entry = s_walk_next(&walk)) != NULL;) {
        if (entry->handler != NULL && !entry->handler->copy) {
            return false;
        }
        wanted -= entry->handler != NULL;
    }
    return wanted == 0;
}

/* Is its first handled event a copy? Also when there is none. */
static bool s_begins_with_copies(const struct partition *self)
{
    struct walk walk = s_walk(self);
    for (struct entry *entry; (entry = s_walk_next(&walk)) != NULL;) {
        if (entry->handler != NULL) {
            return entry->handler->copy;
        }
    }
    return true;
}

/* Takes from the head of the queue what this kind of job may have; how many of
 * it have a handler. */
static size_t s_run_fill(struct run *run,
                         const struct partition *from,
                         bool copies,
                         size_t most)
{
    struct walk walk = s_walk(from);
    size_t handled = 0;
    while (run->count < ENTRIES_MAX && handled < most) {
        const struct walk here = walk;
        struct entry *entry = s_walk_next(&walk);
        if (entry == NULL) {
            break;
        }
        if (entry->handler != NULL) {
            bool copy = entry->handler->copy;
            if (copies
                    ? !copy
                    : copy && handled > 0 && s_copies_come(here, COPIES_MIN)) {
                break;
            }
            handled++;
        }
        run->entries[run->count++] = entry;
    }
    return handled;
}

static void
s_run_take(struct job *job, struct partition *partition, size_t *left)
{
    struct run *run = &job->runs[job->count];
    *run = (struct run){ .partition = partition, .done = partition->at };
    run->entries =
        cn_arena_array(job->arena, ENTRIES_MAX, sizeof(struct entry *));
    *left -= s_run_fill(run, partition, job->copies, *left);
    partition->busy = true;
    job->count++;
}

/* The next partition that has something, and with copies those that have some,
 * too. False when there is nothing to do. */
static bool s_job_take(struct consumer *self, struct job *job)
{
    int64_t now = cn_clock_monotonic();
    size_t left = CN_EVENT_BATCH_MAX;
    for (int i = 0; i < CN_PARTITIONS && left > 0; i++) {
        int number = (self->cursor + i) % CN_PARTITIONS;
        struct partition *partition = &self->partitions[number];
        if (!s_partition_ready(partition, now)) {
            continue;
        }
        bool copies = s_begins_with_copies(partition);
        if (job->count == 0) {
            job->copies = copies;
        } else if (!copies || !job->copies) {
            continue;
        }
        s_run_take(job, partition, &left);
        if (!job->copies) {
            break;
        }
    }
    if (job->count > 0) {
        self->cursor =
            (job->runs[job->count - 1].partition->number + 1) % CN_PARTITIONS;
    }
    return job->count > 0;
}

/* ---- workers ---- */

static void s_run_end(struct run *run)
{
    struct partition *partition = run->partition;
    struct consumer *self = partition->consumer;
    partition->busy = false;
    partition_passed(partition);
    if (consumer_stopping(self)) {
        return;
    }
    consumer_tell(self, &partition->trouble, partition->number, run->rc,
                  &run->err);
    if (run->rc != CN_OK) {
        consumer_retry(partition,
                       cn_clock_monotonic() +
                           consumer_backoff_us(self, &partition->trouble));
    } else if (run->reload) {
        consumer_retry(partition, cn_clock_monotonic() + NOT_OURS_US);
    }
}

/* What was moved by another, or perhaps by us, is looked up; what cannot be is
 * fetched anew once it can. */
static void s_reload(struct job *job)
{
    struct consumer *self = job->consumer;
    struct cn_err err = { 0 };
    unsigned set = 0;
    for (size_t i = 0; i < job->count; i++) {
        if (job->runs[i].reload) {
            set |= 1U << job->runs[i].partition->number;
        }
    }
    if (set == 0 || consumer_positions_load(self, set, &err) == CN_OK) {
        return;
    }
    for (size_t i = 0; i < job->count; i++) {
        if (job->runs[i].reload) {
            partition_drop(job->runs[i].partition);
        }
    }
}

static bool s_job(struct consumer *self)
{
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(CN_ARENA_REQUEST_MAX);
    if (arena == NULL) {
        return false;
    }
    struct job *job = cn_arena_alloc(arena, sizeof(*job));
    job->consumer = self;
    job->arena = arena;
    if (!s_job_take(self, job)) {
        return false;
    }
    job_apply(job);
    cn_fiber_set_deadline(INT64_MAX);
    s_reload(job);
    for (size_t i = 0; i < job->count; i++) {
        s_run_end(&job->runs[i]);
    }
    consumer_fetch_wake(self);
    cn_leases_idle(self->all->leases);
    return true;
}

static void s_worker(void *arg)
{
    struct consumer *self = arg;
    while (!consumer_stopping(self) && s_job(self)) {
    }
    self->workers--;
    consumers_fiber_ended(self->all);
}

void consumer_work(struct consumer *self)
{
    int64_t now = cn_clock_monotonic();
    unsigned ready = 0;
    for (int n = 0; n < CN_PARTITIONS; n++) {
        ready += s_partition_ready(&self->partitions[n], now);
    }
    while (ready > 0 && self->workers < CONSUMER_WORKERS_MAX) {
        struct cn_err err = { 0 };
        if (cn_fiber_spawn(self->env->loop, s_worker, self, INT64_MAX, &err) !=
            CN_OK) {
            return; /* Stopping, or too many fibers: the next fetch asks. */
        }
        self->workers++;
        self->all->fibers++;
        ready--;
    }
}

static void s_retry(void *arg)
{
    struct consumer *self = arg;
    int64_t now = cn_clock_monotonic();
    self->retry = NULL;
    consumer_work(self);
    for (int n = 0; n < CN_PARTITIONS; n++) {
        struct partition *partition = &self->partitions[n];
        if (partition->first != NULL && partition->retry_at > now) {
            consumer_retry(partition, partition->retry_at);
        }
    }
}

void consumer_retry(struct partition *partition, int64_t at)
{
    struct consumer *self = partition->consumer;
    partition->retry_at = at;
    if (self->retry != NULL && self->retry_at <= at) {
        return; /* It sets the next one itself. */
    }
    if (self->retry != NULL) {
        cn_loop_cancel(self->retry);
    }
    self->retry_at = at;
    self->retry = cn_loop_timer(self->env->loop, at, s_retry, self);
}

/* ---- life ---- */

static void s_leases_changed(void *arg)
{
    struct consumers *all = arg;
    for (size_t i = 0; i < all->count; i++) {
        consumer_fetch_wake(&all->items[i]);
    }
}

static bool s_busy(void *arg, size_t producer, int partition)
{
    const struct consumers *all = arg;
    return all->items[producer].partitions[partition].busy;
}

void consumers_fiber_ended(struct consumers *self)
{
    if (--self->fibers > 0) {
        return;
    }
    for (size_t i = 0; i < self->count; i++) {
        struct consumer *consumer = &self->items[i];
        if (consumer->retry != NULL) {
            cn_loop_cancel(consumer->retry);
        }
        for (int n = 0; n < CN_PARTITIONS; n++) {
            partition_drop(&consumer->partitions[n]);
        }
    }
    cn_metrics_forget(self);
    cn_leases_free(self->leases);
    free(self);
}

static void s_leases_ended(void *arg)
{
    consumers_fiber_ended(arg);
}

static void s_consumer_init(struct consumers *all,
                            size_t index,
                            const struct cn_service *service)
{
    struct consumer *self = &all->items[index];
    self->all = all;
    self->index = index;
    self->env = all->env;
    self->service = service;
    self->subscription = &service->subscriptions[index];
    for (int n = 0; n < CN_PARTITIONS; n++) {
        self->partitions[n].consumer = self;
        self->partitions[n].number = n;
    }
}

static enum cn_code s_fibers_start(struct consumers *all, struct cn_err *err)
{
    const struct cn_lease_user user = { .changed = s_leases_changed,
                                        .busy = s_busy,
                                        .arg = all };
    const char *producers[CN_LEASE_PRODUCERS_MAX];
    for (size_t i = 0; i < all->count; i++) {
        producers[i] = all->items[i].subscription->producer;
    }
    enum cn_code rc = cn_leases_start(all->env, producers, all->count, &user,
                                      s_leases_ended, &all->leases, err);
    if (rc != CN_OK) {
        free(all);
        return rc;
    }
    cn_metrics_register(consumers_tell_metrics, all);
    all->fibers = 1;
    for (size_t i = 0; rc == CN_OK && i < all->count; i++) {
        rc = cn_fiber_spawn(all->env->loop, consumer_follow, &all->items[i],
                            INT64_MAX, err);
        all->fibers += rc == CN_OK;
    }
    if (rc == CN_OK) {
        rc = cn_fiber_spawn(all->env->loop, consumers_rebuild, all, INT64_MAX,
                            err);
        all->fibers += rc == CN_OK;
    }
    return rc; /* On a failure the process ends, and with it what runs. */
}

enum cn_code cn_consumers_start(struct cn_env *env,
                                const struct cn_service *service,
                                struct cn_err *err)
{
    size_t count = service->subscription_count;
    if (count == 0) {
        return CN_OK;
    }
    for (size_t i = 0; i < count; i++) {
        enum cn_code rc =
            consumer_copies_check(&service->subscriptions[i], err);
        if (rc != CN_OK) {
            return rc;
        }
    }
    if (count > CN_LEASE_PRODUCERS_MAX) {
        return cn_fail(err, CN_INTERNAL, "consumer: too many producers");
    }
    struct consumers *all =
        calloc(1, sizeof(*all) + count * sizeof(struct consumer));
    if (all == NULL) {
        return cn_fail(err, CN_NOMEM, "consumer: no memory");
    }
    all->env = env;
    all->count = count;
    all->rebuilding = true; /* until it is known that nothing is due */
    for (size_t i = 0; i < count; i++) {
        s_consumer_init(all, i, service);
    }
    return s_fibers_start(all, err);
}
