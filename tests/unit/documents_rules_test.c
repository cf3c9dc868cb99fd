/* SPDX-License-Identifier: Apache-2.0 */
/* Which documents a start of care needs, when one is done, and how old it is.
 */
#include "common/base/array.h"
#include "common/base/clock.h"
#include "services/documents/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* cmocka needs the three above it. */
#include <cmocka.h>

#define STATUS(word) DOC__DOCUMENT__STATUS__##word

static void a_checklist_is_plan_encounter_and_consent(void **state)
{
    static const struct {
        Doc__Document__Kind kind;
        Doc__Document__Holder holder;
        const char *citation;
    } ROWS[] = {
        { DOC__DOCUMENT__KIND__PLAN_OF_CARE, DOC__DOCUMENT__HOLDER__AGENCY,
          "409.43" },
        { DOC__DOCUMENT__KIND__FACE_TO_FACE, DOC__DOCUMENT__HOLDER__PHYSICIAN,
          "424.22" },
        { DOC__DOCUMENT__KIND__CONSENT, DOC__DOCUMENT__HOLDER__PATIENT,
          "484.50" },
    };
    size_t count = 0;
    (void)state;
    const struct checklist_item *items = checklist_items(&count);
    assert_int_equal(count, CN_COUNT(ROWS));
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(items[i].kind, ROWS[i].kind);
        assert_int_equal(items[i].holder, ROWS[i].holder);
        assert_non_null(strstr(items[i].rule, ROWS[i].citation));
    }
}

static void signed_filed_and_voided_are_done(void **state)
{
    (void)state;
    for (int status = STATUS(REQUIRED); status <= (int)STATUS(VOIDED);
         status++) {
        bool done = status == STATUS(SIGNED) || status == STATUS(FILED) ||
                    status == STATUS(VOIDED);
        assert_int_equal(document_is_done((Doc__Document__Status)status), done);
    }
}

static void an_age_has_the_coordinators_buckets(void **state)
{
    static const struct {
        int64_t age;
        const char *bucket;
    } ROWS[] = {
        { -CN_DAY, "0-7" }, /* another machine's clock is ahead */
        { 0, "0-7" },
        { 8 * CN_DAY - 1, "0-7" },
        { 8 * CN_DAY, "8-14" },
        { 15 * CN_DAY - 1, "8-14" },
        { 15 * CN_DAY, "15-21" },
        { 22 * CN_DAY - 1, "15-21" },
        { 22 * CN_DAY, "22-30" },
        { 31 * CN_DAY - 1, "22-30" },
        { 31 * CN_DAY, "31-60" },
        { 61 * CN_DAY - 1, "31-60" },
        { 61 * CN_DAY, "60+" },
        { 4000 * CN_DAY, "60+" },
    };
    const int64_t sent_at = 1793476800 * CN_SECOND;
    (void)state;
    for (size_t i = 0; i < CN_COUNT(ROWS); i++) {
        assert_string_equal(document_age_bucket(sent_at, sent_at + ROWS[i].age),
                            ROWS[i].bucket);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_checklist_is_plan_encounter_and_consent),
        cmocka_unit_test(signed_filed_and_voided_are_done),
        cmocka_unit_test(an_age_has_the_coordinators_buckets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
