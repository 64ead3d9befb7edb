package recognise

// date passes over dates, which look like phone numbers, and reports those that words before them call a date of birth.
// first is where its first group of digits ends.
func (s *Scanner) date(i, first int) int {
	var end int
	separator := s.at(first)
	switch {
	case separator != '-' && separator != '/' && separator != '.' && separator != ' ':
		return 0
	case first-i == 4:
		month := s.pair(first+1, separator)
		if month == 0 {
			return 0
		}
		end = s.endOf(month+1, 3, isDigit)
		day := s.value(month+1, end)
		if y := s.value(i, first); y < 1000 || y > 2999 || end == month+1 || end-month-1 > 2 || s.value(first+1, month) > 12 || day < 1 || day > 31 {
			return 0
		}
	case first-i <= 2:
		second := s.pair(first+1, separator)
		if second == 0 {
			return 0
		}
		end = s.endOf(second+1, 5, isDigit)
		a, b := s.value(i, first), s.value(first+1, second)
		if a < 1 || b < 1 || min(a, b) > 12 || max(a, b) > 31 {
			return 0
		}
		switch end - second - 1 {
		case 4:
			if y := s.value(second+1, end); y < 1000 || y > 2999 {
				return 0
			}
		case 2:
			// "01.02.03.04.05" is a phone number.
			if separator == ' ' || (s.at(end) == separator || s.at(end) == ' ') && isDigit(s.at(end+1)) {
				return 0
			}
		default:
			return 0
		}
	default:
		return 0
	}
	if !s.ends(end) && s.at(end) != 'T' {
		return 0
	}
	if s.after(i, birthWords()) {
		return s.add(BirthDate, i, end, 0.95)
	}
	return s.clock(end)
}

// pair returns where one or two digits at i end that separator follows, else 0.
func (s *Scanner) pair(i int, separator byte) int {
	end := s.endOf(i, 3, isDigit)
	if n := end - i; n < 1 || n > 2 || s.at(end) != separator {
		return 0
	}
	return end
}

func (s *Scanner) value(start, end int) int {
	n := 0
	for _, c := range s.text[start:end] {
		n = n*10 + int(c-'0')
	}
	return n
}

// clock passes over a time of day behind a date: " 10:20:30.123456".
func (s *Scanner) clock(i int) int {
	if c := s.at(i); (c != ' ' && c != 'T') || !isDigit(s.at(i+1)) || !isDigit(s.at(i+2)) || s.at(i+3) != ':' {
		return i
	}
	return s.endOf(i+1, 20, func(c byte) bool { return isDigit(c) || c == ':' || c == '.' })
}

func birthWords() []string {
	return []string{
		"born", "birth", "dob", "d.o.b", "bday", "geb", "geburt", "né le", "née le", "ne le", "nee le", "naissance", "nacid", "nacim", "f. nac", "fecha de nac",
		"nascid", "nascim", "nato", "nata", "nascita", "geboren", "urodz", "ur.", "doğum", "dogum", "född", "fodt", "født",
	}
}
