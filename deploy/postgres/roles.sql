-- Roles and schema of one service, run by deploy/migrate with
--   psql -v service=referrals -f roles.sql
-- as a superuser, or as the owner of the database with CREATEROLE.
-- Three roles each: an owner that cannot log in, the app under its tenant, and
-- the relay. The relay may do what the app may, and sees the platform's tables
-- across tenants. deploy/migrate sets their passwords, from secret files.
SELECT rolsuper AS super, rolsuper OR
       pg_catalog.has_parameter_privilege('cairn.tenant', 'SET') AS sets
FROM pg_catalog.pg_roles WHERE rolname = current_user \gset
BEGIN;
-- Roles belong to the cluster: one migration at a time, in whichever database.
-- Who is no superuser cannot lock them, and has this database alone.
\if :super
LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE;
\endif
SELECT format('CREATE ROLE %I NOLOGIN', r) FROM unnest(ARRAY[:'service' || '_owner']) r
WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = r) \gexec
SELECT format('CREATE ROLE %I LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE', r)
FROM unnest(ARRAY[:'service' || '_app', :'service' || '_relay']) r
WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = r) \gexec
SELECT format('GRANT %I TO %I', :'service' || '_app', :'service' || '_relay') \gexec
-- The migrations run as the owner.
\if :super
\else
SELECT format('GRANT %I TO %I', :'service' || '_owner', current_user) \gexec
\endif
-- An unset tenant is an error (22P02, or 42704 where the role may not set this),
-- never an empty answer.
SELECT format('ALTER ROLE %I SET %s', r, s)
FROM unnest(ARRAY[:'service' || '_app', :'service' || '_relay']) r,
     unnest(ARRAY['cairn.tenant = ''''', 'search_path = ''''', 'lock_timeout = ''1s''',
                  'statement_timeout = ''5s''', 'idle_in_transaction_session_timeout = ''5s''',
                  'timezone = ''UTC''']) s
WHERE :'sets' OR s NOT LIKE 'cairn.%' \gexec
SELECT format('CREATE SCHEMA IF NOT EXISTS %I AUTHORIZATION %I', :'service', :'service' || '_owner') \gexec
SELECT format('GRANT USAGE ON SCHEMA %I TO %I', :'service', :'service' || '_app') \gexec
SELECT format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', :'service') \gexec
COMMIT;
