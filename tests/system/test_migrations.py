# SPDX-License-Identifier: Apache-2.0
"""The check of the migrations finds each thing that one may lack."""
import pytest

from harness.lint import check, tree

migrations = check("migrations")

GOOD = """-- migrate:up
-- Visits; referrals.referral is another service's.
CREATE TABLE scheduling.visit (
    tenant_id uuid NOT NULL,
    id        uuid NOT NULL, -- UNIQUE
    kind      text NOT NULL CONSTRAINT visit_kind CHECK (kind IN ('soc')),
    of        uuid,
    CONSTRAINT visit_key PRIMARY KEY (tenant_id, id),
    CONSTRAINT visit_of FOREIGN KEY (tenant_id, of)
        REFERENCES scheduling.visit (tenant_id, id)
);
CREATE UNIQUE INDEX visit_one ON scheduling.visit (tenant_id, kind);
ALTER TABLE scheduling.visit ENABLE ROW LEVEL SECURITY;
ALTER TABLE scheduling.visit FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON scheduling.visit TO scheduling_app
    WITH CHECK (tenant_id = current_setting('cairn.tenant')::uuid);

-- migrate:down
DROP TABLE scheduling.visit;
"""
PLATFORM = GOOD.replace("scheduling", "{{schema}}")
NAME = "services/scheduling/migrations/0002_visits.sql"

# what is changed, into what, what is told
SAMPLES = [
    ("-- migrate:up\n", "", "a migration is a block"),
    ("-- migrate:down", "-- down", "a migration is a block"),
    ("DROP TABLE scheduling.visit;\n", "-- nothing\n", "empty"),
    ("DROP TABLE scheduling.visit;", "SELECT 1;", "does not drop"),
    ("CONSTRAINT visit_kind CHECK", "CHECK", "CHECK without a name"),
    ("CONSTRAINT visit_key PRIMARY", "PRIMARY", "PRIMARY KEY without a name"),
    ("CONSTRAINT visit_of FOREIGN", "FOREIGN", "FOREIGN KEY without a name"),
    ("of        uuid,", "of uuid REFERENCES scheduling.x (id),",
     "REFERENCES without a name"),
    ("id        uuid NOT NULL,", "id uuid UNIQUE,", "UNIQUE without a name"),
    ("ALTER TABLE scheduling.visit ENABLE ROW LEVEL SECURITY;\n", "",
     "ENABLE ROW LEVEL SECURITY"),
    ("ALTER TABLE scheduling.visit FORCE ROW LEVEL SECURITY;\n", "",
     "FORCE ROW LEVEL SECURITY"),
    ("CREATE POLICY tenant ON scheduling.visit", "CREATE POLICY t ON x.visit",
     "CREATE POLICY"),
    ("REFERENCES scheduling.visit", "REFERENCES referrals.patient",
     "the schema referrals"),
    ("TO scheduling_app", "TO referrals_app", "the schema referrals"),
]


def found(tmp_path, files):
    files.setdefault("services/referrals/migrations/0002_none.sql",
                     "-- migrate:up\nSELECT 1;\n-- migrate:down\nSELECT 1;\n")
    return list(migrations.faults(tree(tmp_path, files)))


def test_a_good_migration_has_no_fault(tmp_path):
    assert not found(tmp_path, {NAME: GOOD})


@pytest.mark.parametrize("old, new, told", SAMPLES)
def test_what_a_migration_lacks_is_found(tmp_path, old, new, told):
    assert GOOD.count(old) == 1
    faults = found(tmp_path, {NAME: GOOD.replace(old, new)})
    assert told in faults[0]


def test_the_platforms_migrations_are_looked_at_too(tmp_path):
    place = "common/schema/0001_platform.sql"
    assert not found(tmp_path, {place: PLATFORM})
    faults = found(tmp_path, {place: PLATFORM.replace("FORCE", "ENABLE")})
    assert len(faults) == 1


@pytest.mark.parametrize("place", [
    "services/scheduling/migrations/visits.sql",
    "services/scheduling/migrations/0002_more.sql",
    "common/schema/0002_platform.sql"])
def test_a_number_is_there_and_given_once(tmp_path, place):
    other = GOOD.replace(".visit", ".thing")
    if place.startswith("common"):
        other = other.replace("scheduling", "{{schema}}")
    assert found(tmp_path, {NAME: GOOD, place: other})
