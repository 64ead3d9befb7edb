package recognise

// phone looks for a phone number in the digits of n, which begins at i. It returns 0 for none.
func (s *Scanner) phone(i int, n *number) int {
	count := s.phoneDigits(n)
	if count == 0 {
		return 0
	}
	end := n.at[count-1] + 1
	if n.count > count && n.at[count]-end <= 2 && s.text[end] == '-' {
		return 0 // it goes on: no phone number has so many digits
	}
	confidence := s.plausible(i, end, n, count)
	if confidence < 0.8 && s.after(i, phoneWords()) {
		confidence = max(confidence, 0.8)
	}
	if confidence < Least {
		return 0
	}
	if s.at(end) == ')' && s.at(i) == '(' && end-i < 4 {
		return 0
	}
	return s.add(Phone, i, end, confidence)
}

// Lengths of phone numbers in digits (E.164: 15 at most).
const (
	minPhone = 7
	maxPhone = 15
)

// phoneDigits returns how many of the digits belong to the number: to the last boundary of a group that is not too long,
// 0 for none.
func (s *Scanner) phoneDigits(n *number) int {
	for count := min(n.count, maxPhone); count >= minPhone; count-- {
		if s.boundary(n, count) {
			return count
		}
	}
	return 0
}

// plausible returns how much the form alone says for a phone number.
func (s *Scanner) plausible(i, end int, n *number, count int) float64 {
	d := n.digits[:count]
	groups, longest, dots := shape(n, count, s.text[i:end])
	switch {
	case n.plus && d[0] != '0' && count >= 8:
		return 0.95
	case n.plus:
		return 0
	case d[0] == '0' && d[1] == '0' && d[2] != '0' && count >= 10:
		return 0.7
	case dots && groups == 2: // a decimal number
		return 0
	case count == 10 && groups == 3 && northAmerican(d) && n.at[3]-n.at[2] > 1 && n.at[6]-n.at[5] > 1:
		return 0.9
	case count == 11 && d[0] == '1' && groups >= 3 && northAmerican(d[1:]):
		return 0.9
	case d[0] == '0' && d[1] != '0' && count >= 9 && count <= 12 && groups >= 2 && longest <= 8:
		return 0.75
	case d[0] == '0' && (count == 10 || count == 11) && groups == 1 && d[1] != '0':
		return 0.55
	case s.at(i) == '(' && groups >= 2 && count >= 8 && count <= 11 && longest <= 5:
		return 0.7
	default:
		return 0.1
	}
}

// shape returns the number of groups of digits, the longest one, and whether dots separate them.
func shape(n *number, count int, text []byte) (groups, longest int, dots bool) {
	length := 0
	for i := range count {
		if i == 0 || n.at[i]-n.at[i-1] > 1 {
			groups++
			length = 0
		}
		length++
		longest = max(longest, length)
	}
	for _, c := range text {
		dots = dots || c == '.'
	}
	return groups, longest, dots
}

// northAmerican checks area code and exchange of ten digits (North American Numbering Plan).
func northAmerican(d []byte) bool {
	return d[0] >= '2' && d[3] >= '2' && (d[1] != '1' || d[2] != '1') && (d[4] != '1' || d[5] != '1')
}

func phoneWords() []string {
	return []string{
		"phone", "tel", "telefon", "telephone", "teléfono", "telefone", "téléphone", "mobile", "mob", "cell", "call", "fax", "whatsapp", "sms", "text me", "contact", "reach", "dial", "handy", "fon", "mobil",
		"portable", "appel", "móvil", "movil", "celular", "llam", "ligar", "cellulare", "chiam", "bel", "mobiel", "kom", "komórk", "zadzwo", "cep", "ara", "☎",
	}
}
