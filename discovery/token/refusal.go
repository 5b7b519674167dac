package token

import "fmt"

// Kind says what is wrong with a request.
type Kind string

// The kinds of refusal.
const (
	BadValue     Kind = "bad value"
	Exists       Kind = "exists"
	Full         Kind = "full"
	NameTaken    Kind = "name taken"
	AddressTaken Kind = "address taken"
)

// Refusal is an error that is the asker's.
type Refusal struct {
	Kind Kind
	Why  string
}

// Error says why, and what to do.
func (r *Refusal) Error() string { return r.Why }

func refuse(kind Kind, format string, args ...any) error {
	return &Refusal{Kind: kind, Why: fmt.Sprintf(format, args...)}
}
