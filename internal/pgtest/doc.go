// Package pgtest gives the tests of every package a real container engine, real copy-on-write storage and a real
// Postgres, cheaply: made at first use, shared by all tests of the process, gone at its end.
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
//	func TestSomething(t *testing.T) {
//		t.Parallel()
//		cluster := pgtest.Cluster(t)
//		conn := cluster.Connect(t, cluster.Database(t))
//		…
//	}
//
// Everything of one test process lives under /tmp/mf-<random> and carries an installation label of its own, so the same
// suite may run twice at once. Main fails the run if a test left a container behind, and removes what earlier, killed
// runs left. MAYFLY_TEST_MAJOR chooses the PostgreSQL major version.
//
// It is the one package with package-level state: functions that take only a *testing.T have nowhere else to keep what
// the tests of a process share.
package pgtest
