/* SPDX-License-Identifier: Apache-2.0 */
/* The canonical row and the chain, the verifier's verdicts, the text of heads.
 */
#include "common/audit/audit_chain.h"
#include "common/audit/audit_heads.h"
#include "common/audit/audit_verify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 6, TEXT_SIZE = 2 * CN_SHA256_SIZE + 1 };

static const struct cn_uuid TENANT = { { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
                                         12, 13, 14, 15 } };
static const char KEY[] =
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";

static struct cn_audit_entry s_row(void)
{
    return (struct cn_audit_entry){
        .tenant_id = TENANT,
        .id = { { 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30,
                  31 } },
        .form = CN_AUDIT_FORM,
        .has_row = true,
        .at = INT64_C(1767225600123456),
        .actor = "usr_a",
        .role = "coordinator",
        .action = "referral.read",
        .patients = "{00010203-0405-0607-0809-0a0b0c0d0e0f}",
        .request_id = "",
        .epoch = 2,
        .xid = 745,
    };
}

/* Computed by another program from the description in the header. */
static void the_chain_is_the_documented_one(void **state)
{
    (void)state;
    struct cn_audit_entry entry = s_row();
    uint8_t hash[CN_SHA256_SIZE];
    char text[TEXT_SIZE];
    cn_audit_chain_begin("probe", TENANT, hash);
    cn_hex(hash, sizeof(hash), text);
    assert_string_equal(
        text,
        "6ecf65f1721562b576465a4cfa0577284b8aaba538971ecc24117478a644c2cc");
    assert_true(cn_audit_chain_next(hash, &entry, hash));
    cn_hex(hash, sizeof(hash), text);
    assert_string_equal(
        text,
        "4192a79294f7679e198ed9f2f28bdc9927e799981d6701d38f1031849d30bb53");
}

static void an_unknown_form_and_a_missing_row_have_no_hash(void **state)
{
    (void)state;
    struct cn_audit_entry entry = s_row();
    uint8_t hash[CN_SHA256_SIZE] = { 0 };
    entry.form = 2;
    assert_false(cn_audit_chain_next(hash, &entry, hash));
    entry = s_row();
    entry.has_row = false;
    assert_false(cn_audit_chain_next(hash, &entry, hash));
}

static void every_column_and_its_border_is_in_the_hash(void **state)
{
    (void)state;
    struct cn_audit_entry entries[14];
    uint8_t hashes[14][CN_SHA256_SIZE];
    static const uint8_t FROM[CN_SHA256_SIZE];
    for (size_t i = 0; i < 14; i++) {
        entries[i] = s_row();
    }
    entries[1].tenant_id.bytes[15] ^= 1;
    entries[2].id.bytes[0] ^= 1;
    entries[3].at++;
    entries[4].actor = "usr_b";
    entries[5].role = "coordinatoR";
    entries[6].action = "referral.reaD";
    entries[7].resource = "";
    entries[8].patients = "{}";
    entries[9].request_id = NULL;
    entries[10].epoch++;
    entries[11].xid++;
    entries[12].actor = "usr_ac";
    entries[12].role = "oordinator";
    entries[13].resource = "x";
    for (size_t i = 0; i < 14; i++) {
        assert_true(cn_audit_chain_next(FROM, &entries[i], hashes[i]));
        for (size_t j = 0; j < i; j++) {
            assert_memory_not_equal(hashes[i], hashes[j], CN_SHA256_SIZE);
        }
    }
}

/* ---- the verifier ---- */

static void s_chain(struct cn_audit_entry rows[ROWS])
{
    uint8_t hash[CN_SHA256_SIZE];
    cn_audit_chain_begin("probe", TENANT, hash);
    for (int i = 0; i < ROWS; i++) {
        rows[i] = s_row();
        rows[i].n = i + 1;
        rows[i].seq = i + 1;
        rows[i].xid += i;
        rows[i].id.bytes[0] = (uint8_t)i;
        assert_true(cn_audit_chain_next(hash, &rows[i], hash));
        memcpy(rows[i].hash, hash, sizeof(hash));
    }
}

static struct cn_audit_heads s_heads(const struct cn_audit_entry *row,
                                     struct cn_audit_head *head)
{
    *head = (struct cn_audit_head){ .tenant_id = TENANT, .n = row->n };
    memcpy(head->hash, row->hash, sizeof(head->hash));
    return (
        struct cn_audit_heads){ .service = "probe", .items = head, .count = 1 };
}

/* Verifies. Returns the one fault, or n = 0 when there is none. */
static struct cn_audit_fault s_verify(const struct cn_audit_entry *rows,
                                      size_t count,
                                      const struct cn_audit_heads *heads)
{
    static const struct cn_uuid NONE;
    struct cn_err err = { 0 };
    struct cn_audit_fault fault = { .n = 0 };
    struct cn_audit_verify *verify = cn_audit_verify_new("probe", true);
    assert_non_null(verify);
    if (heads != NULL) {
        assert_int_equal(cn_audit_verify_heads(verify, heads, NONE, &err),
                         CN_OK);
    }
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(cn_audit_verify_entry(verify, &rows[i], 0, &err),
                         CN_OK);
    }
    assert_int_equal(cn_audit_verify_end(verify, (int64_t)count, &err), CN_OK);
    size_t faults = cn_audit_verify_fault_count(verify);
    assert_true(faults <= 1);
    if (faults == 1) {
        fault = cn_audit_verify_fault(verify, 0);
    }
    cn_audit_verify_free(verify);
    return fault;
}

static void a_sound_chain_has_no_fault(void **state)
{
    (void)state;
    struct cn_audit_entry rows[ROWS];
    struct cn_audit_head head;
    s_chain(rows);
    struct cn_audit_heads heads = s_heads(&rows[3], &head);
    assert_int_equal(s_verify(rows, ROWS, &heads).n, 0);
}

static void the_first_bad_row_is_named_with_what_is_wrong(void **state)
{
    (void)state;
    struct cn_audit_entry rows[ROWS];
    s_chain(rows);
    rows[2].actor = "usr_z";
    struct cn_audit_fault fault = s_verify(rows, ROWS, NULL);
    assert_int_equal(fault.n, 3);
    assert_int_equal(fault.wrong, CN_AUDIT_CHANGED);

    s_chain(rows);
    rows[2].has_row = false;
    fault = s_verify(rows, ROWS, NULL);
    assert_int_equal(fault.n, 3);
    assert_int_equal(fault.wrong, CN_AUDIT_MISSING);

    s_chain(rows);
    memmove(&rows[2], &rows[3], (ROWS - 3) * sizeof(rows[0]));
    fault = s_verify(rows, ROWS - 1, NULL);
    assert_int_equal(fault.n, 3);
    assert_int_equal(fault.wrong, CN_AUDIT_MISSING);

    s_chain(rows);
    struct cn_audit_entry kept = rows[1];
    rows[1] = rows[4];
    rows[4] = kept;
    fault = s_verify(rows, ROWS, NULL);
    assert_int_equal(fault.n, 2);
    assert_int_equal(fault.wrong, CN_AUDIT_MOVED);

    s_chain(rows);
    rows[4].n = rows[3].n;
    fault = s_verify(rows, ROWS, NULL);
    assert_int_equal(fault.n, 4);
    assert_int_equal(fault.wrong, CN_AUDIT_EXTRA);

    s_chain(rows);
    rows[5].seq = 9;
    assert_int_equal(s_verify(rows, ROWS, NULL).wrong, CN_AUDIT_GAP);
}

static void a_chain_that_ends_before_its_head_was_cut_off(void **state)
{
    (void)state;
    struct cn_audit_entry rows[ROWS];
    struct cn_audit_head head;
    s_chain(rows);
    struct cn_audit_heads heads = s_heads(&rows[ROWS - 1], &head);
    struct cn_audit_fault fault = s_verify(rows, ROWS - 2, &heads);
    assert_int_equal(fault.n, ROWS - 1);
    assert_int_equal(fault.wrong, CN_AUDIT_CUT);
    fault = s_verify(rows, 0, &heads);
    assert_int_equal(fault.n, 1);
    assert_int_equal(fault.wrong, CN_AUDIT_CUT);
}

static void a_chain_made_anew_is_not_that_of_the_head(void **state)
{
    (void)state;
    struct cn_audit_entry rows[ROWS];
    struct cn_audit_head head;
    s_chain(rows);
    struct cn_audit_heads heads = s_heads(&rows[ROWS - 1], &head);
    head.hash[0] ^= 1;
    struct cn_audit_fault fault = s_verify(rows, ROWS, &heads);
    assert_int_equal(fault.n, ROWS);
    assert_int_equal(fault.wrong, CN_AUDIT_OTHER);
}

/* ---- heads as text ---- */

static void heads_are_read_as_they_were_written(void **state)
{
    (void)state;
    CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(1 << 20);
    struct cn_audit_entry rows[ROWS];
    struct cn_audit_head head;
    struct cn_audit_heads read = { 0 };
    struct cn_err err = { 0 };
    s_chain(rows);
    struct cn_audit_heads heads = s_heads(&rows[4], &head);
    const char *text =
        cn_audit_heads_text(arena, "probe", 0, heads.items, 1, KEY);
    assert_int_equal(cn_audit_heads_read(arena, text, &read, &err), CN_OK);
    assert_true(read.is_signed && read.is_right);
    assert_string_equal(read.service, "probe");
    assert_int_equal(read.count, 1);
    assert_int_equal(read.items[0].n, 5);
    assert_memory_equal(read.items[0].hash, rows[4].hash, CN_SHA256_SIZE);

    text = cn_audit_heads_text(arena, "probe", 0, heads.items, 1, "");
    assert_int_equal(cn_audit_heads_read(arena, text, &read, &err), CN_OK);
    assert_false(read.is_signed || read.is_right);
}

static void no_bit_of_signed_heads_can_be_changed(void **state)
{
    (void)state;
    struct cn_audit_entry rows[ROWS];
    struct cn_audit_head head;
    s_chain(rows);
    struct cn_audit_heads heads = s_heads(&rows[4], &head);
    CN_ARENA_AUTO struct cn_arena *first = cn_arena_new(1 << 20);
    const char *text =
        cn_audit_heads_text(first, "probe", 0, heads.items, 1, KEY);
    for (size_t i = 0; i < strlen(text) * 8; i++) {
        CN_ARENA_AUTO struct cn_arena *arena = cn_arena_new(1 << 20);
        char *changed = cn_arena_strdup(arena, text);
        struct cn_audit_heads read = { 0 };
        struct cn_err err = { 0 };
        changed[i / 8] = (char)(changed[i / 8] ^ 1 << i % 8);
        enum cn_code rc = cn_audit_heads_read(arena, changed, &read, &err);
        assert_true(rc != CN_OK || !read.is_right);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_chain_is_the_documented_one),
        cmocka_unit_test(an_unknown_form_and_a_missing_row_have_no_hash),
        cmocka_unit_test(every_column_and_its_border_is_in_the_hash),
        cmocka_unit_test(a_sound_chain_has_no_fault),
        cmocka_unit_test(the_first_bad_row_is_named_with_what_is_wrong),
        cmocka_unit_test(a_chain_that_ends_before_its_head_was_cut_off),
        cmocka_unit_test(a_chain_made_anew_is_not_that_of_the_head),
        cmocka_unit_test(heads_are_read_as_they_were_written),
        cmocka_unit_test(no_bit_of_signed_heads_can_be_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
