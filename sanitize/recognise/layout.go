package recognise

// maxGroup is the longest group of digits that a layout begins with.
const maxGroup = 18

// layout is how a national identifier is written.
type layout struct {
	kind Kind
	// pattern has 9 for a digit and A for a letter; everything else stands for itself.
	pattern string
	// confidence without and with one of words before it.
	confidence, confirmed float64
	words                 []string
}

// leading returns the number of digits that a pattern begins with.
func leading(pattern string) int {
	n := 0
	for n < len(pattern) && pattern[n] == '9' {
		n++
	}
	return n
}

// layouts returns how the numbers are written. A confidence below Least means that words have to confirm it: one check
// digit lets every tenth number pass.
func layouts() []layout {
	ssn := []string{"ssn", "social sec", "soc sec", "itin", "tax", "tin"}
	ein := []string{"ein", "fein", "employer id", "tax id", "tin", "federal id"}
	sin := []string{"sin", "social insurance", "nas"}
	tax := []string{"steuer", "idnr", "id-nr", "tin", "tax"}
	nip := []string{"nip", "tax", "vat"}
	dni := []string{"dni", "nif", "nie", "documento", "identidad"}
	se := []string{"personnummer", "personnr", "pnr", "samordningsnummer"}
	jp := []string{"my number", "mynumber", "kojin"}
	be := []string{"rijksregister", "registre", "rrn", "insz", "niss", "nn"}
	nir := []string{"nir", "insee", "secu", "sécu", "sécurité", "securite", "num_secu"}
	return []layout{
		{"us_ssn", "999-99-9999", 0.9, 0.99, ssn},
		{"us_ssn", "999 99 9999", 0.6, 0.99, ssn},
		{"us_ssn", "999999999", 0.2, 0.9, []string{"ssn", "social sec", "soc sec"}},
		{USITIN, "999-99-9999", 0.85, 0.99, ssn},
		{USEIN, "99-9999999", 0.5, 0.95, ein},
		{"ca_sin", "999-999-999", 0.7, 0.97, sin},
		{"ca_sin", "999 999 999", 0.6, 0.97, sin},
		{"ca_sin", "999999999", 0.1, 0.9, sin},
		{"de_steuerid", "99 999 999 999", 0.95, 0.99, tax},
		{"de_steuerid", "99999999999", 0.6, 0.97, tax},
		{"nl_bsn", "9999.99.999", 0.9, 0.99, []string{"bsn", "sofi", "burgerservice"}},
		{"nl_bsn", "999999999", 0.1, 0.95, []string{"bsn", "sofi", "burgerservice"}},
		{"pt_nif", "999 999 999", 0.5, 0.95, []string{"nif", "contribuinte"}},
		{"pt_nif", "999999999", 0.1, 0.95, []string{"nif", "contribuinte"}},
		{"br_cpf", "999.999.999-99", 0.99, 0.99, []string{"cpf"}},
		{"br_cpf", "99999999999", 0.6, 0.98, []string{"cpf"}},
		{"br_cnpj", "99.999.999/9999-99", 0.99, 0.99, []string{"cnpj"}},
		{"br_cnpj", "99999999999999", 0.6, 0.98, []string{"cnpj"}},
		{"pl_nip", "999-999-99-99", 0.9, 0.99, nip},
		{"pl_nip", "999-99-99-999", 0.9, 0.99, nip},
		{"pl_nip", "9999999999", 0.1, 0.9, nip},
		{"tr_kimlik", "99999999999", 0.6, 0.97, []string{"kimlik", "tckn", "tc"}},
		{"in_aadhaar", "9999 9999 9999", 0.8, 0.98, []string{"aadhaar", "aadhar", "uidai"}},
		{"in_aadhaar", "9999-9999-9999", 0.8, 0.98, []string{"aadhaar", "aadhar", "uidai"}},
		{"in_aadhaar", "999999999999", 0.2, 0.95, []string{"aadhaar", "aadhar", "uidai"}},
		{"ch_ahv", "999.9999.9999.99", 0.99, 0.99, []string{"ahv", "avs"}},
		{"ch_ahv", "9999999999999", 0.8, 0.98, []string{"ahv", "avs"}},
		{"jp_mynumber", "9999-9999-9999", 0.4, 0.95, jp},
		{"jp_mynumber", "999999999999", 0.1, 0.9, jp},
		{"pl_pesel", "99999999999", 0.6, 0.97, []string{"pesel"}},
		{"se_personnummer", "999999-9999", 0.9, 0.99, se},
		{"se_personnummer", "99999999-9999", 0.97, 0.99, se},
		{"se_personnummer", "999999999999", 0.6, 0.97, se},
		{"se_personnummer", "9999999999", 0.2, 0.95, se},
		{"be_rrn", "99.99.99-999.99", 0.99, 0.99, be},
		{"be_rrn", "99.99.99-999 99", 0.99, 0.99, be},
		{"be_rrn", "99999999999", 0.6, 0.97, be},
		{"fr_nir", "9 99 99 99 999 999 99", 0.98, 0.99, nir},
		{"fr_nir", "9 99 99 99 999 999", 0.8, 0.95, nir},
		{"fr_nir", "9 99 99 9A 999 999 99", 0.98, 0.99, nir},
		{"fr_nir", "999999999999999", 0.85, 0.98, nir},
		{"fr_nir", "999999A99999999", 0.9, 0.98, nir},
		{"fr_nir", "9999999999999", 0.2, 0.9, nir},
		{"cn_ric", "999999999999999999", 0.95, 0.99, nil},
		{"cn_ric", "99999999999999999A", 0.95, 0.99, nil},
		{"es_dni", "99999999A", 0.9, 0.99, dni},
		{"es_dni", "99999999-A", 0.9, 0.99, dni},
		{"es_dni", "99.999.999-A", 0.97, 0.99, dni},
		{"es_nie", "A9999999A", 0.9, 0.99, dni},
		{"es_nie", "A-9999999-A", 0.95, 0.99, dni},
		{"uk_nino", "AA999999A", 0.85, 0.98, []string{"nino", "national insurance", "ni "}},
		{"uk_nino", "AA 99 99 99 A", 0.95, 0.99, []string{"nino", "national insurance", "ni "}},
		{"uk_nino", "AA-99-99-99-A", 0.95, 0.99, []string{"nino", "national insurance", "ni "}},
		{"it_codice_fiscale", "AAAAAA99A99A999A", 0.99, 0.99, nil},
		{INPAN, "AAAAA9999A", 0.85, 0.98, []string{"pan", "permanent account"}},
	}
}

// national looks for an identifier at i, where a word or a number of leading digits begins. It returns 0 for none.
func (s *Scanner) national(i, digits int) int {
	if digits > maxGroup {
		return 0
	}
	for n := range s.byGroup[digits] {
		l := &s.byGroup[digits][n]
		end := s.fits(i, l.pattern)
		if end == 0 || !s.valid(l.kind, i, end) {
			continue
		}
		confidence := l.confidence
		if confidence < l.confirmed && s.after(i, l.words) {
			confidence = l.confirmed
		}
		if confidence >= s.least {
			return s.add(l.kind, i, end, confidence)
		}
	}
	return 0
}

// fits returns where the pattern ends that stands at i, 0 if another text does.
func (s *Scanner) fits(i int, pattern string) int {
	if i+len(pattern) > len(s.text) {
		return 0
	}
	for j := range len(pattern) {
		c := s.text[i+j]
		ok := c == pattern[j]
		switch pattern[j] {
		case '9':
			ok = isDigit(c)
		case 'A':
			ok = isLetter(c)
		}
		if !ok {
			return 0
		}
	}
	end := i + len(pattern)
	if !s.ends(end) || (s.at(end) == '-' || s.at(end) == '.' || s.at(end) == '/') && isDigit(s.at(end+1)) {
		return 0
	}
	return end
}

// valid checks the number between start and end, separators aside.
func (s *Scanner) valid(kind Kind, start, end int) bool {
	compact := s.squeeze(start, end)
	switch kind {
	case USITIN:
		group := int(compact[3]-'0')*10 + int(compact[4]-'0')
		return compact[0] == '9' && (group >= 50 && group <= 65 || group >= 70 && group <= 88 || group >= 90 && group <= 92 || group >= 94)
	case USEIN:
		return employerPrefix(int(compact[0]-'0')*10 + int(compact[1]-'0'))
	case INPAN:
		for _, holder := range []byte("ABCFGHJLPT") {
			if compact[3] == holder {
				return true
			}
		}
		return false
	default:
		form := s.forms[kind]
		return form != nil && form.Valid(compact)
	}
}

// employerPrefix reports whether the IRS gives out employer identification numbers that begin with n.
func employerPrefix(n int) bool {
	for _, missing := range [...]int{0, 7, 8, 9, 17, 18, 19, 28, 29, 49, 69, 70, 78, 79, 89, 96, 97} {
		if n == missing {
			return false
		}
	}
	return true
}

// squeeze returns the letters, in upper case, and digits between start and end.
func (s *Scanner) squeeze(start, end int) []byte {
	compact := s.compact[:0]
	for _, c := range s.text[start:end] {
		switch {
		case isDigit(c), isUpper(c):
		case isLetter(c):
			c &^= 0x20
		default:
			continue
		}
		if len(compact) == cap(compact) {
			return nil
		}
		compact = append(compact, c)
	}
	return compact
}
