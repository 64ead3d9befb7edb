package sanitize

import (
	"fmt"
	"strings"
)

func enumLabelKind() kind {
	return kind{
		name: "enum_label", summary: "another label of the enum, by a keyed permutation of its labels",
		families: []family{familyEnum},
		keyed:    true, unique: true,
		bind: bindEnumLabel,
	}
}

func bindEnumLabel(_ *arguments, t *target, key []byte) (binding, error) {
	labels := t.column.EnumLabels
	if len(labels) < 2 {
		return binding{}, &refusal{"the enum has one label: there is no other", "use keep"}
	}
	to := make(map[string]string, len(labels))
	p := newPermuter(key)
	for i, label := range labels {
		to[label] = labels[p.of(uint64(i), uint64(len(labels)))]
	}
	return binding{
		make: func() maskFunc {
			return func(dst, value []byte) []byte {
				result, ok := to[string(value)]
				if !ok {
					result = labels[0] // a label that was added since the catalog was read
				}
				return append(dst, result...)
			}
		},
		escape: true, unique: true,
		mapping: fmt.Sprintf("enum_label of %q", strings.Join(labels, ",")),
	}, nil
}
