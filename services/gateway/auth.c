/* SPDX-License-Identifier: Apache-2.0 */
/* The cache of principals, and the events that keep it fresh. */
#include "services/gateway/auth.h"

#include "common/base/clock.h"
#include "common/bus/bus.h"
#include "common/loop/fiber.h"
#include "common/loop/loop.h"
#include "common/outbox/outbox.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"

#include "cairn/access.pb-c.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    HASH_SIZE = 32,
    WAYS = 4, /* entries that one hash may use */
    SETS = AUTH_CACHE_MAX / WAYS,
    KEY_RANDOM = 32, /* base62 digits of a key */
    KEY_CHECK = 6,   /* hex digits of its checksum */
    BRANCHES_MAX = 4096,
    SCOPES_MAX = 256,
    WAITERS_FIRST = 8
};

/* An open transaction in access's database holds back the events that are
 * committed after it began. Once events are held back for longer than LAG_US,
 * each key is asked of access again after HELD_US. Together this is less than a
 * second, so a revocation still holds within a second. */
#define HELD_US ((int64_t)500000)
#define LAG_US  ((int64_t)300000)

/* The principal of a key, shared by the cache and the requests that use it. One
 * block of memory holds its texts too. */
struct auth_grant {
    uint8_t hash[HASH_SIZE]; /* of the key */
    unsigned references;
    bool found;
    int64_t expires_at; /* INT64_MAX: never */
    struct cn_principal principal;
};

struct entry {
    uint8_t hash[HASH_SIZE];
    struct auth_grant *grant; /* NULL: free */
    int64_t used_at;          /* monotonic */
    int64_t asked_at;         /* monotonic */
    int64_t forget_at;        /* monotonic; INT64_MAX: only an event ends it */
};

/* Fibers that wait for one thing. */
struct waiters {
    struct cn_token *tokens;
    size_t count;
    size_t max;
};

/* A question to access that is under way. */
struct lookup {
    struct lookup *next;
    uint8_t hash[HASH_SIZE];
    struct waiters waiters;
};

struct auth {
    struct cn_env *env;
    struct lookup *lookups;
    struct waiters stale; /* requests that came while nothing was fresh */
    int64_t started_at;   /* monotonic */
    uint64_t changes;     /* events that concern keys, users or roles */
    int64_t fresh_at; /* monotonic: the log was read to its end as of then */
    bool caught_up;   /* the log has been read to its end once */
    bool held;        /* there may be committed events that are held back */
    auth_watch_fn *watch;
    void *watch_arg;
    struct entry entries[AUTH_CACHE_MAX];
};

/* ---- the key ---- */

static bool s_is_base62(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
              (c >= 'a' && c <= 'z'))) {
            return false;
        }
    }
    return true;
}

static void s_sha256(const char *text, size_t size, uint8_t hash[HASH_SIZE])
{
    const struct cn_bytes part = { (const uint8_t *)text, size };
    cn_sha256(part, hash);
}

bool auth_key_valid(const char *key)
{
    static const char *const PREFIXES[] = { "cairn_live_", "cairn_test_" };
    static const char DIGITS[] = "0123456789abcdef";
    const size_t prefix = strlen(PREFIXES[0]);
    const size_t checked = prefix + KEY_RANDOM;
    uint8_t hash[HASH_SIZE];
    if (strnlen(key, checked + KEY_CHECK + 1) != checked + KEY_CHECK ||
        (strncmp(key, PREFIXES[0], prefix) != 0 &&
         strncmp(key, PREFIXES[1], prefix) != 0) ||
        !s_is_base62(key + prefix, KEY_RANDOM)) {
        return false;
    }
    s_sha256(key, checked, hash);
    for (size_t i = 0; i < KEY_CHECK; i++) {
        uint8_t digit = i % 2 == 0 ? hash[i / 2] >> 4 : hash[i / 2] & 15;
        if (key[checked + i] != DIGITS[digit]) {
            return false;
        }
    }
    return true;
}

/* ---- grants ---- */

void auth_release(struct auth_grant *grant)
{
    if (grant != NULL && --grant->references == 0) {
        free(grant);
    }
}

static void s_grant_release(void *handle)
{
    auth_release(handle);
}

static void s_id(ProtobufCBinaryData data, struct cn_uuid *id)
{
    if (data.len == sizeof(id->bytes)) {
        memcpy(id->bytes, data.data, sizeof(id->bytes));
    }
}

static size_t s_text_bytes(const char *text)
{
    return text == NULL ? 1 : strlen(text) + 1;
}

static const char *s_text_put(char **at, const char *text)
{
    char *put = *at;
    size_t size = s_text_bytes(text);
    memcpy(put, text == NULL ? "" : text, size);
    *at += size;
    return put;
}

static struct auth_grant *s_grant_new(const Acc__ResolveKeyResponse *from)
{
    size_t size = sizeof(struct auth_grant) +
                  from->n_scopes * sizeof(const char *) +
                  from->n_branches * sizeof(struct cn_uuid) +
                  s_text_bytes(from->subject) + s_text_bytes(from->role);
    for (size_t i = 0; i < from->n_scopes; i++) {
        size += s_text_bytes(from->scopes[i]);
    }
    struct auth_grant *grant = calloc(1, size);
    if (grant == NULL) {
        return NULL;
    }
    const char **scopes = (const char **)(void *)(grant + 1);
    struct cn_uuid *branches =
        (struct cn_uuid *)(void *)(scopes + from->n_scopes);
    char *texts = (char *)(branches + from->n_branches);
    for (size_t i = 0; i < from->n_scopes; i++) {
        scopes[i] = s_text_put(&texts, from->scopes[i]);
    }
    for (size_t i = 0; i < from->n_branches; i++) {
        s_id(from->branches[i], &branches[i]);
    }
    grant->found = from->has_found && from->found;
    grant->expires_at = from->has_expires_at ? from->expires_at : INT64_MAX;
    grant->principal = (struct cn_principal){
        .subject = s_text_put(&texts, from->subject),
        .role = s_text_put(&texts, from->role),
        .branches = branches,
        .branch_count = from->n_branches,
        .scopes = scopes,
        .scope_count = from->n_scopes,
    };
    if (from->has_tenant_id) {
        s_id(from->tenant_id, &grant->principal.tenant_id);
    }
    if (from->has_branch_id) {
        s_id(from->branch_id, &grant->principal.branch_id);
    }
    return grant;
}

/* ---- the cache ---- */

static struct entry *s_set_of(struct auth *self, const uint8_t hash[HASH_SIZE])
{
    size_t number = ((size_t)hash[0] << 8 | hash[1]) % SETS;
    return &self->entries[number * WAYS];
}

static void s_entry_drop(struct entry *entry)
{
    s_grant_release(entry->grant);
    *entry = (struct entry){ 0 };
}

static struct auth_grant *
s_cache_find(struct auth *self, const uint8_t hash[HASH_SIZE], int64_t at)
{
    struct entry *set = s_set_of(self, hash);
    for (size_t i = 0; i < WAYS; i++) {
        struct entry *entry = &set[i];
        if (entry->grant == NULL || memcmp(entry->hash, hash, HASH_SIZE) != 0) {
            continue;
        }
        if (entry->forget_at <= at ||
            (self->held && entry->asked_at + HELD_US <= at)) {
            s_entry_drop(entry);
            return NULL;
        }
        entry->used_at = at;
        return entry->grant;
    }
    return NULL;
}

/* Replaces the entry that was not used for longest. */
static void s_cache_put(struct auth *self,
                        const uint8_t hash[HASH_SIZE],
                        struct auth_grant *grant)
{
    struct entry *set = s_set_of(self, hash);
    struct entry *entry = set;
    int64_t at = cn_clock_monotonic();
    for (size_t i = 1; i < WAYS && entry->grant != NULL; i++) {
        if (set[i].grant == NULL || set[i].used_at < entry->used_at) {
            entry = &set[i];
        }
    }
    s_entry_drop(entry);
    memcpy(entry->hash, hash, HASH_SIZE);
    entry->grant = grant;
    entry->used_at = at;
    entry->asked_at = at;
    entry->forget_at = grant->found ? INT64_MAX : at + AUTH_NEGATIVE_US;
    grant->references++;
}

static void s_cache_drop(struct auth *self, const uint8_t hash[HASH_SIZE])
{
    struct entry *set = s_set_of(self, hash);
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].grant != NULL && memcmp(set[i].hash, hash, HASH_SIZE) == 0) {
            s_entry_drop(&set[i]);
        }
    }
}

static void s_cache_clear(struct auth *self)
{
    for (size_t i = 0; i < AUTH_CACHE_MAX; i++) {
        if (self->entries[i].grant != NULL) {
            s_entry_drop(&self->entries[i]);
        }
    }
}

/* ---- waiting ---- */

static enum cn_code
s_waiters_park(struct waiters *waiters, int64_t until_at, struct cn_err *err)
{
    if (waiters->count == waiters->max) {
        size_t max = waiters->max == 0 ? WAITERS_FIRST : 2 * waiters->max;
        struct cn_token *tokens =
            reallocarray(waiters->tokens, max, sizeof(*tokens));
        if (tokens == NULL) {
            return cn_fail(err, CN_NOMEM, "no memory");
        }
        waiters->tokens = tokens;
        waiters->max = max;
    }
    waiters->tokens[waiters->count++] = cn_fiber_token();
    enum cn_code rc = cn_fiber_park(until_at);
    return rc == CN_OK
               ? CN_OK
               : cn_fail(err, rc, "the credential cannot be checked now");
}

/* The token of a fiber that has given up is old and wakes nobody. */
static void s_wake_all(struct waiters *waiters, enum cn_code rc)
{
    for (size_t i = 0; i < waiters->count; i++) {
        (void)cn_fiber_wake(waiters->tokens[i], rc);
    }
    free(waiters->tokens);
    *waiters = (struct waiters){ 0 };
}

/* ---- asking ---- */

/* Asks access for the key. The grant has one reference, the caller's. */
static enum cn_code s_access_ask(struct auth *self,
                                 struct cn_arena *arena,
                                 const uint8_t hash[HASH_SIZE],
                                 struct auth_grant **ret_grant,
                                 struct cn_err *err)
{
    Acc__ResolveKeyRequest *request =
        cn_message_new(arena, &acc__resolve_key_request__descriptor);
    struct cn_bus_call call = { .service = "access",
                                .method = "access.v1.Access/ResolveKey" };
    const ProtobufCMessage *message = NULL;
    request->has_key_hash = 1;
    request->key_hash.len = HASH_SIZE;
    request->key_hash.data = cn_arena_copy(arena, hash, HASH_SIZE);
    call.budget_us = cn_fiber_deadline() - cn_clock_monotonic();
    enum cn_code rc =
        cn_bus_ask(self->env->bus, arena, &call, &request->base,
                   &acc__resolve_key_response__descriptor, &message, err);
    if (rc != CN_OK) {
        /* This is a separate call: even if its outcome is unknown, the
         * client's request has not begun. */
        cn_err_clear(err);
        return cn_fail(err, rc == CN_DEADLINE ? CN_DEADLINE : CN_UNAVAILABLE,
                       "the credential cannot be checked now");
    }
    const Acc__ResolveKeyResponse *response =
        (const Acc__ResolveKeyResponse *)message;
    if (response->n_branches > BRANCHES_MAX ||
        response->n_scopes > SCOPES_MAX) {
        return cn_fail(err, CN_INTERNAL, "the principal is too big");
    }
    struct auth_grant *grant = s_grant_new(response);
    if (grant == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    grant->references = 1;
    memcpy(grant->hash, hash, HASH_SIZE);
    *ret_grant = grant;
    return CN_OK;
}

static struct lookup *s_lookup_find(struct auth *self,
                                    const uint8_t hash[HASH_SIZE])
{
    struct lookup *lookup = self->lookups;
    while (lookup != NULL && memcmp(lookup->hash, hash, HASH_SIZE) != 0) {
        lookup = lookup->next;
    }
    return lookup;
}

static void
s_lookup_end(struct auth *self, struct lookup *lookup, enum cn_code rc)
{
    struct lookup **link = &self->lookups;
    while (*link != lookup) {
        link = &(*link)->next;
    }
    *link = lookup->next;
    s_wake_all(&lookup->waiters, rc);
    free(lookup);
}

/* Asks access for the key and caches the answer, unless an event came meanwhile
 * that may be newer than the answer. */
static enum cn_code s_lookup(struct auth *self,
                             struct cn_arena *arena,
                             const uint8_t hash[HASH_SIZE],
                             struct auth_grant **ret_grant,
                             struct cn_err *err)
{
    struct lookup *lookup = calloc(1, sizeof(*lookup));
    uint64_t changes = self->changes;
    struct auth_grant *grant = NULL;
    if (lookup == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    memcpy(lookup->hash, hash, HASH_SIZE);
    lookup->next = self->lookups;
    self->lookups = lookup;
    enum cn_code rc = s_access_ask(self, arena, hash, &grant, err);
    if (grant != NULL && changes == self->changes) {
        s_cache_put(self, hash, grant);
    }
    /* CN_OK after a deadline: only the asker's time is over, and the fibers
     * that wait may still ask themselves. */
    s_lookup_end(self, lookup, rc == CN_DEADLINE ? CN_OK : rc);
    if (grant != NULL) {
        *ret_grant = grant;
    }
    return rc;
}

static enum cn_code s_grant_get(struct auth *self,
                                struct cn_arena *arena,
                                const uint8_t hash[HASH_SIZE],
                                struct auth_grant **ret_grant,
                                struct cn_err *err)
{
    for (;;) {
        struct auth_grant *grant =
            s_cache_find(self, hash, cn_clock_monotonic());
        if (grant != NULL) {
            grant->references++;
            *ret_grant = grant;
            return CN_OK;
        }
        struct lookup *lookup = s_lookup_find(self, hash);
        if (lookup == NULL) {
            return s_lookup(self, arena, hash, ret_grant, err);
        }
        /* Another request is asking for the same key. */
        enum cn_code rc = s_waiters_park(&lookup->waiters, INT64_MAX, err);
        if (rc != CN_OK) {
            return rc;
        }
    }
}

/* After the start of the gateway, or when the last replica of access has just
 * gone, the cache is fresh again in a moment, and requests wait for it. In a
 * longer outage they fail at once. */
static enum cn_code s_fresh_wait(struct auth *self, struct cn_err *err)
{
    int64_t until_at =
        AUTH_WAIT_US +
        (self->caught_up ? self->fresh_at + AUTH_STALE_US : self->started_at);
    while (!auth_fresh(self)) {
        if (cn_clock_monotonic() >= until_at ||
            s_waiters_park(&self->stale, until_at, err) != CN_OK) {
            cn_err_clear(err);
            return cn_fail(err, CN_UNAVAILABLE,
                           "credentials cannot be checked now");
        }
    }
    return CN_OK;
}

static enum cn_code s_hold(struct auth *self,
                           struct cn_arena *arena,
                           const uint8_t hash[HASH_SIZE],
                           struct auth_grant **ret_grant,
                           struct cn_err *err)
{
    struct auth_grant *grant = NULL;
    if (!auth_fresh(self)) {
        return cn_fail(err, CN_UNAVAILABLE,
                       "credentials cannot be checked now");
    }
    enum cn_code rc = s_grant_get(self, arena, hash, &grant, err);
    if (rc != CN_OK) {
        return rc;
    }
    assert(grant != NULL);
    if (!grant->found || grant->expires_at <= self->env->now(self->env)) {
        auth_release(grant);
        return cn_fail(err, CN_UNAUTHENTICATED,
                       "the API key is unknown, revoked or expired");
    }
    *ret_grant = grant;
    return CN_OK;
}

enum cn_code auth_hold(struct auth *self,
                       struct cn_arena *arena,
                       const char *key,
                       struct auth_grant **ret_grant,
                       struct cn_err *err)
{
    uint8_t hash[HASH_SIZE];
    if (cn_arena_failed(arena)) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    if (key == NULL) {
        return cn_fail(err, CN_UNAUTHENTICATED,
                       "Authorization: Bearer <API key> is needed");
    }
    if (!auth_key_valid(key)) {
        return cn_fail(err, CN_UNAUTHENTICATED, "this is not a key of Cairn");
    }
    enum cn_code rc = s_fresh_wait(self, err);
    if (rc != CN_OK) {
        return rc;
    }
    s_sha256(key, strlen(key), hash);
    return s_hold(self, arena, hash, ret_grant, err);
}

enum cn_code auth_resolve(struct auth *self,
                          struct cn_arena *arena,
                          const char *key,
                          const struct cn_principal **ret_principal,
                          struct cn_err *err)
{
    struct auth_grant *grant = NULL;
    enum cn_code rc = auth_hold(self, arena, key, &grant, err);
    if (rc != CN_OK) {
        return rc;
    }
    assert(grant != NULL);
    if (!cn_arena_defer(arena, s_grant_release, grant)) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    *ret_principal = &grant->principal;
    return CN_OK;
}

/* ---- held grants ---- */

enum cn_code auth_hold_again(struct auth *self,
                             struct cn_arena *arena,
                             const struct auth_grant *grant,
                             struct auth_grant **ret_grant,
                             struct cn_err *err)
{
    return s_hold(self, arena, grant->hash, ret_grant, err);
}

struct auth_grant *auth_share(struct auth_grant *grant)
{
    grant->references++;
    return grant;
}

const struct cn_principal *auth_principal(const struct auth_grant *grant)
{
    return &grant->principal;
}

int64_t auth_expires_at(const struct auth_grant *grant)
{
    return grant->expires_at;
}

bool auth_is_key(const struct auth_grant *grant, const uint8_t *key_hash)
{
    return memcmp(grant->hash, key_hash, HASH_SIZE) == 0;
}

static bool s_same_scopes(const struct cn_principal *a,
                          const struct cn_principal *b)
{
    for (size_t i = 0; i < a->scope_count && i < b->scope_count; i++) {
        if (strcmp(a->scopes[i], b->scopes[i]) != 0) {
            return false;
        }
    }
    return a->scope_count == b->scope_count;
}

bool auth_same(const struct auth_grant *a, const struct auth_grant *b)
{
    const struct cn_principal *one = &a->principal;
    const struct cn_principal *other = &b->principal;
    return memcmp(a->hash, b->hash, HASH_SIZE) == 0 &&
           a->expires_at == b->expires_at &&
           cn_uuid_equal(one->tenant_id, other->tenant_id) &&
           strcmp(one->role, other->role) == 0 && s_same_scopes(one, other) &&
           one->branch_count == other->branch_count &&
           (one->branch_count == 0 ||
            memcmp(one->branches, other->branches,
                   one->branch_count * sizeof(*one->branches)) == 0);
}

void auth_watch(struct auth *self, auth_watch_fn *watch, void *arg)
{
    self->watch = watch;
    self->watch_arg = arg;
}

uint64_t auth_changes(const struct auth *self)
{
    return self->changes;
}

bool auth_held(const struct auth *self)
{
    return self->held;
}

/* ---- the events ---- */

bool auth_fresh(const struct auth *self)
{
    return self->caught_up &&
           cn_clock_monotonic() - self->fresh_at <= AUTH_STALE_US;
}

static void
s_watch_tell(struct auth *self, struct cn_uuid tenant, const uint8_t *key_hash)
{
    if (self->watch != NULL) {
        self->watch(self->watch_arg, tenant, key_hash);
    }
}

/* The event of a key removes that key from the cache. An event of a user or a
 * role empties the cache. */
static void
s_on_key_event(void *arg, struct cn_arena *arena, const Evt__Event *event)
{
    struct auth *self = arg;
    const ProtobufCMessage *message = NULL;
    struct cn_err err = { 0 };
    if (event->type == NULL) {
        return;
    }
    bool of_key = strncmp(event->type, "key.", 4) == 0;
    if (!of_key && strncmp(event->type, "user.", 5) != 0 &&
        strncmp(event->type, "role.", 5) != 0) {
        return;
    }
    struct cn_uuid tenant = { 0 };
    s_id(event->tenant_id, &tenant);
    self->changes++;
    struct cn_bytes payload = { event->payload.data, event->payload.len };
    if (of_key && event->has_payload &&
        cn_message_unpack(arena, &acc__key_event__descriptor, payload, &message,
                          &err) == CN_OK) {
        const Acc__KeyEvent *body = (const Acc__KeyEvent *)message;
        if (body->has_key_hash && body->key_hash.len == HASH_SIZE) {
            s_cache_drop(self, body->key_hash.data);
            s_watch_tell(self, tenant, body->key_hash.data);
            return;
        }
    }
    s_cache_clear(self);
    s_watch_tell(self, tenant, NULL);
}

/* After an answer of the log the cache is as fresh as the time of the
 * question. */
static void s_on_key_look(void *arg, const struct follow_look *look)
{
    struct auth *self = arg;
    if (!look->whole) {
        return;
    }
    self->caught_up = true;
    self->fresh_at = look->asked_at;
    self->held = !look->has_complete_until ||
                 look->complete_until + CN_OUTBOX_SLACK_US + LAG_US <
                     self->env->now(self->env);
    s_wake_all(&self->stale, CN_OK);
}

enum cn_code auth_new(struct cn_env *env,
                      struct follow *access,
                      struct auth **ret_auth,
                      struct cn_err *err)
{
    struct auth *self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return cn_fail(err, CN_NOMEM, "no memory");
    }
    self->env = env;
    self->started_at = cn_clock_monotonic();
    follow_listen(access, (struct follow_listener){ s_on_key_event,
                                                    s_on_key_look, self });
    *ret_auth = self;
    return CN_OK;
}

void auth_free(struct auth *self)
{
    if (self == NULL) {
        return;
    }
    s_cache_clear(self);
    free(self->stale.tokens);
    free(self);
}
