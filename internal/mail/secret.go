package mail

import "log/slog"

// Secret is a password, key or token. Every way of printing it prints "[redacted]"; the value comes out only by an explicit
// conversion to string, which is easy to search for.
type Secret string

const redacted = "[redacted]"

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

func (s Secret) GoString() string             { return s.String() }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(s.String()) }
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
