// Package provisioner is the life of a preview: it is asked for (requests.go, pullrequest.go), brought from what is to
// what should be (converge.go, build.go, migrate.go), told about (publish.go), and repaired or removed when nobody asked
// (reconcile.go). Previews of pull requests and sandboxes are the same machinery.
//
// Everything is level-triggered: requests only write what should be into the state database; Converge compares, acts
// under the preview's lock, and may be run again at any moment, also after kill -9 between any two of its steps.
package provisioner
