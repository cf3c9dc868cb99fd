/* SPDX-License-Identifier: Apache-2.0 */
#include "services/documents/rules.h"

#include "common/base/array.h"
#include "common/base/clock.h"

const struct checklist_item *checklist_items(size_t *ret_count)
{
    static const struct checklist_item ITEMS[] = {
        { DOC__DOCUMENT__KIND__PLAN_OF_CARE, DOC__DOCUMENT__HOLDER__AGENCY,
          "C08: plan of care signed and dated by the physician before the"
          " first claim; 42 CFR 424.22(a)(2), 409.43(c)" },
        { DOC__DOCUMENT__KIND__FACE_TO_FACE, DOC__DOCUMENT__HOLDER__PHYSICIAN,
          "C07: encounter within 90 days before or 30 days after the start of"
          " care; 42 CFR 424.22(a)(1)(v)" },
        { DOC__DOCUMENT__KIND__CONSENT, DOC__DOCUMENT__HOLDER__PATIENT,
          "C16: rights notice and consent signed at the evaluation visit,"
          " before care; 42 CFR 484.50(a)" },
    };
    *ret_count = CN_COUNT(ITEMS);
    return ITEMS;
}

bool document_is_done(Doc__Document__Status status)
{
    return status == DOC__DOCUMENT__STATUS__SIGNED ||
           status == DOC__DOCUMENT__STATUS__FILED ||
           status == DOC__DOCUMENT__STATUS__VOIDED;
}

const char *document_age_bucket(int64_t sent_at, int64_t now_at)
{
    static const struct {
        int64_t days_max;
        const char *bucket;
    } BUCKETS[] = { { 7, "0-7" },
                    { 14, "8-14" },
                    { 21, "15-21" },
                    { 30, "22-30" },
                    { 60, "31-60" } };
    int64_t days = (now_at - sent_at) / CN_DAY;
    for (size_t i = 0; i < CN_COUNT(BUCKETS); i++) {
        if (days <= BUCKETS[i].days_max) {
            return BUCKETS[i].bucket;
        }
    }
    return "60+";
}
