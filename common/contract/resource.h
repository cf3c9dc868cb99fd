/* SPDX-License-Identifier: Apache-2.0 */
/* A resource: a message that is kept as one sealed row. The plugin makes these
 * tables, and their SQL, from `option (resource)` of the message and `column`
 * of its fields; common/store/record.h reads and writes by them. */
#ifndef CN_RESOURCE_H
#define CN_RESOURCE_H

#include "common/contract/move.h"
#include "common/wire/shape.h"

struct cn_op;
struct cn_param;
struct cn_record;
struct cn_statement;

enum { CN_COLUMNS_MAX = 16, CN_FILTERS_MAX = 8 };

/* How a column's value is made of its field. */
enum cn_column_kind {
    CN_COLUMN_TEXT,
    CN_COLUMN_WORD, /* an enum's word */
    CN_COLUMN_ID,   /* an outside id as uuid; absent or of another form: NULL */
    CN_COLUMN_AT,   /* microseconds as timestamptz */
    CN_COLUMN_INT,
    CN_COLUMN_BOOL,
    CN_COLUMN_BYTES
};

struct cn_column {
    unsigned field; /* index in the shown message's descriptor->fields */
    enum cn_column_kind kind;
    const char *prefix; /* of CN_COLUMN_ID */
};

struct cn_resource {
    const char *name;    /* "visit": aggregate type, audit actions */
    const char *prefix;  /* of its ids: "vis" */
    const char *path;    /* "/v1/visits"; NULL: none */
    const char *context; /* of the seal: "scheduling.visit.body" */
    const struct cn_shape *shape;
    const struct cn_shape *shown; /* of what a client sees */
    int shows; /* index of the field that a client sees; -1: the whole */
    const struct cn_column *columns;
    size_t column_count;
    size_t derived_count; /* further columns, whose values derived() makes */
    void (*derived)(struct cn_op *op,
                    const struct cn_record *record,
                    struct cn_param *ret_params);
    size_t given_count; /* of record->given: columns of the insert alone */
    const struct cn_resource *beside; /* read with each row; NULL: none */
    const char *event; /* told of what is made or changed by no move, or NULL */
    const struct cn_shape *told; /* payload of its events, or NULL */
    int told_field;              /* the payload's field that holds the body */
    /* Makes the payload instead, for an event that tells more; or NULL. */
    void *(*tell)(struct cn_op *op, struct cn_record *record);
    /* Sets what depends on the time of asking; or NULL. */
    void (*show)(struct cn_op *op, struct cn_record *record);
    const struct cn_moves *moves; /* NULL: it has no states */
    int status;                   /* index of the status field, or -1 */
    int branch;                   /* index of the branch id, or -1 */
    int patient;                  /* index of the patient's id, or -1 */
    bool audited;                 /* it is of a patient: reads are audited */
    bool is_tenant;               /* a row has the id of its tenant */
    const struct cn_statement *get;
    const struct cn_statement *after; /* in the order of ids, for a snapshot */
    const struct cn_statement *insert;
    const struct cn_statement *update; /* NULL: it is never changed */
    const struct cn_statement *keep;   /* of a copy: the newer one stays */
};

/* A filter of a list: a field of the request. */
struct cn_list_filter {
    unsigned field;     /* in the request's descriptor->fields */
    const char *prefix; /* of an id; NULL: words of an enum */
};

/* One statement of a list, for the filters that are given. Its parameters are
 * the cursor's key and id, the limit, the reach, then these filters. */
struct cn_list_way {
    const struct cn_statement *statement;
    int lead;       /* index of the id filter that leads to the rows, or -1 */
    unsigned words; /* set of 1 << index: the word filters that are given */
    unsigned filter_count;
    uint8_t filters[CN_FILTERS_MAX];
};

struct cn_listing {
    const char *name; /* "visits": what cursors are bound to */
    const struct cn_resource *resource;
    const struct cn_shape *request;
    bool newest_first;
    const struct cn_list_filter *filters;
    size_t filter_count;
    const struct cn_list_way *ways;
    size_t way_count;
    /* Index of the request's field updated_since; -1: it has none. The list is
     * then in the order of changes, oldest first: by the first statement
     * without filters, else by the second, which has all of them. */
    int since;
    const struct cn_statement *changes;
    const struct cn_statement *changes_with;
};

#endif
