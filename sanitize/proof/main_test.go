package proof

import (
	"testing"

	"github.com/mayflydb/mayfly/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
