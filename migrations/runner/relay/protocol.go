package relay

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// The files in the directory of sockets.
const (
	ControlSocket  = "control"
	PostgresSocket = ".s.PGSQL.5432"
	ProxySocket    = "proxy"
)

// Start is what the relay is told, in one line of JSON. The checkout follows as a tar stream if Dir is not empty.
type Start struct {
	// Argv is the command. Argv[0] is looked up in PATH of Env.
	Argv []string `json:"argv"`
	// Env is the command's environment beside the image's own, "NAME=value".
	Env []string `json:"env"`
	// Dir is where the checkout is unpacked and the command runs.
	Dir string `json:"dir"`
	// Link are symbolic links to make in Dir unless something is there: name by target.
	Link map[string]string `json:"link,omitempty"`
	// Forward are the addresses on the loopback to listen on, with the path of the socket that each leads to.
	Forward map[string]string `json:"forward,omitempty"`
	// Scratch are directories of limited size. After a command that failed they are looked at: are they full?
	Scratch []string `json:"scratch,omitempty"`
}

// Event is what the relay tells, each in one line of JSON.
type Event struct {
	Kind EventKind `json:"kind"`
	// Error is set for EventRefused.
	Error string `json:"error,omitempty"`
	// Exit is set for EventExited.
	Exit *Exit `json:"exit,omitempty"`
}

// EventKind is a kind of Event.
type EventKind string

// The kinds of event, in the order in which they come.
const (
	EventReady   EventKind = "ready"   // connected; waits for Start
	EventStarted EventKind = "started" // the checkout is there and the command runs
	EventRefused EventKind = "refused" // the checkout could not be unpacked or the command not be started
	EventExited  EventKind = "exited"  // the command ended
)

// Exit says how the command ended.
type Exit struct {
	Code int `json:"code"`
	// Signal is the name of the signal that killed it, "" for none.
	Signal string `json:"signal,omitempty"`
	// OutOfMemory is how many processes of the container the kernel has killed for want of memory.
	OutOfMemory int64 `json:"out_of_memory,omitempty"`
	// ProcessLimit is how many times a process or thread could not be made because there were too many.
	ProcessLimit int64 `json:"process_limit,omitempty"`
	// ForkBomb is true if the relay ended the command because it would not stop trying that.
	ForkBomb bool `json:"fork_bomb,omitempty"`
	// Full are those of Start.Scratch in which nothing can be written any more.
	Full []string `json:"full,omitempty"`
	// MaxRSSBytes is the most that one process of the command had in memory.
	MaxRSSBytes int64 `json:"max_rss_bytes,omitempty"`
	// CPUMS is the processor time of all its processes, in milliseconds.
	CPUMS float64 `json:"cpu_ms,omitempty"`
}

// maxLine bounds one message of the relay. What comes from inside the container is not trusted.
const maxLine = 64 << 10

// ReadEvent reads the next event. io.EOF if there is none any more.
func ReadEvent(r *bufio.Reader) (Event, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return Event{}, errors.New("a message of the relay is too long")
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return Event{}, io.EOF
		}
		if err != nil {
			return Event{}, fmt.Errorf("read a message of the relay: %w", err)
		}
		break
	}
	var e Event
	if err := json.Unmarshal(line, &e); err != nil {
		return Event{}, errors.New("a message of the relay cannot be understood")
	}
	return e, nil
}

// WriteLine sends one message.
func WriteLine(w io.Writer, message any) error {
	line, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode a message: %w", err)
	}
	if _, err := w.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("send a message: %w", err)
	}
	return nil
}
