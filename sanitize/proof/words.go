package proof

// maxRun is how many words in a row are looked up as one value: a full name, a street with its number and town.
const maxRun = 4

// words asks about the words of a longer text: each one that looks as if it could identify somebody, runs of up to
// maxRun words, and groups of digits.
func (p *prober) words(text []byte) {
	var starts [maxRun]int // of the last words, negative for those that no original begins like
	begins := p.m.originals.begins
	n, digits := 0, 0
	for i := 0; i < len(text); {
		for i < len(text) && separates(text[i]) {
			i++
		}
		start := i
		for i < len(text) && !separates(text[i]) {
			if text[i] == ':' && i+minBytes < len(text) && begins.may(text[i+1:]) {
				p.part(text[i+1 : endOfWord(text, i+1)])
			}
			if kindOf[text[i]] == isDigit {
				digits++
			}
			i++
		}
		if start == i {
			break
		}
		copy(starts[1:], starts[:maxRun-1])
		n = min(n+1, maxRun)
		starts[0] = -1
		bare := start
		for bare < i && punctuates(text[bare]) {
			bare++
		}
		if begins.may(text[start:]) || bare > start && begins.may(text[bare:]) {
			starts[0] = start
		}
		for run := range n {
			if at := starts[run]; at >= 0 && i-at >= minBytes && i-at < len(text) {
				p.part(text[at:i])
			}
		}
	}
	if digits >= minDigits {
		p.numbers(text)
	}
}

func endOfWord(text []byte, i int) int {
	for i < len(text) && !separates(text[i]) {
		i++
	}
	return i
}

// separates reports whether words end at c.
func separates(c byte) bool { return kindOf[c]&isSpace != 0 }

// part asks about a word or several, also without the punctuation around.
func (p *prober) part(part []byte) {
	p.look(part)
	bare := part
	for len(bare) > 0 && punctuates(bare[len(bare)-1]) {
		bare = bare[:len(bare)-1]
	}
	for len(bare) > 0 && punctuates(bare[0]) {
		bare = bare[1:]
	}
	if len(bare) < len(part) {
		p.look(bare)
	}
}

func punctuates(c byte) bool {
	switch c {
	case '.', ',', ';', ':', '!', '?', '*', '_', '-', '/', '\\', '`', '#':
		return true
	default:
		return false
	}
}

// look asks about a part of a text that is no number. Single words of letters must be longer than whole values.
func (p *prober) look(part []byte) {
	f, provable := classify(part)
	if !provable || f == formDigits || len(part) < minWord && letters(part) {
		return
	}
	p.ask(p.hash.of(part, f))
}

func letters(word []byte) bool {
	for _, c := range word {
		if kindOf[c]&(isLower|isUpper|isHigh) == 0 {
			return false
		}
	}
	return true
}

// numbers asks about runs of digits, and about several of them with what stands between them in a phone or card number.
func (p *prober) numbers(text []byte) {
	for i := 0; i < len(text); {
		if kindOf[text[i]] != isDigit {
			i++
			continue
		}
		start, run, end, digits := i, i, i, 0
		for ; i < len(text) && kindOf[text[i]]&(isDigit|isPunct) != 0 && text[i] != ',' && text[i] != ':'; i++ {
			if kindOf[text[i]] != isDigit {
				continue
			}
			if end < i {
				p.number(text[run:end], len(text))
				run = i
			}
			digits++
			end = i + 1
		}
		p.number(text[run:end], len(text))
		if run > start && digits >= minDigits {
			p.number(text[start:end], len(text))
		}
	}
}

// number asks about a part of a text that is a number.
func (p *prober) number(part []byte, whole int) {
	if len(part) < minDigits || len(part) == whole {
		return
	}
	if f, provable := classify(part); provable {
		p.ask(p.hash.of(part, f))
	}
}
