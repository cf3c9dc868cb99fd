/* SPDX-License-Identifier: Apache-2.0 */
/* The contract of lists: each filter narrows the list; pages have no gap and
 * no repeat. */
#include "tests/lib/contract_internal.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/wire/message.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    STRIDE = 11,  /* odd, so that every combination comes once */
    BITS_MAX = 6, /* filters, and the branch, whose values are combined */
    ITEMS_MAX = CN_PAGE_MAX,
    PAGE = 3,
    PAGED = 12,     /* records that are there before the first page */
    PAGES_MAX = 64, /* no walk ends later */
    EARLY = 40,     /* numbers of makings: before, among, behind these */
    AMONG = 100,
    LATE = 300
};

/* Which filters a request gives, and of what value. */
struct ask {
    unsigned given; /* set of 1 << index */
    unsigned value; /* of all of them */
    bool both;      /* lists of words hold both values */
    int64_t since;  /* updated_since; 0: it is not given */
};

static int s_column(const struct cn_listing *listing, size_t filter)
{
    const char *name =
        listing->request->descriptor->fields[listing->filters[filter].field]
            .name;
    return contract_field(listing->resource->shown, name);
}

/* ---- the request ---- */

static void *s_at(void *message, size_t offset)
{
    return (char *)message + offset;
}

static void s_limit(const struct cn_shape *shape, void *body, int32_t limit)
{
    const ProtobufCFieldDescriptor *field =
        &shape->descriptor->fields[contract_field(shape, "limit")];
    *(int32_t *)s_at(body, field->offset) = limit;
    *(protobuf_c_boolean *)s_at(body, field->quantifier_offset) = 1;
}

static void
s_cursor(const struct cn_shape *shape, void *body, const char *cursor)
{
    const ProtobufCFieldDescriptor *field =
        &shape->descriptor->fields[contract_field(shape, "cursor")];
    *(const char **)s_at(body, field->offset) = cursor;
}

static void s_filter_words(struct contract_run *run,
                           const ProtobufCFieldDescriptor *field,
                           void *body,
                           const struct ask *ask)
{
    const ProtobufCEnumDescriptor *words = field->descriptor;
    int *values = cn_arena_array(run->world->arena, 3, sizeof(*values));
    size_t count = 0;
    assert(field->label == PROTOBUF_C_LABEL_REPEATED && words->n_values > 1);
    values[count++] = words->values[ask->value].value;
    if (ask->both) {
        values[count++] = words->values[1 - ask->value].value;
        values[count++] = words->values[ask->value].value; /* a repeat */
    }
    *(int **)s_at(body, field->offset) = values;
    *(size_t *)s_at(body, field->quantifier_offset) = count;
}

static ProtobufCMessage *s_request(struct contract_run *run,
                                   const struct cn_listing *listing,
                                   const struct ask *ask)
{
    struct contract_maker maker = contract_maker(run, true);
    ProtobufCMessage *body =
        cn_message_new(run->world->arena, listing->request->descriptor);
    for (size_t i = 0; i < listing->filter_count; i++) {
        const ProtobufCFieldDescriptor *field =
            &listing->request->descriptor->fields[listing->filters[i].field];
        if ((ask->given & 1U << i) == 0) {
            continue;
        }
        if (listing->filters[i].prefix != NULL) {
            *(const char **)s_at(body, field->offset) =
                contract_id(&maker, listing->filters[i].prefix, ask->value);
        } else {
            s_filter_words(run, field, body, ask);
        }
    }
    if (ask->since != 0) {
        const ProtobufCFieldDescriptor *field =
            &listing->request->descriptor->fields[listing->since];
        *(int64_t *)s_at(body, field->offset) = ask->since;
        *(protobuf_c_boolean *)s_at(body, field->quantifier_offset) = 1;
    }
    s_limit(listing->request, body, CN_PAGE_MAX);
    return body;
}

/* ---- what must be shown ---- */

static bool s_has_word(const struct cn_listing *listing,
                       size_t filter,
                       const void *shown,
                       const struct ask *ask)
{
    const unsigned column = (unsigned)s_column(listing, filter);
    const ProtobufCEnumDescriptor *words =
        listing->resource->shown->descriptor->fields[column].descriptor;
    const int value = contract_enum(listing->resource->shown, shown, column);
    return value == words->values[ask->value].value ||
           (ask->both && value == words->values[1 - ask->value].value);
}

static bool s_matches(const struct contract_maker *maker,
                      const struct cn_listing *listing,
                      const void *shown,
                      const struct ask *ask)
{
    for (size_t i = 0; i < listing->filter_count; i++) {
        const char *prefix = listing->filters[i].prefix;
        if ((ask->given & 1U << i) == 0) {
            continue;
        }
        if (prefix == NULL) {
            if (!s_has_word(listing, i, shown, ask)) {
                return false;
            }
            continue;
        }
        const char *has = contract_text(listing->resource->shown, shown,
                                        (unsigned)s_column(listing, i));
        if (has == NULL ||
            strcmp(has, contract_id(maker, prefix, ask->value)) != 0) {
            return false;
        }
    }
    return true;
}

static bool
s_in_branch(const struct cn_listing *listing, const void *shown, const char *id)
{
    const char *branch = contract_text(listing->resource->shown, shown,
                                       (unsigned)listing->resource->branch);
    return id == NULL || (branch != NULL && strcmp(branch, id) == 0);
}

static bool s_newest_first;
static bool s_by_change;

static int64_t s_updated_at(const struct contract_made *made)
{
    const struct cn_shape *shape = made->resource->shown;
    const char *shown = made->shown;
    const int at = contract_field(shape, "updated_at");
    return *(
        const int64_t *)(const void *)(shown +
                                       shape->descriptor->fields[at].offset);
}

static int s_compare(const void *a, const void *b)
{
    const struct contract_made *left = *(const struct contract_made *const *)a;
    const struct contract_made *right = *(const struct contract_made *const *)b;
    const int64_t left_at = s_by_change ? s_updated_at(left) : left->place_at;
    const int64_t right_at =
        s_by_change ? s_updated_at(right) : right->place_at;
    int order = left_at < right_at ? -1 : left_at > right_at ? 1 : 0;
    order = order != 0 ? order : cn_uuid_compare(left->id, right->id);
    return s_newest_first ? -order : order;
}

/* The records of the list that were made, in its order. */
static size_t s_expected(struct contract_run *run,
                         const struct cn_listing *listing,
                         const struct ask *ask,
                         const char *branch,
                         const struct contract_made **items)
{
    struct contract_maker maker = contract_maker(run, true);
    size_t count = 0;
    contract_reload(run, listing->resource);
    for (size_t i = 0; i < run->made_count; i++) {
        const struct contract_made *made = &run->made[i];
        if (made->resource == listing->resource &&
            s_matches(&maker, listing, made->shown, ask) &&
            (ask->since == 0 || s_updated_at(made) >= ask->since) &&
            (branch == NULL || s_in_branch(listing, made->shown, branch))) {
            items[count++] = made;
        }
    }
    s_by_change = ask->since != 0;
    s_newest_first = listing->newest_first && !s_by_change;
    qsort(items, count, sizeof(*items), s_compare);
    return count;
}

/* ---- what is shown ---- */

/* A page as it was answered. */
struct shown {
    const char *ids[ITEMS_MAX];
    size_t count;
    const char *next;
    bool more;
};

static struct shown s_shown(const struct contract_method *m,
                            const struct test_answer *answer)
{
    const struct cn_shape *output = m->method->output;
    const ProtobufCFieldDescriptor *fields = output->descriptor->fields;
    const char *body = answer->body;
    struct shown page = { .count = 0 };
    const ProtobufCFieldDescriptor *data =
        &fields[contract_field(output, "data")];
    const size_t count =
        *(const size_t *)(const void *)(body + data->quantifier_offset);
    void *const *items =
        *(void *const *const *)(const void *)(body + data->offset);
    for (size_t i = 0; i < count && i < ITEMS_MAX; i++) {
        page.ids[page.count++] =
            contract_text(m->method->resource->shown, items[i], 0);
    }
    page.next = contract_text(output, answer->body,
                              (unsigned)contract_field(output, "next_cursor"));
    page.more = *(
        const protobuf_c_boolean
            *)(const void *)(body +
                             fields[contract_field(output, "has_more")].offset);
    return page;
}

/* "status, referral_id" */
static const char *s_names(const struct cn_listing *listing, unsigned given)
{
    static char text[CONTRACT_TEXT_MAX];
    size_t size = 0;
    text[0] = '\0';
    for (size_t i = 0; i < listing->filter_count; i++) {
        if ((given & 1U << i) != 0) {
            size += (size_t)snprintf(
                text + size, sizeof(text) - size, "%s%s", size > 0 ? ", " : "",
                listing->request->descriptor->fields[listing->filters[i].field]
                    .name);
        }
    }
    return given == 0 ? "no filter" : text;
}

static void s_narrows(struct contract_run *run,
                      const struct contract_call *call,
                      const struct ask *ask,
                      const char *branch)
{
    const struct contract_method *m = call->method;
    const struct cn_listing *listing = m->method->listing;
    const struct contract_made *expected[CONTRACT_MADE_MAX];
    const size_t count = s_expected(run, listing, ask, branch, expected);
    struct test_answer answer = contract_send(run, call);
    if (!contract_must(run, answer.rc == CN_OK, "%s with %s answers: %s",
                       m->rpc, s_names(listing, ask->given),
                       contract_outcome(&answer))) {
        return;
    }
    const struct shown page = s_shown(m, &answer);
    bool same = page.count == count;
    for (size_t i = 0; same && i < count; i++) {
        same = strcmp(page.ids[i], expected[i]->text) == 0;
    }
    contract_must(run, same,
                  "%s with %s (value %u%s)%s shows the rows that match, in"
                  " order, and no other: %zu, not %zu",
                  m->rpc, s_names(listing, ask->given), ask->value,
                  ask->both ? " and another" : "",
                  branch != NULL ? " in a branch" : "", page.count, count);
}

/* ---- filters ---- */

/* A list of tenants shows those of other tests, too. */
static bool s_is_looked_at(const struct contract_method *m)
{
    return m->method->listing != NULL &&
           !m->method->listing->resource->is_tenant;
}

/* Some rows match each filter, and some do not. */
static void s_has_both(struct contract_run *run,
                       const struct cn_listing *listing,
                       size_t filter)
{
    const struct contract_maker maker = contract_maker(run, true);
    for (unsigned value = 0; value < CONTRACT_WHICH; value++) {
        const struct ask ask = { .given = 1U << filter, .value = value };
        size_t in = 0;
        size_t out = 0;
        for (size_t i = 0; i < run->made_count; i++) {
            if (run->made[i].resource == listing->resource) {
                const bool matches =
                    s_matches(&maker, listing, run->made[i].shown, &ask);
                in += matches;
                out += !matches;
            }
        }
        contract_must(run, in > 0 && out > 0,
                      "rows of %s that match %s and rows that do not are made",
                      listing->name, s_names(listing, ask.given));
    }
}

/* A record for each combination of the filters' values and of branches. When a
 * constraint refuses it, the record points to other records of other services.
 */
static void s_combine(struct contract_run *run,
                      const struct cn_listing *listing)
{
    const struct cn_resource *resource = listing->resource;
    const size_t filters = listing->filter_count;
    const size_t bits = filters + (resource->branch >= 0 ? 1 : 0);
    assert(bits <= BITS_MAX);
    for (unsigned turn = 0; turn < 1U << bits; turn++) {
        /* Orders the combinations. Where a constraint allows only a few of
         * them, those few differ in every filter. */
        const unsigned values = turn * STRIDE % (1U << bits);
        struct contract_spec spec = { .resource = resource, .which = -1 };
        struct contract_spec fresh = spec;
        for (size_t i = 0; i < bits; i++) {
            const int field =
                i < filters ? s_column(listing, i) : resource->branch;
            const char *prefix =
                i < filters ? listing->filters[i].prefix : NULL;
            spec.sets[spec.set_count++] =
                (struct contract_set){ .field = (unsigned)field,
                                       .value = values >> i & 1U };
            if (prefix == NULL || contract_owns(run->contract, prefix)) {
                fresh.sets[fresh.set_count++] = spec.sets[spec.set_count - 1];
            }
        }
        if (contract_make(run, &spec) == NULL) {
            (void)contract_make(run, &fresh);
        }
    }
    for (size_t i = 0; i < filters; i++) {
        s_has_both(run, listing, i);
    }
}

/* Ids that no row has: an unknown one, and a text that is no such id. */
static void s_finds_nothing(struct contract_run *run,
                            struct contract_call *call)
{
    const struct cn_listing *listing = call->method->method->listing;
    for (size_t i = 0; i < listing->filter_count; i++) {
        const struct ask ask = { .given = 1U << i };
        const ProtobufCFieldDescriptor *field =
            &listing->request->descriptor->fields[listing->filters[i].field];
        if (listing->filters[i].prefix == NULL) {
            continue;
        }
        const char *const ids[] = { cn_id_text(run->world->arena,
                                               listing->filters[i].prefix,
                                               cn_uuid_new(&run->world->env)),
                                    "xxx_none", "" };
        for (size_t j = 0; j < CN_COUNT(ids); j++) {
            call->body = s_request(run, listing, &ask);
            *(const char **)s_at(call->body, field->offset) = ids[j];
            struct test_answer answer = contract_send(run, call);
            contract_must(run,
                          answer.rc == CN_OK &&
                              s_shown(call->method, &answer).count == 0,
                          "%s with an unknown %s (\"%s\") is an empty page: %s",
                          call->method->rpc, field->name, ids[j],
                          contract_outcome(&answer));
        }
    }
}

/* When the record in the middle of those that were made last changed. */
static int64_t s_middle_change(struct contract_run *run,
                               const struct cn_listing *listing)
{
    const struct contract_made *items[CONTRACT_MADE_MAX];
    const struct ask all = { .since = 1 };
    const size_t count = s_expected(run, listing, &all, NULL, items);
    return count > 0 ? s_updated_at(items[count / 2]) : 0;
}

static void s_filters(struct contract_run *run, const struct contract_method *m)
{
    const struct cn_listing *listing = m->method->listing;
    contract_settle(run);
    s_combine(run, listing);
    struct contract_maker maker = contract_maker(run, true);
    struct contract_call call = { .method = m, .caller = { .role = m->role } };
    const unsigned sets = 1U << listing->filter_count;
    const int64_t middle = s_middle_change(run, listing);
    /* All sets of filters; again in the order of changes. */
    for (unsigned turn = 0; turn < sets * (listing->since >= 0 ? 2 : 1);
         turn++) {
        const unsigned given = turn % sets;
        const int64_t since = turn < sets ? 0 : middle;
        for (unsigned way = 0; way < 3; way++) {
            const struct ask ask = { .given = given,
                                     .value = way & 1U,
                                     .both = way == 2,
                                     .since = since };
            call.caller = (struct test_caller){ .role = m->role };
            call.body = s_request(run, listing, &ask);
            s_narrows(run, &call, &ask, NULL);
            if (m->branch_role != NULL && listing->resource->branch >= 0) {
                const struct cn_uuid branch =
                    contract_uuid(&maker, "brn", way & 1U);
                call.caller.role = m->branch_role;
                call.caller.branches = &branch;
                call.caller.branch_count = 1;
                s_narrows(run, &call, &ask,
                          contract_id(&maker, "brn", way & 1U));
            }
        }
    }
    call.caller = (struct test_caller){ .role = m->role };
    s_finds_nothing(run, &call);
}

void contract_filters(struct test_world *world)
{
    struct contract_run *run = contract_run_of(world);
    CONTRACT_EACH(run, m)
    {
        if (s_is_looked_at(m)) {
            s_filters(run, m);
        }
    }
}

/* ---- pages ---- */

/* Two records with the same number have the same place in the list, unless a
 * constraint forbids it. Only the records that they point to are different. */
static void s_page_record(struct contract_run *run,
                          const struct cn_listing *listing,
                          unsigned number,
                          unsigned value)
{
    struct contract_spec spec = { .resource = listing->resource,
                                  .which = -1,
                                  .number = number };
    for (size_t i = 0; i < listing->filter_count; i++) {
        if (listing->filters[i].prefix != NULL &&
            contract_owns(run->contract, listing->filters[i].prefix)) {
            spec.sets[spec.set_count++] =
                (struct contract_set){ .field = (unsigned)s_column(listing, i),
                                       .value = value };
        }
    }
    if (contract_make(run, &spec) == NULL) {
        spec.number = number + LATE;
        (void)contract_must_make(run, &spec);
    }
}

static const struct contract_made *s_made(struct contract_run *run,
                                          const char *text)
{
    for (size_t i = 0; i < run->made_count; i++) {
        if (strcmp(run->made[i].text, text) == 0) {
            return &run->made[i];
        }
    }
    return NULL;
}

/* The whole list by pages, while records are made before, among and behind
 * those that are there. */
struct walk {
    const char *ids[ITEMS_MAX];
    size_t count;
    size_t pages;
    const char *cursor; /* behind the first page */
};

static void
s_walk(struct contract_run *run, struct contract_call *call, struct walk *walk)
{
    const struct cn_listing *listing = call->method->method->listing;
    const struct ask ask = { 0 };
    const char *cursor = NULL;
    bool more = true;
    while (more && walk->pages < PAGES_MAX) {
        call->body = s_request(run, listing, &ask);
        s_limit(listing->request, call->body, PAGE);
        s_cursor(listing->request, call->body, cursor);
        struct test_answer answer = contract_send(run, call);
        if (!contract_must(run, answer.rc == CN_OK,
                           "%s answers with the cursor of the page before: %s",
                           call->method->rpc, contract_outcome(&answer))) {
            return;
        }
        const struct shown page = s_shown(call->method, &answer);
        for (size_t i = 0; i < page.count && walk->count < ITEMS_MAX; i++) {
            walk->ids[walk->count++] = page.ids[i];
        }
        contract_must(run, page.more == (page.next != NULL),
                      "%s has more exactly when it gives a cursor",
                      call->method->rpc);
        contract_must(run, page.count == PAGE || !page.more,
                      "a page of %s that has more is full", call->method->rpc);
        more = page.more;
        cursor = page.next;
        walk->cursor = walk->pages == 0 ? cursor : walk->cursor;
        const unsigned number = (unsigned)walk->pages++;
        if (number < PAGED / PAGE) {
            s_page_record(run, listing, EARLY + number, 0);
            s_page_record(run, listing, AMONG + number, 1);
            s_page_record(run, listing, LATE + number, 0);
        }
    }
}

static void s_walked(struct contract_run *run,
                     const struct contract_method *m,
                     const struct walk *walk,
                     size_t made_before)
{
    s_newest_first = m->method->listing->newest_first;
    s_by_change = false;
    for (size_t i = 1; i < walk->count; i++) {
        const struct contract_made *a = s_made(run, walk->ids[i - 1]);
        const struct contract_made *b = s_made(run, walk->ids[i]);
        contract_must(run, a != NULL && b != NULL && s_compare(&a, &b) < 0,
                      "row %zu of %s comes behind the row before it", i,
                      m->rpc);
    }
    for (size_t i = 0; i < made_before; i++) {
        size_t times = 0;
        if (run->made[i].resource != m->method->listing->resource) {
            continue;
        }
        for (size_t j = 0; j < walk->count; j++) {
            times += strcmp(walk->ids[j], run->made[i].text) == 0;
        }
        contract_must(run, times == 1,
                      "pages of %s show each row once, while others are made:"
                      " one came %zu times",
                      m->rpc, times);
    }
}

static void s_cursor_refused(struct contract_run *run,
                             const struct contract_call *call,
                             const char *cursor,
                             const char *where)
{
    const struct cn_listing *listing = call->method->method->listing;
    s_cursor(listing->request, call->body, cursor);
    struct test_answer answer = contract_send(run, call);
    contract_must(run,
                  answer.rc == CN_MALFORMED &&
                      strcmp(answer.err.word, "invalid_cursor") == 0,
                  "%s refuses a cursor %s: %s", call->method->rpc, where,
                  contract_outcome(&answer));
}

/* The cursor of one list, filters and tenant is refused by any other. */
static void s_cursor_is_bound(struct contract_run *run,
                              struct contract_call *call,
                              const char *cursor)
{
    const struct contract_method *m = call->method;
    const struct cn_listing *listing = m->method->listing;
    struct ask ask = { 0 };
    char bent[CONTRACT_TEXT_MAX];
    if (!contract_must(run, cursor != NULL, "%s has a second page", m->rpc)) {
        return;
    }
    for (size_t i = 0; i < listing->filter_count; i++) {
        ask.given = 1U << i;
        call->body = s_request(run, listing, &ask);
        s_cursor_refused(run, call, cursor, "of other filters");
    }
    ask.given = 0;
    call->body = s_request(run, listing, &ask);
    call->caller.tenant = cn_uuid_new(&run->world->env);
    s_cursor_refused(run, call, cursor, "of another tenant");
    call->caller.tenant = (struct cn_uuid){ { 0 } };
    (void)snprintf(bent, sizeof(bent), "%s", cursor);
    bent[3] = bent[3] == 'A' ? 'B' : 'A';
    s_cursor_refused(run, call, bent, "that was bent");
    for (size_t i = 0; i < run->method_count; i++) {
        const struct contract_method *other = &run->methods[i];
        if (other->method->listing != NULL &&
            other->method->listing != listing) {
            struct contract_call there = { .method = other,
                                           .caller = { .role = other->role } };
            there.body = s_request(run, other->method->listing, &ask);
            s_cursor_refused(run, &there, cursor, "of another list");
        }
    }
}

static void s_limits(struct contract_run *run, struct contract_call *call)
{
    static const int32_t LIMITS[] = { 0, -1, CN_PAGE_MAX + 1 };
    const struct cn_listing *listing = call->method->method->listing;
    const struct ask ask = { 0 };
    for (size_t i = 0; i < CN_COUNT(LIMITS); i++) {
        call->body = s_request(run, listing, &ask);
        s_limit(listing->request, call->body, LIMITS[i]);
        struct test_answer answer = contract_send(run, call);
        contract_must(run,
                      answer.rc == CN_INVALID &&
                          strcmp(answer.err.fields[0].pointer, "/limit") == 0,
                      "%s refuses a limit of %d: %s", call->method->rpc,
                      (int)LIMITS[i], contract_outcome(&answer));
    }
}

static void s_pages(struct contract_run *run, const struct contract_method *m)
{
    const struct cn_listing *listing = m->method->listing;
    struct contract_call call = { .method = m, .caller = { .role = m->role } };
    struct walk walk = { .count = 0 };
    contract_settle(run);
    for (unsigned i = 0; i < PAGED; i++) {
        s_page_record(run, listing, AMONG + PAGED + i / 2, i % 2);
    }
    contract_reload(run, listing->resource);
    const size_t made_before = run->made_count;
    s_walk(run, &call, &walk);
    s_walked(run, m, &walk, made_before);
    s_cursor_is_bound(run, &call, walk.cursor);
    s_limits(run, &call);
}

void contract_pages(struct test_world *world)
{
    struct contract_run *run = contract_run_of(world);
    CONTRACT_EACH(run, m)
    {
        if (s_is_looked_at(m)) {
            s_pages(run, m);
        }
    }
}
