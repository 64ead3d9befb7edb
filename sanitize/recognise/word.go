package recognise

import (
	"net/netip"

	"github.com/mayflydb/mayfly/sanitize/checkdigit"
)

// word looks at what begins with the letter at i and returns where to go on.
func (s *Scanner) word(i int) int {
	end := s.wordEnd(i)
	if !s.begins(i) {
		return end
	}
	if s.at(end) == ':' && s.at(end+1) == '/' && s.at(end+2) == '/' {
		return s.url(i, end+3)
	}
	if found := s.key(i, end); found > 0 {
		return found
	}
	if found := s.assigned(i, end); found > 0 {
		return found
	}
	if isHex(s.text[i]) {
		if found := s.hexadecimal(i); found > 0 {
			return found
		}
	}
	if isLetter(s.text[i]) && i+7 < len(s.text) {
		if found := s.iban(i, end); found > 0 {
			return found
		}
		// All identifiers that begin with a letter have a digit at one of these places.
		if isDigit(s.text[i+1]) || isDigit(s.text[i+2]) || isDigit(s.text[i+3]) || isDigit(s.text[i+5]) || isDigit(s.text[i+6]) {
			if found := s.national(i, 0); found > 0 {
				return found
			}
		}
	}
	return end
}

// iban looks for an International Bank Account Number, alone or in groups of four.
func (s *Scanner) iban(i, end int) int {
	if end-i < 4 || !isLetter(s.text[i+1]) || !isDigit(s.text[i+2]) || !isDigit(s.text[i+3]) {
		return 0
	}
	if end-i >= 15 {
		if (checkdigit.IBAN{}).Valid(s.squeeze(i, end)) {
			return s.add(IBAN, i, end, 0.99)
		}
		return 0
	}
	longest := 0
	for groups := 1; groups <= 9 && end-i <= 46; groups++ {
		if (checkdigit.IBAN{}).Valid(s.squeeze(i, end)) {
			longest = end
		}
		if c := s.at(end); c != ' ' && c != '-' || !isWord(s.at(end+1)) {
			break
		}
		next := s.wordEnd(end + 1)
		if next-end-1 > 4 {
			break
		}
		end = next
	}
	if longest == 0 {
		return 0
	}
	return s.add(IBAN, i, longest, 0.99)
}

// hexadecimal looks for a UUID, a hardware address or an IPv6 address.
func (s *Scanner) hexadecimal(i int) int {
	if i+8 < len(s.text) && s.text[i+8] == '-' {
		if end := s.uuid(i); end > 0 {
			return s.add(UUID, i, end, 0.99)
		}
	}
	if end := s.hardware(i); end > 0 {
		return s.add(MAC, i, end, 0.95)
	}
	group := s.endOf(i, 5, isHex)
	if group-i > 4 || s.at(group) != ':' {
		return 0
	}
	return s.ipv6(i)
}

func (s *Scanner) uuid(i int) int {
	for j := range 36 {
		switch c := s.at(i + j); j {
		case 8, 13, 18, 23:
			if c != '-' {
				return 0
			}
		default:
			if !isHex(c) {
				return 0
			}
		}
	}
	if !s.ends(i + 36) {
		return 0
	}
	return i + 36
}

// hardware takes six pairs with : or - and three groups of four with dots.
func (s *Scanner) hardware(i int) int {
	size, separator := 2, s.at(i+2)
	if s.at(i+4) == '.' && isHex(separator) {
		size, separator = 4, '.'
	}
	if separator != ':' && separator != '-' && separator != '.' || separator == '.' && size == 2 {
		return 0
	}
	at, digits := i, 0
	for group := range 12 / size {
		if group > 0 {
			if s.at(at) != separator {
				return 0
			}
			at++
		}
		for range size {
			if !isHex(s.at(at)) {
				return 0
			}
			if isDigit(s.at(at)) {
				digits++
			}
			at++
		}
	}
	if !s.ends(at) || s.at(at) == separator && isHex(s.at(at+1)) {
		return 0
	}
	if separator == '-' && digits == 12 && !s.after(i, []string{"mac", "hardware", "ethernet", "hw"}) {
		return 0 // groups of digits can be anything
	}
	return at
}

// maxIPv6 is the longest address, with an IPv4 address in it.
const maxIPv6 = 45

// ipv6 looks for an address of three or more groups: "a::b" is an operator in some languages, "10:20" a time.
func (s *Scanner) ipv6(i int) int {
	end := s.endOf(i, maxIPv6, func(c byte) bool { return isHex(c) || c == ':' || c == '.' })
	for end > i && (s.text[end-1] == '.' || s.text[end-1] == ':' && (end-i < 2 || s.text[end-2] != ':')) {
		end--
	}
	if !s.ends(end) {
		return 0
	}
	colons, groups, digits := 0, 0, 0
	for at, c := range s.text[i:end] {
		switch {
		case c == ':':
			colons++
		case at == 0 || s.text[i+at-1] == ':':
			groups++
		}
		if isDigit(c) {
			digits++
		}
	}
	if colons < 2 || groups < 3 || digits < 2 {
		return 0
	}
	var memory [maxIPv6]byte
	if _, err := netip.ParseAddr(string(memory[:copy(memory[:], s.text[i:end])])); err != nil {
		return 0
	}
	return s.add(IP, i, end, 0.9)
}

// colon looks for an IPv6 address that begins with "::".
func (s *Scanner) colon(i int) int {
	if s.at(i+1) == ':' && isHex(s.at(i+2)) && s.begins(i) {
		if end := s.ipv6(i); end > 0 {
			return end
		}
	}
	return i + 1
}
