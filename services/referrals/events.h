/* SPDX-License-Identifier: Apache-2.0 */
/* What referrals follows of the other services, and what it shows of itself. */
#ifndef REFERRALS_EVENTS_H
#define REFERRALS_EVENTS_H

#include "common/contract/service.h"
#include "common/outbox/snapshot.h"

/* access: branches are copied. scheduling: a start of care that is booked
 * schedules the referral, one that is cancelled takes that back, one that is
 * completed admits the patient. */
extern const struct cn_subscription REFERRALS_SUBSCRIPTIONS[];
extern const size_t REFERRALS_SUBSCRIPTION_COUNT;

#endif
