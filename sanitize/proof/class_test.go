package proof

import (
	"testing"

	"github.com/mayflydb/mayfly/sanitize"
)

// TestEveryTransformerHasItsClass: a new one must be thought about, or its results stop builds as if they were originals.
func TestEveryTransformerHasItsClass(t *testing.T) {
	t.Parallel()
	for _, one := range sanitize.Transformers() {
		if _, found := classes()[one.Name]; !found && one.Name != "keep" {
			t.Errorf("the transformer %s has no class in class.go", one.Name)
		}
	}
}
