package recognise

// number is a run of digits with what may stand between them.
type number struct {
	digits [maxRunDigits]byte
	at     [maxRunDigits]int // where each digit is
	count  int
	plus   bool
}

const (
	maxRunDigits = 24
	maxRunBytes  = 48
)

// read gathers the digits from i on, with at most two separators between any two of them.
func (s *Scanner) read(i int) *number {
	n := &s.run
	n.count, n.plus = 0, s.at(i) == '+'
	if n.plus {
		i++
	}
	separators := 0
	for end := min(len(s.text), i+maxRunBytes); i < end && n.count < maxRunDigits; i++ {
		switch c := s.text[i]; {
		case isDigit(c):
			n.digits[n.count], n.at[n.count] = c, i
			n.count++
			separators = 0
		case c == ' ' || c == '-' || c == '.' || c == '/' || c == '(' || c == ')':
			if separators++; separators > 2 {
				return n
			}
		default:
			return n
		}
	}
	return n
}

// boundary reports whether no digit, and nothing of a word, follows the first count digits.
func (s *Scanner) boundary(n *number, count int) bool { return s.ends(n.at[count-1] + 1) }

// digits looks at what begins with the digit at i and returns where to go on.
func (s *Scanner) digits(i int) int {
	end := s.endOf(i, len(s.text), isDigit)
	if !s.begins(i) || s.at(i-1) == '.' && isDigit(s.at(i-2)) { // decimals
		return end
	}
	if found := s.hexadecimal(i); found > 0 {
		return found
	}
	if found := s.national(i, end-i); found > 0 {
		return found
	}
	if end < len(s.text) && isWord(s.text[end]) {
		return s.wordEnd(end)
	}
	if found := s.ipv4(i, end); found > 0 {
		return found
	}
	if found := s.date(i, end); found > 0 {
		return found
	}
	if found := s.coordinates(i, end); found > 0 {
		return found
	}
	n := s.read(i)
	if found := s.card(i, n); found > 0 {
		return found
	}
	if found := s.phone(i, n); found > 0 {
		return found
	}
	return end
}

// plus looks for a phone number that begins with + or a bracket.
func (s *Scanner) plus(i int) int {
	if s.begins(i) && (isDigit(s.at(i+1)) || s.at(i+1) == '(' && isDigit(s.at(i+2))) {
		if found := s.phone(i, s.read(i)); found > 0 {
			return found
		}
	}
	return i + 1
}

// card looks for a payment card: the longest that is valid and ends where a group of digits does.
func (s *Scanner) card(i int, n *number) int {
	for count := min(19, n.count); count >= 13; count-- {
		if !s.boundary(n, count) || !issued(n.digits[:count]) || !luhn(n.digits[:count]) {
			continue
		}
		end := n.at[count-1] + 1
		groups := true
		for _, c := range s.text[i:end] {
			groups = groups && (isDigit(c) || c == ' ' || c == '-')
		}
		if !groups {
			continue
		}
		if end-i == count && count != 16 && count != 15 && !s.after(i, cardWords()) {
			return 0 // a bare number of an unusual length
		}
		return s.add(Card, i, end, 0.95)
	}
	return 0
}

func cardWords() []string {
	return []string{"card", "pan", "visa", "amex", "mastercard", "maestro", "credit", "debit", "karte", "kreditkarte", "carte", "tarjeta", "cartão", "cartao", "carta", "kaart", "karta", "kart"}
}

// issued reports whether a number begins as those of the card networks do, and has one of their lengths.
func issued(s []byte) bool {
	four := int(s[0]-'0')*1000 + int(s[1]-'0')*100 + int(s[2]-'0')*10 + int(s[3]-'0')
	two, three := four/100, four/10
	switch {
	case s[0] == '4': // Visa
		return len(s) == 13 || len(s) == 16 || len(s) == 19
	case two >= 51 && two <= 55, four >= 2221 && four <= 2720: // Mastercard
		return len(s) == 16
	case two == 34 || two == 37: // American Express
		return len(s) == 15
	case four == 6011, two == 65, three >= 644 && three <= 649: // Discover
		return len(s) >= 16
	case three >= 300 && three <= 305, two == 36, two == 38, two == 39: // Diners Club
		return len(s) >= 14
	case four >= 3528 && four <= 3589: // JCB
		return len(s) >= 16
	case two == 62, two == 81: // UnionPay
		return len(s) >= 16
	case two == 50, two >= 56 && two <= 69: // Maestro
		return true
	case four >= 2200 && four <= 2204: // Mir
		return len(s) >= 16
	default:
		return false
	}
}

// luhn checks the last digit (ISO/IEC 7812-1, annex B).
func luhn(s []byte) bool {
	sum := 0
	for i := range s {
		d := int(s[len(s)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// ipv4 looks for four numbers up to 255.
func (s *Scanner) ipv4(i, end int) int {
	first := i
	for group := 1; ; group++ {
		if end-i > 3 || end-i > 1 && s.text[i] == '0' {
			return 0
		}
		value := 0
		for _, c := range s.text[i:end] {
			value = value*10 + int(c-'0')
		}
		if value > 255 {
			return 0
		}
		if group == 4 {
			break
		}
		if s.at(end) != '.' {
			return 0
		}
		i = end + 1
		if end = s.endOf(i, 4, isDigit); end == i {
			return 0
		}
	}
	if !s.ends(end) || s.at(end) == '.' && isDigit(s.at(end+1)) || s.after(first, []string{"version", "ver.", "release", "v."}) {
		return 0
	}
	return s.add(IP, first, end, 0.9)
}

// coordinates looks for a latitude and a longitude with four or more decimals each.
func (s *Scanner) coordinates(i, end int) int {
	start := i
	if s.at(i-1) == '-' {
		start--
	}
	after, ok := s.degrees(i, end, 90)
	if !ok {
		return 0
	}
	next := after
	for next < len(s.text) && next < after+3 && (s.text[next] == ',' || s.text[next] == ' ' || s.text[next] == ';') {
		next++
	}
	if next == after {
		return 0
	}
	if s.at(next) == '-' || s.at(next) == '+' {
		next++
	}
	if after, ok = s.degrees(next, s.endOf(next, 4, isDigit), 180); !ok {
		return 0
	}
	return s.add(Coordinates, start, after, 0.9)
}

// degrees reads a number up to most with four or more decimals whose whole part is between i and end.
func (s *Scanner) degrees(i, end, most int) (after int, ok bool) {
	if end == i || end-i > 3 || s.at(end) != '.' {
		return 0, false
	}
	value := 0
	for _, c := range s.text[i:end] {
		value = value*10 + int(c-'0')
	}
	after = s.endOf(end+1, 18, isDigit)
	return after, value <= most && after-end > 4 && s.ends(after)
}
