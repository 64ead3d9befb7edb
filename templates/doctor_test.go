package templates

import "testing"

// found returns the one finding with a code about an object; "" is any.
func found(t *testing.T, result *Result, code, object string) Finding {
	t.Helper()
	for _, f := range result.Report.Findings {
		if f.Code == code && (object == "" || f.Object == object) {
			if f.Cause == "" || f.Done == "" {
				t.Errorf("the finding says too little: %+v", f)
			}
			return f
		}
	}
	t.Errorf("no finding %s about %q in %+v", code, object, result.Report.Findings)
	return Finding{}
}
