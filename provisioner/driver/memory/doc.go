// Package memory is an engine and a pool that exist in this process only, for tests that need thousands of previews. They keep every
// promise of driver.Engine and driver.Volumes that has nothing to do with what is inside a volume: the suites of drivertest say which.
//
// What it cannot do: volumes hold no files. No command is run (Run refuses), nothing is paused, logged in full or measured. The Postgres of
// an instance understands the start of a session of the admin role, SET, ALTER ROLE … PASSWORD, SELECT 1 and the ending of other sessions,
// which is what making and waking a preview says; everything else, such as a migration, is refused with SQLSTATE 0A000. Nobody but the admin
// role can log in.
package memory
