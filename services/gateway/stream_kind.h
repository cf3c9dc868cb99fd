/* SPDX-License-Identifier: Apache-2.0 */
/* The types of event that the stream knows, the text that a reader gets of an
 * event, and who may see it. */
#ifndef GATEWAY_STREAM_KIND_H
#define GATEWAY_STREAM_KIND_H

#include "common/base/arena.h"
#include "common/base/id.h"
#include "common/policy/principal.h"
#include "common/wire/json.h"
#include "common/wire/shape.h"

#include "cairn/events.pb-c.h"

enum { STREAM_KINDS_MAX = 128, STREAM_RELATED_MAX = 8, STREAM_TEXT_MAX = 1024 };

/* One type of event. Its resource is the first message of the payload: the
 * record after the event. */
struct stream_kind {
    const struct cn_event_shape *shape;
    size_t producer; /* index in cn_event_sources */
    const ProtobufCFieldDescriptor *resource;
    const ProtobufCFieldDescriptor *id;
    const ProtobufCFieldDescriptor *version; /* NULL: it has none */
    const ProtobufCFieldDescriptor *branch;  /* NULL: it has none */
    /* Ids of the records that it belongs to: fields of the resource that hold
     * an outside id (the rule `id` of the proto). */
    const ProtobufCFieldDescriptor *related[STREAM_RELATED_MAX];
    size_t related_count;
};

struct stream_kinds {
    struct stream_kind rows[STREAM_KINDS_MAX];
    size_t count;
};

/* Which events of a kind a reader may see. */
enum stream_sight { STREAM_NOTHING, STREAM_AGENCY, STREAM_BRANCHES };

/* From the generated tables; types without a scope are not for the stream. */
void stream_kinds_init(struct stream_kinds *self);
/* NULL: the stream does not show the type, or it is of a later release. */
const struct stream_kind *stream_kind_find(const struct stream_kinds *self,
                                           size_t producer,
                                           const char *type);
/* Does the kind belong to the topic? A topic is the first word of a scope:
 * "referrals" of "referrals:read". */
bool stream_kind_of_topic(const struct stream_kind *kind,
                          const char *topic,
                          size_t size);
/* By the policy table that the services use: both stream:read and the event's
 * own scope must reach the record. */
enum stream_sight stream_kind_sight(const struct stream_kind *kind,
                                    const struct cn_principal *principal);
bool stream_kind_visible(enum stream_sight sight,
                         const struct cn_principal *principal,
                         struct cn_uuid branch_id);

/* Writes "event: ...\ndata: {...}\n\n": type, ids, version, branch, the ids of
 * related records and time, and nothing else of the record. *ret_branch is nil
 * for a record without one. CN_MALFORMED for a payload that cannot be read. */
CN_CHECKED enum cn_code stream_kind_render(const struct stream_kind *kind,
                                           struct cn_arena *arena,
                                           const Evt__Event *event,
                                           struct cn_buffer *text,
                                           struct cn_uuid *ret_branch,
                                           struct cn_err *err);

#endif
