-- What `flametrench-tenancy grants` prints for roles of these names and the schema `tenancy`. A test
-- compares. The trigger functions and the foreign keys act as the owner of the tables, so that
-- nobody else needs rights for their sake; the version table is the migrations' own.
--
-- Roles are yours to create, without superuser, CREATEROLE or BYPASSRLS.
--
-- app       a request: every operation, no DDL, no TRUNCATE, no change of what never changes
-- operator  who looks at all organizations, runs the doctor, and migrates: what a role creates it
--           owns. To migrate tables that are there, it has to own them, or be a member of the role
--           that does; no privilege gives that. A schema that is missing takes CREATE on the
--           database. The doctor's repairs take what `app` has.
-- worker    whatever calls `expire_invitations`
-- app
GRANT USAGE ON SCHEMA "tenancy" TO "tenancy_app";
GRANT SELECT, INSERT ON "tenancy".usr TO "tenancy_app";
GRANT SELECT, INSERT, UPDATE (status, name, slug, updated_at) ON "tenancy".org TO "tenancy_app";
GRANT SELECT, INSERT, UPDATE (status, removed_by, updated_at) ON "tenancy".mem TO "tenancy_app";
GRANT SELECT, INSERT, UPDATE (identifier, status, invited_user_id, expires_at, terminal_at, terminal_by) ON "tenancy".inv TO "tenancy_app";
GRANT SELECT, INSERT, DELETE, UPDATE (created_by) ON "tenancy".tup TO "tenancy_app";
-- operator
GRANT USAGE, CREATE ON SCHEMA "tenancy" TO "tenancy_operator";
GRANT SELECT ON "tenancy".usr TO "tenancy_operator";
GRANT SELECT ON "tenancy".org TO "tenancy_operator";
GRANT SELECT ON "tenancy".mem TO "tenancy_operator";
GRANT SELECT ON "tenancy".inv TO "tenancy_operator";
GRANT SELECT ON "tenancy".tup TO "tenancy_operator";
-- worker
GRANT USAGE ON SCHEMA "tenancy" TO "tenancy_worker";
GRANT SELECT, UPDATE (status, terminal_at, terminal_by) ON "tenancy".inv TO "tenancy_worker";
