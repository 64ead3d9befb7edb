package proof

// maxRun is how many words in a row are looked up as one value: a full name, a street with its number and town.
const maxRun = 4

// words asks about the words of a longer text: each one that looks as if it could identify somebody, runs of up to
// maxRun words, and groups of digits.
func (p *prober) words(text []byte) {
	begins := p.m.originals.begins
	var starts, numbers [maxRun]int // where words are that an original may begin with, and the how manieth each is; live of them
	live, word, digits := 0, 0, 0
	for i := 0; i < len(text); {
		if separates(text[i]) {
			i++
			continue
		}
		start := i
		for i < len(text) {
			k := kindOf[text[i]]
			digits += int(k & isDigit)
			if k&(isSpace|isColon) != 0 {
				if k&isSpace != 0 {
					break
				}
				if i+minBytes < len(text) && begins.may(text[i+1:]) {
					p.part(text[i+1 : endOfWord(text, i+1)])
				}
			}
			i++
		}
		word++
		if live > 0 && numbers[0] <= word-maxRun {
			live--
			copy(starts[:live], starts[1:])
			copy(numbers[:live], numbers[1:])
		}
		bare := start
		for bare < i && punctuates(text[bare]) {
			bare++
		}
		if begins.may(text[start:]) || bare > start && begins.may(text[bare:]) {
			starts[live], numbers[live] = start, word
			live++
		}
		for _, at := range starts[:live] {
			if i-at >= minBytes && i-at < len(text) {
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
	if kindOf[c]&(isDigit|isLower|isUpper|isHigh) != 0 {
		return false
	}
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
		if kindOf[text[i]]&isDigit == 0 {
			i++
			continue
		}
		start, run, end, digits := i, i, i, 0
		for i < len(text) && kindOf[text[i]]&isDigit != 0 {
			run = i
			for i < len(text) && kindOf[text[i]]&isDigit != 0 {
				i++
			}
			if i-run >= minDigits {
				p.number(text[run:i], len(text))
			}
			digits += i - run
			end = i
			for i < len(text) && kindOf[text[i]]&isPunct != 0 && text[i] != ',' && text[i] != ':' {
				i++
			}
		}
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
