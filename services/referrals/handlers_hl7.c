/* SPDX-License-Identifier: Apache-2.0 */
/* HL7 v2 over HTTP. The message as it came, what it brings about and its
 * acknowledgement are one unit: AA means committed. What is refused (AE, AR) is
 * kept too and is evaluated again when it comes again. */
#include "cairn/referrals.handlers.h"
#include "common/store/audit.h"
#include "common/store/reach.h"
#include "common/wire/message.h"
#include "common/wire/seal.h"
#include "services/referrals/arrival.h"
#include "services/referrals/hl7.h"
#include "services/referrals/hl7_referral.h"
#include "services/referrals/unit.h"

#include <string.h>

#define ER7 "x-application/hl7-v2+er7"

enum { TYPE_MAX = 100 }; /* bytes of a content type that are kept */

/* One message while it is handled. */
struct receipt {
    const struct cn_request *request;
    struct cn_reply *reply;
    struct cn_store store;
    struct cn_bytes normalised;
    struct hl7 message;
    struct raw_row raw;
};

static enum cn_code s_nomem(struct cn_err *err)
{
    return cn_fail(err, CN_NOMEM, "receive HL7");
}

/* ---- answering ---- */

static enum cn_code s_fill(struct receipt *self, struct cn_err *err)
{
    struct cn_arena *arena = self->request->arena;
    Ref__RawMessage *answer = CN_NEW(arena, ref__raw_message, Ref__RawMessage);
    if (answer == NULL) {
        return s_nomem(err);
    }
    answer->has_content = 1;
    answer->content.len = self->raw.ack.size;
    answer->content.data =
        cn_arena_copy(arena, self->raw.ack.data, self->raw.ack.size);
    answer->content_type = ER7;
    *self->reply = (struct cn_reply){ .body = &answer->base };
    if (!cn_uuid_is_nil(self->raw.referral_id)) {
        self->reply->location = referral_path(arena, self->raw.referral_id);
        if (self->reply->location == NULL) {
            return s_nomem(err);
        }
    }
    return answer->content.data != NULL ? CN_OK : s_nomem(err);
}

/* Writes the acknowledgement into self->raw. fault NULL: AA for the referral.
 */
static enum cn_code s_acknowledge(struct receipt *self,
                                  const struct hl7_fault *fault,
                                  struct cn_err *err)
{
    struct cn_arena *arena = self->request->arena;
    char id[CN_ID_TEXT_MAX];
    const char *name = cn_id_text(arena, "", cn_uuid_new(self->store.env));
    if (name == NULL) {
        return s_nomem(err);
    }
    self->raw.ack_code = fault != NULL ? fault->ack : "AA";
    struct hl7_ack ack = { .code = self->raw.ack_code,
                           .at = self->request->now_at,
                           .fault = fault };
    /* Time first, then randomness: the first characters tell messages apart. */
    ack.control_id =
        cn_arena_strndup(arena, name + strspn(name, "_"), HL7_CONTROL_ID_MAX);
    if (fault == NULL) {
        cn_id_format(REFERRAL_PREFIX, self->raw.referral_id, id);
        ack.text = id;
    }
    if (ack.control_id == NULL) {
        return s_nomem(err);
    }
    self->raw.ack = hl7_ack_write(&self->message, &ack);
    return self->raw.ack.data != NULL ? s_fill(self, err) : s_nomem(err);
}

/* Commits a unit that keeps the message; the same message committed meanwhile
 * is found when the handler runs again from its read. */
static enum cn_code s_commit(struct receipt *self,
                             struct cn_write *write,
                             struct cn_uuid patient_id,
                             struct cn_err *err)
{
    char id[CN_ID_TEXT_MAX];
    bool named = !cn_uuid_is_nil(self->raw.referral_id);
    if (named) {
        cn_id_format(REFERRAL_PREFIX, self->raw.referral_id, id);
    }
    cn_write_audit(write, "hl7.receive", named ? id : NULL, patient_id);
    enum cn_code rc = cn_write_commit(write, err);
    if (rc == CN_CONFLICT &&
        (strcmp(err->word, "hl7_duplicate") == 0 ||
         strcmp(err->word, "patient_identifier_key") == 0)) {
        cn_err_clear(err);
        return cn_fail(err, CN_STALE, "it was received meanwhile");
    }
    return rc;
}

/* Keeps the message and its acknowledgement, and nothing else. */
static enum cn_code
s_keep(struct receipt *self, struct cn_uuid patient_id, struct cn_err *err)
{
    struct cn_write *write = cn_write_begin(self->request, self->reply);
    if (write == NULL) {
        return s_nomem(err);
    }
    enum cn_code rc = raw_add(&self->store, write, &self->raw, err);
    return rc == CN_OK ? s_commit(self, write, patient_id, err) : rc;
}

static enum cn_code s_refuse(struct receipt *self,
                             const struct hl7_fault *fault,
                             struct cn_err *err)
{
    cn_err_clear(err);
    enum cn_code rc = s_acknowledge(self, fault, err);
    return rc == CN_OK ? s_keep(self, (struct cn_uuid){ { 0 } }, err) : rc;
}

/* A referral out of reach has this source and id, or came by this very message:
 * refused, without a word of which it is. */
static enum cn_code s_taken(struct receipt *self, struct cn_err *err)
{
    static const struct hl7_fault TAKEN = {
        .ack = "AE",
        .segment = "RF1",
        .sequence = 1,
        .field = 6,
        .code = HL7_DUPLICATE_KEY,
        .text = "another referral has this identifier"
    };
    return s_refuse(self, &TAKEN, err);
}

/* The same message again: the same answer, which names its referral again. */
static enum cn_code
s_repeat(struct receipt *self, const struct raw_row *known, struct cn_err *err)
{
    char id[CN_ID_TEXT_MAX];
    if (!cn_reach_includes(self->request, known->branch_id)) {
        return s_taken(self, err);
    }
    self->raw = *known;
    cn_id_format(REFERRAL_PREFIX, known->referral_id, id);
    enum cn_code rc = s_fill(self, err);
    return rc == CN_OK ? cn_audit_read(self->request, "hl7.repeat", id,
                                       &known->patient_id, 1, err)
                       : rc;
}

/* ---- reading ---- */

/* A field as it was sent, or NULL; the reader bounds those of the header. */
static const char *s_header(const struct hl7 *message, int field)
{
    struct cn_bytes raw = hl7_raw(message, message->segments, field);
    return raw.size > 0 ? cn_arena_strndup(message->arena,
                                           (const char *)raw.data, raw.size)
                        : NULL;
}

/* MSH-3, MSH-4, MSH-9, MSH-10: what a control id is unique under. */
static void s_hashes(struct receipt *self, struct cn_bytes normalised)
{
    enum { FIELD_COUNT = 4, PART_COUNT = 2 * FIELD_COUNT };
    static const int FIELDS[FIELD_COUNT] = { 3, 4, 9, 10 };
    struct cn_bytes parts[PART_COUNT];
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        parts[2 * i] =
            hl7_raw(&self->message, self->message.segments, FIELDS[i]);
        parts[2 * i + 1] = (struct cn_bytes){ (const uint8_t *)"\r", 1 };
    }
    cn_sha256_parts(parts, PART_COUNT, self->raw.control_hash);
    cn_sha256(normalised, self->raw.body_hash);
}

static enum cn_code
s_describe(struct receipt *self, struct cn_bytes normalised, struct cn_err *err)
{
    const Ref__ReceiveHl7Request *body = self->request->body;
    struct cn_arena *arena = self->request->arena;
    const struct hl7 *message = &self->message;
    const char *application = s_header(message, 3);
    const char *facility = s_header(message, 4);
    self->raw.id = cn_uuid_new(self->store.env);
    self->raw.received_at = self->request->now_at;
    self->raw.content =
        (struct cn_bytes){ body->content.data, body->content.len };
    self->raw.content_type = cn_arena_strndup(
        arena, body->content_type != NULL ? body->content_type : ER7, TYPE_MAX);
    self->raw.message_type = s_header(message, 9);
    self->raw.control_id = s_header(message, 10);
    self->raw.sender =
        cn_arena_printf(arena, "%s|%s", application != NULL ? application : "",
                        facility != NULL ? facility : "");
    s_hashes(self, normalised);
    return self->raw.content_type != NULL && self->raw.sender != NULL
               ? CN_OK
               : s_nomem(err);
}

/* What of the header must be right before anything else is looked at. */
static const struct hl7_fault *s_header_fault(const struct hl7 *message)
{
    static const struct hl7_fault TYPE = {
        .ack = "AR",
        .segment = "MSH",
        .sequence = 1,
        .field = 9,
        .code = HL7_UNSUPPORTED_TYPE,
        .text = "this message type is not taken; it was kept"
    };
    static const struct hl7_fault VERSION = {
        .ack = "AR",
        .segment = "MSH",
        .sequence = 1,
        .field = 12,
        .code = HL7_UNSUPPORTED_VERSION,
        .text = "only versions 2.x are taken"
    };
    static const struct hl7_fault CONTROL_ID = { .ack = "AE",
                                                 .segment = "MSH",
                                                 .sequence = 1,
                                                 .field = 10,
                                                 .code = HL7_FIELD_MISSING,
                                                 .text = "MSH-10 is needed" };
    const char *version = hl7_text(message, message->segments, 12, 1, 1);
    if (version != NULL && strncmp(version, "2.", 2) != 0) {
        return &VERSION;
    }
    if (!hl7_is_referral(message)) {
        return &TYPE;
    }
    if (hl7_text(message, message->segments, 10, 1, 1) == NULL) {
        return &CONTROL_ID;
    }
    return NULL;
}

/* ---- a referral ---- */

/* Does this message say something else than the one that the referral came in?
 * One that came otherwise cannot be compared: it does. */
static enum cn_code s_compare(struct receipt *self,
                              struct cn_uuid referral_id,
                              bool *ret_differs,
                              struct cn_err *err)
{
    struct raw_row first;
    enum cn_code rc = raw_load(&self->store, referral_id, &first, err);
    if (rc == CN_NOT_FOUND) {
        cn_err_clear(err);
        *ret_differs = true;
        return CN_OK;
    }
    if (rc != CN_OK) {
        return rc;
    }
    struct cn_bytes normalised =
        hl7_normalise(self->request->arena, first.content);
    if (normalised.data == NULL) {
        return s_nomem(err);
    }
    struct cn_bytes before = hl7_content(normalised);
    struct cn_bytes now = hl7_content(self->normalised);
    *ret_differs =
        before.size != now.size ||
        (now.size > 0 && memcmp(before.data, now.data, now.size) != 0);
    return CN_OK;
}

/* Somebody must look at what differs: kept as a warning, told as an event. */
static enum cn_code s_keep_differing(struct receipt *self,
                                     struct referral_row *row,
                                     struct cn_err *err)
{
    struct cn_write *write = cn_write_begin(self->request, self->reply);
    if (write == NULL) {
        return s_nomem(err);
    }
    CN_SET(row->referral, version, row->version + 1);
    CN_SET(row->referral, updated_at, self->request->now_at);
    cn_write_lock(write, "referral", row->id);
    enum cn_code rc = referral_change(&self->store, write, row, 1, err);
    if (rc == CN_OK) {
        rc = raw_add(&self->store, write, &self->raw, err);
    }
    if (rc == CN_OK) {
        rc = referral_tell(&self->store, write, row, "referral.updated",
                           row->event_seq + 1, err);
    }
    return rc == CN_OK ? s_commit(self, write, row->patient_id, err) : rc;
}

/* Another message for a referral that is here: it is kept under it, and the
 * first one that says something else is a warning there. */
static enum cn_code s_existing(struct receipt *self,
                               const Ref__Referral__Source *source,
                               struct cn_err *err)
{
    struct referral_row row;
    cn_err_clear(err);
    enum cn_code rc = referral_load_by_source(&self->store, source->system,
                                              source->external_id, &row, err);
    if (rc == CN_NOT_FOUND) {
        return cn_fail(err, CN_STALE, "the other referral is gone");
    }
    if (rc != CN_OK) {
        return rc;
    }
    if (!cn_reach_includes(self->request, row.branch_id)) {
        self->raw.referral_id = (struct cn_uuid){ { 0 } };
        return s_taken(self, err);
    }
    size_t warnings = row.referral->n_warnings;
    bool differs = false;
    self->raw.referral_id = row.id;
    rc = s_acknowledge(self, NULL, err);
    if (rc == CN_OK) {
        rc = s_compare(self, row.id, &differs, err);
    }
    if (rc == CN_OK && differs) {
        rc = referral_warn(self->request->arena, row.referral,
                           "later_message_differs", err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    return row.referral->n_warnings > warnings
               ? s_keep_differing(self, &row, err)
               : s_keep(self, row.patient_id, err);
}

static enum cn_code
s_save(struct receipt *self, struct arrival *arrival, struct cn_err *err)
{
    struct cn_write *write = cn_write_begin(self->request, self->reply);
    if (write == NULL) {
        return s_nomem(err);
    }
    arrival_lock(arrival, write);
    enum cn_code rc = arrival_change(&self->store, arrival, write, err);
    if (rc == CN_OK) {
        rc = raw_add(&self->store, write, &self->raw, err);
    }
    if (rc == CN_OK) {
        rc = arrival_tell(&self->store, arrival, write, err);
    }
    return rc == CN_OK ? s_commit(self, write, arrival->row.patient_id, err)
                       : rc;
}

static enum cn_code s_referral(struct receipt *self, struct cn_err *err)
{
    const struct cn_request *request = self->request;
    struct arrival_facts facts = {
        .content_hash = { self->raw.body_hash, sizeof(self->raw.body_hash) },
    };
    struct hl7_fault fault = { 0 };
    struct arrival arrival;
    Ref__Referral *referral = NULL;
    Ref__Patient *patient = NULL;
    const char *zone = NULL;
    enum cn_code rc = branch_of(request, NULL, &facts.branch_id, err);
    if (rc == CN_OK) {
        rc = branch_zone(&self->store, facts.branch_id, &zone, err);
    }
    if (rc == CN_OK) {
        rc = branch_await(request, facts.branch_id, &zone, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    rc = hl7_referral_read(&self->message, zone, request->now_at, &referral,
                           &patient, &fault, err);
    if (rc == CN_INVALID) {
        return s_refuse(self, &fault, err);
    }
    if (rc == CN_OK && self->raw.control_id_reused) {
        rc = referral_warn(request->arena, referral, "control_id_reused", err);
    }
    facts.referral = referral;
    facts.patient = patient;
    if (rc == CN_OK) {
        rc = arrival_make(request, &facts, &arrival, err);
    }
    if (rc != CN_OK) {
        return rc;
    }
    self->raw.referral_id = arrival.row.id;
    rc = s_acknowledge(self, NULL, err);
    if (rc == CN_OK) {
        rc = s_save(self, &arrival, err);
    }
    if (rc == CN_CONFLICT &&
        strcmp(err->word, "referral_source_external_id") == 0) {
        return s_existing(self, arrival.row.referral->source, err);
    }
    return rc;
}

enum cn_code hl7_receive(void *service,
                         const struct cn_request *request,
                         struct cn_reply *reply,
                         struct cn_err *err)
{
    (void)service;
    const Ref__ReceiveHl7Request *body = request->body;
    struct receipt self = { .request = request,
                            .reply = reply,
                            .store = cn_store_of_request(request) };
    struct hl7_fault fault = { 0 };
    const struct cn_bytes normalised =
        hl7_normalise(request->arena, (struct cn_bytes){ body->content.data,
                                                         body->content.len });
    if (normalised.data == NULL) {
        return s_nomem(err);
    }
    if (!hl7_begins(normalised)) {
        return cn_fail(err, CN_UNSUPPORTED, "no HL7 v2: it begins without MSH");
    }
    self.normalised = normalised;
    enum cn_code parsed =
        hl7_parse(request->arena, normalised, &self.message, &fault, err);
    if (parsed == CN_NOMEM) {
        return parsed;
    }
    enum cn_code rc = s_describe(&self, normalised, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (parsed != CN_OK) {
        return s_refuse(&self, &fault, err);
    }
    const struct hl7_fault *refused = s_header_fault(&self.message);
    if (refused != NULL) {
        return s_refuse(&self, refused, err);
    }
    struct raw_row known;
    bool found = false;
    rc = raw_find(&self.store, self.raw.control_hash, self.raw.body_hash,
                  &found, &known, err);
    if (rc != CN_OK) {
        return rc;
    }
    if (found) {
        return s_repeat(&self, &known, err);
    }
    self.raw.control_id_reused = known.control_id_reused;
    return s_referral(&self, err);
}
