/* SPDX-License-Identifier: Apache-2.0 */
#include "common/store/listing.h"

#include "common/store/reach.h"

#include <string.h>

enum { ACTION_MAX = 64, PARAMS_MAX = 4 + CN_FILTERS_MAX };

/* What the request gives for each filter. */
struct given {
    struct cn_param params[CN_FILTERS_MAX];
    unsigned ids;   /* set of 1 << index */
    unsigned words; /* the same */
    bool nothing;   /* no row can match */
    bool by_change;
    int64_t since;
    const char *text;
};

static const void *s_filter_value(const struct cn_request *request,
                                  const ProtobufCFieldDescriptor *field,
                                  size_t *ret_count)
{
    const char *body = request->body;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        *ret_count =
            *(const size_t *)(const void *)(body + field->quantifier_offset);
        return *(void *const *)(const void *)(body + field->offset);
    }
    return body + field->offset;
}

static void s_since_read(const struct cn_request *request,
                         const struct cn_listing *listing,
                         struct cn_filter *filter,
                         struct given *given)
{
    if (listing->since < 0) {
        return;
    }
    const ProtobufCFieldDescriptor *field =
        &listing->request->descriptor->fields[listing->since];
    const char *body = request->body;
    given->by_change =
        *(const protobuf_c_boolean *)(const void *)(body +
                                                    field->quantifier_offset);
    given->since =
        cn_filter_at(filter, given->by_change,
                     *(const int64_t *)(const void *)(body + field->offset));
}

static struct given s_given(struct cn_op *op, const struct cn_listing *listing)
{
    struct given given = { .ids = 0 };
    struct cn_filter filter;
    cn_filter_begin(&filter, op->request, listing->name);
    for (unsigned i = 0; i < listing->filter_count; i++) {
        const struct cn_list_filter *by = &listing->filters[i];
        const ProtobufCFieldDescriptor *field =
            &listing->request->descriptor->fields[by->field];
        size_t count = 0;
        const void *value = s_filter_value(op->request, field, &count);
        if (by->prefix != NULL) {
            const char *id = *(const char *const *)value;
            given.params[i] =
                cn_uuid_or_null(cn_filter_id(&filter, by->prefix, id));
            given.ids |= id != NULL ? 1U << i : 0;
        } else {
            given.params[i] =
                cn_filter_words(&filter, field->descriptor, value, count);
            given.words |= given.params[i].kind != CN_PARAM_NULL ? 1U << i : 0;
        }
    }
    s_since_read(op->request, listing, &filter, &given);
    given.nothing = filter.nothing;
    given.text = filter.text;
    return given;
}

static const struct cn_list_way *s_way(const struct cn_listing *listing,
                                       const struct given *given)
{
    const struct cn_list_way *way = listing->ways;
    for (size_t i = 0; i < listing->way_count; i++, way++) {
        if (way->lead >= 0 ? (given->ids & 1U << way->lead) != 0
                           : given->words == way->words) {
            break;
        }
    }
    return way;
}

/* The first page of a list whose newest row comes first begins behind all. */
static struct cn_cursor s_after(const struct cn_op *op,
                                const struct cn_listing *listing,
                                struct cn_cursor after)
{
    if (listing->newest_first && after.key == 0) {
        after.key = op->now_at + CN_DAY;
        memset(after.id.bytes, 0xff, sizeof(after.id.bytes));
    }
    return after;
}

static struct cn_records s_way_read(struct cn_op *op,
                                    const struct cn_listing *listing,
                                    const struct given *given,
                                    const struct cn_page *page)
{
    const struct cn_list_way *way = s_way(listing, given);
    struct cn_cursor after = s_after(op, listing, page->after);
    struct cn_param params[PARAMS_MAX] = { cn_at(after.key), cn_uuid(after.id),
                                           cn_int(page->limit + 1) };
    size_t count = 3;
    if (listing->resource->branch >= 0) {
        params[count++] = cn_reach_branches(op->request);
    }
    for (unsigned i = 0; i < way->filter_count; i++) {
        params[count++] = given->params[way->filters[i]];
    }
    return cn_records_of(op, listing->resource,
                         cn_read(op, way->statement, params, count));
}

struct cn_records cn_records_of_changes(struct cn_op *op,
                                        const struct cn_resource *resource,
                                        const struct cn_rows *rows)
{
    struct cn_records records = cn_records_of(op, resource, rows);
    for (size_t i = 0; i < records.count; i++) {
        records.items[i].place_at = cn_record_updated_at(&records.items[i]);
    }
    return records;
}

/* In the order of changes, from the instant that is asked for. */
static struct cn_records s_changes_read(struct cn_op *op,
                                        const struct cn_listing *listing,
                                        const struct given *given,
                                        const struct cn_page *page)
{
    const bool all = given->ids == 0 && given->words == 0;
    struct cn_cursor after = page->after;
    if (after.key == 0) {
        after.key = given->since;
    }
    struct cn_param params[PARAMS_MAX] = { cn_at(after.key), cn_uuid(after.id),
                                           cn_int(page->limit + 1) };
    size_t count = 3;
    if (listing->resource->branch >= 0) {
        params[count++] = cn_reach_branches(op->request);
    }
    for (unsigned i = 0; !all && i < listing->filter_count; i++) {
        params[count++] = given->params[i];
    }
    return cn_records_of_changes(
        op, listing->resource,
        cn_read(op, all ? listing->changes : listing->changes_with, params,
                count));
}

struct cn_records cn_list_read(struct cn_op *op,
                               const struct cn_listing *listing,
                               struct cn_page *ret_page)
{
    struct given given = s_given(op, listing);
    *ret_page = cn_page_open(op, given.text);
    if (cn_failed(op) || given.nothing) {
        return (struct cn_records){ 0 };
    }
    return given.by_change ? s_changes_read(op, listing, &given, ret_page)
                           : s_way_read(op, listing, &given, ret_page);
}

void cn_list_answer(struct cn_op *op,
                    const struct cn_page *page,
                    struct cn_records records,
                    const char *action,
                    const char *resource)
{
    struct cn_page_row *shown =
        cn_arena_array(op->arena, records.count, sizeof(*shown));
    for (size_t i = 0; i < records.count; i++) {
        struct cn_record *record = &records.items[i];
        if (record->resource->show != NULL) {
            record->resource->show(op, record);
        }
        shown[i] = (struct cn_page_row){
            .shown = record->shown,
            .patient_id = record->patient_id,
            .place = { record->place_at, record->id },
        };
    }
    cn_page_answer(op, page, shown, records.count, action, resource);
}

void cn_list(struct cn_op *op, const struct cn_listing *listing)
{
    struct cn_page page = { .limit = 0 };
    struct cn_records records = cn_list_read(op, listing, &page);
    cn_list_answer(
        op, &page, records,
        listing->resource->audited
            ? cn_arena_printf(op->arena, "%s.list", listing->resource->name)
            : NULL,
        NULL);
}
