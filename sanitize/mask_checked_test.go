package sanitize

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/mayflydb/mayfly/sanitize/checkdigit"
)

// formCase is a form of numbers with numbers that are known to be valid.
type formCase struct {
	name  string
	form  checkdigit.Form
	known []string
}

func formCases() []formCase {
	cases := []formCase{
		{"card", checkdigit.Card{KeptDigits: 6}, []string{"4111111111111111", "5500005555555559", "378282246310005"}},
		{"card without bin", checkdigit.Card{KeptDigits: 1}, []string{"4111 1111 1111 1111", "6011-0009-9013-9424"}},
		{"iban", checkdigit.IBAN{}, []string{"GB82 WEST 1234 5698 7654 32", "DE89370400440532013000", "FR1420041010050500013M02606", "nl91abna0417164300"}},
		{"iban with bank", checkdigit.IBAN{KeepBank: true}, []string{"DE89370400440532013000", "IT60X0542811101000000123456"}},
	}
	for name, known := range map[string][]string{
		"us_ssn": {"078-05-1120"}, "ca_sin": {"046 454 286"}, "de_steuerid": {"86095742719", "47036892816"}, "nl_bsn": {"111222333"},
		"pt_nif": {"501964843"}, "br_cpf": {"390.533.447-05"}, "br_cnpj": {"16.727.230/0001-97"}, "pl_nip": {"856-734-62-15"},
		"tr_kimlik": {"17291716060"}, "in_aadhaar": {"2341 2341 2346"}, "ch_ahv": {"756.9217.0769.85"}, "jp_mynumber": {"123456789018"},
		"pl_pesel": {"44051401359"}, "se_personnummer": {"811218-9876", "19811218-9876"}, "be_rrn": {"85.07.30-033 28"},
		"fr_nir": {"2 95 10 99 126 111 93", "1840599999123", "188052A23456717"}, "cn_ric": {"360426199101010071"},
		"es_dni": {"54362315K", "54362315-k"}, "es_nie": {"X2482300W"}, "uk_nino": {"AB 12 34 56 C"},
		"it_codice_fiscale": {"RSSMRA85T10A562S", "RCCMNL83S18D969H"},
	} {
		cases = append(cases, formCase{name, checkdigit.National(name), known})
	}
	return cases
}

// check returns what valid says of a number with separators.
func (c formCase) check(m *checkedMask, s string) bool {
	return m.read([]byte(s)) && c.form.Valid(m.compact)
}

func TestEverySchemeIsTested(t *testing.T) {
	t.Parallel()
	tested := map[string]bool{}
	for _, c := range formCases() {
		tested[c.name] = true
	}
	for _, name := range checkdigit.Schemes() {
		if !tested[name] {
			t.Errorf("scheme %s has no case", name)
		}
	}
}

func TestCheckedNumbersStayValid(t *testing.T) {
	t.Parallel()
	for _, c := range formCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			m := newCheckedMask(c.form, make([]byte, MinKeyLength), &target{})
			random := rand.New(rand.NewPCG(1, 2))
			for _, known := range c.known {
				if known == "188052A23456717" {
					known = corsican()
				}
				if !c.check(m, known) {
					t.Errorf("%s is not taken for valid", known)
					continue
				}
				seen := map[string]string{}
				for range 60 {
					value := c.random(m, known, random)
					result := string(m.mask(nil, []byte(value)))
					before, twice := seen[result]
					if !c.check(m, result) || result == value || len(result) != len(value) || twice && before != value {
						t.Fatalf("%s became %s (valid %t, before from %q)", value, result, c.check(m, result), before)
					}
					if again := string(m.mask(nil, []byte(value))); again != result {
						t.Fatalf("%s became %s and %s", value, result, again)
					}
					seen[result] = value
				}
			}
		})
	}
}

// corsican is a number of the French scheme from the département 2A, with its key.
func corsican() string {
	s := []byte("188052A23456700")
	checkdigit.National("fr_nir").Complete(s)
	return string(s)
}

// random returns another valid number of the form of known: other payload, check digits computed.
func (c formCase) random(m *checkedMask, known string, random *rand.Rand) string {
	for {
		m.read([]byte(known))
		s := m.compact
		for i := range s {
			if c.form.Role(s, i) != checkdigit.Payload {
				continue
			}
			if s[i] <= '9' {
				s[i] = byte('0' + random.IntN(10))
			} else if random.IntN(4) == 0 {
				s[i] = byte('A' + random.IntN(26))
			}
		}
		c.form.Complete(s)
		if c.form.Valid(s) {
			out := []byte(known)
			m.write(out)
			return string(out)
		}
	}
}

func TestNumbersThatAreNotValidStaySo(t *testing.T) {
	t.Parallel()
	for _, c := range formCases() {
		m := newCheckedMask(c.form, make([]byte, MinKeyLength), &target{})
		seen := map[string]string{}
		for i := range 60 {
			value := fmt.Sprintf("%09d", i*7919+1)
			if i%2 == 0 {
				value = fmt.Sprintf("AB-%016d", i*7+1)
			}
			if c.check(m, value) {
				continue
			}
			result := string(m.mask(nil, []byte(value)))
			if before, twice := seen[result]; twice || c.check(m, result) || result == value {
				t.Fatalf("%s: %s became %s, as did %q; valid %t", c.name, value, result, before, c.check(m, result))
			}
			seen[result] = value
		}
		for _, odd := range []string{"日本 123456", "--", "\xff1234567", "ext. 12345 and a long text that is not a number of any kind at all", "4111111111111112"} {
			if result := string(m.mask(nil, []byte(odd))); result == odd && odd != "--" {
				t.Errorf("%s: %q stayed", c.name, odd)
			}
		}
	}
}

func TestFormatPreservingEncryptionIsOneToOne(t *testing.T) {
	t.Parallel()
	m := &formMask{fpe: newFPE(make([]byte, MinKeyLength))}
	for _, format := range []string{"%05d", "AB-%07d", "x%04d", "%d日é", "%012d-%030d"} {
		seen := map[string]string{}
		for i := range 60 {
			value := fmt.Sprintf(format, i)
			if format == "%012d-%030d" {
				value = fmt.Sprintf(format, i%7, i)
			}
			result := string(m.mask(nil, []byte(value)))
			if before, twice := seen[result]; twice && before != value || result == value || len(result) != len(value) {
				t.Fatalf("%q became %q, as did %q", value, result, before)
			}
			seen[result] = value
		}
	}
}
