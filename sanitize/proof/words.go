package proof

// maxRun is how many words in a row are looked up as one value: a full name, a street with its number and town.
const maxRun = 4

// words asks about the words of a longer text: each one that looks as if it could identify somebody, runs of up to
// maxRun words, and groups of digits.
func (p *prober) words(text []byte) {
	var starts [maxRun]int
	n := 0
	for i := 0; i < len(text); {
		for i < len(text) && separates(text[i]) {
			i++
		}
		start := i
		for i < len(text) && !separates(text[i]) {
			i++
		}
		if start == i {
			break
		}
		copy(starts[1:], starts[:maxRun-1])
		starts[0] = start
		n = min(n+1, maxRun)
		p.word(text[start:i], len(text))
		for run := 1; run < n; run++ {
			p.run(text[starts[run]:i], len(text))
		}
	}
	p.numbers(text)
}

// separates reports whether words end at c.
func separates(c byte) bool {
	switch c {
	case ' ', '\t', '\n', '\r', '"', '\'', '<', '>', '(', ')', '[', ']', '{', '}', ',', ';', '=', '|', 0:
		return true
	default:
		return false
	}
}

// word asks about one word, also without the punctuation around it and without what precedes a colon ("mailto:").
func (p *prober) word(word []byte, whole int) {
	if len(word) < minBytes {
		return
	}
	if len(word) < whole {
		p.part(word)
	}
	for i, c := range word {
		if c == ':' && i+1 < len(word) {
			p.part(word[i+1:])
		}
	}
}

// run asks about several words.
func (p *prober) run(words []byte, whole int) {
	if len(words) >= minLetters && len(words) < whole {
		p.part(words)
	}
}

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

// look asks about a part of a text. Single words of letters must be longer than whole values.
func (p *prober) look(part []byte) {
	f, provable := classify(part)
	if !provable || f != formDigits && len(part) < minWord && letters(part) {
		return
	}
	p.print(p.hash.of(part, f))
}

func letters(word []byte) bool {
	for _, c := range word {
		if kindOf[c]&(isLower|isUpper|isHigh) == 0 {
			return false
		}
	}
	return true
}

// numbers asks about groups of digits and what stands between them in a phone or card number.
func (p *prober) numbers(text []byte) {
	for i := 0; i < len(text); {
		if kindOf[text[i]] != isDigit {
			i++
			continue
		}
		start, end, digits := i, i, 0
		for i < len(text) && kindOf[text[i]]&(isDigit|isPunct) != 0 && text[i] != ',' && text[i] != ':' {
			if kindOf[text[i]] == isDigit {
				digits++
				end = i + 1
			}
			i++
		}
		if digits >= minDigits && end-start < len(text) {
			p.look(text[start:end])
		}
	}
}
