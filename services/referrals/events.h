/* SPDX-License-Identifier: Apache-2.0 */
/* What referrals follows of the other services, and what it shows of itself. */
#ifndef REFERRALS_EVENTS_H
#define REFERRALS_EVENTS_H

#include "common/contract/service.h"
#include "common/outbox/snapshot.h"

enum { REFERRALS_SUBSCRIPTION_COUNT = 2 };
/* access: branches are copied. scheduling: a booked start of care schedules the
 * referral, a completed one admits the patient. */
extern const struct cn_subscription
    referrals_subscriptions[REFERRALS_SUBSCRIPTION_COUNT];

enum { REFERRALS_PROVIDER_COUNT = 2 };
/* Patients and referrals, as others copy them (snapshot.c). */
extern const struct cn_provider referrals_providers[REFERRALS_PROVIDER_COUNT];

#endif
