/* SPDX-License-Identifier: Apache-2.0 */
/* HL7 v2 over HTTP. The message as it came, what it brings about and its
 * acknowledgement are one unit: AA means committed. What is refused (AE, AR) is
 * kept too and is evaluated again when it comes again. */
#include "cairn/referrals.handlers.h"
#include "common/hl7/hl7.h"
#include "common/store/reach.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"
#include "services/referrals/arrival.h"
#include "services/referrals/hl7_count.h"
#include "services/referrals/hl7_referral.h"
#include "services/referrals/rules.h"
#include "services/referrals/unit.h"
#include "services/referrals/warning.h"

#include <string.h>

#define ER7 "x-application/hl7-v2+er7"

enum { TYPE_MAX = 100 }; /* bytes of a content type that are kept */

/* One message while it is handled; in the request's arena. */
struct receipt {
    struct cn_bytes normalised;
    struct cn_hl7 message;
    struct raw_row raw;
    const char *answer_type;   /* the media type of the acknowledgement */
    const Ref__Referral *sent; /* the referral and its patient */
    const Ref__Patient *patient;
    const Ref__Referral *made; /* what became of it */
};

/* ---- answering ---- */

static void s_raw_reply_fill(struct cn_op *op,
                             const struct receipt *self,
                             const struct raw_row *raw)
{
    Ref__RawMessage *answer =
        CN_NEW(op->arena, ref__raw_message, Ref__RawMessage);
    answer->has_content = 1;
    answer->content.len = raw->ack.size;
    answer->content.data =
        cn_arena_copy(op->arena, raw->ack.data, raw->ack.size);
    answer->content_type = self->answer_type;
    *op->reply = (struct cn_reply){ .body = &answer->base };
    if (!cn_uuid_is_nil(raw->referral_id)) {
        op->reply->location =
            cn_arena_printf(op->arena, "%s/%s", ref__referral__resource.path,
                            cn_id_text(op->arena, "ref", raw->referral_id));
    }
}

/* MSH-15 and MSH-16 ask for an accept acknowledgement alone (chapter 2,
 * "Enhanced mode"): what is accepted is CA. A refusal says why as it does
 * otherwise. */
static const char *s_ack_code(const struct cn_hl7 *message, const char *code)
{
    const char *accept = cn_hl7_text(message, message->segments, 15, 1, 1);
    const char *application = cn_hl7_text(message, message->segments, 16, 1, 1);
    bool enhanced = accept != NULL && strcmp(accept, "NE") != 0 &&
                    (application == NULL || strcmp(application, "NE") == 0);
    return enhanced && strcmp(code, "AA") == 0 ? "CA" : code;
}

/* Writes the acknowledgement into self->raw and the reply. fault NULL: AA for
 * the referral; one with ack AA stands beside it as a warning. */
static void s_acknowledge(struct cn_op *op,
                          struct receipt *self,
                          const struct cn_hl7_fault *fault)
{
    const char *name = cn_id_text(op->arena, "", cn_uuid_new(op->env));
    self->raw.ack_code = fault != NULL ? fault->ack : "AA";
    const struct cn_hl7_ack ack = {
        .code = s_ack_code(&self->message, self->raw.ack_code),
        .at = op->now_at,
        .fault = fault,
        /* Time first, then randomness: the first characters tell messages
         * apart. */
        .control_id = cn_arena_strndup(op->arena, name + strspn(name, "_"),
                                       CN_HL7_CONTROL_ID_MAX),
        .text = cn_uuid_is_nil(self->raw.referral_id)
                    ? NULL
                    : cn_id_text(op->arena, "ref", self->raw.referral_id),
    };
    self->raw.ack = cn_hl7_ack_write(&self->message, &ack);
    cn_count(op, hl7_counter(self->raw.message_type, self->raw.ack_code));
    s_raw_reply_fill(op, self, &self->raw);
}

static void s_conflict(struct cn_op *op, const char *constraint);

/* The message and its acknowledgement, among what the unit holds. */
static void s_receipt_keep(struct cn_op *op,
                           const struct receipt *self,
                           struct cn_uuid patient_id)
{
    raw_add(op, &self->raw);
    cn_audit(op, "hl7.receive",
             cn_uuid_is_nil(self->raw.referral_id)
                 ? NULL
                 : cn_id_text(op->arena, "ref", self->raw.referral_id),
             patient_id);
    op->context = self;
    op->on_conflict = s_conflict;
}

static void s_receipt_refuse(struct cn_op *op,
                             struct receipt *self,
                             const struct cn_hl7_fault *fault)
{
    self->raw.referral_id = (struct cn_uuid){ { 0 } };
    s_acknowledge(op, self, fault);
    s_receipt_keep(op, self, (struct cn_uuid){ { 0 } });
}

/* A referral out of reach has this source and id, or came by this very message:
 * refused, without a word of which it is. */
static void s_taken_refuse(struct cn_op *op, struct receipt *self)
{
    static const struct cn_hl7_fault TAKEN = {
        .ack = "AE",
        .segment = "RF1",
        .sequence = 1,
        .field = 6,
        .code = CN_HL7_DUPLICATE_KEY,
        .text = "another referral has this identifier"
    };
    s_receipt_refuse(op, self, &TAKEN);
}

/* The same message again: the same answer, which names its referral again. */
static void
s_repeat(struct cn_op *op, struct receipt *self, const struct raw_row *known)
{
    if (!cn_reach_includes(op->request, known->branch_id)) {
        s_taken_refuse(op, self);
        return;
    }
    s_raw_reply_fill(op, self, known);
    cn_audit_shown(op, "hl7.repeat",
                   cn_id_text(op->arena, "ref", known->referral_id),
                   &known->patient_id, 1);
    if (!cn_failed(op)) {
        ++*hl7_counter(self->raw.message_type, "AA");
    }
}

/* ---- reading ---- */

/* A field as it was sent, or NULL; the reader bounds those of the header. */
static const char *s_header_field(const struct cn_hl7 *message, int field)
{
    struct cn_bytes raw = cn_hl7_raw(message, message->segments, field);
    return raw.size > 0 ? cn_arena_strndup(message->arena,
                                           (const char *)raw.data, raw.size)
                        : NULL;
}

/* MSH-3, MSH-4, MSH-9, MSH-10: what a control id is unique under. */
static void s_hashes(struct receipt *self)
{
    enum { FIELD_COUNT = 4, PART_COUNT = 2 * FIELD_COUNT };
    static const int FIELDS[FIELD_COUNT] = { 3, 4, 9, 10 };
    struct cn_bytes parts[PART_COUNT];
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        parts[2 * i] =
            cn_hl7_raw(&self->message, self->message.segments, FIELDS[i]);
        parts[2 * i + 1] = (struct cn_bytes){ (const uint8_t *)"\r", 1 };
    }
    cn_sha256_parts(parts, PART_COUNT, self->raw.control_hash);
    cn_sha256(self->normalised, self->raw.body_hash);
}

static void s_describe(struct cn_op *op,
                       struct receipt *self,
                       const Ref__ReceiveHl7Request *body)
{
    const struct cn_hl7 *message = &self->message;
    const char *application = s_header_field(message, 3);
    const char *facility = s_header_field(message, 4);
    self->raw.id = cn_uuid_new(op->env);
    self->raw.received_at = op->now_at;
    self->raw.content =
        (struct cn_bytes){ body->content.data, body->content.len };
    self->raw.content_type = cn_arena_strndup(
        op->arena, body->content_type != NULL ? body->content_type : ER7,
        TYPE_MAX);
    self->raw.message_type = s_header_field(message, 9);
    self->raw.sender = cn_arena_printf(op->arena, "%s|%s",
                                       application != NULL ? application : "",
                                       facility != NULL ? facility : "");
    s_hashes(self);
}

/* What of the header must be right before anything else is looked at. */
static const struct cn_hl7_fault *s_header_fault(const struct cn_hl7 *message)
{
    static const struct cn_hl7_fault TYPE = {
        .ack = "AR",
        .segment = "MSH",
        .sequence = 1,
        .field = 9,
        .code = CN_HL7_UNSUPPORTED_TYPE,
        .text = "this message type is not taken; it was kept"
    };
    static const struct cn_hl7_fault VERSION = {
        .ack = "AR",
        .segment = "MSH",
        .sequence = 1,
        .field = 12,
        .code = CN_HL7_UNSUPPORTED_VERSION,
        .text = "only versions 2.x are taken"
    };
    /* Table 0103: P production, T training, D debugging. */
    static const struct cn_hl7_fault PROCESSING = {
        .ack = "AR",
        .segment = "MSH",
        .sequence = 1,
        .field = 11,
        .code = CN_HL7_UNSUPPORTED_PROCESSING,
        .text = "only production messages (P) are taken; no referral was made"
    };
    static const struct cn_hl7_fault CONTROL_ID = {
        .ack = "AE",
        .segment = "MSH",
        .sequence = 1,
        .field = 10,
        .code = CN_HL7_FIELD_MISSING,
        .text = "MSH-10 is needed",
    };
    const char *version = cn_hl7_text(message, message->segments, 12, 1, 1);
    const char *processing = cn_hl7_text(message, message->segments, 11, 1, 1);
    if (version != NULL && strncmp(version, "2.", 2) != 0) {
        return &VERSION;
    }
    if (!hl7_is_referral(message)) {
        return &TYPE;
    }
    if (processing != NULL && strcasecmp(processing, "P") != 0) {
        return &PROCESSING;
    }
    if (cn_hl7_text(message, message->segments, 10, 1, 1) == NULL) {
        return &CONTROL_ID;
    }
    return NULL;
}

/* ---- a referral ---- */

/* Does this message say something else than the one that the referral came in?
 * One that came otherwise cannot be compared: it does. */
static bool s_differs(struct cn_op *op, const struct receipt *self)
{
    struct raw_row first;
    if (!raw_of_referral(op, self->raw.referral_id, &first)) {
        return true;
    }
    struct cn_bytes before =
        cn_hl7_content(cn_hl7_normalise(op->arena, first.content));
    struct cn_bytes now = cn_hl7_content(self->normalised);
    return before.size != now.size ||
           (now.size > 0 && memcmp(before.data, now.data, now.size) != 0);
}

/* Another message for a referral that is here: it is kept under it. The first
 * one that says something else is a warning there, and its sender is told that
 * nothing was changed: a person must look at what differs. */
static void
s_existing(struct cn_op *op, struct receipt *self, struct cn_record *referral)
{
    static const struct cn_hl7_fault DIFFERS = {
        .ack = "AA",
        .code = CN_HL7_ACCEPTED,
        .word = "later_message_differs",
        .text = "the referral was here; what this message says otherwise was "
                "kept for a person and changed nothing"
    };
    if (!cn_reach_includes(op->request, referral->branch_id)) {
        s_taken_refuse(op, self);
        return;
    }
    self->raw.referral_id = referral->id;
    bool differs = s_differs(op, self);
    s_acknowledge(op, self, differs ? &DIFFERS : NULL);
    if (differs) {
        referral_warn(op->arena, referral->body, "later_message_differs");
        referral_put_along(op, referral);
    }
    s_receipt_keep(op, self, referral->patient_id);
}

/* Is the referral that has this number about the same person? A number of the
 * patient that both have outweighs one corrected name or birth date. */
static bool s_same_person(struct cn_op *op,
                          const struct receipt *self,
                          const struct cn_record *referral)
{
    const Ref__Patient *here = referral->beside->body;
    const Ref__Patient *sent = self->patient;
    bool shares = person_shares_key(op->arena, here, sent);
    switch (person_compare(op->arena, here, sent)) {
    case PERSON_SAME:
        return true;
    case PERSON_UNKNOWN:
        return shares || !person_numbers_differ(op->arena, here, sent);
    case PERSON_OTHER:
        break;
    }
    return shares && person_agrees_in_part(op->arena, here, sent);
}

static void
s_referral_arrives(struct cn_op *op, struct receipt *self, bool is_shared);

/* The number of the referral is taken: by this referral, or by another
 * person's.
 */
static void s_number_taken(struct cn_op *op, struct receipt *self)
{
    struct cn_bytes hash;
    struct cn_record *there = referral_of_key(op, self->made, &hash);
    if (!there->found) {
        cn_refuse(op, CN_STALE, NULL, "the other referral is gone");
    } else if (self->made->source_key != NULL ||
               !cn_reach_includes(op->request, there->branch_id) ||
               s_same_person(op, self, there)) {
        s_existing(op, self, there);
    } else {
        s_referral_arrives(op, self, true);
    }
}

/* The same message committed meanwhile is found when the handler runs again
 * from its read. */
static void s_conflict(struct cn_op *op, const char *constraint)
{
    struct receipt *self = cn_arena_copy(op->arena, op->context, sizeof(*self));
    bool again = strcmp(constraint, "hl7_duplicate") == 0 ||
                 strcmp(constraint, "patient_identifier_key") == 0;
    /* A second time under the number of this very person. */
    for (int i = 0;
         i < 2 && strcmp(constraint, "referral_source_external_id") == 0; i++) {
        cn_forgive(op);
        s_number_taken(op, self);
        op->on_conflict = NULL;
        cn_commit(op);
        constraint = op->err->code == CN_CONFLICT ? op->err->word : "";
        again = strcmp(constraint, "hl7_duplicate") == 0 ||
                strcmp(constraint, "patient_identifier_key") == 0;
    }
    if (again) {
        conflict_is_stale(op, "it was received meanwhile");
    }
}

/* What was sent becomes a referral. is_shared: its number is that of another
 * person's referral. */
static void
s_referral_arrives(struct cn_op *op, struct receipt *self, bool is_shared)
{
    const struct arrival_facts facts = {
        .branch_id = branch_of(op, NULL),
        .referral = self->sent,
        .patient = self->patient,
        .content_hash = { self->raw.body_hash, sizeof(self->raw.body_hash) },
        .number_is_shared = is_shared,
    };
    struct arrival arrival = arrival_make(op, &facts);
    self->made = arrival.referral->body;
    self->raw.referral_id = arrival.referral->id;
    s_acknowledge(op, self, NULL);
    arrival_patient_put(op, &arrival);
    cn_lock(op, "referral", arrival.referral->id);
    cn_put_part(op, arrival.referral);
    cn_deadline_put(op, &arrival.deadline);
    s_receipt_keep(op, self, arrival.referral->patient_id);
}

static void s_referral(struct cn_op *op, struct receipt *self)
{
    const struct cn_uuid branch_id = branch_of(op, NULL);
    const char *zone = branch_await(op, branch_id, branch_zone(op, branch_id));
    struct cn_hl7_fault fault = { 0 };
    Ref__Referral *referral = NULL;
    Ref__Patient *patient = NULL;
    if (cn_failed(op)) {
        return;
    }
    enum cn_code rc = hl7_referral_read(&self->message, zone, op->now_at,
                                        &referral, &patient, &fault, op->err);
    if (rc == CN_INVALID) {
        cn_forgive(op);
        s_receipt_refuse(op, self, &fault);
        return;
    }
    if (rc != CN_OK) {
        return;
    }
    if (self->raw.control_id_reused) {
        referral_warn(op->arena, referral, "control_id_reused");
    }
    self->sent = referral;
    self->patient = patient;
    s_referral_arrives(op, self, false);
}

/* The value of the media type's parameter charset, or NULL. */
static const char *s_charset(struct cn_op *op, const char *media_type)
{
    const char *at = media_type != NULL ? strchr(media_type, ';') : NULL;
    while (at != NULL) {
        at += 1 + strspn(at + 1, " \t");
        if (strncasecmp(at, "charset=", 8) == 0) {
            at += 8 + strspn(at + 8, "\"");
            return cn_arena_strndup(op->arena, at, strcspn(at, "\"; \t"));
        }
        at = strchr(at, ';');
    }
    return NULL;
}

/* The type that was sent, without its parameters; ER7 where it names none of
 * HL7's own. */
static const char *s_answer_type(struct cn_op *op, const char *media_type)
{
    const char *type = media_type != NULL
                           ? cn_arena_strndup(op->arena, media_type,
                                              strcspn(media_type, "; \t"))
                           : ER7;
    return strcasestr(type, "hl7-v2") != NULL ? type : ER7;
}

void hl7_receive(struct cn_op *op, const Ref__ReceiveHl7Request *body)
{
    struct receipt *self = cn_arena_alloc(op->arena, sizeof(*self));
    struct cn_hl7_fault fault = { 0 };
    self->normalised = cn_hl7_normalise(
        op->arena, (struct cn_bytes){ body->content.data, body->content.len });
    if (!cn_hl7_begins(self->normalised)) {
        cn_refuse(op, CN_UNSUPPORTED, NULL, "no HL7 v2: it begins without MSH");
        return;
    }
    self->answer_type = s_answer_type(op, body->content_type);
    enum cn_code parsed = cn_hl7_parse(op->arena, self->normalised,
                                       s_charset(op, body->content_type),
                                       &self->message, &fault, op->err);
    if (parsed != CN_OK && parsed != CN_INVALID) {
        return;
    }
    cn_forgive(op);
    s_describe(op, self, body);
    const struct cn_hl7_fault *refused =
        parsed != CN_OK ? &fault : s_header_fault(&self->message);
    if (refused != NULL) {
        s_receipt_refuse(op, self, refused);
        return;
    }
    bool found = false;
    const struct raw_row known =
        raw_find(op, self->raw.control_hash, self->raw.body_hash, &found);
    self->raw.control_id_reused = known.control_id_reused;
    if (found) {
        s_repeat(op, self, &known);
    } else {
        s_referral(op, self);
    }
}
