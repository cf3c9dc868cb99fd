/* SPDX-License-Identifier: Apache-2.0 */
/* Records: rows of a resource, read and written by its table (resource.h).
 *
 *     struct cn_record *visit = cn_take(op, &sch__visit__resource, body->id);
 *     Sch__Visit *shown = visit->body;
 *     cn_move(op, visit, "complete");
 *     CN_SET(shown, completed_at, op->now_at);
 *     cn_put(op, visit);
 */
#ifndef CN_RECORD_H
#define CN_RECORD_H

#include "common/contract/resource.h"
#include "common/store/step.h"

enum { CN_RECORD_EVENTS_MAX = 4 };

struct cn_record {
    const struct cn_resource *resource;
    bool found; /* it is in the table; false: new, or there is none */
    struct cn_uuid id;
    struct cn_uuid branch_id;  /* nil: of none */
    struct cn_uuid patient_id; /* nil: of none */
    int64_t version;
    int64_t event_seq;
    int64_t place_at;         /* in the order of its lists */
    const char *also;         /* of the resource's `also`; NULL: SQL NULL */
    struct cn_record *beside; /* of the resource's `beside`, if it was read */
    const struct cn_param *given; /* of a new one: of the resource's `given` */
    void *body;                   /* of the resource's type; never NULL */
    void *shown;             /* what a client sees: body, or a part of it */
    struct cn_bytes as_read; /* body, packed, as it was read */
    const char *verb;        /* of the audit; NULL: "create" or "update" */
    const void *told;        /* payload of its events; NULL: made by cn_put */
    const char *events[CN_RECORD_EVENTS_MAX];
    unsigned event_count;
};
struct cn_records {
    struct cn_record *items;
    size_t count;
};

/* By id; found tells whether there is one. */
struct cn_record *cn_find(struct cn_op *op,
                          const struct cn_resource *resource,
                          struct cn_uuid id);
/* By the outside id in a request. An unknown id and one out of reach are the
 * same 404. A write whose If-Match names another version is 412; one whose
 * request lacks a `required` field is 422, which is no answer about an unknown
 * id. */
struct cn_record *
cn_take(struct cn_op *op, const struct cn_resource *resource, const char *id);
/* What cn_take says of a record that was read by another statement. */
void cn_take_check(struct cn_op *op, const struct cn_record *record);
/* The rows of a statement that selects the resource's columns,
 * <RESOURCE>_COLUMNS of the generated header, of a table r. A record beside is
 * read when its columns stand behind them: ", p.*" with <RESOURCE>_BESIDE. */
struct cn_records cn_records_of(struct cn_op *op,
                                const struct cn_resource *resource,
                                const struct cn_rows *rows);
/* The first of them, or one that is not found. */
struct cn_record *cn_record_of(struct cn_op *op,
                               const struct cn_resource *resource,
                               const struct cn_rows *rows);

/* One record of a row that selects other columns before it. */
struct cn_record *cn_record_at(struct cn_op *op,
                               const struct cn_resource *resource,
                               const struct cn_rows *rows,
                               size_t row,
                               int first);

/* Its outside id, and a field of texts of what is shown (-1: NULL). */
const char *cn_record_id(const struct cn_record *record);
const char *cn_record_text(const struct cn_record *record, int field);

/* When the record last changed. */
int64_t cn_record_updated_at(const struct cn_record *record);

/* A record to be: a copy of what a client sent, or empty (NULL), with a new
 * id. What a client sent must hold every `required` field. */
struct cn_record *cn_record_new(struct cn_op *op,
                                const struct cn_resource *resource,
                                const void *sent);
/* Names each `required` field that the message does not hold. */
void cn_require_fields(struct cn_op *op,
                       const struct cn_shape *shape,
                       const void *message);
/* Applies a merge patch. A field that a patch may not change (output_only,
 * create_only, or anything within one) is passed over when it has the value
 * that a client sees there, and refused by name when it has another; so an
 * object that was just read can be sent back. `required` fields stay. */
void cn_patch(struct cn_op *op,
              struct cn_record *record,
              const void *patch,
              const char *const *mask,
              size_t mask_count);
/* The branch of the record: the one that it names, else the caller's own. 422
 * /branch_id when it is out of the caller's reach, or needed and not there. */
void cn_record_branch(struct cn_op *op, struct cn_record *record);

/* May the command be used now? */
bool cn_may(const struct cn_record *record, const char *command);
/* Makes the move: the new state, and its event for cn_put. 409 illegal_state
 * when the command may not be used. */
void cn_move(struct cn_op *op, struct cn_record *record, const char *command);
/* One event more, told before those that follow. */
void cn_also_tell(struct cn_record *record, const char *type);
/* The payload of the record's events, to be filled further; cn_put tells it. */
void *cn_told(struct cn_op *op, struct cn_record *record);

/* Is the record new, moved, or other than it was read? */
bool cn_changed(struct cn_op *op, const struct cn_record *record);
/* Lock, row, events, audit and reply in one. A record that is as it was read
 * is not written: a client's request then leaves its read in the audit. */
void cn_put(struct cn_op *op, struct cn_record *record);
/* Its row and the events of its moves alone: the lock and the audit row are
 * those of what it is made together with. */
void cn_put_part(struct cn_op *op, struct cn_record *record);
/* Answers with the record, and audits the read. */
void cn_show(struct cn_op *op, struct cn_record *record);
/* Keeps a copy of another service's fact, unless a newer one is there. Equal
 * sequence numbers overwrite too, so that a rebuild repairs a bad copy. */
void cn_keep(struct cn_op *op,
             const struct cn_resource *resource,
             struct cn_uuid id,
             int64_t seq,
             const void *body);

/* Says in the reply where a new record is; cn_put does so for what it inserts.
 */
void cn_record_locate(struct cn_op *op, const struct cn_record *record);
/* What is generated for GET {path}/{id}. */
void cn_get(struct cn_op *op,
            const struct cn_resource *resource,
            const char *id);

#endif
